#include "ops_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

void rig_init(rig_t *r, backend_t *be, uint64_t key) {
    memset(r, 0, sizeof *r);
    r->be = be;
    r->key = rng_mix(key);
}

void rig_free(rig_t *r) {
    for (size_t i = 0; i < r->n_buffers; i++) r->be->free(r->be, r->buffers[i], MEM_DEVICE);
    for (size_t i = 0; i < r->n_out; i++) free(r->out[i]);
    r->be->workspace = NULL;
    r->be->workspace_size = 0;
}

void *rig_alloc(rig_t *r, size_t bytes) {
    CHECK(r->n_buffers < RIG_MAX_BUFFERS);
    void *p = r->be->alloc(r->be, bytes, MEM_DEVICE);
    CHECK(p);
    return r->buffers[r->n_buffers++] = p;
}

void *rig_upload(rig_t *r, const void *host, size_t bytes) {
    void *p = rig_alloc(r, bytes);
    r->be->upload(r->be, p, host, bytes);
    return p;
}

void rig_normal(uint64_t key, float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) {
        float sum = 0; /* of 6 uniforms: variance 1/2 */
        for (size_t k = 0; k < 6; k++) sum += rng_uniform(key, 6 * i + k) - 0.5f;
        x[i] = sum * 1.41421356f * scale;
    }
}

void *rig_values(rig_t *r, dtype_t type, const float *x, size_t n) {
    if (type == DT_F32) return rig_upload(r, x, n * sizeof *x);
    bf16_t *h = xmalloc(n * sizeof *h);
    for (size_t i = 0; i < n; i++) h[i] = bf16_from_f32(x[i]);
    void *p = rig_upload(r, h, n * sizeof *h);
    free(h);
    return p;
}

void *rig_random(rig_t *r, dtype_t type, size_t n, float scale) {
    float *x = xmalloc(n * sizeof *x);
    rig_normal(r->key = rng_mix(r->key), x, n, scale);
    void *p = rig_values(r, type, x, n);
    free(x);
    return p;
}

int32_t *rig_indices(rig_t *r, size_t n, size_t below) {
    int32_t *x = xmalloc(n * sizeof *x);
    r->key = rng_mix(r->key);
    for (size_t i = 0; i < n; i++) x[i] = (int32_t)(rng_fold(r->key, i) % below);
    void *p = rig_upload(r, x, n * sizeof *x);
    free(x);
    return p;
}

qweight_t rig_weight(rig_t *r, quant_type_t type, bool double_quant, size_t rows, size_t cols) {
    size_t n = rows * cols, blocks = quant_blocks(n);
    qweight_t w = {.type = type, .double_quant = double_quant && quant_can_nest(type), .rows = rows, .cols = cols};
    float *x = xmalloc(n * sizeof *x), *absmax = xcalloc(blocks, sizeof *absmax);
    bf16_t *h = xmalloc(n * sizeof *h);
    uint8_t *codes = xcalloc(1, quant_code_bytes(type, n));
    rig_normal(r->key = rng_mix(r->key), x, n, 0.05f);
    for (size_t i = 0; i < n; i++) h[i] = bf16_from_f32(x[i]);
    if (type == QUANT_F16) quant_encode(type, x, DT_F32, n, codes, absmax); /* values that BF16 does not have */
    else quant_encode(type, h, DT_BF16, n, codes, absmax);
    w.codes = rig_upload(r, codes, quant_code_bytes(type, n));
    if (w.double_quant) {
        uint8_t *q = xcalloc(1, blocks);
        float *nested = xcalloc(quant_nested_blocks(n), sizeof *nested);
        quant_encode_constants(absmax, blocks, q, nested, &w.nested_offset);
        w.absmax_q = rig_upload(r, q, blocks);
        w.nested_absmax = rig_upload(r, nested, quant_nested_blocks(n) * sizeof *nested);
        free(q);
        free(nested);
    } else if (!quant_is_plain(type)) {
        w.absmax = rig_upload(r, absmax, blocks * sizeof *absmax);
    }
    free(x);
    free(absmax);
    free(h);
    free(codes);
    return w;
}

/* The bits of a NaN for element i of a matrix. */
static uint32_t nan_bits(dtype_t type, size_t i) {
    uint32_t draw = (uint32_t)rng_fold(0x6e616e, i);
    return type == DT_F32 ? 0x7fc00000u | (draw & 0x3fffffu) : 0x7fc0u | (draw & 0x3fu);
}

static bool is_inside(const columns_t *c, size_t i) { return i % c->ld >= c->first && i % c->ld < c->first + c->cols; }

void *rig_columns(rig_t *r, const columns_t *c, float scale) {
    CHECK(c->first + c->cols <= c->ld);
    size_t n = c->rows * c->ld, used = 0, size = dtype_size(c->type);
    float *x = xmalloc((c->rows * c->cols + 1) * sizeof *x);
    unsigned char *host = xmalloc(n * size);
    rig_normal(r->key = rng_mix(r->key), x, c->rows * c->cols, scale);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = is_inside(c, i) ? f32_to_bits(x[used++]) : nan_bits(c->type, i);
        bf16_t half = is_inside(c, i) ? bf16_from_f32(f32_from_bits(bits)) : (bf16_t)bits;
        memcpy(host + i * size, c->type == DT_F32 ? (void *)&bits : (void *)&half, size);
    }
    unsigned char *p = rig_upload(r, host, n * size);
    free(x);
    free(host);
    return p + c->first * size;
}

void *rig_act_at(const rig_t *r, const void *p, size_t i) { return (unsigned char *)p + i * dtype_size(r->be->act); }

void *rig_unwritten(rig_t *r, const columns_t *c) {
    const columns_t none = {c->type, c->rows, c->first, 0, c->ld};
    return rig_columns(r, &none, 0);
}

/* All of the next output is `host`, from now on the rig's. */
static void take_output(rig_t *r, float *host, dtype_t type, size_t n) {
    CHECK(r->n_out < RIG_MAX_OUTPUTS);
    r->out_len[r->n_out] = n;
    r->out_type[r->n_out] = type;
    r->out[r->n_out++] = host;
}

void rig_output(rig_t *r, const void *p, dtype_t type, size_t n) {
    float *x = xmalloc(n * sizeof *x);
    if (type == DT_F32) {
        r->be->download(r->be, x, p, n * sizeof *x);
    } else {
        bf16_t *h = xmalloc(n * sizeof *h);
        r->be->download(r->be, h, p, n * sizeof *h);
        for (size_t i = 0; i < n; i++) x[i] = bf16_to_f32(h[i]);
        free(h);
    }
    take_output(r, x, type, n);
}

static size_t output_columns(rig_t *r, const void *p, const columns_t *c) {
    size_t n = c->rows * c->ld, used = 0, changed = 0, size = dtype_size(c->type);
    float *x = xmalloc((c->rows * c->cols + 1) * sizeof *x);
    unsigned char *host = xmalloc(n * size);
    r->be->download(r->be, host, (const unsigned char *)p - c->first * size, n * size);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        bf16_t half;
        memcpy(&half, host + i * size, sizeof half);
        if (c->type == DT_F32) memcpy(&bits, host + i * size, sizeof bits);
        else bits = half;
        if (is_inside(c, i)) x[used++] = c->type == DT_F32 ? f32_from_bits(bits) : bf16_to_f32(half);
        else changed += bits != nan_bits(c->type, i);
    }
    take_output(r, x, c->type, used);
    free(host);
    return changed;
}

void rig_output_inner(rig_t *r, const void *p, const columns_t *c) { output_columns(r, p, c); }

void rig_output_columns(rig_t *r, const void *p, const columns_t *c) { r->trodden += output_columns(r, p, c); }

void rig_workspace(rig_t *r, const workspace_need_t *need) {
    r->be->workspace_size = r->be->workspace_bytes(r->be, need);
    /* A buffer of its own of exactly that size: AddressSanitizer sees a step beyond it. */
    r->be->workspace = rig_alloc(r, r->be->workspace_size);
}

attn_segments_t rig_segments(rig_t *r, size_t n, const int32_t *q_len, const int32_t *kv_len) {
    int32_t *q_off = xcalloc(n + 1, sizeof *q_off), *kv_off = xcalloc(n, sizeof *kv_off);
    attn_segments_t seg = {.n = n};
    for (size_t i = 0; i < n; i++) {
        q_off[i + 1] = q_off[i] + q_len[i];
        kv_off[i] = i ? kv_off[i - 1] + kv_len[i - 1] : 0;
        if ((size_t)q_len[i] > seg.max_q) seg.max_q = (size_t)q_len[i];
        if ((size_t)kv_len[i] > seg.max_kv) seg.max_kv = (size_t)kv_len[i];
    }
    seg.q_off = rig_upload(r, q_off, (n + 1) * sizeof *q_off);
    seg.kv_off = rig_upload(r, kv_off, n * sizeof *kv_off);
    seg.kv_len = rig_upload(r, kv_len, n * sizeof *kv_len);
    free(q_off);
    free(kv_off);
    return seg;
}
