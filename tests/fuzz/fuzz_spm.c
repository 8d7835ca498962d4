/* A tokenizer.model of SentencePiece, through the library, and texts encoded by it. */
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    if (!path) path = fuzz_path("s/tokenizer.model");
    fuzz_tokenizer_file(path, data, size);
    return 0;
}

/* ---- mutations that keep the lengths of protobuf ---- */

static size_t get_varint(const uint8_t *p, size_t n, uint64_t *v) {
    *v = 0;
    for (size_t i = 0; i < n && i < 10; i++) {
        *v |= (uint64_t)(p[i] & 0x7f) << 7 * i;
        if (!(p[i] & 0x80)) return i + 1;
    }
    return 0;
}

static size_t put_varint(uint8_t *p, uint64_t v) {
    size_t n = 0;
    for (; v > 0x7f; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

/* The fields of the outermost message that have a length; how many. */
typedef struct {
    size_t at, body, end;
} field_t;
enum { FIELDS = 2048 };

static size_t find_fields(const uint8_t *p, size_t n, field_t *fields) {
    size_t count = 0;
    uint64_t tag, len;
    for (size_t at = 0, k; at < n && count < FIELDS;) {
        size_t start = at;
        if (!(k = get_varint(p + at, n - at, &tag)) || (tag & 7) != 2) break;
        at += k;
        if (!(k = get_varint(p + at, n - at, &len)) || len > n - at - k) break;
        at += k;
        fields[count++] = (field_t){start, at, at + (size_t)len};
        at += (size_t)len;
    }
    return count;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    static field_t fields[FIELDS];
    uint8_t buf[2048];
    size_t count = seed % 4 == 0 ? 0 : find_fields(data, size, fields);
    if (count == 0) return LLVMFuzzerMutate(data, size, max);
    /* Settings stand at the end, and are few beside the pieces. */
    const field_t *f = &fields[seed % 4 == 1 ? count - 1 - seed / 4 % (count < 4 ? count : 4) : seed / 4 % count];
    size_t len = f->end - f->body;
    if (len + 16 > sizeof buf) return LLVMFuzzerMutate(data, size, max);
    memcpy(buf + 16, data + f->body, len);
    size_t n = seed % 64 == 2 ? 0 : LLVMFuzzerMutate(buf + 16, len, sizeof buf - 16), head = 0;
    head = put_varint(buf + 1, n) + 1;
    buf[0] = data[f->at];
    memmove(buf + head, buf + 16, n);
    size_t whole = n ? head + n : 0, old = f->end - f->at; /* nothing left: the field goes */
    if (size - old + whole > max) return size;
    memmove(data + f->at + whole, data + f->end, size - f->end);
    memcpy(data + f->at, buf, whole);
    return size - old + whole;
}
