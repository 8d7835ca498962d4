#include "data/tokenizer/spm_check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- protobuf: a field is (number << 3 | wire type), then the value ---- */

typedef struct {
    const uint8_t *p;
    size_t n;
} bytes_t;

typedef struct {
    uint64_t number;
    bytes_t value; /* of one with a length; else empty */
} field_t;

static bool take_varint(bytes_t *b, uint64_t *v) {
    *v = 0;
    for (unsigned i = 0; i < 10 && b->n; i++) {
        uint8_t byte = *b->p++;
        b->n--;
        *v |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool skip(bytes_t *b, size_t n) {
    if (n > b->n) return false;
    b->p += n;
    b->n -= n;
    return true;
}

/* The next field; false: it is not whole, or a group, which no model has. */
static bool take_field(bytes_t *b, field_t *f) {
    enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
    uint64_t tag, v;
    *f = (field_t){0};
    if (!take_varint(b, &tag)) return false;
    f->number = tag >> 3;
    switch (tag & 7) {
    case VARINT: return take_varint(b, &v);
    case FIXED64: return skip(b, 8);
    case FIXED32: return skip(b, 4);
    case BYTES:
        if (!take_varint(b, &v) || v > b->n) return false;
        f->value = (bytes_t){b->p, (size_t)v};
        return skip(b, (size_t)v);
    default: return false;
    }
}

/* ---- the table: the size of a double array (S. Yata's Darts-clone), the array, texts that end with a zero each ---- */

enum { BLOCK = 256, LONGEST_KEY = 1024, MOST_MATCHES = 32 /* what the library has room for in one place of a text */ };

typedef struct {
    const uint8_t *units; /* 4 bytes each */
    size_t n;
    bytes_t texts;
    uint8_t *most; /* by base: 1 + the most matches beyond; 0: not seen yet */
    bool *open;    /* by base: it is being looked at */
} table_t;

static uint32_t unit_at(const table_t *t, size_t i) {
    const uint8_t *u = t->units + 4 * i;
    return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }
static uint32_t label_of(uint32_t unit) { return unit & 0x800000ffu; }
static bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }

/* A step from the base by any byte stays in the array. */
static bool is_base(const table_t *t, size_t base) { return (base | (BLOCK - 1)) < t->n; }

static int leaf_count(const table_t *t, uint32_t unit, size_t base) {
    if (!has_leaf(unit)) return 0;
    uint32_t value = unit_at(t, base) & 0x7fffffffu;
    return value < t->texts.n ? 1 : -1;
}

/* The most texts that are matched one within another from a base on; -1: there is no end to them, or something leads
 * outside. */
static int most_matches(const table_t *t, size_t base, int depth) {
    int most = 0;
    if (!is_base(t, base) || t->open[base] || depth > LONGEST_KEY) return -1;
    if (t->most[base]) return t->most[base] - 1;
    t->open[base] = true;
    for (size_t c = 0; c < BLOCK && most >= 0; c++) {
        uint32_t unit = unit_at(t, base ^ c);
        if (label_of(unit) != c) continue;
        size_t next = (base ^ c) ^ offset_of(unit);
        int beyond = most_matches(t, next, depth + 1), own = beyond < 0 ? -1 : leaf_count(t, unit, next);
        if (own < 0 || own + beyond > MOST_MATCHES) most = -1;
        else if (own + beyond > most) most = own + beyond;
    }
    t->open[base] = false;
    t->most[base] = (uint8_t)(most + 1);
    return most;
}

static bool table_holds(bytes_t b) {
    if (b.n == 0) return true; /* none */
    if (b.n <= 4) return false;
    uint32_t size = unit_at(&(table_t){.units = b.p}, 0);
    if (size < 4 || size % 4 || size >= b.n - 4) return false;
    table_t t = {.units = b.p + 4, .n = size / 4, .texts = {b.p + 4 + size, b.n - 4 - size}};
    if (t.texts.p[t.texts.n - 1] != 0) return false;
    t.most = xcalloc(t.n, sizeof *t.most);
    t.open = xcalloc(t.n, sizeof *t.open);
    bool holds = most_matches(&t, offset_of(unit_at(&t, 0)), 0) >= 0;
    free(t.most);
    free(t.open);
    return holds;
}

/* ---- both ---- */

static bool spec_holds(bytes_t spec, const char **what) {
    enum { PRECOMPILED_CHARSMAP = 2 };
    field_t f;
    while (spec.n) {
        *what = "not a ModelProto";
        if (!take_field(&spec, &f)) return false;
        *what = "its precompiled_charsmap leads outside of itself";
        if (f.number == PRECOMPILED_CHARSMAP && !table_holds(f.value)) return false;
    }
    return true;
}

int spm_check(const void *proto, size_t len, const char *where, err_t *err) {
    enum { NORMALIZER = 3, DENORMALIZER = 5 };
    bytes_t rest = {proto, len};
    const char *what = "not a ModelProto";
    bool good = true;
    for (field_t f; good && rest.n;) {
        good = take_field(&rest, &f);
        if (good && (f.number == NORMALIZER || f.number == DENORMALIZER)) good = spec_holds(f.value, &what);
    }
    return good ? 0 : err_set(err, ERR_USAGE, "%s: not a usable SentencePiece model: %s", where, what);
}
