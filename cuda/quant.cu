/* Quantized weights on the device: the same codes, constants and values as the host codec's, to the bit. Where a
 * product and a sum are two roundings there, they are here (__fmul_rn: never fused). */
#include "cuda/quant.h"

#include "cuda/decode.h"

enum { THREADS = 256, WARP = 32 };
static const unsigned FULL_WARP = 0xffffffffu;

/* ---- dequantization: kernels ---------------------------------------------------------------------------- */

/* What is decoded: rows of `cols` elements of the flat weight, from element `first` on, to rows that lie ld apart. */
typedef struct {
    uint32_t first, rows, cols;
    size_t ld;
} range_t;

/* n / cols for even n and cols: the high half of n / 2 times this, shifted. */
typedef struct {
    uint32_t factor, shift;
} quotient_t;

/* A lane decodes RUNS runs of VALUES neighbours, which a store of 16 bytes holds; a warp's runs lie side by side, RUNS
 * times. Blocks of codes begin at multiples of a run of half a warp: each half has C blocks of its own in a run. */
enum { RUNS = 4, HALF = WARP / 2 };
template <typename T> constexpr int values_of = 16 / (int)sizeof(T);
template <typename T> constexpr int constants_of = HALF *values_of<T> / (int)QUANT_BLOCK;

/* Of all runs a lane decodes the constant of one block: lane k * C + h of its half of the warp has that of block h in
 * run k. What codes stand for in a block is 16 products at most: one lane multiplies each, and the others look it up in
 * its register. Shuffles within a half take the low four bits of the lane that they are given, so codes need no masks. */
template <typename T, int BYTES>
static __device__ __forceinline__ void decode_4bit(uint32_t (&word)[4], const code_run_t<BYTES> &run, float entry,
                                                   float constant, int k) {
    uint32_t codes = 0; /* little endian */
    memcpy(&codes, &run, BYTES);
    /* The first value is in the high half of a byte. */
    auto look_up = [&](uint32_t products, int i) {
        return __shfl_sync(FULL_WARP, products, (int)(codes >> (i / 2 * 8 + (i % 2 ? 0 : 4))), HALF);
    };
    if constexpr (sizeof(T) == sizeof(float)) {
        float product = entry * __shfl_sync(FULL_WARP, constant, k, HALF);
#pragma unroll
        for (int i = 0; i < 4; i++) word[i] = look_up(__float_as_uint(product), i);
    } else {
        float low = entry * __shfl_sync(FULL_WARP, constant, 2 * k, HALF);
        uint32_t products = bf16_pair(low, entry * __shfl_sync(FULL_WARP, constant, 2 * k + 1, HALF));
        bool high = threadIdx.x % HALF * values_of<T> / QUANT_BLOCK; /* the half of a pair that this lane's block has */
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t first = look_up(products, 2 * i), second = look_up(products, 2 * i + 1);
            word[i] = __byte_perm(first, second, high ? 0x7632 : 0x5410);
        }
    }
}

/* For cols, first and ld that are multiples of VALUES. All that a lane has to read is under way before the first of it is
 * used. Lanes before the first element and behind the last decode with the others, and store nothing. */
template <code_t CODE, levels_t LEVELS, typename T> static __global__ void __launch_bounds__(THREADS)
    dequant_kernel(const __grid_constant__ coded_t w, range_t range, quotient_t row_of, T *out) {
    constexpr uint32_t VALUES = values_of<T>, BITS = bits_of<CODE>, BYTES = VALUES * BITS / 8, APART = WARP * VALUES;
    constexpr uint32_t C = constants_of<T>;
    const uint32_t count = range.rows * range.cols, lane = threadIdx.x % WARP, half_lane = lane % HALF;
    const uint32_t warp = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    const uint32_t block_first = range.first / QUANT_BLOCK * QUANT_BLOCK; /* of codes */
    const uint32_t begin = block_first + warp * RUNS * APART, i = begin + lane * VALUES, n = i - range.first;
    code_run_t<BYTES> run[RUNS] = {};
    const uint8_t *codes = w.codes + (size_t)i * BITS / 8;
    float entry = CODE == TABLE4 ? w.table[half_lane] : 0, constant = 1;
#pragma unroll
    for (uint32_t k = 0; k < RUNS; k++)
        if (n + k * APART < count) run[k] = *reinterpret_cast<const code_run_t<BYTES> *>(codes + k * APART * BITS / 8);
    if constexpr (LEVELS != PLAIN) {
        uint32_t block = begin / QUANT_BLOCK + (half_lane / C % RUNS * 2 + lane / HALF) * C + half_lane % C;
        constant = block_absmax<LEVELS>(w, min(block, (uint32_t)((range.first + count - 1) / QUANT_BLOCK)));
    }
    const size_t gap = range.ld - range.cols;
#pragma unroll
    for (uint32_t k = 0; k < RUNS; k++) {
        uint32_t word[4];
        if constexpr (CODE == TABLE4) {
            decode_4bit<T>(word, run[k], entry, constant, (int)k);
        } else {
            float x[VALUES], scale = 1;
            if (LEVELS != PLAIN)
                scale = __shfl_sync(FULL_WARP, constant, (int)(k * C + half_lane * VALUES / QUANT_BLOCK), HALF);
#pragma unroll
            for (int j = 0; j < (int)VALUES; j++) x[j] = scaled<CODE>(run_value<CODE>(run[k], j, NULL), scale);
            vec_bits(word, x);
        }
        const uint32_t at = n + k * APART; /* of a lane before the first element this wraps to one behind it */
        if (at >= count) continue;
        size_t row = __umulhi(at / 2, row_of.factor) >> row_of.shift;
        *reinterpret_cast<uint4 *>(out + row * gap + at) = make_uint4(word[0], word[1], word[2], word[3]);
    }
}

/* The same for any range and address, an element a thread. */
template <code_t CODE, levels_t LEVELS, typename T> static __global__ void __launch_bounds__(THREADS)
    dequant_any_kernel(const __grid_constant__ coded_t w, range_t range, T *out) {
    constexpr uint32_t BITS = bits_of<CODE>;
    SHARED(float, table, 16);
    if (CODE == TABLE4 && threadIdx.x < 16) table[threadIdx.x] = w.table[threadIdx.x];
    __syncthreads();
    uint32_t n = blockIdx.x * THREADS + threadIdx.x, i = range.first + n;
    if (n >= range.rows * range.cols) return;
    code_run_t<BITS == 16 ? 2 : 1> run;
    for (int k = 0; k < (int)sizeof run; k++) run.byte[k] = w.codes[(size_t)i * BITS / 8 + k];
    float x = run_value<CODE>(run, CODE == TABLE4 ? (int)(i % 2) : 0, table);
    x = scaled<CODE>(x, block_absmax<LEVELS>(w, i / (uint32_t)QUANT_BLOCK));
    element_store(out + n / range.cols * range.ld + n % range.cols, x);
}

/* ---- dequantization: launchers ---------------------------------------------------------------------------- */

coded_t coded(const backend_t *be, const qweight_t *w) {
    const cuda_impl_t *impl = cuda_impl(be);
    coded_t c = {};
    c.codes = w->codes;
    if (w->type <= QUANT_INT4) c.table = impl->tables->table4[w->type];
    if (quant_is_plain(w->type)) return c;
    c.absmax = w->absmax;
    c.absmax_q = w->absmax_q;
    c.map = impl->signed_map->value;
    c.nested = w->nested_absmax;
    c.offset = w->nested_offset;
    return c;
}

/* After Granlund and Montgomery (1994): exact for quotients of numbers under 2^31, by a divisor from 2 to 2^31. */
static quotient_t quotient_by(uint32_t cols) {
    uint32_t d = cols / 2, log2 = 1;
    while (((uint64_t)1 << log2) < d) log2++;
    return {(uint32_t)((((uint64_t)1 << (31 + log2)) + d - 1) / d), log2 - 1};
}

template <code_t CODE, levels_t LEVELS, typename T>
static void dequant_as(cudaStream_t stream, const coded_t &w, const range_t &r, T *out) {
    constexpr size_t VALUES = 16 / sizeof(T);
    bool whole = r.first % VALUES == 0 && r.cols % VALUES == 0 && r.ld % VALUES == 0;
    static_assert(RUNS * THREADS * VALUES <= CUDA_DEQUANT_AHEAD, "what is refused in advance");
    CHECK((size_t)r.first + (size_t)r.rows * r.cols <= UINT32_MAX - RUNS * THREADS * VALUES); /* kernels' indices */
    if (!whole || (uintptr_t)out % 16 || (uintptr_t)w.codes % 16) {
        unsigned grid = grid_for((size_t)r.rows * r.cols, THREADS);
        LAUNCH((dequant_any_kernel<CODE, LEVELS, T>), grid, THREADS, 0, stream, w, r, out);
        return;
    }
    unsigned grid = grid_for(r.first % QUANT_BLOCK + (size_t)r.rows * r.cols, THREADS * RUNS * VALUES);
    LAUNCH((dequant_kernel<CODE, LEVELS, T>), grid, THREADS, 0, stream, w, r, quotient_by(r.cols), out);
}

template <typename T>
static void dequant_to(cudaStream_t stream, const qweight_t *q, const coded_t &w, const range_t &r, T *out) {
    if (r.rows == 0 || r.cols == 0) return;
    by_coding(*q, [&](auto c) { dequant_as<c.CODE, c.LEVELS>(stream, w, r, out); });
}

static void dequant_range(const backend_t *be, cudaStream_t stream, const qweight_t *w, const range_t &r, void *out,
                          dtype_t out_type) {
    if (out_type == DT_BF16) dequant_to(stream, w, coded(be, w), r, (bf16_t *)out);
    else dequant_to(stream, w, coded(be, w), r, (float *)out);
}

static uint32_t index32(size_t n) {
    CHECK(n <= UINT32_MAX);
    return (uint32_t)n;
}

void dequant_on(const backend_t *be, cudaStream_t stream, const qweight_t *w, void *out, size_t ld) {
    dequant_range(be, stream, w, {0, index32(w->rows), index32(w->cols), ld}, out, be->act);
}

/* As one row: whole 16-byte stores, and what remains of it. */
static void dequant(backend_t *be, const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type) {
    CHECK(n <= qweight_count(w) && first <= qweight_count(w) - n);
    uint32_t begin = index32(first), whole = index32(n / 8 * 8), rest = index32(n % 8);
    dequant_range(be, compute_stream(be), w, {begin, 1, whole, whole}, out, out_type);
    dequant_range(be, compute_stream(be), w, {begin + whole, 1, rest, rest},
                  (unsigned char *)out + whole * dtype_size(out_type), out_type);
}

/* ---- quantization: kernels ---------------------------------------------------------------------------------- */

enum { LANE_VALUES = 8, BLOCK_LANES = 64 / LANE_VALUES }; /* a lane holds 8 values, so 8 lanes a block of 64 */

static __device__ __forceinline__ uint8_t code_4bit(const quant_order_t &order, float x) {
    int place = 0;
    for (int k = 0; k < 15; k++) place += x > order.mid[k];
    return order.ascending[place];
}

static __device__ __forceinline__ uint8_t code_int8(float x) {
    float v = rintf(x * 127.0f);
    return (uint8_t)(int8_t)(v >= -127.0f ? (v <= 127.0f ? v : 127.0f) : -127.0f);
}

/* n values that start a block -> codes and absmax; quant_encode(). */
template <bool INT8, typename S> static __global__ void __launch_bounds__(THREADS)
    quantize_kernel(const S *x, size_t n, const __grid_constant__ quant_order_t order, uint8_t *codes, float *absmax) {
    constexpr int BYTES = INT8 ? LANE_VALUES : LANE_VALUES / 2;
    size_t lane = (size_t)blockIdx.x * THREADS + threadIdx.x, i = lane * LANE_VALUES, block = lane / BLOCK_LANES;
    float v[LANE_VALUES], top = 0;
    for (int j = 0; j < LANE_VALUES; j++) {
        v[j] = i + j < n ? element_load(x + i + j) : 0;
        top = fmaxf(top, fabsf(v[j]));
    }
    for (int d = 1; d < BLOCK_LANES; d *= 2) top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, d));
    if (i >= n) return;
    if (lane % BLOCK_LANES == 0) absmax[block] = top;
    /* As bitsandbytes does: a product with the reciprocal in full blocks, a quotient in a short one. */
    float divisor = top > QUANT_ABSMAX_MIN ? top : QUANT_ABSMAX_MIN, inverse = 1.0f / divisor;
    bool full = (block + 1) * QUANT_BLOCK <= n;
    code_run_t<BYTES> run;
    for (int j = 0; j < LANE_VALUES; j++) {
        float y = full ? v[j] * inverse : i + j < n ? v[j] / divisor : 0;
        if (INT8) run.byte[j % BYTES] = code_int8(y);
        else if (j % 2 == 0) run.byte[j / 2] = (uint8_t)(code_4bit(order, y) << 4);
        else run.byte[j / 2] |= code_4bit(order, y);
    }
    if (full) {
        *reinterpret_cast<code_run_t<BYTES> *>(codes + lane * BYTES) = run;
        return;
    }
    for (int j = 0; j < BYTES; j++)
        if (i + (size_t)j * LANE_VALUES / BYTES < n) codes[lane * BYTES + j] = run.byte[j];
}

/* quant_encode() for INT8_ZEROPOINT. */
template <typename S> static __global__ void __launch_bounds__(THREADS)
    quantize_zeropoint_kernel(const S *x, size_t n, uint8_t *codes, float *constants) {
    size_t lane = (size_t)blockIdx.x * THREADS + threadIdx.x, i = lane * LANE_VALUES;
    float v[LANE_VALUES], lo = 0, hi = 0;
    for (int j = 0; j < LANE_VALUES; j++) {
        v[j] = i + j < n ? element_load(x + i + j) : 0;
        lo = fminf(lo, v[j]);
        hi = fmaxf(hi, v[j]);
    }
    for (int d = 1; d < BLOCK_LANES; d *= 2) {
        lo = fminf(lo, __shfl_xor_sync(FULL_WARP, lo, d));
        hi = fmaxf(hi, __shfl_xor_sync(FULL_WARP, hi, d));
    }
    if (i >= n) return;
    float constant = quant_zeropoint_make(lo, hi);
    quant_zeropoint_t z = quant_zeropoint(constant);
    if (lane % BLOCK_LANES == 0) constants[lane / BLOCK_LANES] = constant;
    code_run_t<LANE_VALUES> run;
    for (int j = 0; j < LANE_VALUES; j++) run.byte[j] = quant_zeropoint_code(z, v[j]);
    if (i + LANE_VALUES <= n) {
        *reinterpret_cast<code_run_t<LANE_VALUES> *>(codes + i) = run;
        return;
    }
    for (int j = 0; i + j < n; j++) codes[i + j] = run.byte[j];
}

/* n values -> BF16 or F16, with the bits of the host codec also where they are not numbers. */
template <bool to_f16, typename S> static __global__ void __launch_bounds__(THREADS)
    round_kernel(const S *x, size_t n, uint16_t *out) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float v = element_load(x + i);
    out[i] = to_f16 ? f16_from_f32(v) : bf16_from_f32(v);
}

/* The second level: a warp takes 256 constants; quant_encode_constants(). */
static __global__ void __launch_bounds__(THREADS)
    quantize_constants_kernel(const float *absmax, size_t n, float mean, const uint8_t *nearest, uint8_t *absmax_q,
                              float *nested_absmax) {
    enum { EACH = QUANT_NESTED_BLOCK / WARP };
    size_t nested = ((size_t)blockIdx.x * THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    size_t begin = nested * QUANT_NESTED_BLOCK + lane;
    float v[EACH], top = 0;
    for (int j = 0; j < EACH; j++) {
        size_t i = begin + (size_t)j * WARP;
        v[j] = i < n ? absmax[i] - mean : 0;
        top = fmaxf(top, fabsf(v[j]));
    }
    for (int d = 1; d < WARP; d *= 2) top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, d));
    if (nested * QUANT_NESTED_BLOCK < n && lane == 0) nested_absmax[nested] = top;
    float inverse = 1.0f / top;
    for (int j = 0; j < EACH; j++) {
        size_t i = begin + (size_t)j * WARP;
        if (i < n) absmax_q[i] = top > 0 ? dynamic_code(nearest, __fmul_rn(v[j], inverse)) : 0;
    }
}

/* ---- quantization: launchers ---------------------------------------------------------------------------------- */

/* f(S()) for the type of the source. */
template <typename F> static void by_source(dtype_t type, F f) {
    CHECK(type == DT_F32 || type == DT_BF16 || type == DT_F16);
    if (type == DT_F32) f(float());
    else if (type == DT_BF16) f(bf16_t());
    else f(f16_t());
}

/* n values x, on the device, which are elements [first, first + n) of w. */
static void quantize_piece(backend_t *be, qweight_t *w, const void *x, dtype_t x_type, size_t first, size_t n,
                           float *absmax) {
    cudaStream_t s = compute_stream(be);
    uint8_t *codes = w->codes + quant_code_bytes(w->type, first);
    unsigned grid = grid_for(n, THREADS * LANE_VALUES);
    by_source(x_type, [&](auto source) {
        using S = decltype(source);
        const S *from = (const S *)x;
        if (w->type == QUANT_F16)
            LAUNCH((round_kernel<true, S>), grid_for(n, THREADS), THREADS, 0, s, from, n, (uint16_t *)codes);
        else if (w->type == QUANT_NONE)
            LAUNCH((round_kernel<false, S>), grid_for(n, THREADS), THREADS, 0, s, from, n, (uint16_t *)codes);
        else if (w->type == QUANT_INT8_ZEROPOINT)
            LAUNCH((quantize_zeropoint_kernel<S>), grid, THREADS, 0, s, from, n, codes, absmax + first / QUANT_BLOCK);
        else if (w->type == QUANT_INT8)
            LAUNCH((quantize_kernel<true, S>), grid, THREADS, 0, s, from, n, quant_order_t(), codes,
                   absmax + first / QUANT_BLOCK);
        else
            LAUNCH((quantize_kernel<false, S>), grid, THREADS, 0, s, from, n, quant_order(w->type), codes,
                   absmax + first / QUANT_BLOCK);
    });
}

/* Whether the source is what the weight holds. */
static bool is_held_as(const qweight_t *w, dtype_t type) {
    return (w->type == QUANT_NONE && type == DT_BF16) || (w->type == QUANT_F16 && type == DT_F16);
}

static void quantize(backend_t *be, qweight_t *w, const void *host_x, dtype_t x_type, size_t first, size_t n,
                     float *absmax) {
    cuda_impl_t *impl = cuda_impl(be);
    const size_t size = dtype_size(x_type), step = STAGING_PIECE / size;
    CHECK(first % QUANT_BLOCK == 0 && n <= qweight_count(w) - first);
    CHECK(n % QUANT_BLOCK == 0 || first + n == qweight_count(w));
    if (is_held_as(w, x_type)) {
        be->upload(be, w->codes + quant_code_bytes(w->type, first), host_x, n * size);
        return;
    }
    CHECK((uintptr_t)w->codes % 16 == 0);
    impl->weights_touched = true;
    for (size_t at = 0; at < n; at += step) {
        size_t m = min_size(step, n - at), bytes = m * size;
        size_t place = staging_take(impl, (const unsigned char *)host_x + at * size, bytes);
        CUDA_CHECK(cudaMemcpyAsync(impl->staging.device + place, impl->staging.host + place, bytes,
                                   cudaMemcpyHostToDevice, compute_stream(be)));
        quantize_piece(be, w, impl->staging.device + place, x_type, first + at, m, absmax);
        staging_release(impl);
    }
}

static void add_up(void *ctx, const unsigned char *piece, size_t bytes) {
    const float *x = (const float *)piece;
    double sum = *(double *)ctx;
    for (size_t i = 0; i < bytes / sizeof *x; i++) sum += x[i];
    *(double *)ctx = sum;
}

/* On the host and in order: the mean goes into a file, so its last bit counts, and that depends on the order. */
static float mean_of(const backend_t *be, const float *absmax, size_t n) {
    double sum = 0;
    download_pieces(be, absmax, n * sizeof *absmax, add_up, &sum);
    return n ? (float)(sum / (double)n) : 0;
}

static void quantize_constants(backend_t *be, qweight_t *w, const float *absmax) {
    CHECK(w->double_quant && quant_can_nest(w->type));
    size_t n = quant_blocks(qweight_count(w));
    w->nested_offset = mean_of(be, absmax, n);
    cuda_impl(be)->weights_touched = true;
    LAUNCH(quantize_constants_kernel, grid_for(n, THREADS / WARP * QUANT_NESTED_BLOCK), THREADS, 0, compute_stream(be),
           absmax, n, w->nested_offset, cuda_impl(be)->signed_map->nearest, w->absmax_q, w->nested_absmax);
}

void cuda_quant_ops(backend_t *be) {
    be->quantize = quantize;
    be->quantize_constants = quantize_constants;
    be->dequant = dequant;
}
