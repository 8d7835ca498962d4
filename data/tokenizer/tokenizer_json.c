/* Reading a tokenizer.json (the format of the `tokenizers` library) of byte-level BPE. What would change ids
 * and is not supported is refused by name. */
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

static int load_bpe(tokenizer_t *t, const json_t *model, const char *where, err_t *err) {
    static const char *const refused[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (is_set(json_object_get(model, refused[i])))
            return err_set(err, ERR_USAGE, "%s: model.%s is not supported; expected null", where, refused[i]);
    }
    if (load_vocab(t, model, where, err)) return err->code;
    bpe_init(&t->bpe, &t->vocab);
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
    bool single_word = false;
    if (json_need_string(o, "content", where, &text, err) || json_need_size(o, "id", where, &id, err) ||
        json_opt_bool(o, "special", where, &a.special, err) || json_opt_bool(o, "lstrip", where, &a.lstrip, err) ||
        json_opt_bool(o, "rstrip", where, &a.rstrip, err) ||
        json_opt_bool(o, "normalized", where, &a.normalized, err) ||
        json_opt_bool(o, "single_word", where, &single_word, err))
        return err_prefix(err, "added_tokens");
    size_t len = json_string_length(json_object_get(o, "content"));
    quoted_t q;
    if (single_word)
        return err_set(err, ERR_USAGE, "%s: added_tokens: %s: single_word is not supported", where,
                       token_quote(q, text, len));
    a.id = vocab_find(&t->vocab, text, len);
    if (a.id < 0 || (size_t)a.id != id) {
        if (vocab_add(&t->vocab, id > INT32_MAX ? INT32_MAX : (int64_t)id, text, len, where, err)) return err->code;
        a.id = (int32_t)id;
    }
    vocab_set_bytes(&t->vocab, a.id, text, len);
    t->vocab.tokens[a.id].special = a.special;
    added_add(&t->added, &t->vocab, a);
    return 0;
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

static int load_normalizer(tokenizer_t *t, const json_t *n, const char *where, err_t *err) {
    if (!n || json_is_null(n)) return 0;
    const json_t *list = json_object_get(n, "normalizers"), *item;
    const char *type;
    size_t i;
    if (json_need_string(n, "type", where, &type, err)) return err_prefix(err, "normalizer");
    if (!strcmp(type, "NFC")) {
        t->nfc = true;
        return 0;
    }
    if (strcmp(type, "Sequence") != 0)
        return err_set(err, ERR_USAGE, "%s: normalizer: type \"%.100s\" is not supported; expected NFC or null", where,
                       type);
    json_array_foreach(list, i, item) {
        if (load_normalizer(t, item, where, err)) return err->code;
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

static int load_root(tokenizer_t *t, const json_t *root, const char *where, bool *needs_spm, err_t *err) {
    const json_t *model = json_object_get(root, "model");
    const char *type = "BPE";
    bool byte_fallback = false;
    if (!json_is_object(model))
        return err_set(err, ERR_USAGE, "%s: model is missing; expected the tokenizer.json of a BPE tokenizer", where);
    if (json_opt_string(model, "type", where, &type, err)) return err->code;
    if (json_opt_bool(model, "byte_fallback", where, &byte_fallback, err)) return err->code;
    if ((*needs_spm = byte_fallback || !strcmp(type, "Unigram"))) return 0;
    if (strcmp(type, "BPE") != 0)
        return err_set(err, ERR_USAGE, "%s: model.type \"%.100s\" is not supported; expected BPE", where, type);
    if (load_bpe(t, model, where, err) || load_added(t, root, where, err) ||
        load_normalizer(t, json_object_get(root, "normalizer"), where, err) ||
        tokenizer_set_pre(t, json_object_get(root, "pre_tokenizer"), where, err))
        return err->code;
    load_post_processor(t, json_object_get(root, "post_processor"));
    return 0;
}

int tokenizer_load_json(tokenizer_t *t, const char *path, bool *needs_spm, err_t *err) {
    json_t *root;
    if (json_file(path, &root, err)) return err->code;
    int rc = load_root(t, root, path, needs_spm, err);
    json_decref(root);
    return rc;
}
