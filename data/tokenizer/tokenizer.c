#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

/* ---- opening ---- */

scratch_pool_t *scratch_pool_new(void) {
    scratch_pool_t *pool = xcalloc(1, sizeof *pool);
    CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
    return pool;
}

static tokenizer_scratch_t *scratch_take(scratch_pool_t *pool) {
    pthread_mutex_lock(&pool->lock);
    tokenizer_scratch_t *s = pool->idle;
    if (s) pool->idle = s->next;
    pthread_mutex_unlock(&pool->lock);
    return s ? s : xcalloc(1, sizeof *s);
}

static void scratch_give_back(scratch_pool_t *pool, tokenizer_scratch_t *s) {
    bpe_scratch_trim(&s->bpe);
    pthread_mutex_lock(&pool->lock);
    s->next = pool->idle;
    pool->idle = s;
    pthread_mutex_unlock(&pool->lock);
}

static void scratch_pool_free(scratch_pool_t *pool) {
    for (tokenizer_scratch_t *s = pool->idle, *next; s; s = next) {
        next = s->next;
        bpe_scratch_free(&s->bpe);
        pretokenizer_scratch_free(&s->pre);
        free(s->starts.at);
        free(s);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

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
    int rc = token.normalized && t->norm ? normalizer_apply(t->norm, text, len, &buf, NULL, &text, &len, err) : 0;
    if (rc == 0) added_add(&t->added, token, text, len);
    free(buf.p);
    return rc;
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
    scratch_pool_free(t->scratch);
    json_decref(t->templates);
    json_decref(t->named);
    free(t->ends.ids);
    free(t);
}

/* ---- encoding ---- */

typedef struct {
    const tokenizer_t *tok;
    bool specials;
    tokenizer_scratch_t *scratch;
    const char *whole;
    ids_t *out;
    places_t *starts; /* NULL: not wanted */
    err_t *err;
} encoder_t;

/* A part of the text, or what normalising made of it. */
typedef struct {
    const char *p;
    size_t len;
    origin_t origin; /* in the whole text; known if starts are wanted */
    bool first;      /* the beginning of all that is encoded */
} segment_t;

typedef int encode_fn(encoder_t *e, segment_t s);

/* The beginning of the character that byte `at` of the whole text belongs to. */
static void add_start(encoder_t *e, size_t at) {
    while (at > 0 && ((uint8_t)e->whole[at] & 0xc0) == 0x80) at--;
    places_add(e->starts, at);
}

static segment_t segment_part(segment_t s, size_t from, size_t to) {
    return (segment_t){s.p + from, to - from, origin_skip(s.origin, from), s.first && from == 0};
}

/* Added tokens become their ids, what lies between them goes to `rest`. */
static int encode_added(encoder_t *e, bool normalized, segment_t s, encode_fn *rest) {
    size_t at = 0, start, end;
    const added_token_t *token;
    while (added_find(&e->tok->added, normalized, !e->specials, s.p, s.len, at, &token, &start, &end)) {
        if (start > at && rest(e, segment_part(s, at, start))) return e->err->code;
        ids_add(e->out, token->id);
        if (e->starts) add_start(e, origin_of(s.origin, start));
        at = end;
    }
    return at < s.len ? rest(e, segment_part(s, at, s.len)) : 0;
}

static void encode_word(void *ctx, const char *word, size_t len, origin_t origin) {
    encoder_t *e = ctx;
    size_t from = e->out->len;
    bpe_encode(&e->tok->bpe, &e->scratch->bpe, word, len, e->out);
    if (!e->starts) return;
    places_t *in_word = &e->scratch->starts;
    in_word->len = 0;
    bpe_starts(&e->tok->bpe, word, len, ids_from(e->out, from), e->out->len - from, in_word);
    for (size_t i = 0; i < in_word->len; i++) add_start(e, origin_of(origin, in_word->at[i]));
}

static int encode_words(encoder_t *e, segment_t s) {
    return pretokenizer_split(e->tok->pre, &e->scratch->pre, s.p, s.len, s.origin, e->starts != NULL, s.first,
                              encode_word, e, e->err);
}

static int encode_bpe(encoder_t *e, segment_t s) {
    strbuf_t buf = {0};
    places_t from = {0};
    segment_t normal = s;
    int rc = normalizer_apply(e->tok->norm, s.p, s.len, &buf, e->starts ? &from : NULL, &normal.p, &normal.len, e->err);
    if (normal.p != s.p && e->starts) {
        for (size_t i = 0; i < from.len; i++) from.at[i] = origin_of(s.origin, from.at[i]);
        normal.origin = (origin_t){.at = from.at};
    }
    if (rc == 0) rc = encode_added(e, true, normal, encode_words);
    free(buf.p);
    free(from.at);
    return rc;
}

typedef struct {
    encoder_t *e;
    origin_t origin;
    size_t last; /* byte of the segment */
} spm_sink_t;

static void add_spm_id(void *ctx, int32_t id, size_t start) {
    spm_sink_t *sink = ctx;
    ids_add(sink->e->out, id);
    if (sink->e->starts) add_start(sink->e, origin_of(sink->origin, start < sink->last ? start : sink->last));
}

static bool begins_with_space(const char *text, size_t len) {
    const size_t n = strlen(SPACE_MARK);
    return text[0] == ' ' || (len >= n && memcmp(text, SPACE_MARK, n) == 0);
}

static int encode_spm(encoder_t *e, segment_t s) {
    const tokenizer_t *t = e->tok;
    bool spaced = t->prefix == PREFIX_ALWAYS || (t->prefix == PREFIX_FIRST && s.first);
    if (t->one_space && begins_with_space(s.p, s.len)) spaced = false;
    char why[256];
    spm_sink_t sink = {e, s.origin, s.len - 1};
    if (spm_model_encode(spaced || !t->unspaced ? t->spm : t->unspaced, s.p, s.len, add_spm_id, &sink, why, sizeof why))
        return 0;
    return err_set(e->err, ERR_USAGE, "the tokenizer's SentencePiece model cannot be applied: %s", why);
}

int tokenizer_encode_starts(const tokenizer_t *t, const char *text, size_t len, bool specials, bool inside, ids_t *out,
                            places_t *starts, err_t *err) {
    size_t valid = utf8_valid(text, len);
    if (valid < len) return err_set(err, ERR_USAGE, "the text is not valid UTF-8 at byte offset %zu", valid);
    if (len > INT32_MAX / 4) return err_set(err, ERR_USAGE, "a text of %zu bytes; expected at most 512 MiB", len);
    encoder_t e = {.tok = t,
                   .specials = specials,
                   .scratch = scratch_take(t->scratch),
                   .whole = text,
                   .out = out,
                   .starts = starts,
                   .err = err};
    segment_t all = {.p = text, .len = len, .first = !inside};
    int rc = encode_added(&e, false, all, t->spm ? encode_spm : encode_bpe);
    scratch_give_back(t->scratch, e.scratch);
    return rc;
}

int tokenizer_encode(const tokenizer_t *t, const char *text, size_t len, bool specials, ids_t *out, err_t *err) {
    return tokenizer_encode_starts(t, text, len, specials, false, out, NULL, err);
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
