#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/utf8.h"

/* ---- protobuf: a field is (number << 3 | wire type), then the value ---- */

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static void put_varint(strbuf_t *b, uint64_t v) {
    do {
        uint8_t byte = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        strbuf_add(b, (const char *)&byte, 1);
    } while (v >>= 7);
}

static void put_int(strbuf_t *b, unsigned field, int64_t v) {
    put_varint(b, field << 3 | WIRE_VARINT);
    put_varint(b, (uint64_t)v); /* a negative int32 is written as ten bytes, sign-extended */
}

static void put_bytes(strbuf_t *b, unsigned field, const char *s, size_t len) {
    put_varint(b, field << 3 | WIRE_BYTES);
    put_varint(b, len);
    strbuf_add(b, s, len);
}

static void put_float(strbuf_t *b, unsigned field, float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint8_t le[4] = {(uint8_t)u, (uint8_t)(u >> 8), (uint8_t)(u >> 16), (uint8_t)(u >> 24)};
    put_varint(b, field << 3 | WIRE_FIXED32);
    strbuf_add(b, (const char *)le, 4);
}

/* Field numbers of sentencepiece_model.proto. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_PIECE = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_VOCAB_SIZE = 4,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_UNK_ID = 40,
    TRAINER_UNK_PIECE = 45,
    MODEL_TYPE_BPE = 2
};
enum { NORMALIZER_NAME = 1, NORMALIZER_DUMMY_PREFIX = 3, NORMALIZER_EXTRA_SPACES = 4, NORMALIZER_ESCAPE = 5 };

static void put_piece(strbuf_t *out, strbuf_t *m, const spm_pieces_t *p, const vocab_t *vocab, size_t id) {
    size_t len;
    const char *text = vocab_text(vocab, (int32_t)id, &len);
    m->len = 0;
    put_bytes(m, PIECE_PIECE, text, len);
    put_float(m, PIECE_SCORE, p->score[id]);
    put_int(m, PIECE_TYPE, (int32_t)id == p->id[0] ? SPM_UNKNOWN : p->type[id]);
    put_bytes(out, MODEL_PIECES, m->p, m->len);
}

static void put_trainer(strbuf_t *out, strbuf_t *m, const spm_pieces_t *p, const vocab_t *vocab) {
    m->len = 0;
    put_int(m, TRAINER_MODEL_TYPE, MODEL_TYPE_BPE);
    put_int(m, TRAINER_VOCAB_SIZE, (int64_t)p->n);
    put_int(m, TRAINER_BYTE_FALLBACK, memchr(p->type, SPM_BYTE, p->n) != NULL);
    /* unk, bos, eos, pad follow each other: ids from 40, pieces from 45. */
    for (unsigned i = 0; i < 4; i++) {
        size_t len;
        const char *text = vocab_text(vocab, p->id[i], &len);
        put_int(m, TRAINER_UNK_ID + i, p->id[i]);
        if (len) put_bytes(m, TRAINER_UNK_PIECE + i, text, len);
    }
    put_bytes(out, MODEL_TRAINER, m->p, m->len);
}

strbuf_t spm_proto(const spm_pieces_t *p, const vocab_t *vocab) {
    strbuf_t out = {0}, m = {0};
    for (size_t id = 0; id < p->n; id++) put_piece(&out, &m, p, vocab, id);
    put_trainer(&out, &m, p, vocab);
    m.len = 0;
    put_bytes(&m, NORMALIZER_NAME, "identity", 8);
    put_int(&m, NORMALIZER_DUMMY_PREFIX, p->add_dummy_prefix);
    put_int(&m, NORMALIZER_EXTRA_SPACES, p->remove_extra_whitespaces);
    put_int(&m, NORMALIZER_ESCAPE, 1);
    put_bytes(&out, MODEL_NORMALIZER, m.p, m.len);
    free(m.p);
    return out;
}

void spm_pieces_free(spm_pieces_t *p) {
    free(p->score);
    free(p->type);
    *p = (spm_pieces_t){0};
}

/* ---- merges ---- */

typedef struct {
    bpe_merge_t merge;
    float score; /* of the result */
} split_t;

typedef struct {
    split_t *v;
    size_t n, cap;
} splits_t;

static int compare(double a, double b) { return a < b ? -1 : a > b; }

/* Better scores first; of the same score, and of the same piece, lower ids first. */
static int by_rank(const void *pa, const void *pb) {
    const split_t *a = pa, *b = pb;
    int c = compare(b->score, a->score);
    if (c == 0) c = compare(a->merge.result, b->merge.result);
    if (c == 0) c = compare(a->merge.left, b->merge.left);
    return c ? c : compare(a->merge.right, b->merge.right);
}

/* All ways to make a piece of two others. */
static void add_splits(const vocab_t *vocab, int32_t id, float score, splits_t *s) {
    size_t len;
    const char *text = vocab_text(vocab, id, &len);
    uint32_t c;
    for (size_t i = 0, n; i < len && (n = utf8_next(text + i, len - i, &c)); i += n) {
        int32_t left = vocab_find(vocab, text, i);
        int32_t right = left < 0 ? -1 : vocab_find(vocab, text + i, len - i);
        if (right < 0) continue;
        VEC_GROW(s->v, s->n, s->cap);
        s->v[s->n++] = (split_t){{left, right, id}, score};
    }
}

int spm_merges(const spm_pieces_t *p, bpe_t *bpe, const char *where, err_t *err) {
    splits_t s = {0};
    int rc = 0;
    for (size_t id = 0; id < p->n; id++) {
        if (p->type[id] == SPM_NORMAL) add_splits(bpe->vocab, (int32_t)id, p->score[id], &s);
    }
    if (s.n) qsort(s.v, s.n, sizeof *s.v, by_rank);
    for (size_t i = 0; i < s.n && rc == 0; i++) rc = bpe_add_merge_ids(bpe, s.v[i].merge, where, err);
    free(s.v);
    return rc;
}

/* ---- pieces ---- */

/* The byte of a piece written "<0x41>". */
static char byte_of_piece(const char *piece) { return (char)strtoul(piece + 1, NULL, 16); }

int spm_vocab(spm_model_t *m, vocab_t *v, const char *where, err_t *err) {
    size_t n = spm_model_size(m);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        float score;
        spm_type_t type;
        int32_t id = (int32_t)i;
        const char *piece = spm_model_piece(m, id, &len, &score, &type);
        if (vocab_add(v, (int64_t)i, piece, len, where, err)) return err->code;
        if (type == SPM_BYTE) vocab_set_bytes(v, id, &(char){byte_of_piece(piece)}, 1);
        else if (type == SPM_CONTROL || type == SPM_UNKNOWN) v->tokens[id].special = true;
        else vocab_unmark_spaces(v, id);
    }
    return 0;
}

static void first_id(void *ctx, int32_t id, size_t start) {
    (void)start;
    int32_t *first = ctx;
    if (*first < 0) *first = id;
}

/* The library does not show the setting, but what it does to "a" does. */
bool spm_has_dummy_prefix(spm_model_t *m) {
    char why[64];
    int32_t first = -1;
    size_t len;
    float score;
    spm_type_t type;
    if (!spm_model_encode(m, "a", 1, first_id, &first, why, sizeof why) || first < 0) return false;
    const char *piece = spm_model_piece(m, first, &len, &score, &type);
    return len >= 3 && memcmp(piece, SPACE_MARK, 3) == 0;
}
