#include <math.h>
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "model/backend/element.h"
#include "model/formats/kernels/quant_kernels.h"

/* clang-format off */
const float quant_table_nf4[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};

/* Sign bit, then the magnitudes of {0, 0.0625, 8, 12, 4, 6, 2, 3} / 12. */
const float quant_table_fp4[16] = {
    0.0f, 0.0052083334885537624f, 0.6666666865348816f, 1.0f,
    0.3333333432674408f, 0.5f, 0.1666666716337204f, 0.25f,
    0.0f, -0.0052083334885537624f, -0.6666666865348816f, -1.0f,
    -0.3333333432674408f, -0.5f, -0.1666666716337204f, -0.25f,
};

const float quant_table_int4[16] = {
    -8 / 7.0f, -1.0f, -6 / 7.0f, -5 / 7.0f, -4 / 7.0f, -3 / 7.0f, -2 / 7.0f, -1 / 7.0f,
    0.0f, 1 / 7.0f, 2 / 7.0f, 3 / 7.0f, 4 / 7.0f, 5 / 7.0f, 6 / 7.0f, 1.0f,
};
/* clang-format on */

/* Codes by ascending value. INT4 leaves out its code 0. */
static const struct {
    const float *table;
    int n;
    uint8_t ascending[16];
} orders[] = {
    [QUANT_NF4] = {quant_table_nf4, 16, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    [QUANT_FP4] = {quant_table_fp4, 16, {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}},
    [QUANT_INT4] = {quant_table_int4, 15, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
};

static const char *const names[] = {
    [QUANT_NF4] = "nf4",
    [QUANT_FP4] = "fp4",
    [QUANT_INT4] = "int4",
    [QUANT_INT8] = "int8",
    [QUANT_INT8_ZEROPOINT] = "int8-zeropoint",
    [QUANT_NONE] = "none",
    [QUANT_F16] = "f16",
};

const char *quant_type_name(quant_type_t type) { return names[type]; }

const float *quant_table(quant_type_t type) {
    CHECK(type <= QUANT_INT4);
    return orders[type].table;
}

quant_order_t quant_order(quant_type_t type) {
    CHECK(type <= QUANT_INT4);
    quant_order_t o;
    const float *table = orders[type].table;
    const uint8_t *ascending = orders[type].ascending;
    for (int k = 0; k < 15; k++)
        o.mid[k] = k < orders[type].n - 1 ? 0.5f * (table[ascending[k]] + table[ascending[k + 1]]) : INFINITY;
    memcpy(o.ascending, ascending, sizeof o.ascending);
    return o;
}

size_t quant_code_bytes(quant_type_t type, size_t n) {
    return quant_is_plain(type) ? 2 * n : type <= QUANT_INT4 ? (n + 1) / 2 : n;
}

size_t quant_constant_bytes(quant_type_t type, bool double_quant, size_t n) {
    if (quant_is_plain(type)) return 0;
    if (!double_quant || !quant_can_nest(type)) return sizeof(float) * quant_blocks(n);
    return quant_blocks(n) + sizeof(float) * quant_nested_blocks(n) + sizeof(float); /* the last: the offset */
}

/* ---- first level ------------------------------------------------------------------------------------ */

enum { MAX_SETS = 3 };
static quant_encode_fn *sets[MAX_SETS];
static int n_sets;
static pthread_once_t sets_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* clang before 15 knows no such name for __builtin_cpu_supports(). */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

static void find_sets(void) {
    sets[n_sets++] = quant_encode_base;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && has_f16c()) sets[n_sets++] = quant_encode_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        sets[n_sets++] = quant_encode_avx512;
#endif
}

quant_encode_fn *quant_encode_nth(int i) {
    pthread_once(&sets_once, find_sets);
    return i < n_sets ? sets[i] : NULL;
}

void quant_encode(quant_type_t type, const void *x, dtype_t x_type, size_t n, uint8_t *codes, float *absmax) {
    pthread_once(&sets_once, find_sets);
    sets[n_sets - 1](type, x, x_type, n, codes, absmax);
}

/* ---- second level ----------------------------------------------------------------------------------- */

static dynamic_map_t signed_map, unsigned_map;
static pthread_once_t dynamic_once = PTHREAD_ONCE_INIT;

/* Point i of n from 0.1 to 1, counted from the nearer end with one rounding, as torch.linspace does in fp32. */
static float tenth_to_one(int i, int n) {
    float step = (1.0f - 0.1f) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - 1 - i), 1.0f);
}

/* Fills value[1..] upwards: decade -6+e holds parts * 2^e fractions, the middles of equal parts of [0.1, 1]; 1 is
 * the last. Gives the number of fractions. */
static int fill_fractions(float *value, int parts) {
    int n = 0;
    for (int e = 0; e < 7; e++, parts *= 2) {
        float decade = (float)pow(10.0, e - 6);
        for (int i = 0; i < parts; i++)
            value[++n] = decade * ((tenth_to_one(i, parts + 1) + tenth_to_one(i + 1, parts + 1)) / 2.0f);
    }
    value[n + 1] = 1.0f;
    return n;
}

/* bitsandbytes rounds x to 16 bits first, then to the nearest map value: a table of all 65,536 answers. */
static void fill_nearest(dynamic_map_t *map) {
    int place = 0;
    for (int s = 0; s < 65536; s++) {
        float x = 2.0f * (float)s / 65535.0f - 1.0f;
        while (place < 255 && !(x <= 0.5f * (map->value[place] + map->value[place + 1]))) place++;
        map->nearest[s] = (uint8_t)place;
    }
}

/* Without a sign there is room for twice the fractions. Only the signed map has the mirror image below its zero,
 * but for -1. */
static void dynamic_init(void) {
    float *zero = signed_map.value + 127;
    int n = fill_fractions(zero, 1);
    for (int i = 1; i <= n; i++) zero[-i] = -zero[i];
    fill_nearest(&signed_map);
    fill_fractions(unsigned_map.value, 2);
    fill_nearest(&unsigned_map);
}

const dynamic_map_t *quant_dynamic_signed(void) {
    pthread_once(&dynamic_once, dynamic_init);
    return &signed_map;
}

const dynamic_map_t *quant_dynamic_unsigned(void) {
    pthread_once(&dynamic_once, dynamic_init);
    return &unsigned_map;
}

void quant_encode_constants(const float *absmax, size_t n_blocks, uint8_t *absmax_q, float *nested_absmax,
                            float *offset) {
    const uint8_t *nearest = quant_dynamic_signed()->nearest;
    double sum = 0;
    for (size_t i = 0; i < n_blocks; i++) sum += absmax[i];
    float mean = n_blocks ? (float)(sum / (double)n_blocks) : 0.0f;
    *offset = mean;
    for (size_t first = 0; first < n_blocks; first += QUANT_NESTED_BLOCK) {
        size_t end = n_blocks - first < QUANT_NESTED_BLOCK ? n_blocks : first + QUANT_NESTED_BLOCK;
        float a = 0;
        for (size_t i = first; i < end; i++) a = fmaxf(a, fabsf(absmax[i] - mean));
        nested_absmax[first / QUANT_NESTED_BLOCK] = a;
        for (size_t i = first; i < end; i++)
            absmax_q[i] = a > 0 ? dynamic_code(nearest, (absmax[i] - mean) * (1.0f / a)) : 0;
    }
}

/* ---- decoding --------------------------------------------------------------------------------------- */

float quant_absmax(const qweight_t *w, size_t block) {
    CHECK(quant_can_nest(w->type));
    if (!w->double_quant) return w->absmax[block];
    float x = quant_dynamic_signed()->value[w->absmax_q[block]];
    return x * w->nested_absmax[block / QUANT_NESTED_BLOCK] + w->nested_offset;
}

static float value_at(const void *x, dtype_t type, size_t i) {
    float f;
    uint16_t h;
    if (type == DT_F32) {
        memcpy(&f, (const float *)x + i, sizeof f);
        return f;
    }
    memcpy(&h, (const uint16_t *)x + i, sizeof h);
    return type == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

static float decode_one(const qweight_t *w, size_t i) {
    switch (w->type) {
    case QUANT_NONE: return value_at(w->codes, DT_BF16, i);
    case QUANT_F16: return value_at(w->codes, DT_F16, i);
    case QUANT_INT8: return (float)(int8_t)w->codes[i] / 127.0f * quant_absmax(w, i / QUANT_BLOCK);
    case QUANT_INT8_ZEROPOINT: {
        quant_zeropoint_t z = quant_zeropoint(w->absmax[i / QUANT_BLOCK]);
        return ((float)w->codes[i] - z.zero) * z.scale;
    }
    default: {
        int code = i % 2 ? w->codes[i / 2] & 15 : w->codes[i / 2] >> 4;
        return orders[w->type].table[code] * quant_absmax(w, i / QUANT_BLOCK);
    }
    }
}

void quant_decode(const qweight_t *w, size_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = decode_one(w, first + i);
}
