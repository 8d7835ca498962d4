/* The tensor types of GGUF: one row each. Blocks as in ggml's quantization types; values are computed in fp32
 * in the order of the reference (scale * code, then + minimum), so that they agree with it bit for bit. */
#include <stdio.h>

#include "base/error.h"
#include "model/formats/gguf.h"

typedef void dequant_fn(const uint8_t *in, size_t n_blocks, float *out);

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static void dequant_f32(const uint8_t *in, size_t n, float *out) { memcpy(out, in, 4 * n); }

static void dequant_f16(const uint8_t *in, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = f16_to_f32(load_u16(in + 2 * i));
}

static void dequant_bf16(const uint8_t *in, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = bf16_to_f32(load_u16(in + 2 * i));
}

/* 32 values: f16 scale, 32 signed bytes. */
static void dequant_q8_0(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 34, out += 32) {
        float d = f16_to_f32(load_u16(in));
        const int8_t *q = (const int8_t *)(in + 2);
        for (int i = 0; i < 32; i++) out[i] = d * q[i];
    }
}

/* 32 values: f16 scale, 16 bytes; low nibbles are values 0..15, high nibbles 16..31; 8 stands for zero. */
static void dequant_q4_0(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 18, out += 32) {
        float d = f16_to_f32(load_u16(in));
        const uint8_t *q = in + 2;
        for (int i = 0; i < 16; i++) out[i] = d * ((q[i] & 15) - 8);
        for (int i = 0; i < 16; i++) out[16 + i] = d * ((q[i] >> 4) - 8);
    }
}

/* The same with an f16 minimum after the scale instead of the offset. */
static void dequant_q4_1(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 20, out += 32) {
        float d = f16_to_f32(load_u16(in)), m = f16_to_f32(load_u16(in + 2));
        const uint8_t *q = in + 4;
        for (int i = 0; i < 16; i++) out[i] = d * (q[i] & 15) + m;
        for (int i = 0; i < 16; i++) out[16 + i] = d * (q[i] >> 4) + m;
    }
}

typedef struct {
    const char *name;
    size_t block_len, block_bytes;
    dequant_fn *dequant;
} type_row_t;

static const type_row_t types[] = {
    [GGML_F32] = {"F32", 1, 4, dequant_f32},      [GGML_F16] = {"F16", 1, 2, dequant_f16},
    [GGML_BF16] = {"BF16", 1, 2, dequant_bf16},   [GGML_Q8_0] = {"Q8_0", 32, 34, dequant_q8_0},
    [GGML_Q4_0] = {"Q4_0", 32, 18, dequant_q4_0}, [GGML_Q4_1] = {"Q4_1", 32, 20, dequant_q4_1},
};

static const type_row_t *find_type(uint32_t type) {
    return type < sizeof types / sizeof *types && types[type].name ? &types[type] : NULL;
}

size_t gguf_block_len(uint32_t type) {
    const type_row_t *row = find_type(type);
    return row ? row->block_len : 0;
}

size_t gguf_block_bytes(uint32_t type) {
    const type_row_t *row = find_type(type);
    return row ? row->block_bytes : 0;
}

const char *gguf_type_name(uint32_t type) {
    static _Thread_local char unknown[24];
    const type_row_t *row = find_type(type);
    if (row) return row->name;
    snprintf(unknown, sizeof unknown, "type %u", type);
    return unknown;
}

void gguf_dequant(const gguf_tensor_t *t, size_t first, size_t n, float *out) {
    const type_row_t *row = find_type(t->type);
    CHECK(row && first % row->block_len == 0 && n % row->block_len == 0);
    CHECK(first <= t->rows * t->cols && n <= t->rows * t->cols - first);
    row->dequant(t->data + first / row->block_len * row->block_bytes, n / row->block_len, out);
}

bool gguf_type_readable(uint32_t type) { return gguf_block_len(type) != 0; }
