/* Writing a tokenizer for transformers: what tokenizer_json.c reads, or a tokenizer.model, with a
 * tokenizer_config.json beside it. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer_parts.h"

static json_t *token_text(const tokenizer_t *t, int32_t id) {
    size_t len;
    const char *text = vocab_text(&t->vocab, id, &len);
    return json_stringn(text, len);
}

static json_t *vocab_json(const tokenizer_t *t) {
    json_t *o = json_object();
    for (size_t id = 0; id < t->vocab.n; id++) {
        size_t len;
        const char *text = vocab_text(&t->vocab, (int32_t)id, &len);
        if (len) json_object_setn_new(o, text, len, json_integer((json_int_t)id));
    }
    return o;
}

static json_t *merges_json(const tokenizer_t *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->bpe.n_merges; i++) {
        const bpe_merge_t *m = &t->bpe.merges[i];
        json_array_append_new(list, json_pack("[o, o]", token_text(t, m->left), token_text(t, m->right)));
    }
    return list;
}

static json_t *added_json(const tokenizer_t *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->added.n; i++) {
        const added_token_t *a = &t->added.v[i];
        json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)a->id, "content",
                                              token_text(t, a->id), "single_word", 0, "lstrip", a->lstrip, "rstrip",
                                              a->rstrip, "normalized", a->normalized, "special", a->special));
    }
    return list;
}

/* BOS before every text where the model wants it; otherwise nothing is added. */
static json_t *post_processor_json(const tokenizer_t *t) {
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    static const char *const sequences[] = {"A", "B"};
    for (int i = 0; i < 2; i++) {
        if (t->add_bos) {
            json_t *bos = json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", token_text(t, t->role[ROLE_TOKEN_BOS]),
                                    "type_id", i);
            if (i == 0) json_array_append(single, bos);
            json_array_append_new(pair, bos);
        }
        json_t *sequence = json_pack("{s:{s:s, s:i}}", "Sequence", "id", sequences[i], "type_id", i);
        if (i == 0) json_array_append(single, sequence);
        json_array_append_new(pair, sequence);
    }
    if (t->add_bos) {
        size_t len;
        int32_t id = t->role[ROLE_TOKEN_BOS];
        const char *text = vocab_text(&t->vocab, id, &len);
        json_object_setn_new(tokens, text, len, json_pack("{s:o, s:[i], s:[o]}", "id", token_text(t, id), "ids",
                                                          (int)id, "tokens", token_text(t, id)));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
}

static json_t *tokenizer_json(const tokenizer_t *t) {
    json_t *model = json_pack("{s:s, s:n, s:o?, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", t->bpe.unk < 0 ? json_null() : token_text(t, t->bpe.unk),
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", t->bpe.fuse_unk,
                              "byte_fallback", 0, "ignore_merges", t->bpe.ignore_merges, "vocab", vocab_json(t),
                              "merges", merges_json(t));
    json_t *normalizer = t->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:O, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_json(t), "normalizer", normalizer,
                     "pre_tokenizer", t->pre_desc, "post_processor", post_processor_json(t), "decoder", "type",
                     "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model", model);
}

static json_t *config_json(const tokenizer_t *t) {
    static const char *const names[ROLE_TOKEN_COUNT] = {"bos_token", "eos_token", "pad_token"};
    json_t *o = json_object();
    json_object_set_new(o, "tokenizer_class", json_string(t->spm ? "LlamaTokenizer" : "PreTrainedTokenizerFast"));
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) {
        json_object_set_new(o, names[i], t->role[i] < 0 ? json_null() : token_text(t, t->role[i]));
    }
    if (t->spm) {
        json_object_set_new(o, "add_bos_token", json_boolean(t->add_bos));
        json_object_set_new(o, "add_eos_token", json_false());
        /* What SentencePiece itself does around special tokens; the other choice is a later invention. */
        json_object_set_new(o, "legacy", json_true());
    }
    json_object_set_new(o, "clean_up_tokenization_spaces", json_false()); /* decoding gives the text back */
    if (t->context_length) json_object_set_new(o, "model_max_length", json_integer((json_int_t)t->context_length));
    if (t->chat_template) json_object_set_new(o, "chat_template", json_string(t->chat_template));
    return o;
}

static int write_tokenizer(const tokenizer_t *t, const char *dir, err_t *err) {
    char *path = path_join(dir, t->spm ? "tokenizer.model" : "tokenizer.json");
    int rc;
    if (t->spm) {
        size_t len;
        const void *proto = spm_model_proto(t->spm, &len);
        rc = file_write(path, proto, len, err);
    } else {
        json_t *root = tokenizer_json(t);
        char *text = json_dumps(root, JSON_COMPACT);
        CHECK(text != NULL);
        rc = file_write(path, text, strlen(text), err);
        free(text);
        json_decref(root);
    }
    free(path);
    return rc;
}

int tokenizer_save(const tokenizer_t *t, const char *dir, err_t *err) {
    if (dir_make(dir, err) || write_tokenizer(t, dir, err)) return err->code;
    char *path = path_join(dir, "tokenizer_config.json");
    json_t *config = config_json(t);
    int rc = json_write(path, config, err);
    json_decref(config);
    free(path);
    return rc;
}
