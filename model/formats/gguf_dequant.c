/* The tensor types of GGUF: their names and sizes, and which code decodes those that are read. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/formats/kernels/gguf_kernels.h"

/* Values on their way to BF16: a multiple of every block's length, few enough for the first-level cache. */
enum { CHUNK = 1024 };

typedef struct {
    const char *name;
    size_t block_len, block_bytes; /* 0: a type of old whose files nobody has; it is only named */
} type_row_t;

static const type_row_t types[GGUF_TYPES] = {
    [GGML_F32] = {"F32", 1, 4},
    [GGML_F16] = {"F16", 1, 2},
    [GGML_Q4_0] = {"Q4_0", 32, 18},
    [GGML_Q4_1] = {"Q4_1", 32, 20},
    [4] = {"Q4_2", 0, 0},
    [5] = {"Q4_3", 0, 0},
    [GGML_Q5_0] = {"Q5_0", 32, 22},
    [GGML_Q5_1] = {"Q5_1", 32, 24},
    [GGML_Q8_0] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 32, 36},
    [GGML_Q2_K] = {"Q2_K", 256, 84},
    [GGML_Q3_K] = {"Q3_K", 256, 110},
    [GGML_Q4_K] = {"Q4_K", 256, 144},
    [GGML_Q5_K] = {"Q5_K", 256, 176},
    [GGML_Q6_K] = {"Q6_K", 256, 210},
    [15] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98},
    [19] = {"IQ1_S", 256, 50},
    [GGML_IQ4_NL] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},
    [GGML_IQ4_XS] = {"IQ4_XS", 256, 136},
    [24] = {"I8", 1, 1},
    [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},
    [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},
    [GGML_BF16] = {"BF16", 1, 2},
    [31] = {"Q4_0_4_4", 0, 0},
    [32] = {"Q4_0_4_8", 0, 0},
    [33] = {"Q4_0_8_8", 0, 0},
    [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
    [36] = {"IQ4_NL_4_4", 0, 0},
    [37] = {"IQ4_NL_4_8", 0, 0},
    [38] = {"IQ4_NL_8_8", 0, 0},
    [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},
    [41] = {"Q1_0", 128, 18},
};

enum { MAX_SETS = 3 };
static const gguf_kernels_t *sets[MAX_SETS];
static int n_sets;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_sets(void) {
    sets[n_sets++] = &gguf_kernels_base;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) sets[n_sets++] = &gguf_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        sets[n_sets++] = &gguf_kernels_avx512;
#endif
}

const gguf_kernels_t *gguf_kernels_nth(int i) {
    pthread_once(&once, find_sets);
    return i < n_sets ? sets[i] : NULL;
}

static const gguf_kernels_t *best_kernels(void) {
    pthread_once(&once, find_sets);
    return sets[n_sets - 1];
}

size_t gguf_block_len(uint32_t type) { return type < GGUF_TYPES ? types[type].block_len : 0; }

size_t gguf_block_bytes(uint32_t type) { return type < GGUF_TYPES ? types[type].block_bytes : 0; }

bool gguf_type_readable(uint32_t type) { return type < GGUF_TYPES && gguf_kernels_base.decode[type]; }

const char *gguf_type_name(uint32_t type) {
    static _Thread_local char unknown[24];
    if (type < GGUF_TYPES) return types[type].name;
    snprintf(unknown, sizeof unknown, "type %u", type);
    return unknown;
}

int gguf_check_readable(const gguf_tensor_t *t, err_t *err) {
    if (gguf_type_readable(t->type)) return 0;
    strbuf_t readable = {0};
    for (uint32_t i = 0; i < GGUF_TYPES; i++)
        if (gguf_type_readable(i)) strbuf_addf(&readable, "%s%s", readable.len ? ", " : "", types[i].name);
    err_set(err, ERR_USAGE, "%s: tensor \"%.*s\" is stored as %s, which is not supported; expected one of %s", t->path,
            (int)t->name.len, t->name.p, gguf_type_name(t->type), readable.p);
    free(readable.p);
    return err->code;
}

/* Where the block begins that element `first` is the first of. */
static const uint8_t *blocks_at(const gguf_tensor_t *t, size_t first, size_t n) {
    CHECK(gguf_type_readable(t->type));
    size_t len = gguf_block_len(t->type);
    CHECK(first % len == 0 && n % len == 0);
    CHECK(first <= t->rows * t->cols && n <= t->rows * t->cols - first);
    return t->data + first / len * gguf_block_bytes(t->type);
}

void gguf_dequant(const gguf_tensor_t *t, size_t first, size_t n, float *out) {
    best_kernels()->decode[t->type](blocks_at(t, first, n), n / gguf_block_len(t->type), out);
}

bool gguf_dequant_bf16(const gguf_tensor_t *t, size_t first, size_t n, bf16_t *out) {
    const gguf_kernels_t *k = best_kernels();
    const uint8_t *in = blocks_at(t, first, n);
    size_t chunk_blocks = CHUNK / gguf_block_len(t->type), chunk_bytes = chunk_blocks * gguf_block_bytes(t->type);
    float x[CHUNK];
    bool finite = true;
    for (size_t i = 0; i < n; i += CHUNK, in += chunk_bytes) {
        size_t m = n - i < CHUNK ? n - i : CHUNK;
        k->decode[t->type](in, m / gguf_block_len(t->type), x);
        finite &= k->round_bf16(x, m, out + i);
    }
    return finite;
}
