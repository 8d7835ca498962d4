/* Kernels that give the bits of the reference: no multiply-add is fused here but where the reference has fmaf()
 * (see cpu/CMakeLists.txt). */
#include "base/minmax.h"
#include "cpu/kernels/decode.h"
#include "model/backend/element.h"

/* ---- dequantization ---------------------------------------------------------------------------------- */

/* The constant of a block: as quant_absmax(), without asking for the map each time. */
BODY float constant_at(const qweight_t *w, const dynamic_map_t *map, size_t block) {
    if (!w->double_quant) return w->absmax[block];
    return map->value[w->absmax_q[block]] * w->nested_absmax[block / QUANT_NESTED_BLOCK] + w->nested_offset;
}

/* table: that of a 4-bit type. */
BODY void decode_block(quant_type_t type, const uint8_t *codes, const float *table, float constant, void *out,
                       dtype_t out_type, bool bf16) {
    if (type == QUANT_INT8_ZEROPOINT) decode_int8_zeropoint(codes, quant_zeropoint(constant), out, out_type, bf16);
    else if (type == QUANT_INT8) decode_int8(codes, constant, out, out_type, bf16);
    else if (out_type == DT_BF16) decode_4bit_bf16(codes, table, constant, out);
    else decode_4bit_f32(codes, table, constant, bf16, out);
}

/* Values [from, from+n) of a block, whose other codes are not read: there may be none. */
BODY void decode_part(quant_type_t type, const uint8_t *codes, const float *table, float constant, size_t from,
                      size_t n, void *out, dtype_t out_type, bool bf16) {
    _Alignas(float) char block[QUANT_BLOCK * sizeof(float)];
    uint8_t copy[QUANT_BLOCK] = {0};
    size_t in_byte = table ? 2 : 1, first = from / in_byte, last = (from + n - 1) / in_byte;
    memcpy(copy + first, codes + first, last + 1 - first);
    decode_block(type, copy, table, constant, block, out_type, bf16);
    act_copy(out, 0, block, from, n, out_type);
}

BODY void dequant_body(const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type, bool bf16) {
    const float *table = w->type <= QUANT_INT4 ? quant_table(w->type) : NULL;
    const dynamic_map_t *map = w->double_quant ? quant_dynamic_signed() : NULL;
    size_t end = first + n, code_bytes = table ? QUANT_BLOCK / 2 : QUANT_BLOCK;
    for (size_t i = first; i < end;) {
        size_t b = i / QUANT_BLOCK, from = i % QUANT_BLOCK, len = min_size(QUANT_BLOCK - from, end - i);
        const uint8_t *codes = w->codes + b * code_bytes;
        float constant = constant_at(w, map, b);
        void *to = act_at(out, out_type, i - first);
        if (len == QUANT_BLOCK) decode_block(w->type, codes, table, constant, to, out_type, bf16);
        else decode_part(w->type, codes, table, constant, from, len, to, out_type, bf16);
        i += len;
    }
}

BODY void cast_body(void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    EACH_VEC(n, vec_store(dst, dst_type, i, m, vec_load(src, src_type, i, m)));
}

static void cast(void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    if (dst_type == src_type) memcpy(dst, src, n * dtype_size(dst_type));
    else if (dst_type == DT_BF16) cast_body(dst, DT_BF16, src, DT_F32, n);
    else cast_body(dst, DT_F32, src, DT_BF16, n);
}

static void dequant_f16(const uint8_t *codes, size_t n, void *out, dtype_t out_type, bool bf16) {
    if (out_type == DT_BF16) decode_f16(codes, n, out, DT_BF16, false);
    else if (bf16) decode_f16(codes, n, out, DT_F32, true);
    else decode_f16(codes, n, out, DT_F32, false);
}

static void dequant(const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type, bool bf16) {
    if (w->type == QUANT_F16) dequant_f16(w->codes + 2 * first, n, out, out_type, bf16);
    else if (w->type == QUANT_NONE) cast(out, out_type, (const bf16_t *)(const void *)w->codes + first, DT_BF16, n);
    else if (out_type == DT_BF16) dequant_body(w, first, n, out, DT_BF16, false);
    else if (bf16) dequant_body(w, first, n, out, DT_F32, true);
    else dequant_body(w, first, n, out, DT_F32, false);
}

/* ---- element-wise ------------------------------------------------------------------------------------ */

BODY void add_body(void *y, const void *a, const void *b, size_t n, dtype_t type) {
    EACH_VEC(n, vec_store(y, type, i, m, vec_load(a, type, i, m) + vec_load(b, type, i, m)));
}

static void add(void *y, const void *a, const void *b, size_t n, dtype_t type) {
    BY_TYPE(type, add_body(y, a, b, n, DT_F32), add_body(y, a, b, n, DT_BF16));
}

BODY void scale_row_body(void *y, const void *x, size_t n, float a, dtype_t type) {
    EACH_VEC(n, vec_store(y, type, i, m, a * vec_load(x, type, i, m)));
}

static void scale_row(void *y, const void *x, size_t n, float a, dtype_t type) {
    BY_TYPE(type, scale_row_body(y, x, n, a, DT_F32), scale_row_body(y, x, n, a, DT_BF16));
}

enum { MASK_CHUNK = 256 };

/* Of the words of dropout_word() as they lie in memory. */
typedef uint16_t __attribute__((may_alias)) field_t;

/* y = x where a channel is kept, else 0. By a mask: compilers make no blend of halves of it. */
BODY void keep_bf16(bf16_t *y, const bf16_t *x, const field_t *field, size_t n, uint16_t least) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        bf16_t value = x[i], mask = (bf16_t) - (field[i] >= least);
        y[i] = value & mask;
    }
}

BODY void keep_f32(float *y, const float *x, const field_t *field, size_t n, uint32_t least) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) y[i] = field[i] >= least ? x[i] : 0.0f;
}

BODY void dropout_body(void *y, const void *x, size_t first, size_t n, uint64_t row_key, float p, dtype_t type) {
    const uint32_t least = dropout_least(p);
    uint64_t word[MASK_CHUNK / 4 + 1];
    for (size_t at = 0; at < n; at += MASK_CHUNK) {
        size_t len = min_size(MASK_CHUNK, n - at), g = (first + at) / 4, skipped = (first + at) % 4;
        size_t words = (skipped + len + 3) / 4;
        _Pragma("omp simd") for (size_t i = 0; i < words; i++) word[i] = dropout_word(row_key, g + i);
        const field_t *field = (const field_t *)word + skipped;
        if (type == DT_BF16) keep_bf16(act_at(y, type, at), act_at_const(x, type, at), field, len, (uint16_t)least);
        else keep_f32(act_at(y, type, at), act_at_const(x, type, at), field, len, least);
    }
}

static void dropout_row(void *y, const void *x, size_t first, size_t n, uint64_t row_key, float p, dtype_t type) {
    BY_TYPE(type, dropout_body(y, x, first, n, row_key, p, DT_F32), dropout_body(y, x, first, n, row_key, p, DT_BF16));
}

static void adamw(float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    const adamw_t k = *h;
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) adamw_element(&p[i], g[i], &m[i], &v[i], &k);
}

/* The maximum of 16 lanes' maxima: which order it is taken in does not matter. */
BODY float absmax_of(const float *x, size_t n) {
    float lane[16] = {0}, a = 0;
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t l = 0; l < 16; l++) lane[l] = fabsf(x[i + l]) > lane[l] ? fabsf(x[i + l]) : lane[l];
    for (size_t i = whole; i < n; i++) a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
    for (size_t l = 0; l < 16; l++) a = lane[l] > a ? lane[l] : a;
    return a;
}

BODY void decode_dynamic(const uint8_t *codes, size_t n, const dynamic_map_t *map, float absmax, float *x) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) x[i] = map->value[codes[i]] * absmax;
}

/* The look-ups, which do not vectorize, apart from the arithmetic, which does. */
BODY void encode_dynamic(const float *x, size_t n, const dynamic_map_t *map, uint8_t *codes, float *absmax) {
    int32_t place[ADAMW_8BIT_BLOCK];
    float a = *absmax = absmax_of(x, n);
    if (!(a > 0)) {
        memset(codes, 0, n);
        return;
    }
    float inverse = 1.0f / a;
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) place[i] = dynamic_place(x[i] * inverse);
    for (size_t i = 0; i < n; i++) codes[i] = map->nearest[place[i]];
}

static void adamw_8bit_block(float *p, const float *g, uint8_t *m_codes, uint8_t *v_codes, float *m_absmax,
                             float *v_absmax, size_t n, const adamw_t *h) {
    const adamw_t k = *h;
    const dynamic_map_t *m_map = quant_dynamic_signed(), *v_map = quant_dynamic_unsigned();
    float m[ADAMW_8BIT_BLOCK], v[ADAMW_8BIT_BLOCK];
    decode_dynamic(m_codes, n, m_map, *m_absmax, m);
    decode_dynamic(v_codes, n, v_map, *v_absmax, v);
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        adamw_8bit_moments(g[i], &m[i], &v[i], &k);
        adamw_step(&p[i], m[i], v[i], &k);
    }
    encode_dynamic(m, n, m_map, m_codes, m_absmax);
    encode_dynamic(v, n, v_map, v_codes, v_absmax);
}

void ISA_NAME(kernels_exact)(cpu_kernels_t *k) {
    k->dequant = dequant;
    k->add = add;
    k->scale_row = scale_row;
    k->cast = cast;
    k->dropout_row = dropout_row;
    k->adamw = adamw;
    k->adamw_8bit_block = adamw_8bit_block;
}
