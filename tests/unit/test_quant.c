/* The codec against bitsandbytes: codes, second-level indices and constants bit for bit. INT8_ZEROPOINT against numpy. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/backend/element.h"
#include "model/formats/kernels/quant_kernels.h"
#include "model/formats/safetensors.h"

static const char *const tensors[] = {
    "random_ragged_50x30",
    "outliers_128x192",
    "zeros_block_64x64",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.17.self_attn.k_proj.weight",
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors };

static safetensors_t *open_golden(const char *file) {
    safetensors_t *st;
    err_t err = {0};
    assert_ok(safetensors_open(test_path(file), &st, &err), err);
    return st;
}

/* The tensor "NAME.part" as an aligned copy, or NULL. */
static void *golden(const safetensors_t *st, const char *name, const char *part, size_t *bytes) {
    char full[192];
    snprintf(full, sizeof full, "%s%s", name, part);
    const st_tensor_t *t = safetensors_find(st, full);
    if (!t) return NULL;
    if (bytes) *bytes = t->bytes;
    return memcpy(xmalloc(t->bytes), t->data, t->bytes);
}

static size_t differing(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t d = 0;
    for (size_t i = 0; i < n; i++) d += a[i] != b[i];
    return d;
}

static void test_tables(void **state) {
    (void)state;
    safetensors_t *st = open_golden("golden/quant/bnb.safetensors");
    const struct {
        const char *name;
        const float *ours;
        size_t n;
    } tables[] = {
        {"nf4_table", quant_table(QUANT_NF4), 16},
        {"fp4_table", quant_table(QUANT_FP4), 16},
        {"dynamic_map_256", quant_dynamic_signed()->value, 256},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        float *want = golden(st, tables[i].name, "", NULL);
        assert_memory_equal(tables[i].ours, want, tables[i].n * sizeof(float));
        free(want);
    }
    safetensors_close(st);
}

/* One tensor as a quantized weight with storage of its own. */
typedef struct {
    qweight_t w;
    float *absmax; /* first-level constants, also with double_quant */
} owned_t;

static owned_t encode(quant_type_t type, bool dq, const bf16_t *x, size_t rows, size_t cols) {
    size_t n = rows * cols;
    owned_t o = {.w = {.type = type, .double_quant = dq, .rows = rows, .cols = cols}};
    o.w.codes = xcalloc(1, quant_code_bytes(type, n));
    o.absmax = xcalloc(quant_blocks(n), sizeof(float));
    quant_encode(type, x, DT_BF16, n, o.w.codes, o.absmax);
    if (dq) {
        o.w.absmax_q = xcalloc(1, quant_blocks(n));
        o.w.nested_absmax = xcalloc(quant_nested_blocks(n), sizeof(float));
        quant_encode_constants(o.absmax, quant_blocks(n), o.w.absmax_q, o.w.nested_absmax, &o.w.nested_offset);
    } else {
        o.w.absmax = o.absmax;
    }
    return o;
}

static void owned_free(owned_t *o) {
    free(o->w.codes);
    free(o->absmax);
    free(o->w.absmax_q);
    free(o->w.nested_absmax);
}

typedef struct {
    size_t codes, indices, constants, values;
} counts_t;

static void check_dequant(const safetensors_t *st, const char *prefix, const qweight_t *w, counts_t *total) {
    size_t n = qweight_count(w);
    float *want = golden(st, prefix, ".dequant", NULL), *got = xmalloc(n * sizeof *got);
    quant_decode(w, 0, n, got);
    for (size_t i = 0; want && i < n; i++, total->values++)
        if (fabsf(got[i] - want[i]) > 1e-6f * fabsf(want[i]))
            fail_msg("%s[%zu]: %g, not %g", prefix, i, got[i], want[i]);
    free(want);
    free(got);
}

static void check_tensor(const safetensors_t *st, const char *name, quant_type_t type, bool dq, counts_t *total) {
    char prefix[128], plain[96];
    snprintf(plain, sizeof plain, "%s.%s", name, quant_type_name(type));
    snprintf(prefix, sizeof prefix, "%s%s", plain, dq ? ".dq" : "");
    char input[96];
    snprintf(input, sizeof input, "%s.input", name);
    const st_tensor_t *t = safetensors_find(st, input);
    assert_non_null(t);
    bf16_t *x = golden(st, input, "", NULL);
    owned_t o = encode(type, dq, x, t->shape[0], t->shape[1]);
    size_t n = qweight_count(&o.w), n_codes = 0, n_blocks = quant_blocks(n), n_nested = quant_nested_blocks(n);

    uint8_t *codes = golden(st, plain, ".codes", &n_codes);
    float *absmax = golden(st, plain, ".absmax", NULL);
    assert_int_equal(n_codes, quant_code_bytes(type, qweight_count(&o.w)));
    assert_int_equal(differing(o.w.codes, codes, n_codes), 0);
    assert_memory_equal(o.absmax, absmax, n_blocks * sizeof(float));
    total->codes += 2 * n_codes;
    total->constants += n_blocks;
    if (dq) {
        uint8_t *index = golden(st, prefix, ".absmax_q", NULL);
        float *nested = golden(st, prefix, ".nested_absmax", NULL);
        float *offset = golden(st, prefix, ".nested_offset", NULL);
        assert_int_equal(differing(o.w.absmax_q, index, n_blocks), 0);
        assert_memory_equal(o.w.nested_absmax, nested, n_nested * sizeof(float));
        assert_memory_equal(&o.w.nested_offset, offset, sizeof(float));
        total->indices += n_blocks;
        free(index);
        free(nested);
        free(offset);
    }
    check_dequant(st, prefix, &o.w, total);
    free(codes);
    free(absmax);
    free(x);
    owned_free(&o);
}

static void test_bitsandbytes(void **state) {
    (void)state;
    safetensors_t *st = open_golden("golden/quant/bnb.safetensors");
    counts_t total = {0};
    for (int i = 0; i < N_TENSORS; i++)
        for (int type = QUANT_NF4; type <= QUANT_FP4; type++)
            for (int dq = 0; dq < 2; dq++) check_tensor(st, tensors[i], (quant_type_t)type, dq, &total);
    safetensors_close(st);
    print_message("bitsandbytes: 0 of %zu codes, 0 of %zu constants, 0 of %zu second-level indices differ; "
                  "%zu values within 1e-6\n",
                  total.codes, total.constants, total.indices, total.values);
}

static bf16_t *random_bf16(size_t n, uint64_t key, float scale) {
    bf16_t *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        float sum = 0; /* near enough to normal */
        for (size_t k = 0; k < 6; k++) sum += rng_uniform(key, 6 * i + k) - 0.5f;
        x[i] = bf16_from_f32(sum * scale);
    }
    return x;
}

/* Every value decodes to the nearest of its block's values: half the widest step of the table at most. */
static void test_nearest(void **state) {
    (void)state;
    static const double half_step[] = {
        [QUANT_NF4] = 0.152, [QUANT_FP4] = 0.1667, [QUANT_INT4] = 1 / 14.0, [QUANT_INT8] = 1 / 254.0, [QUANT_NONE] = 0};
    size_t rows = 37, cols = 61, n = rows * cols;
    bf16_t *x = random_bf16(n, 1, 0.05f);
    float *y = xmalloc(n * sizeof *y);
    for (int type = QUANT_NF4; type <= QUANT_NONE; type++) {
        owned_t o = encode((quant_type_t)type, false, x, rows, cols);
        quant_decode(&o.w, 0, n, y);
        for (size_t i = 0; i < n; i++) {
            double bound = type == QUANT_NONE ? 0 : half_step[type] * o.absmax[i / QUANT_BLOCK];
            if (type == QUANT_INT8_ZEROPOINT) bound = 0.5 * quant_zeropoint(o.absmax[i / QUANT_BLOCK]).scale;
            assert_true(fabs(y[i] - bf16_to_f32(x[i])) <= bound * 1.0001);
        }
        owned_free(&o);
    }
    free(x);
    free(y);
}

/* An odd count pads with a zero; INT4 never writes its code 0; a block of zeros decodes to zeros. */
static void test_edges(void **state) {
    (void)state;
    static const uint8_t zero_code[] = {[QUANT_NF4] = 7, [QUANT_FP4] = 0, [QUANT_INT4] = 8};
    bf16_t *x = random_bf16(65, 2, 1.0f);
    for (int type = QUANT_NF4; type <= QUANT_INT4; type++) {
        owned_t o = encode((quant_type_t)type, false, x, 5, 13);
        assert_int_equal(o.w.codes[32] & 15, zero_code[type]);
        for (size_t i = 0; type == QUANT_INT4 && i < 33; i++) assert_true((o.w.codes[i] & 15) && o.w.codes[i] >> 4);
        owned_free(&o);
    }
    memset(x, 0, 65 * sizeof *x);
    for (int type = QUANT_NF4; type <= QUANT_NONE; type++) {
        float y[65];
        for (int dq = 0; dq <= quant_can_nest((quant_type_t)type) && type != QUANT_NONE; dq++) {
            owned_t o = encode((quant_type_t)type, dq, x, 5, 13);
            quant_decode(&o.w, 0, 65, y);
            for (int i = 0; i < 65; i++) assert_true(y[i] == 0);
            owned_free(&o);
        }
    }
    free(x);
}

/* Infinities and NaN must not break the encoder: what comes out is some code. */
static void test_not_finite(void **state) {
    (void)state;
    static const bf16_t odd[] = {0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8000, 0x7f7f};
    bf16_t x[64];
    for (int i = 0; i < 64; i++) x[i] = odd[i % 6];
    for (int type = QUANT_NF4; type <= QUANT_INT8_ZEROPOINT; type++) {
        owned_t o = encode((quant_type_t)type, quant_can_nest((quant_type_t)type), x, 1, 64);
        owned_free(&o);
    }
}

/* Encoding in pieces gives the bytes of encoding at once. */
static void test_pieces(void **state) {
    (void)state;
    size_t n = 1000;
    bf16_t *x = random_bf16(n, 3, 0.1f);
    for (int type = QUANT_NF4; type <= QUANT_NONE; type++) {
        owned_t whole = encode((quant_type_t)type, false, x, 1, n), parts = encode((quant_type_t)type, false, x, 1, n);
        memset(parts.w.codes, 0xee, quant_code_bytes((quant_type_t)type, n));
        for (size_t first = 0; first < n; first += 192) {
            size_t len = n - first < 192 ? n - first : 192;
            quant_encode((quant_type_t)type, x + first, DT_BF16, len,
                         parts.w.codes + quant_code_bytes((quant_type_t)type, first),
                         parts.absmax + first / QUANT_BLOCK);
        }
        assert_memory_equal(whole.w.codes, parts.w.codes, quant_code_bytes((quant_type_t)type, n));
        assert_memory_equal(whole.absmax, parts.absmax, quant_blocks(n) * sizeof(float));
        owned_free(&whole);
        owned_free(&parts);
    }
    free(x);
}

/* The code of an element over its block's absmax. */
static uint8_t code_by_definition(quant_type_t type, float v) {
    if (type == QUANT_INT8) {
        float code = rintf(v * 127.0f);
        return (uint8_t)(int8_t)(code >= -127.0f ? (code <= 127.0f ? code : 127.0f) : -127.0f); /* NaN: -127 */
    }
    const quant_order_t order = quant_order(type);
    int below = 0;
    for (int k = 0; k < 15; k++) below += v > order.mid[k];
    return order.ascending[below];
}

/* The formula of quant.h, the word of its constants put together here. */
static void zeropoint_by_definition(const float *x, size_t n, uint8_t *codes, float *constant) {
    float lo = 0, hi = 0;
    for (size_t i = 0; i < n; i++) lo = x[i] < lo ? x[i] : lo, hi = x[i] > hi ? x[i] : hi;
    float scale = (hi - lo) / 255.0f;
    uint32_t word;
    memcpy(&word, &scale, 4);
    word += (256 - word % 256) % 256;
    memcpy(&scale, &word, 4);
    float d = scale > QUANT_ABSMAX_MIN ? scale : QUANT_ABSMAX_MIN, zero = rintf(-lo / d);
    zero = isnan(zero) ? 0 : fminf(zero, 255);
    for (size_t i = 0; i < n; i++) {
        float code = rintf(x[i] / d) + zero;
        codes[i] = isnan(code) ? 0 : (uint8_t)fmaxf(0, fminf(code, 255));
    }
    word += (uint32_t)zero;
    memcpy(constant, &word, 4);
}

static void encode_by_definition(quant_type_t type, const float *x, size_t n, uint8_t *codes, float *absmax) {
    for (size_t b = 0; b < quant_blocks(n); b++) {
        size_t first = b * QUANT_BLOCK, len = n - first < QUANT_BLOCK ? n - first : QUANT_BLOCK;
        if (type == QUANT_INT8_ZEROPOINT) {
            zeropoint_by_definition(x + first, len, codes + first, &absmax[b]);
            continue;
        }
        float a = 0, v[QUANT_BLOCK] = {0};
        for (size_t i = 0; i < len; i++) a = fabsf(x[first + i]) > a ? fabsf(x[first + i]) : a;
        float d = a > QUANT_ABSMAX_MIN ? a : QUANT_ABSMAX_MIN, inverse = 1.0f / d;
        for (size_t i = 0; i < len; i++) v[i] = len == QUANT_BLOCK ? x[first + i] * inverse : x[first + i] / d;
        absmax[b] = a;
        for (size_t i = 0; i < quant_code_bytes(type, len); i++, codes++)
            *codes = type == QUANT_INT8
                         ? code_by_definition(type, v[i])
                         : (uint8_t)(code_by_definition(type, v[2 * i]) << 4 | code_by_definition(type, v[2 * i + 1]));
    }
}

/* Values of a type, and as fp32: random ones, the middles between neighbours of a 4-bit type, a few that are odd. */
static void values_of(dtype_t x_type, quant_type_t type, size_t n, void *x, float *as_f32) {
    static const float odd[] = {INFINITY, -INFINITY, NAN, 1e-40f, -0.0f, 3e38f, 1e-38f};
    for (size_t i = 0; i < n; i++) {
        float f = 2 * rng_uniform(7, i) - 1;
        if (type <= QUANT_INT4 && i % 5 == 1) f = quant_order(type).mid[i % 14];
        if (i % 64 == 9) f = 1;
        if (i / 64 % 4 == 3 && i % 8 == 0) f = odd[i / 8 % 7];
        if (x_type == DT_F32) ((float *)x)[i] = as_f32[i] = f;
        else if (x_type == DT_BF16) as_f32[i] = bf16_to_f32(((uint16_t *)x)[i] = bf16_from_f32(f));
        else as_f32[i] = f16_to_f32(((uint16_t *)x)[i] = f16_from_f32(f));
    }
}

static void test_instruction_sets(void **state) {
    (void)state;
    enum { MAX = 1021 };
    static const size_t lengths[] = {1, 63, 64, 65, 640, MAX};
    static const dtype_t types[] = {DT_F32, DT_BF16, DT_F16};
    static float x[MAX], as_f32[MAX];
    for (size_t c = 0; c < 3 * 6 * (QUANT_INT8_ZEROPOINT + 1); c++) {
        quant_type_t type = (quant_type_t)(c / 18);
        size_t n = lengths[c % 6], code_bytes = quant_code_bytes(type, n), blocks = quant_blocks(n);
        uint8_t want[MAX + 1], got[MAX + 1];
        float want_absmax[MAX / 64 + 2], got_absmax[MAX / 64 + 2];
        values_of(types[c / 6 % 3], type, n, x, as_f32);
        encode_by_definition(type, as_f32, n, want, want_absmax);
        for (int isa = 0; quant_encode_nth(isa); isa++) {
            got[code_bytes] = 0xee;
            got_absmax[blocks] = 77;
            quant_encode_nth(isa)(type, x, types[c / 6 % 3], n, got, got_absmax);
            assert_memory_equal(got, want, code_bytes);
            assert_memory_equal(got_absmax, want_absmax, blocks * sizeof(float));
            assert_true(got[code_bytes] == 0xee && got_absmax[blocks] == 77);
        }
    }
}

/* Blocks on one side of 0 keep it in their range, and values that are 0 stay so. */
static void test_zeropoint_range(void **state) {
    (void)state;
    for (int side = -1; side <= 1; side++) {
        bf16_t x[64];
        float y[64];
        for (int i = 0; i < 64; i++) {
            float v = side ? (float)side * (3 + (float)i / 64) : (float)(i - 9);
            x[i] = bf16_from_f32(i % 7 ? v : 0);
        }
        owned_t o = encode(QUANT_INT8_ZEROPOINT, false, x, 1, 64);
        quant_decode(&o.w, 0, 64, y);
        for (int i = 0; i < 64; i++) {
            double bound = 0.5 * (side ? 3.985 : 63) / 255;
            assert_true(i % 7 ? fabs(y[i] - bf16_to_f32(x[i])) <= 1.001 * bound : y[i] == 0);
        }
        owned_free(&o);
    }
}

/* Codes and values that numpy computes (tests/golden/gen_zeropoint.py). */
static void test_zeropoint_golden(void **state) {
    (void)state;
    safetensors_t *st = open_golden("golden/quant/zeropoint.safetensors");
    size_t n = 0;
    float *x = golden(st, "x", "", NULL), *want = golden(st, "values", "", NULL);
    uint8_t *codes = golden(st, "codes", "", &n), *got = xcalloc(1, n);
    assert_int_equal(n, 5 * QUANT_BLOCK + 41);
    float *constants = xcalloc(quant_blocks(n), sizeof *constants);
    quant_encode(QUANT_INT8_ZEROPOINT, x, DT_F32, n, got, constants);
    qweight_t w = {.type = QUANT_INT8_ZEROPOINT, .rows = 1, .cols = n, .codes = got, .absmax = constants};
    for (size_t i = 0; i < n; i++) {
        float value;
        quant_decode(&w, i, 1, &value);
        assert_int_equal(got[i], codes[i]);
        assert_float_equal(value, want[i], 0);
    }
    safetensors_close(st);
    free(x), free(codes), free(want), free(got), free(constants);
}

static double bits(quant_type_t type, bool dq, size_t n) {
    return 8.0 * (double)(quant_code_bytes(type, n) + quant_constant_bytes(type, dq, n)) / (double)n;
}

static void test_size(void **state) {
    (void)state;
    size_t n = (size_t)4096 * 11008;
    assert_float_equal(bits(QUANT_NF4, true, n), 4.126953125, 1e-5); /* the paper's 4.127 */
    assert_float_equal(bits(QUANT_NF4, false, n), 4.5, 1e-9);
    assert_float_equal(bits(QUANT_INT8, true, n), 8.126953125, 1e-5);
    assert_float_equal(bits(QUANT_INT8_ZEROPOINT, false, n), 8.5, 1e-9);
    assert_float_equal(bits(QUANT_NONE, true, n), 16, 0);
    assert_int_equal(quant_code_bytes(QUANT_NF4, 65), 33);
    assert_int_equal(quant_constant_bytes(QUANT_NF4, true, 64 * 257), 257 + 8 + 4);
    print_message("NF4 with double quantization: %.4f bits a parameter\n", bits(QUANT_NF4, true, n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_bitsandbytes),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_zeropoint_range),
        cmocka_unit_test(test_zeropoint_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
