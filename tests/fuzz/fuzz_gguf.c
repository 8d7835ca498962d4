/* A GGUF: metadata and tensors of any kind, the model that it describes, and the tokenizer in it. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/tokenizer/tokenizer.h"
#include "model/formats/gguf.h"
#include "model/source.h"

static void use_tensors(const gguf_t *g, size_t size) {
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        err_t err = {0};
        if (gguf_check_readable(t, &err)) continue;
        size_t n = t->rows * t->cols;
        FUZZ_CHECK(t->bytes <= size && n <= 16 * size);
        float *x = xmalloc(n * sizeof *x);
        gguf_dequant(t, 0, n, x);
        gguf_dequant_bf16(t, 0, n, (bf16_t *)(void *)x);
        free(x);
    }
}

/* Getters of another kind than the value is. */
static void use_metadata(const gguf_t *g) {
    static const char *const keys[] = {"general.architecture",
                                       "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.scores",
                                       "llama.block_count",
                                       "llama.rope.scaling.type",
                                       "tokenizer.ggml.token_type",
                                       "a",
                                       "b",
                                       "split.count"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint64_t u[4];
        int64_t n;
        double d;
        bool b;
        gguf_str_t s;
        const char *k = keys[i];
        long last = gguf_array_len(g, k) - 1;
        gguf_get_uint(g, k, u), gguf_get_float(g, k, &d), gguf_get_bool(g, k, &b), gguf_get_uints(g, k, 4, u);
        size_t sum = 0;
        if (gguf_get_str(g, k, &s))
            for (size_t c = 0; c < s.len; c++) sum += (unsigned char)s.p[c];
        for (size_t at = last > 0 ? (size_t)last : 0; last >= 0 && at <= (size_t)last + 1; at++) {
            gguf_array_int(g, k, at, &n), gguf_array_float(g, k, at, &d), gguf_array_bool(g, k, at, &b);
            if (gguf_array_str(g, k, at, &s))
                for (size_t c = 0; c < s.len; c++) sum += (unsigned char)s.p[c];
        }
        FUZZ_CHECK(sum < SIZE_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    if (!path) path = fuzz_path("a.gguf");
    gguf_t *g = NULL;
    model_source_t *src = NULL;
    tokenizer_t *tok = NULL;
    err_t err = {0};
    fuzz_file(path, data, size);
    if (!fuzz_outcome(gguf_open(path, &g, &err), &err)) return 0;
    use_metadata(g);
    use_tensors(g, size);
    gguf_close(g);
    if (fuzz_outcome(model_source_open(path, &src, &err), &err)) {
        fuzz_use_source(src);
        json_decref(model_config_to_json(model_source_config(src)));
        model_source_close(src);
    }
    err = (err_t){0};
    if (fuzz_outcome(tokenizer_open(path, &tok, &err), &err)) {
        fuzz_use_tokenizer(tok);
        tokenizer_close(tok);
    }
    return 0;
}

/* ---- mutations that keep the counts and lengths ---- */

typedef struct {
    size_t at, len; /* of a string: its bytes, behind 8 of length; or of a value of fixed size */
    bool string;
} span_t;
enum { SPANS = 4096 };

typedef struct {
    const uint8_t *p;
    size_t n, at;
    span_t spans[SPANS];
    size_t n_spans;
    size_t kv_start[64], n_kv_starts;
} walk_t;

static uint64_t number(walk_t *w, size_t bytes) {
    uint64_t v = 0;
    if (w->n - w->at < bytes) {
        w->at = w->n;
        return 0;
    }
    memcpy(&v, w->p + w->at, bytes);
    w->at += bytes;
    return v;
}

static void note(walk_t *w, size_t len, bool string) {
    if (len > w->n - w->at) len = w->n - w->at;
    if (w->n_spans < SPANS) w->spans[w->n_spans++] = (span_t){w->at, len, string};
    w->at += len;
}

static void string(walk_t *w) {
    uint64_t n = number(w, 8);
    note(w, n < w->n - w->at ? (size_t)n : w->n - w->at, true);
}

static void value(walk_t *w, uint64_t type) {
    static const uint8_t bytes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) string(w);
    else if (type < 13) note(w, bytes[type], false);
}

static void walk(walk_t *w) {
    w->at = 8;
    uint64_t tensors = number(w, 8), kvs = number(w, 8);
    for (uint64_t i = 0; i < kvs && w->at < w->n; i++) {
        if (w->n_kv_starts < sizeof w->kv_start / sizeof *w->kv_start) w->kv_start[w->n_kv_starts++] = w->at;
        string(w);
        uint64_t type = number(w, 4);
        if (type != 9) {
            value(w, type);
            continue;
        }
        uint64_t item = number(w, 4), count = number(w, 8);
        for (uint64_t k = 0; k < count && w->at < w->n && item < 13 && item != 9; k++) value(w, item);
    }
    for (uint64_t i = 0; i < tensors && w->at < w->n; i++) {
        string(w);
        uint64_t dims = number(w, 4);
        for (uint64_t k = 0; k < dims && w->at < w->n; k++) note(w, 8, false);
        note(w, 4, false);
        note(w, 8, false);
    }
}

/* The bytes [at, at + len) become `with`, if there is room. */
static size_t replace(uint8_t *data, size_t size, size_t max, size_t at, size_t len, const uint8_t *with, size_t n) {
    if (size - len + n > max) return size;
    memmove(data + at + n, data + at + len, size - at - len);
    memcpy(data + at, with, n);
    return size - len + n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    static walk_t w;
    uint8_t buf[512];
    w = (walk_t){.p = data, .n = size};
    if (seed % 4 == 0 || size < 24) return LLVMFuzzerMutate(data, size, max);
    walk(&w);
    if (seed % 16 == 1 && w.n_kv_starts > 1) { /* a key once more, or one less */
        size_t i = seed / 16 % (w.n_kv_starts - 1), at = w.kv_start[i], len = w.kv_start[i + 1] - at;
        bool more = seed & 0x100000 && len <= sizeof buf;
        uint64_t kvs;
        memcpy(&kvs, data + 16, 8);
        kvs += more ? 1u : UINT64_MAX;
        memcpy(data + 16, &kvs, 8);
        if (!more) return replace(data, size, max, at, len, buf, 0);
        memcpy(buf, data + at, len);
        return replace(data, size, max, at, 0, buf, len);
    }
    if (w.n_spans == 0) return LLVMFuzzerMutate(data, size, max);
    span_t s = w.spans[seed / 16 % w.n_spans];
    size_t len = s.len < sizeof buf ? s.len : sizeof buf;
    memcpy(buf, data + s.at, len);
    size_t n = LLVMFuzzerMutate(buf, len, s.string ? sizeof buf : len);
    if (!s.string) {
        memcpy(data + s.at, buf, n);
        return size;
    }
    size_t before = size;
    size = replace(data, size, max, s.at, len, buf, n);
    uint64_t length = s.len - len + n;
    if (size == before - len + n) memcpy(data + s.at - 8, &length, 8);
    return size;
}
