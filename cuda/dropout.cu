/* Dropout: masks are computed anew wherever they are needed, and stored nowhere. */
#include "cuda/dropout.h"
#include "cuda/vec.h"

/* Rows of a block: half of the arithmetic of a mask depends on the channel alone, so a thread keeps its channels
 * and goes down the rows; the compiler moves that half out of the loop. */
enum { THREADS = 256, DROPOUT_ROWS = 16 };

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    dropout_kernel(A *y, size_t ldy, const A *x, size_t ldx, size_t rows, size_t C, dropout_t d) {
    SHARED(uint64_t, key, DROPOUT_ROWS);
    size_t first = (size_t)blockIdx.x * DROPOUT_ROWS;
    int n = rows - first < DROPOUT_ROWS ? (int)(rows - first) : DROPOUT_ROWS;
    if ((int)threadIdx.x < n) {
        size_t t = first + threadIdx.x;
        key[threadIdx.x] = dropout_row_key(d.seed, d.step, d.row[t], d.pos[t], d.layer, d.site);
    }
    __syncthreads();
    size_t c = ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (c >= C) return;
    for (int t = 0; t < n; t++) {
        float v[N];
        vec_load(v, x + (first + t) * ldx + c);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = dropout_keep(key[t], c + j, d.p) ? v[j] : 0.0f;
        vec_store(y + (first + t) * ldy + c, v);
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
               piece);
    });
}
