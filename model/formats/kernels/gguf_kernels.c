/* Blocks as in ggml's quantization types. A decoder unpacks codes 16 at a time, as bytes, and scales these: so the part
 * that differs between types is short, and the part that is long does not differ. */
#include "model/formats/kernels/gguf_kernels.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define ISA_JOIN_(name, isa) name##_##isa
#define ISA_JOIN(name, isa) ISA_JOIN_(name, isa)

/* Inlined, so that shifts and counts are constants. */
#define BODY static inline __attribute__((always_inline))

typedef uint8_t codes_t __attribute__((vector_size(16))); /* 16 codes; what is negative in two's complement */
typedef uint16_t halves_t __attribute__((vector_size(16)));
typedef uint64_t words_t __attribute__((vector_size(16)));

BODY codes_t load_16(const uint8_t *p) {
    codes_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

BODY uint16_t load_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

BODY uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

BODY uint64_t load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The instruction makes a signalling NaN a quiet one; else both give the same bits. */
BODY float load_f16(const uint8_t *p) {
#ifdef __F16C__
    return _cvtsh_ss(load_u16(p));
#else
    return f16_to_f32(load_u16(p));
#endif
}

/* out = d * q, and d * q - m. */
#if defined(__AVX512F__)
BODY __m512 floats_16(codes_t q) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)q)); }

BODY void scale_16(codes_t q, float d, float *out) {
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_set1_ps(d), floats_16(q)));
}

BODY void scale_min_16(codes_t q, float d, float m, float *out) {
    __m512 product = _mm512_mul_ps(_mm512_set1_ps(d), floats_16(q));
    _mm512_storeu_ps(out, _mm512_sub_ps(product, _mm512_set1_ps(m)));
}
#elif defined(__AVX2__)
BODY __m256 floats_8(__m128i q) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)); }

BODY void scale_16(codes_t q, float d, float *out) {
    __m256 scale = _mm256_set1_ps(d);
    _mm256_storeu_ps(out, _mm256_mul_ps(scale, floats_8((__m128i)q)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(scale, floats_8(_mm_srli_si128((__m128i)q, 8))));
}

BODY void scale_min_16(codes_t q, float d, float m, float *out) {
    __m256 scale = _mm256_set1_ps(d), min = _mm256_set1_ps(m);
    __m256 low = _mm256_mul_ps(scale, floats_8((__m128i)q));
    __m256 high = _mm256_mul_ps(scale, floats_8(_mm_srli_si128((__m128i)q, 8)));
    _mm256_storeu_ps(out, _mm256_sub_ps(low, min));
    _mm256_storeu_ps(out + 8, _mm256_sub_ps(high, min));
}
#else
BODY void scale_16(codes_t q, float d, float *out) {
    for (int i = 0; i < 16; i++) out[i] = d * (float)(int8_t)q[i];
}

BODY void scale_min_16(codes_t q, float d, float m, float *out) {
    for (int i = 0; i < 16; i++) out[i] = d * (float)(int8_t)q[i] - m;
}
#endif

/* ---- plain types ------------------------------------------------------------------------------------------ */

static void decode_f32(const uint8_t *in, size_t n, float *out) { memcpy(out, in, 4 * n); }

static void decode_f16(const uint8_t *in, size_t n, float *out) {
    size_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in + 2 * i))));
#endif
    for (; i < n; i++) out[i] = load_f16(in + 2 * i);
}

static void decode_bf16(const uint8_t *in, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = bf16_to_f32(load_u16(in + 2 * i));
}

/* ---- blocks of 32 ----------------------------------------------------------------------------------------- */

/* In 16 bytes the low nibbles are codes 0..15, the high ones 16..31. */

/* 16 bits, lowest first, as codes of 0 or 16. */
BODY codes_t fifth_bits(const uint8_t *in) {
    const codes_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
#ifdef __AVX2__
    const __m128i eight_each = _mm_set_epi64x(0x0101010101010101, 0);
    codes_t bytes = (codes_t)_mm_shuffle_epi8(_mm_cvtsi32_si128(load_u16(in)), eight_each);
#else
    codes_t bytes = (codes_t)(words_t){in[0] * 0x0101010101010101u, in[1] * 0x0101010101010101u};
#endif
    return (codes_t)((bytes & bit) == bit) & 16;
}

/* f16 scale, 32 signed bytes. */
static void decode_q8_0(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 34, out += 32) {
        float d = load_f16(in);
        scale_16(load_16(in + 2), d, out);
        scale_16(load_16(in + 18), d, out + 16);
    }
}

/* f16 scale, nibbles; 8 stands for zero. */
static void decode_q4_0(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 18, out += 32) {
        float d = load_f16(in);
        codes_t q = load_16(in + 2);
        scale_16((q & 15) - 8, d, out);
        scale_16((q >> 4) - 8, d, out + 16);
    }
}

/* f16 scale, f16 minimum to add, nibbles. */
static void decode_q4_1(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 20, out += 32) {
        float d = load_f16(in), m = -load_f16(in + 2);
        codes_t q = load_16(in + 4);
        scale_min_16(q & 15, d, m, out);
        scale_min_16(q >> 4, d, m, out + 16);
    }
}

/* f16 scale, 32 fifth bits, nibbles; 16 stands for zero. */
static void decode_q5_0(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 22, out += 32) {
        float d = load_f16(in);
        codes_t q = load_16(in + 6);
        scale_16(((q & 15) | fifth_bits(in + 2)) - 16, d, out);
        scale_16((q >> 4 | fifth_bits(in + 4)) - 16, d, out + 16);
    }
}

/* f16 scale, f16 minimum to add, 32 fifth bits, nibbles. */
static void decode_q5_1(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 24, out += 32) {
        float d = load_f16(in), m = -load_f16(in + 2);
        codes_t q = load_16(in + 8);
        scale_min_16((q & 15) | fifth_bits(in + 4), d, m, out);
        scale_min_16(q >> 4 | fifth_bits(in + 6), d, m, out + 16);
    }
}

/* The values that codes of IQ4_NL and IQ4_XS stand for. */
BODY codes_t iq4_values(codes_t q) {
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
#ifdef __AVX2__
    return (codes_t)_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)values), (__m128i)q);
#else
    for (int i = 0; i < 16; i++) q[i] = (uint8_t)values[q[i]];
    return q;
#endif
}

/* f16 scale, nibbles that choose a value. */
static void decode_iq4_nl(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 18, out += 32) {
        float d = load_f16(in);
        codes_t q = load_16(in + 2);
        scale_16(iq4_values(q & 15), d, out);
        scale_16(iq4_values(q >> 4), d, out + 16);
    }
}

/* ---- blocks of 256: 8 runs of 32 values -------------------------------------------------------------------- */

/* The bits of each byte that begin at `at`, moved to `to`, where they are `mask`. Shifting 16 bits at a time takes one
 * instruction where bytes take two; what comes from the neighbour is masked away. */
BODY codes_t field(codes_t v, int at, int to, uint8_t mask) {
    halves_t w = (halves_t)v;
    return (codes_t)(at >= to ? w >> (at - to) : w << (to - at)) & mask;
}

/* 16 codes of run k from byte i on, moved to bit `to`. Pairs of bits: the four codes of a byte are 32 values apart, in
 * each half of the block. */
BODY codes_t pairs(const uint8_t *in, int k, int i, int to) {
    return field(load_16(in + k / 4 * 32 + i), k % 4 * 2, to, (uint8_t)(3 << to));
}

/* Nibbles: of 32 bytes the low ones are one run, the high ones the next. */
BODY codes_t nibbles(const uint8_t *in, int k, int i) { return field(load_16(in + k / 2 * 32 + i), k % 2 * 4, 0, 15); }

/* Single bits: bit k of each of 32 bytes. */
BODY codes_t bits(const uint8_t *in, int k, int i, int to) { return field(load_16(in + i), k, to, (uint8_t)(1 << to)); }

/* 16 bytes of scale (low nibble) and minimum (high) of 16 values each; 64 bytes of codes of 2 bits; f16 scale of the
 * scales, f16 scale of the minima. */
static void decode_q2_k(const uint8_t *in, size_t n_blocks, float *out) {
    float scale[16], min[16];
    for (size_t b = 0; b < n_blocks; b++, in += 84, out += 256) {
        scale_16(load_16(in) & 15, load_f16(in + 80), scale);
        scale_16(load_16(in) >> 4, load_f16(in + 82), min);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) scale_min_16(pairs(in + 16, j / 2, j % 2 * 16, 0), scale[j], min[j], out + 16 * j);
    }
}

/* 16 scales of 6 bits in 12 bytes, 32 stands for zero: the low 4 bits in the nibbles of the first 8, the others in
 * the last 4. */
BODY codes_t scales_q3_k(const uint8_t *in) {
    uint64_t low = load_u64(in), high = load_u32(in + 8);
    const words_t lows = {low & 0x0f0f0f0f0f0f0f0f, low >> 4 & 0x0f0f0f0f0f0f0f0f};
    const words_t highs = {high | high >> 2 << 32, high >> 4 | high >> 6 << 32};
    return ((codes_t)lows | ((codes_t)highs & 3) << 4) - 32;
}

/* 32 bytes of third bits; 64 of codes of 2 bits; scales; f16 scale of the scales. 4 stands for zero. */
static void decode_q3_k(const uint8_t *in, size_t n_blocks, float *out) {
    float scale[16];
    for (size_t b = 0; b < n_blocks; b++, in += 110, out += 256) {
        scale_16(scales_q3_k(in + 96), load_f16(in + 108), scale);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            codes_t q = pairs(in + 32, j / 2, j % 2 * 16, 0) | bits(in, j / 2, j % 2 * 16, 2);
            scale_16(q - 4, scale[j], out + 16 * j);
        }
    }
}

/* What begins Q4_K and Q5_K: f16 scale of the scales, f16 scale of the minima, 12 bytes with 8 scales and 8 minima of
 * 6 bits. The first four of each are the low bits of bytes 0-3 and 4-7; of the others, bytes 8-11 have the low 4
 * bits, and what is left of the first eight the high 2. Gives 8 scales at scale[0], 8 minima at min[8]. */
BODY void scales_k(const uint8_t *in, float scale[16], float min[16]) {
    uint64_t s = load_u32(in + 4), m = load_u32(in + 8), rest = load_u32(in + 12);
    const words_t all = {(s & 0x3f3f3f3f) | ((rest & 0x0f0f0f0f) | (s >> 2 & 0x30303030)) << 32,
                         (m & 0x3f3f3f3f) | ((rest >> 4 & 0x0f0f0f0f) | (m >> 2 & 0x30303030)) << 32};
    scale_16((codes_t)all, load_f16(in), scale);
    scale_16((codes_t)all, load_f16(in + 2), min);
}

/* Scales; 128 bytes of nibbles. */
static void decode_q4_k(const uint8_t *in, size_t n_blocks, float *out) {
    float scale[16], min[16];
    for (size_t b = 0; b < n_blocks; b++, in += 144, out += 256) {
        scales_k(in, scale, min);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++)
            scale_min_16(nibbles(in + 16, j / 2, j % 2 * 16), scale[j / 2], min[8 + j / 2], out + 16 * j);
    }
}

/* Scales; 32 bytes of fifth bits; 128 of nibbles. */
static void decode_q5_k(const uint8_t *in, size_t n_blocks, float *out) {
    float scale[16], min[16];
    for (size_t b = 0; b < n_blocks; b++, in += 176, out += 256) {
        scales_k(in, scale, min);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            codes_t q = nibbles(in + 48, j / 2, j % 2 * 16) | bits(in + 16, j / 2, j % 2 * 16, 4);
            scale_min_16(q, scale[j / 2], min[8 + j / 2], out + 16 * j);
        }
    }
}

/* 128 bytes of nibbles, in each half of the block 64 bytes with two runs in their low nibbles and two in the high
 * ones; 64 bytes of the 2 bits above them; 16 signed scales of 16 values each; f16 scale of the scales. 32 stands for
 * zero. */
static void decode_q6_k(const uint8_t *in, size_t n_blocks, float *out) {
    float scale[16];
    for (size_t b = 0; b < n_blocks; b++, in += 210, out += 256) {
        scale_16(load_16(in + 192), load_f16(in + 208), scale);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            codes_t low = field(load_16(in + j / 8 * 64 + j % 4 * 16), j % 8 / 4 * 4, 0, 15);
            codes_t q = low | pairs(in + 128, j / 2, j % 2 * 16, 4);
            scale_16(q - 32, scale[j], out + 16 * j);
        }
    }
}

/* f16 scale of the scales; 8 scales of 6 bits, 32 stands for zero: the high 2 bits in 2 bytes, the low 4 in 4; 128
 * bytes, 16 for each run as in IQ4_NL. */
static void decode_iq4_xs(const uint8_t *in, size_t n_blocks, float *out) {
    for (size_t b = 0; b < n_blocks; b++, in += 136, out += 256) {
        float d = load_f16(in);
        unsigned high = load_u16(in + 2);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            int scale = (in[4 + k / 2] >> k % 2 * 4 & 15) | (int)(high >> 2 * k & 3) << 4;
            float scaled = d * (float)(scale - 32);
            codes_t q = load_16(in + 8 + 16 * k);
            scale_16(iq4_values(q & 15), scaled, out + 32 * k);
            scale_16(iq4_values(q >> 4), scaled, out + 32 * k + 16);
        }
    }
}

/* ---- what becomes of the values --------------------------------------------------------------------------- */

static bool round_bf16(const float *x, size_t n, bf16_t *out) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = f32_to_bits(x[i]);
        bad |= (u & 0x7fffffffu) >= 0x7f7f8000u;
        out[i] = (bf16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
    }
    return !bad;
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const gguf_kernels_t ISA_JOIN(gguf_kernels, ISA) = {
    .isa = STRING(ISA),
    .round_bf16 = round_bf16,
    .decode = {[GGML_F32] = decode_f32,
               [GGML_F16] = decode_f16,
               [GGML_BF16] = decode_bf16,
               [GGML_Q8_0] = decode_q8_0,
               [GGML_Q4_0] = decode_q4_0,
               [GGML_Q4_1] = decode_q4_1,
               [GGML_Q5_0] = decode_q5_0,
               [GGML_Q5_1] = decode_q5_1,
               [GGML_Q2_K] = decode_q2_k,
               [GGML_Q3_K] = decode_q3_k,
               [GGML_Q4_K] = decode_q4_k,
               [GGML_Q5_K] = decode_q5_k,
               [GGML_Q6_K] = decode_q6_k,
               [GGML_IQ4_NL] = decode_iq4_nl,
               [GGML_IQ4_XS] = decode_iq4_xs},
};
