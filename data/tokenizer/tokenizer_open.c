/* A tokenizer from the files of a model, whatever their kind. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/tokenizer/spm_check.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

/* The library finds user-defined pieces itself; it takes control tokens in text for text. */
static int add_control_pieces(tokenizer_t *t, err_t *err) {
    for (size_t id = 0; id < t->vocab.n; id++) {
        if (!t->vocab.tokens[id].special) continue;
        if (tokenizer_add_added(t, (added_token_t){.id = (int32_t)id, .special = true}, err)) return err->code;
    }
    return 0;
}

int tokenizer_load_spm(tokenizer_t *t, const void *proto, size_t len, class_rule_t rule, const char *where,
                       err_t *err) {
    char why[256];
    if (spm_check(proto, len, where, err)) return err->code;
    t->spm = spm_model_open(proto, len, why, sizeof why);
    if (!t->spm) return err_set(err, ERR_USAGE, "%s: not a usable SentencePiece model: %s", where, why);
    if (spm_vocab(t->spm, &t->vocab, where, err) || add_control_pieces(t, err)) return err->code;
    t->prefix = spm_has_dummy_prefix(t->spm) ? rule.prefix : PREFIX_NEVER;
    t->one_space = rule.llama_class || rule.prefix != PREFIX_ALWAYS;
    if (t->one_space && spm_has_dummy_prefix(t->spm)) {
        t->unspaced = spm_model_unspaced(t->spm, why, sizeof why);
        if (!t->unspaced) return err_set(err, ERR_FAILED, "%s: SentencePiece: %s", where, why);
    }
    t->role[ROLE_TOKEN_BOS] = spm_model_bos(t->spm);
    t->role[ROLE_TOKEN_EOS] = spm_model_eos(t->spm);
    t->add_bos = true; /* what llama-style models want unless they say otherwise */
    return 0;
}

static int load_spm_file(tokenizer_t *t, const char *path, class_rule_t rule, err_t *err) {
    mapping_t m;
    if (file_map(path, &m, err)) return err->code;
    int rc = tokenizer_load_spm(t, m.data, m.size, rule, path, err);
    file_unmap(&m);
    return rc;
}

/* A tokenizer.json, or the tokenizer.model beside it when only that can be read. */
static int load_json_or_spm(tokenizer_t *t, const char *json, const char *model, class_rule_t rule, err_t *err) {
    bool needs_spm;
    if (tokenizer_load_json(t, json, rule, &needs_spm, err)) return err->code;
    if (!needs_spm) return 0;
    if (path_exists(model)) return load_spm_file(t, model, rule, err);
    return err_set(err, ERR_USAGE, "%s: a Unigram model of SentencePiece; put the model's tokenizer.model beside it",
                   json);
}

static int load_from(tokenizer_t *t, const char *path, const char *dir, err_t *err) {
    class_rule_t rule;
    if (tokenizer_class_rule(dir, &rule, err)) return err->code;
    char *json = path_join(dir, "tokenizer.json"), *model = path_join(dir, "tokenizer.model");
    int rc;
    if (path_is_dir(path)) {
        rc = path_exists(json) ? load_json_or_spm(t, json, model, rule, err)
             : path_exists(model)
                 ? load_spm_file(t, model, rule, err)
                 : err_set(err, ERR_USAGE, "%s: neither tokenizer.json nor tokenizer.model is there", path);
    } else {
        rc = path_has_suffix(path, ".json") ? load_json_or_spm(t, path, model, rule, err)
                                            : load_spm_file(t, path, rule, err);
    }
    free(json);
    free(model);
    return rc ? rc : tokenizer_load_settings(t, dir, err);
}

int tokenizer_open(const char *path, tokenizer_t **tok, err_t *err) {
    tokenizer_t *t = xcalloc(1, sizeof *t);
    t->scratch = scratch_pool_new();
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) t->role[i] = -1;
    int rc;
    if (path_is_dir(path) || path_has_suffix(path, ".json") || path_has_suffix(path, ".model")) {
        char *dir = path_is_dir(path) ? xstrdup(path) : path_dirname(path);
        rc = load_from(t, path, dir, err);
        free(dir);
    } else {
        rc = tokenizer_load_gguf(t, path, err);
    }
    if (rc) {
        tokenizer_close(t);
        return rc;
    }
    t->add_bos = t->add_bos && t->role[ROLE_TOKEN_BOS] >= 0;
    *tok = t;
    return 0;
}
