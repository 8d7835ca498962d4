#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

void ids_add(ids_t *v, int32_t id) {
    VEC_GROW(v->ids, v->len, v->cap);
    v->ids[v->len++] = id;
}

/* ---- opening ---- */

int tokenizer_set_steps(tokenizer_t *t, json_t *norm, json_t *pre, const char *where, err_t *err) {
    t->norm_desc = json_incref(norm);
    t->pre_desc = json_incref(pre);
    if (normalizer_open(norm, where, &t->norm, err) || pretokenizer_open(pre, where, &t->pre, err)) return err->code;
    t->prefix = normalizer_prepends(t->norm) ? PREFIX_ALWAYS : pretokenizer_prefix(t->pre);
    return 0;
}

int tokenizer_add_added(tokenizer_t *t, added_token_t token, err_t *err) {
    size_t len;
    const char *text = vocab_text(&t->vocab, token.id, &len);
    strbuf_t buf = {0};
    int rc = token.normalized && t->norm ? normalizer_apply(t->norm, text, len, &buf, &text, &len, err) : 0;
    if (rc == 0) added_add(&t->added, token, text, len);
    free(buf.p);
    return rc;
}

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

void tokenizer_close(tokenizer_t *t) {
    if (!t) return;
    spm_model_close(t->spm);
    spm_model_close(t->unspaced);
    bpe_free(&t->bpe);
    normalizer_close(t->norm);
    pretokenizer_close(t->pre);
    json_decref(t->norm_desc);
    json_decref(t->pre_desc);
    spm_pieces_free(&t->pieces);
    added_free(&t->added);
    vocab_free(&t->vocab);
    free(t->chat_template);
    free(t);
}

/* ---- encoding ---- */

typedef struct {
    const tokenizer_t *tok;
    bool specials;
    bpe_scratch_t scratch;
    ids_t *out;
    err_t *err;
} encoder_t;

/* `first`: the text is the beginning of all that is encoded. */
typedef int encode_fn(encoder_t *e, const char *text, size_t len, bool first);

/* Added tokens become their ids, what lies between them goes to `rest`. */
static int encode_added(encoder_t *e, bool normalized, const char *text, size_t len, bool first, encode_fn *rest) {
    size_t at = 0, start, end;
    const added_token_t *token;
    while (added_find(&e->tok->added, normalized, !e->specials, text, len, at, &token, &start, &end)) {
        if (start > at && rest(e, text + at, start - at, first && at == 0)) return e->err->code;
        ids_add(e->out, token->id);
        at = end;
    }
    return at < len ? rest(e, text + at, len - at, first && at == 0) : 0;
}

static void encode_word(void *ctx, const char *word, size_t len) {
    encoder_t *e = ctx;
    bpe_encode(&e->tok->bpe, &e->scratch, word, len, e->out);
}

static int encode_words(encoder_t *e, const char *text, size_t len, bool first) {
    return pretokenizer_split(e->tok->pre, text, len, first, encode_word, e, e->err);
}

static int encode_bpe(encoder_t *e, const char *text, size_t len, bool first) {
    strbuf_t buf = {0};
    int rc = normalizer_apply(e->tok->norm, text, len, &buf, &text, &len, e->err);
    if (rc == 0) rc = encode_added(e, true, text, len, first, encode_words);
    free(buf.p);
    return rc;
}

static void add_spm_id(void *ctx, int32_t id) { ids_add(ctx, id); }

static bool begins_with_space(const char *text, size_t len) {
    const size_t n = strlen(SPACE_MARK);
    return text[0] == ' ' || (len >= n && memcmp(text, SPACE_MARK, n) == 0);
}

static int encode_spm(encoder_t *e, const char *text, size_t len, bool first) {
    const tokenizer_t *t = e->tok;
    bool spaced = t->prefix == PREFIX_ALWAYS || (t->prefix == PREFIX_FIRST && first);
    if (t->one_space && begins_with_space(text, len)) spaced = false;
    char why[256];
    if (spm_model_encode(spaced || !t->unspaced ? t->spm : t->unspaced, text, len, add_spm_id, e->out, why, sizeof why))
        return 0;
    return err_set(e->err, ERR_FAILED, "SentencePiece: %s", why);
}

static int encode(const tokenizer_t *t, const char *text, size_t len, bool specials, bool first, ids_t *out,
                  err_t *err) {
    size_t valid = utf8_valid(text, len);
    if (valid < len) return err_set(err, ERR_USAGE, "the text is not valid UTF-8 at byte offset %zu", valid);
    if (len > INT32_MAX / 4) return err_set(err, ERR_USAGE, "a text of %zu bytes; expected at most 512 MiB", len);
    encoder_t e = {.tok = t, .specials = specials, .out = out, .err = err};
    int rc = encode_added(&e, false, text, len, first, t->spm ? encode_spm : encode_bpe);
    bpe_scratch_free(&e.scratch);
    return rc;
}

int tokenizer_encode(const tokenizer_t *t, const char *text, size_t len, bool specials, ids_t *out, err_t *err) {
    return encode(t, text, len, specials, true, out, err);
}

int tokenizer_encode_next(const tokenizer_t *t, const char *text, size_t len, bool specials, ids_t *out, err_t *err) {
    return encode(t, text, len, specials, false, out, err);
}

/* ---- decoding ---- */

const char *tokenizer_piece(const tokenizer_t *t, int32_t id, bool specials, size_t *len) {
    if (tokenizer_is_special(t, id) && !specials) return *len = 0, "";
    return vocab_bytes(&t->vocab, id, len);
}

char *tokenizer_decode(const tokenizer_t *t, const int32_t *ids, size_t n, bool specials, size_t *len) {
    strbuf_t b = {0};
    bool at_start = t->prefix != PREFIX_NEVER;
    strbuf_adds(&b, "");
    for (size_t i = 0; i < n; i++) {
        size_t k;
        const char *p = tokenizer_piece(t, ids[i], specials, &k);
        bool word = !tokenizer_is_special(t, ids[i]);
        size_t skip = word && at_start && k && p[0] == ' ';
        if (word) at_start = false;
        strbuf_add(&b, p + skip, k - skip);
    }
    *len = b.len;
    return b.p;
}

/* ---- what is known of it ---- */

size_t tokenizer_vocab(const tokenizer_t *t) { return t->vocab.n; }

bool tokenizer_is_spm(const tokenizer_t *t) { return t->spm || t->bpe.symbols != BPE_BYTES; }

bool tokenizer_adds_space(const tokenizer_t *t) { return t->prefix == PREFIX_ALWAYS; }

bool tokenizer_add_bos(const tokenizer_t *t) { return t->add_bos; }

int32_t tokenizer_bos(const tokenizer_t *t) { return t->role[ROLE_TOKEN_BOS]; }

int32_t tokenizer_eos(const tokenizer_t *t) { return t->role[ROLE_TOKEN_EOS]; }

int32_t tokenizer_find(const tokenizer_t *t, const char *token) { return vocab_find(&t->vocab, token, strlen(token)); }

bool tokenizer_is_special(const tokenizer_t *t, int32_t id) {
    return vocab_has(&t->vocab, id) && t->vocab.tokens[id].special;
}

const char *tokenizer_chat_template(const tokenizer_t *t) { return t->chat_template; }
