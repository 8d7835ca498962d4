/* Dropout: masks are computed anew wherever they are needed, and stored nowhere. */
#include "cuda/dropout.h"
#include "cuda/vec.h"

/* Rows of a block, of which so many are in flight at a time. */
enum { THREADS = 256, DROPOUT_ROWS = 8, IN_FLIGHT = 4 };

/* The bits of N values, 16 bytes of them or one. */
template <typename A, int N> struct bits_t { using type = uint4; };
template <typename A> struct bits_t<A, 1> { using type = A; };

/* Two values of BF16 under two fields of a word. A field in the upper half of a word is compared where it is: what lies
 * below it does not count against a bound whose lower half is 0. */
static __device__ __forceinline__ uint32_t keep_pair(uint32_t x, uint32_t fields, uint32_t least) {
    x &= fields << 16 >= least << 16 ? 0xffffffff : 0xffff0000;
    return x & (fields >= least << 16 ? 0xffffffff : 0x0000ffff);
}

/* The values of channels from c on, zeros where they are dropped. */
static __device__ __forceinline__ uint4 keep(const bf16_t *, uint4 x, uint64_t key, size_t c, uint32_t least) {
    uint64_t a = dropout_word(key, c / 4), b = dropout_word(key, c / 4 + 1);
    return make_uint4(keep_pair(x.x, (uint32_t)a, least), keep_pair(x.y, (uint32_t)(a >> 32), least),
                      keep_pair(x.z, (uint32_t)b, least), keep_pair(x.w, (uint32_t)(b >> 32), least));
}

static __device__ __forceinline__ uint4 keep(const float *, uint4 x, uint64_t key, size_t c, uint32_t least) {
    uint64_t word = dropout_word(key, c / 4);
    uint32_t low = (uint32_t)word, high = (uint32_t)(word >> 32), bound = least << 16;
    return make_uint4(low << 16 >= bound ? x.x : 0, low >= bound ? x.y : 0, high << 16 >= bound ? x.z : 0,
                      high >= bound ? x.w : 0);
}

template <typename A> static __device__ __forceinline__ A keep(const A *, A x, uint64_t key, size_t c, uint32_t least) {
    return (dropout_word(key, c / 4) >> c % 4 * 16 & 0xffff) >= least ? x : (A)0;
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    dropout_kernel(A *y, size_t ldy, const A *x, size_t ldx, size_t rows, size_t C, uint32_t least, dropout_t d) {
    using bits = typename bits_t<A, N>::type;
    SHARED(uint64_t, key, DROPOUT_ROWS);
    size_t first = (size_t)blockIdx.x * DROPOUT_ROWS;
    int n = rows - first < DROPOUT_ROWS ? (int)(rows - first) : DROPOUT_ROWS;
    if ((int)threadIdx.x < n) {
        size_t t = first + threadIdx.x;
        key[threadIdx.x] = dropout_row_key(d.seed, d.step, d.row[t], d.pos[t], d.layer, d.site);
    }
    __syncthreads();
    size_t run = (size_t)blockIdx.y * blockDim.x + threadIdx.x, c = run * N;
    if (c >= C) return;
    for (int t = 0; t < n; t += IN_FLIGHT) {
        bits v[IN_FLIGHT];
#pragma unroll
        for (int i = 0; i < IN_FLIGHT; i++)
            if (t + i < n) v[i] = reinterpret_cast<const bits *>(x + (first + t + i) * ldx)[run];
#pragma unroll
        for (int i = 0; i < IN_FLIGHT; i++)
            if (t + i < n)
                reinterpret_cast<bits *>(y + (first + t + i) * ldy)[run] = keep(x, v[i], key[t + i], c, least);
    }
}

void dropout_rows(backend_t *be, mat_t y, mat_t x, size_t T, size_t C, size_t first, const dropout_t *d) {
    CHECK(y.ld >= C && x.ld >= C);
    if (T == 0 || C == 0) return;
    dropout_t piece = *d;
    piece.row += first;
    piece.pos += first;
    by_lanes(be->act, columns_aligned16(be->act, C, y, x), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        unsigned threads = block_of(C / N, THREADS);
        dim3 grid(grid_for(T, DROPOUT_ROWS), grid_for(C, (size_t)threads * N));
        LAUNCH((dropout_kernel<A, N>), grid, threads, 0, compute_stream(be), (A *)y.p, y.ld, (const A *)x.p, x.ld, T, C,
               dropout_least(d->p), piece);
    });
}
