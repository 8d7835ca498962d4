#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

void ids_add(ids_t *v, int32_t id) {
    VEC_GROW(v->ids, v->len, v->cap);
    v->ids[v->len++] = id;
}

/* ---- opening ---- */

int tokenizer_set_pre(tokenizer_t *t, json_t *desc, const char *where, err_t *err) {
    if (!json_is_object(desc))
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer is missing; only byte-level BPE is supported", where);
    t->pre_desc = json_incref(desc);
    return pretokenizer_open(desc, where, &t->pre, err);
}

int tokenizer_load_spm(tokenizer_t *t, const void *proto, size_t len, const char *where, err_t *err) {
    char why[256];
    t->spm = spm_model_open(proto, len, why, sizeof why);
    if (!t->spm) return err_set(err, ERR_USAGE, "%s: not a usable SentencePiece model: %s", where, why);
    if (spm_vocab(t->spm, &t->vocab, where, err)) return err->code;
    t->dummy_prefix = spm_has_dummy_prefix(t->spm);
    t->role[ROLE_TOKEN_BOS] = spm_model_bos(t->spm);
    t->role[ROLE_TOKEN_EOS] = spm_model_eos(t->spm);
    t->add_bos = true; /* what llama-style models want unless they say otherwise */
    return 0;
}

static int load_spm_file(tokenizer_t *t, const char *path, err_t *err) {
    mapping_t m;
    if (file_map(path, &m, err)) return err->code;
    int rc = tokenizer_load_spm(t, m.data, m.size, path, err);
    file_unmap(&m);
    return rc;
}

/* A tokenizer.json, or the tokenizer.model beside it when it was converted from that. */
static int load_json_or_spm(tokenizer_t *t, const char *json, const char *model, err_t *err) {
    bool needs_spm;
    if (tokenizer_load_json(t, json, &needs_spm, err)) return err->code;
    if (!needs_spm) return 0;
    if (path_exists(model)) return load_spm_file(t, model, err);
    return err_set(err, ERR_USAGE, "%s: converted from SentencePiece; put the model's tokenizer.model beside it", json);
}

static int load_from(tokenizer_t *t, const char *path, const char *dir, err_t *err) {
    char *json = path_join(dir, "tokenizer.json"), *model = path_join(dir, "tokenizer.model");
    int rc;
    if (path_is_dir(path)) {
        rc = path_exists(json) ? load_json_or_spm(t, json, model, err)
             : path_exists(model)
                 ? load_spm_file(t, model, err)
                 : err_set(err, ERR_USAGE, "%s: neither tokenizer.json nor tokenizer.model is there", path);
    } else {
        rc = path_has_suffix(path, ".json") ? load_json_or_spm(t, path, model, err) : load_spm_file(t, path, err);
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
    if (t->spm) spm_model_close(t->spm);
    bpe_free(&t->bpe);
    pretokenizer_close(t->pre);
    json_decref(t->pre_desc);
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

static void encode_word(void *ctx, const char *word, size_t len) {
    encoder_t *e = ctx;
    bpe_encode(&e->tok->bpe, &e->scratch, word, len, e->out);
}

static int encode_words(encoder_t *e, const char *text, size_t len) {
    return pretokenizer_split(e->tok->pre, text, len, encode_word, e, e->err);
}

/* Added tokens become their ids, what lies between them goes to `rest`. */
static int encode_added(encoder_t *e, bool normalized, const char *text, size_t len,
                        int (*rest)(encoder_t *, const char *, size_t)) {
    size_t at = 0, start, end;
    const added_token_t *token;
    while (e->specials && added_find(&e->tok->added, normalized, text, len, at, &token, &start, &end)) {
        if (start > at && rest(e, text + at, start - at)) return e->err->code;
        ids_add(e->out, token->id);
        at = end;
    }
    return at < len ? rest(e, text + at, len - at) : 0;
}

/* No text is changed by NFC whose characters are all below U+0300, the first with a lead byte of 0xcc. */
static bool maybe_not_nfc(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] >= 0xcc) return true;
    }
    return false;
}

static int encode_normalized(encoder_t *e, const char *text, size_t len) {
    if (!e->tok->nfc || !maybe_not_nfc(text, len)) return encode_added(e, true, text, len, encode_words);
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &nfc,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return err_set(e->err, ERR_FAILED, "Unicode normalisation failed: %s", utf8proc_errmsg(n));
    int rc = encode_added(e, true, (const char *)nfc, (size_t)n, encode_words);
    free(nfc);
    return rc;
}

static void add_spm_id(void *ctx, int32_t id) { ids_add(ctx, id); }

int tokenizer_encode(const tokenizer_t *t, const char *text, size_t len, bool specials, ids_t *out, err_t *err) {
    size_t valid = utf8_valid(text, len);
    if (valid < len) return err_set(err, ERR_USAGE, "the text is not valid UTF-8 at byte offset %zu", valid);
    if (len > INT32_MAX / 4) return err_set(err, ERR_USAGE, "a text of %zu bytes; expected at most 512 MiB", len);
    if (t->spm) {
        char why[256];
        if (spm_model_encode(t->spm, text, len, add_spm_id, out, why, sizeof why)) return 0;
        return err_set(err, ERR_FAILED, "SentencePiece: %s", why);
    }
    encoder_t e = {.tok = t, .specials = specials, .out = out, .err = err};
    int rc = encode_added(&e, false, text, len, encode_normalized);
    bpe_scratch_free(&e.scratch);
    return rc;
}

/* ---- decoding ---- */

const char *tokenizer_piece(const tokenizer_t *t, int32_t id, bool specials, size_t *len) {
    if (tokenizer_is_special(t, id) && !specials) return *len = 0, "";
    return vocab_bytes(&t->vocab, id, len);
}

char *tokenizer_decode(const tokenizer_t *t, const int32_t *ids, size_t n, bool specials, size_t *len) {
    strbuf_t b = {0};
    bool at_start = t->dummy_prefix;
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

bool tokenizer_is_spm(const tokenizer_t *t) { return t->spm != NULL; }

bool tokenizer_add_bos(const tokenizer_t *t) { return t->add_bos; }

int32_t tokenizer_bos(const tokenizer_t *t) { return t->role[ROLE_TOKEN_BOS]; }

int32_t tokenizer_eos(const tokenizer_t *t) { return t->role[ROLE_TOKEN_EOS]; }

int32_t tokenizer_find(const tokenizer_t *t, const char *token) { return vocab_find(&t->vocab, token, strlen(token)); }

bool tokenizer_is_special(const tokenizer_t *t, int32_t id) {
    return vocab_has(&t->vocab, id) && t->vocab.tokens[id].special;
}

const char *tokenizer_chat_template(const tokenizer_t *t) { return t->chat_template; }
