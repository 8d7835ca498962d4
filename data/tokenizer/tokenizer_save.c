/* Writing a tokenizer for transformers: tokenizer.json, for SentencePiece a tokenizer.model as well, and
 * tokenizer_config.json. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/tokenizer_parts.h"

static json_t *json_of_token(const tokenizer_t *t, int32_t id) {
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
        json_array_append_new(list, json_pack("[o, o]", json_of_token(t, m->left), json_of_token(t, m->right)));
    }
    return list;
}

static json_t *json_of_added(const tokenizer_t *t, const added_token_t *a) {
    return json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)a->id, "content", json_of_token(t, a->id),
                     "single_word", a->single_word, "lstrip", a->lstrip, "rstrip", a->rstrip, "normalized",
                     a->normalized, "special", a->special);
}

static json_t *added_json(const tokenizer_t *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->added.n; i++) json_array_append_new(list, json_of_added(t, &t->added.v[i]));
    return list;
}

/* BOS before every text where the model wants it; otherwise nothing is added. */
static json_t *json_of_post_processor(const tokenizer_t *t) {
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    static const char *const sequences[] = {"A", "B"};
    for (int i = 0; i < 2; i++) {
        if (t->add_bos) {
            json_t *bos = json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", json_of_token(t, t->role[ROLE_TOKEN_BOS]),
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
        json_object_setn_new(tokens, text, len,
                             json_pack("{s:o, s:[i], s:[o]}", "id", json_of_token(t, id), "ids", (int)id, "tokens",
                                       json_of_token(t, id)));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
}

static json_t *model_json(const tokenizer_t *t) {
    json_t *unk = t->bpe.unk < 0 ? json_null() : json_of_token(t, t->bpe.unk);
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token", unk,
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", t->bpe.fuse_unk, "byte_fallback",
                     t->bpe.symbols == BPE_FALLBACK, "ignore_merges", t->bpe.ignore_merges, "vocab", vocab_json(t),
                     "merges", merges_json(t));
}

static json_t *decoder_json(const tokenizer_t *t) {
    if (t->bpe.symbols == BPE_BYTES)
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1,
                         "use_regex", 1);
    json_t *list = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", SPACE_MARK,
                             "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (t->prefix != PREFIX_NEVER)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *or_null(json_t *v) { return v ? json_incref(v) : json_null(); }

static json_t *tokenizer_json(const tokenizer_t *t) {
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added_json(t), "normalizer", or_null(t->norm_desc), "pre_tokenizer",
                     or_null(t->pre_desc), "post_processor", json_of_post_processor(t), "decoder", decoder_json(t),
                     "model", model_json(t));
}

/* One text, or where there are others besides the default a list. */
static json_t *templates_json(const tokenizer_t *t) {
    json_t *list = json_array(), *text;
    const char *name;
    if (json_object_size(t->templates) == 1 && (text = json_object_get(t->templates, "default"))) {
        json_decref(list);
        return json_incref(text);
    }
    json_object_foreach(t->templates, name, text) {
        json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "template", text));
    }
    return list;
}

static json_t *config_json(const tokenizer_t *t) {
    static const char *const names[ROLE_TOKEN_COUNT] = {"bos_token", "eos_token", "pad_token"};
    json_t *o = json_object();
    json_object_set_new(o, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) {
        json_object_set_new(o, names[i], t->role[i] < 0 ? json_null() : json_of_token(t, t->role[i]));
    }
    /* For readers of tokenizer.model, which does not say; transformers goes by tokenizer.json. */
    if (t->pieces.n) json_object_set_new(o, "add_bos_token", json_boolean(t->add_bos));
    json_object_set_new(o, "clean_up_tokenization_spaces", json_false()); /* decoding gives the text back */
    if (t->context_length) json_object_set_new(o, "model_max_length", json_integer((json_int_t)t->context_length));
    if (t->templates) json_object_set_new(o, "chat_template", templates_json(t));
    return o;
}

static int write_json(const tokenizer_t *t, const char *dir, err_t *err) {
    json_t *root = tokenizer_json(t);
    char *path = path_join(dir, "tokenizer.json"), *text = json_dumps(root, JSON_COMPACT);
    CHECK(text != NULL);
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    free(path);
    json_decref(root);
    return rc;
}

/* The library wants an unknown piece: without one there is no such file. */
static int write_proto(const tokenizer_t *t, const char *dir, err_t *err) {
    if (t->pieces.id[0] < 0) return 0;
    char *path = path_join(dir, "tokenizer.model");
    strbuf_t proto = spm_proto(&t->pieces, &t->vocab);
    int rc = file_write(path, proto.p, proto.len, err);
    free(proto.p);
    free(path);
    return rc;
}

int tokenizer_save(const tokenizer_t *t, const char *dir, err_t *err) {
    CHECK(!t->spm);
    if (dir_make(dir, err) || write_json(t, dir, err)) return err->code;
    if (t->pieces.n && write_proto(t, dir, err)) return err->code;
    char *path = path_join(dir, "tokenizer_config.json");
    json_t *config = config_json(t);
    int rc = json_write(path, config, err);
    json_decref(config);
    free(path);
    return rc;
}
