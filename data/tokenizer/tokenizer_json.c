/* Reading a tokenizer.json (the format of the `tokenizers` library) of BPE. What would change ids and is not supported
 * is refused by name. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/tokenizer_parts.h"

static bool is_set(const json_t *v) {
    return v && !json_is_null(v) && !json_is_false(v) && !(json_is_string(v) && json_string_length(v) == 0) &&
           !(json_is_number(v) && json_number_value(v) == 0);
}

static int load_vocab(tokenizer_t *t, const json_t *model, const char *where, err_t *err) {
    json_t *vocab = json_object_get(model, "vocab"), *id;
    const char *text;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(err, ERR_USAGE, "%s: model.vocab: expected an object of tokens and ids", where);
    json_object_foreach(vocab, text, id) {
        if (!json_is_integer(id)) {
            quoted_t q;
            return err_set(err, ERR_USAGE, "%s: model.vocab: the id of %s is not a whole number", where,
                           token_quote(q, text, strlen(text)));
        }
        if (vocab_add(&t->vocab, json_integer_value(id), text, strlen(text), where, err)) return err->code;
    }
    return 0;
}

static int load_merge(tokenizer_t *t, const json_t *m, const char *where, err_t *err) {
    const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
    if (json_is_string(m)) return bpe_add_merge_text(&t->bpe, json_string_value(m), json_string_length(m), where, err);
    if (json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
        return bpe_add_merge(&t->bpe, json_string_value(a), json_string_length(a), json_string_value(b),
                             json_string_length(b), where, err);
    return err_set(err, ERR_USAGE, "%s: model.merges: merge %zu: expected \"a b\" or [\"a\", \"b\"]", where,
                   t->bpe.n_merges);
}

/* Words are bytes by a pre-tokenizer that makes them so, else characters, of which SentencePiece spells unknown ones. */
static int find_symbols(const tokenizer_t *t, const json_t *model, const char *where, bpe_symbols_t *symbols,
                        err_t *err) {
    bool fallback = false;
    if (json_opt_bool(model, "byte_fallback", where, &fallback, err)) return err->code;
    *symbols = pretokenizer_byte_level(t->pre) ? BPE_BYTES : BPE_FALLBACK;
    if (fallback == (*symbols == BPE_FALLBACK)) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: model.byte_fallback is %s and the pre_tokenizer has %s ByteLevel; expected one of the two",
                   where, fallback ? "true" : "false", fallback ? "a" : "no");
}

static int load_bpe(tokenizer_t *t, const json_t *model, const char *where, err_t *err) {
    static const char *const refused[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (is_set(json_object_get(model, refused[i])))
            return err_set(err, ERR_USAGE, "%s: model.%s is not supported; expected null", where, refused[i]);
    }
    bpe_symbols_t symbols = BPE_BYTES;
    if (find_symbols(t, model, where, &symbols, err) || load_vocab(t, model, where, err) ||
        bpe_init(&t->bpe, &t->vocab, symbols, where, err))
        return err->code;
    if (json_opt_bool(model, "ignore_merges", where, &t->bpe.ignore_merges, err)) return err->code;
    if (json_opt_bool(model, "fuse_unk", where, &t->bpe.fuse_unk, err)) return err->code;
    const char *unk = NULL;
    if (json_opt_string(model, "unk_token", where, &unk, err)) return err->code;
    if (unk && (t->bpe.unk = vocab_find(&t->vocab, unk, strlen(unk))) < 0)
        return err_set(err, ERR_USAGE, "%s: model.unk_token \"%.100s\" is not in the vocabulary", where, unk);
    const json_t *merges = json_object_get(model, "merges"), *m;
    size_t i;
    if (!json_is_array(merges)) return err_set(err, ERR_USAGE, "%s: model.merges: expected a list", where);
    json_array_foreach(merges, i, m) {
        if (load_merge(t, m, where, err)) return err->code;
    }
    return 0;
}

static int load_added_token(tokenizer_t *t, const json_t *o, const char *where, err_t *err) {
    const char *text;
    size_t id;
    added_token_t a = {0};
    if (json_need_string(o, "content", where, &text, err) || json_need_size(o, "id", where, &id, err) ||
        json_opt_bool(o, "special", where, &a.special, err) || json_opt_bool(o, "lstrip", where, &a.lstrip, err) ||
        json_opt_bool(o, "rstrip", where, &a.rstrip, err) ||
        json_opt_bool(o, "normalized", where, &a.normalized, err) ||
        json_opt_bool(o, "single_word", where, &a.single_word, err))
        return err_prefix(err, "added_tokens");
    size_t len = json_string_length(json_object_get(o, "content"));
    a.id = vocab_find(&t->vocab, text, len);
    if (a.id < 0 || (size_t)a.id != id) {
        if (vocab_add(&t->vocab, id > INT32_MAX ? INT32_MAX : (int64_t)id, text, len, where, err)) return err->code;
        a.id = (int32_t)id;
    }
    if (t->bpe.symbols == BPE_BYTES) vocab_set_bytes(&t->vocab, a.id, text, len);
    else a.always = !a.special; /* a user-defined piece, or as good as one */
    t->vocab.tokens[a.id].special = a.special;
    return tokenizer_add_added(t, a, err);
}

static int load_added(tokenizer_t *t, const json_t *root, const char *where, err_t *err) {
    const json_t *list = json_object_get(root, "added_tokens"), *o;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list))
        return err_set(err, ERR_USAGE, "%s: added_tokens: expected a list", where);
    json_array_foreach(list, i, o) {
        if (load_added_token(t, o, where, err)) return err->code;
    }
    return 0;
}

/* A TemplateProcessing whose "single" begins with a special token puts that before every text: BOS. */
static void load_post_processor(tokenizer_t *t, const json_t *p) {
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(p, "processors"), i, item) load_post_processor(t, item);
    const json_t *first = json_array_get(json_object_get(p, "single"), 0);
    const json_t *id = json_object_get(json_object_get(first, "SpecialToken"), "id");
    if (!json_is_string(id)) return;
    t->role[ROLE_TOKEN_BOS] = vocab_find(&t->vocab, json_string_value(id), json_string_length(id));
    t->add_bos = t->role[ROLE_TOKEN_BOS] >= 0;
}

/* What transformers' LlamaTokenizer puts in the place of the file's normalizer and pre_tokenizer. */
static json_t *llama_metaspace(prefix_t prefix) {
    static const char *const schemes[] = {
        [PREFIX_NEVER] = "never", [PREFIX_FIRST] = "first", [PREFIX_ALWAYS] = "always"};
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", SPACE_MARK, "prepend_scheme",
                     schemes[prefix], "split", 0);
}

static int load_steps(tokenizer_t *t, const json_t *root, class_rule_t rule, const char *where, err_t *err) {
    json_t *norm = json_object_get(root, "normalizer"), *pre = json_object_get(root, "pre_tokenizer");
    if (!rule.llama_class || !json_is_true(json_object_get(json_object_get(root, "model"), "byte_fallback")))
        return tokenizer_set_steps(t, norm, pre, where, err);
    pre = llama_metaspace(rule.prefix);
    int rc = tokenizer_set_steps(t, NULL, pre, where, err);
    json_decref(pre);
    return rc;
}

static int load_root(tokenizer_t *t, const json_t *root, class_rule_t rule, const char *where, bool *needs_spm,
                     err_t *err) {
    const json_t *model = json_object_get(root, "model");
    const char *type = "BPE";
    if (!json_is_object(model))
        return err_set(err, ERR_USAGE, "%s: model is missing; expected the tokenizer.json of a BPE tokenizer", where);
    if (json_opt_string(model, "type", where, &type, err)) return err->code;
    if ((*needs_spm = !strcmp(type, "Unigram"))) return 0;
    if (strcmp(type, "BPE") != 0)
        return err_set(err, ERR_USAGE, "%s: model.type \"%.100s\" is not supported; expected BPE", where, type);
    if (load_steps(t, root, rule, where, err) || load_bpe(t, model, where, err) || load_added(t, root, where, err))
        return err->code;
    load_post_processor(t, json_object_get(root, "post_processor"));
    return 0;
}

int tokenizer_load_json(tokenizer_t *t, const char *path, class_rule_t rule, bool *needs_spm, err_t *err) {
    json_t *root;
    if (json_file(path, &root, err)) return err->code;
    int rc = load_root(t, root, rule, path, needs_spm, err);
    json_decref(root);
    return rc;
}
