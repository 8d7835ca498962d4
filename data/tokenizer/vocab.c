#include "data/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "data/tokenizer/utf8.h"

const char *token_quote(quoted_t out, const char *text, size_t len) {
    size_t o = 0;
    out[o++] = '"';
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t n = utf8_next(text + i, len - i, &c);
        if (o + 12 > sizeof(quoted_t)) {
            o += (size_t)sprintf(out + o, "...");
            break;
        }
        if (n == 0 || c < 0x20 || c == 0x7f) {
            o += (size_t)sprintf(out + o, "\\x%02x", (unsigned)(unsigned char)text[i]);
            n = 1;
        } else {
            memcpy(out + o, text + i, n);
            o += n;
        }
        i += n;
    }
    out[o++] = '"';
    out[o] = 0;
    return out;
}

static size_t index_slot(const vocab_t *v, const char *text, size_t len) {
    size_t i = (size_t)XXH3_64bits(text, len) & (v->index_cap - 1);
    while (v->index[i] >= 0) {
        const vocab_token_t *t = &v->tokens[v->index[i]];
        if (t->text_len == len && memcmp(v->pool.p + t->text, text, len) == 0) break;
        i = (i + 1) & (v->index_cap - 1);
    }
    return i;
}

static void index_grow(vocab_t *v) {
    free(v->index);
    v->index_cap = v->index_cap ? 2 * v->index_cap : 1024;
    v->index = xmalloc_array(v->index_cap, sizeof *v->index);
    memset(v->index, 0xff, v->index_cap * sizeof *v->index);
    for (size_t id = 0; id < v->n; id++) {
        const vocab_token_t *t = &v->tokens[id];
        if (t->text_len) v->index[index_slot(v, v->pool.p + t->text, t->text_len)] = (int32_t)id;
    }
}

static void tokens_reach(vocab_t *v, size_t n) {
    if (n > v->cap) {
        v->cap = 2 * n;
        v->tokens = xrealloc_array(v->tokens, v->cap, sizeof *v->tokens);
    }
    if (n > v->n) {
        memset(v->tokens + v->n, 0, (n - v->n) * sizeof *v->tokens);
        v->n = n;
    }
}

/* What is wrong with a token to be added; 0: nothing. */
static int check_new(const vocab_t *v, int64_t id, const char *text, size_t len, const char *where, err_t *err) {
    quoted_t q, q2;
    if (len == 0) return err_set(err, ERR_USAGE, "%s: the token with id %lld is empty", where, (long long)id);
    if (len > UINT32_MAX) return err_set(err, ERR_USAGE, "%s: a token of %zu bytes", where, len);
    if (utf8_valid(text, len) != len)
        return err_set(err, ERR_USAGE, "%s: token %s (id %lld) is not valid UTF-8", where, token_quote(q, text, len),
                       (long long)id);
    if (id < 0 || id > VOCAB_MAX_ID)
        return err_set(err, ERR_USAGE, "%s: token %s has id %lld; expected 0 to %d", where, token_quote(q, text, len),
                       (long long)id, VOCAB_MAX_ID);
    if (!vocab_has(v, id)) return 0;
    size_t n;
    const char *other = vocab_text(v, (int32_t)id, &n);
    return err_set(err, ERR_USAGE, "%s: id %lld is given to both %s and %s", where, (long long)id,
                   token_quote(q2, other, n), token_quote(q, text, len));
}

int vocab_add(vocab_t *v, int64_t id, const char *text, size_t len, const char *where, err_t *err) {
    if (check_new(v, id, text, len, where, err)) return err->code;
    if (2 * (v->used + 1) > v->index_cap) index_grow(v);
    size_t slot = index_slot(v, text, len);
    if (v->index[slot] >= 0) {
        quoted_t q;
        return err_set(err, ERR_USAGE, "%s: token %s has two ids, %d and %lld", where, token_quote(q, text, len),
                       v->index[slot], (long long)id);
    }
    v->used++;
    v->index[slot] = (int32_t)id;
    tokens_reach(v, (size_t)id + 1);
    vocab_token_t *t = &v->tokens[id];
    t->text = t->bytes = v->pool.len;
    strbuf_add(&v->pool, text, len);
    strbuf_add(&v->pool, "", 1);
    t->text_len = t->bytes_len = (uint32_t)len;
    return 0;
}

void vocab_set_bytes(vocab_t *v, int32_t id, const char *bytes, size_t len) {
    vocab_token_t *t = &v->tokens[id];
    t->bytes = v->pool.len;
    t->bytes_len = (uint32_t)len;
    strbuf_add(&v->pool, bytes, len);
}

void vocab_unmark_spaces(vocab_t *v, int32_t id) {
    const size_t n = strlen(SPACE_MARK);
    size_t len;
    const char *text = vocab_text(v, id, &len);
    if (!strstr(text, SPACE_MARK)) return;
    strbuf_t b = {0};
    for (size_t i = 0; i < len;) {
        bool mark = len - i >= n && memcmp(text + i, SPACE_MARK, n) == 0;
        strbuf_add(&b, mark ? " " : text + i, 1);
        i += mark ? n : 1;
    }
    vocab_set_bytes(v, id, b.p, b.len);
    free(b.p);
}

int32_t vocab_find(const vocab_t *v, const char *text, size_t len) {
    return v->index_cap && len ? v->index[index_slot(v, text, len)] : -1;
}

bool vocab_has(const vocab_t *v, int64_t id) { return id >= 0 && (uint64_t)id < v->n && v->tokens[id].text_len > 0; }

const char *vocab_text(const vocab_t *v, int32_t id, size_t *len) {
    if (!vocab_has(v, id)) return *len = 0, "";
    return *len = v->tokens[id].text_len, v->pool.p + v->tokens[id].text;
}

const char *vocab_bytes(const vocab_t *v, int32_t id, size_t *len) {
    if (!vocab_has(v, id)) return *len = 0, "";
    return *len = v->tokens[id].bytes_len, v->pool.p + v->tokens[id].bytes;
}

void vocab_free(vocab_t *v) {
    free(v->pool.p);
    free(v->tokens);
    free(v->index);
    *v = (vocab_t){0};
}
