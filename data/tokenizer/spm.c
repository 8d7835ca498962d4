#include "data/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

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

void spm_proto_piece(spm_proto_t *p, const char *piece, size_t len, float score, spm_type_t type) {
    strbuf_t m = {0};
    put_bytes(&m, PIECE_PIECE, piece, len);
    put_float(&m, PIECE_SCORE, score);
    put_int(&m, PIECE_TYPE, type);
    put_bytes(&p->buf, MODEL_PIECES, m.p, m.len);
    free(m.p);
    p->has_bytes |= type == SPM_BYTE;
}

void spm_proto_end(spm_proto_t *p, size_t n_pieces, const spm_settings_t *s) {
    strbuf_t m = {0};
    put_int(&m, TRAINER_MODEL_TYPE, MODEL_TYPE_BPE);
    put_int(&m, TRAINER_VOCAB_SIZE, (int64_t)n_pieces);
    put_int(&m, TRAINER_BYTE_FALLBACK, p->has_bytes);
    /* unk, bos, eos, pad follow each other: ids from 40, pieces from 45. */
    for (unsigned i = 0; i < 4; i++) put_int(&m, TRAINER_UNK_ID + i, s->id[i]);
    for (unsigned i = 0; i < 4; i++) {
        if (s->piece[i]) put_bytes(&m, TRAINER_UNK_PIECE + i, s->piece[i], strlen(s->piece[i]));
    }
    put_bytes(&p->buf, MODEL_TRAINER, m.p, m.len);
    m.len = 0;
    put_bytes(&m, NORMALIZER_NAME, "identity", 8);
    put_int(&m, NORMALIZER_DUMMY_PREFIX, s->add_dummy_prefix);
    put_int(&m, NORMALIZER_EXTRA_SPACES, s->remove_extra_whitespaces);
    put_int(&m, NORMALIZER_ESCAPE, 1);
    put_bytes(&p->buf, MODEL_NORMALIZER, m.p, m.len);
    free(m.p);
}

/* ---- pieces ---- */

/* The byte of a piece written "<0x41>". */
static char byte_of_piece(const char *piece) { return (char)strtoul(piece + 1, NULL, 16); }

static void set_piece_bytes(vocab_t *v, int32_t id, const char *piece, size_t len) {
    strbuf_t b = {0};
    for (size_t i = 0; i < len;) {
        bool mark = len - i >= 3 && memcmp(piece + i, SPACE_MARK, 3) == 0;
        strbuf_add(&b, mark ? " " : piece + i, 1);
        i += mark ? 3 : 1;
    }
    vocab_set_bytes(v, id, b.p, b.len);
    free(b.p);
}

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
        else set_piece_bytes(v, id, piece, len);
    }
    return 0;
}

static void first_id(void *ctx, int32_t id) {
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
