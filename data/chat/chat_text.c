#include "data/chat/chat_text.h"

#include <stdlib.h>
#include <string.h>

#include "data/chat/chat_table.h"
#include "data/dataset.h"

static void mark_bytes(text_out_t *o, size_t n, bool trained) {
    char m[64];
    memset(m, trained, sizeof m);
    for (; n > sizeof m; n -= sizeof m) strbuf_add(&o->mark, m, sizeof m);
    strbuf_add(&o->mark, m, n);
}

void text_plain(text_out_t *o, const char *s, size_t n, bool trained) {
    if (n == 0) return;
    if (o->text.len == 0) o->spaced = false;
    strbuf_add(&o->text, s, n);
    mark_bytes(o, n, trained);
}

static void add_id(text_out_t *o, int32_t id, bool trained) {
    ids_add(o->ids, id);
    ids_add(o->labels, trained || o->train_all ? id : LABEL_NONE);
    o->inside = true;
}

/* The length of the special token that a template's words start with at s, and its id; 0: none. */
static size_t special_at(const text_out_t *o, const char *s, int32_t *id) {
    if (*s == CHAT_BOS[0] || *s == CHAT_EOS[0]) {
        *id = *s == CHAT_BOS[0] ? tokenizer_bos(o->tok) : tokenizer_eos(o->tok);
        return 1;
    }
    if (*s != '<' && *s != '[') return 0;
    const char *end = strchr(s, *s == '<' ? '>' : ']');
    char name[64];
    if (!end || (size_t)(end + 1 - s) >= sizeof name) return 0;
    size_t n = (size_t)(end + 1 - s);
    memcpy(name, s, n);
    name[n] = 0;
    *id = tokenizer_find(o->tok, name);
    if (*id < 0) return 0;
    if (tokenizer_is_special(o->tok, *id)) return n;
    /* An added token that is not "special" (<tool_call>): plain text would not give it. */
    ids_t plain = {0};
    err_t ignored = {0};
    bool same = tokenizer_encode(o->tok, name, n, false, &plain, &ignored) == 0 && plain.len == 1 &&
                plain.ids[0] == *id;
    free(plain.ids);
    return same ? 0 : n;
}

int text_literal(text_out_t *o, const char *s, bool trained, err_t *err) {
    while (*s) {
        int32_t id = -1;
        size_t n = special_at(o, s, &id);
        if (n > 0) {
            if (text_flush(o, err)) return err->code;
            if (id >= 0) add_id(o, id, trained);
            s += n;
            continue;
        }
        bool first = o->text.len == 0;
        text_plain(o, s, 1, trained);
        if (first) o->spaced = *s == ' ';
        s++;
    }
    return 0;
}

int text_token(text_out_t *o, int32_t id, bool trained, err_t *err) {
    if (text_flush(o, err)) return err->code;
    add_id(o, id, trained);
    return 0;
}

/* SentencePiece puts a space of its own before the first word: 1 when the tokens have one byte more than the text. */
static size_t space_before(const text_out_t *o, size_t from, size_t n) {
    size_t total = 0, len;
    if (!tokenizer_is_spm(o->tok)) return 0;
    for (size_t i = from; i < o->ids->len; i++) {
        tokenizer_piece(o->tok, o->ids->ids[i], true, &len);
        total += len;
    }
    return total == n + 1;
}

/* Labels for the ids [from, end) of o->ids by the marks of the bytes they stand for. False when the tokens' bytes
 * are not the text's (a tokenizer that normalizes). */
static bool label_by_bytes(text_out_t *o, size_t from, const char *text, const char *mark, size_t n) {
    size_t skip = space_before(o, from, n), at = 0, len;
    for (size_t i = from; i < o->ids->len; i++) {
        const char *piece = tokenizer_piece(o->tok, o->ids->ids[i], true, &len);
        if (i == from && skip && len) piece++, len--;
        if (len > n - at || memcmp(piece, text + at, len) != 0) return false;
        size_t k = 0;
        for (size_t j = 0; j < len; j++) k += mark[at + j] != 0;
        bool trained = o->straddle == STRADDLE_TRAINED ? k > 0 : k == len && at < n && mark[at];
        ids_add(o->labels, trained || o->train_all ? o->ids->ids[i] : LABEL_NONE);
        at += len;
    }
    return at == n;
}

static int encode(text_out_t *o, const char *text, size_t n, err_t *err) {
    return o->inside ? tokenizer_encode_next(o->tok, text, n, o->specials, o->ids, err)
                     : tokenizer_encode(o->tok, text, n, o->specials, o->ids, err);
}

/* For such a tokenizer: each run of like bytes tokenized by itself, so that labels are exact all the same. */
static int encode_runs(text_out_t *o, const char *text, const char *mark, size_t n, err_t *err) {
    for (size_t a = 0, b; a < n; a = b) {
        for (b = a + 1; b < n && mark[b] == mark[a];) b++;
        if (encode(o, text + a, b - a, err)) return err->code;
        o->inside = true;
        while (o->labels->len < o->ids->len)
            ids_add(o->labels, mark[a] || o->train_all ? o->ids->ids[o->labels->len] : LABEL_NONE);
    }
    return 0;
}

int text_flush(text_out_t *o, err_t *err) {
    /* Where a space is put before each segment it stands for the one that the template has there. */
    size_t skip = o->text.len > 0 && o->spaced && tokenizer_adds_space(o->tok) ? 1 : 0;
    size_t n = o->text.len - skip, from = o->ids->len, labelled = o->labels->len;
    int rc = 0;
    if (n > 0) {
        const char *text = o->text.p + skip, *mark = o->mark.p + skip;
        rc = encode(o, text, n, err);
        if (rc == 0 && !label_by_bytes(o, from, text, mark, n)) {
            o->ids->len = from;
            o->labels->len = labelled;
            rc = encode_runs(o, text, mark, n, err);
        }
    }
    o->inside |= n > 0;
    o->text.len = o->mark.len = 0;
    return rc;
}

void text_free(text_out_t *o) {
    free(o->text.p);
    free(o->mark.p);
    o->text = o->mark = (strbuf_t){0};
}

/* The white space of Unicode in UTF-8, beside the ASCII one. */
static const char *const wide_spaces[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
    "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
    "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

/* Bytes of the white-space character at one end of [s, s+n); 0: none there. */
static size_t space_at(const char *s, size_t n, bool at_end) {
    if (n == 0) return 0;
    unsigned char c = (unsigned char)s[at_end ? n - 1 : 0];
    if (c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31)) return 1;
    for (size_t i = 0; c >= 0x80 && i < sizeof wide_spaces / sizeof *wide_spaces; i++) {
        size_t k = strlen(wide_spaces[i]);
        if (k <= n && memcmp(s + (at_end ? n - k : 0), wide_spaces[i], k) == 0) return k;
    }
    return 0;
}

void text_strip(const char **s, size_t *n, bool left, bool right) {
    for (size_t k; left && (k = space_at(*s, *n, false)) > 0; *n -= k) *s += k;
    for (size_t k; right && (k = space_at(*s, *n, true)) > 0;) *n -= k;
}
