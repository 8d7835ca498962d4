/* Rotary positions, in place: a block for each token. A thread keeps its factors and applies them to one head after
 * another. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* Block [pairs of a head / N, heads at a time]. A thread has N pairs of a head in 2N elements: N and N more R/2 behind
 * them, or 2N side by side. */
template <typename A, int N, bool interleaved> __global__ void __launch_bounds__(THREADS)
    rope_kernel(A *x, size_t ldx, const __grid_constant__ rope_t rope, const int32_t *pos, size_t H, float sign) {
    const size_t half = rope.R / 2, apart = interleaved ? N : half;
    const float *factors = rope.table + (size_t)pos[blockIdx.x] * rope.R;
    x += (size_t)blockIdx.x * ldx + threadIdx.y * rope.D;
    for (size_t i = (size_t)threadIdx.x * N; i < half; i += (size_t)blockDim.x * N) {
        float cs[2 * N];
        if constexpr (N == 1) {
            cs[0] = factors[2 * i];
            cs[1] = factors[2 * i + 1];
        } else {
            vec_load(cs, factors + 2 * i);
        }
        A *lo = x + (interleaved ? 2 * i : i); /* moves along: h * D + i takes more registers */
        for (size_t h = threadIdx.y; h < H; h += blockDim.y, lo += blockDim.y * rope.D) {
            float u[N], v[N];
            vec_load(u, lo);
            vec_load(v, lo + apart);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float &first = !interleaved ? u[j] : 2 * j < N ? u[2 * j] : v[2 * j - N];
                float &second = !interleaved ? v[j] : 2 * j + 1 < N ? u[2 * j + 1] : v[2 * j + 1 - N];
                float a = first, b = second, c = cs[2 * j], s = sign * cs[2 * j + 1];
                first = a * c - b * s;
                second = b * c + a * s;
            }
            vec_store(lo, u);
            vec_store(lo + apart, v);
        }
    }
}

static void rope(backend_t *be, mat_t x, const rope_t *rope, const int32_t *pos, size_t T, size_t H, int sign) {
    const size_t D = rope->D, half = rope->R / 2;
    CHECK(rope->R % 2 == 0 && rope->R <= D && x.ld >= H * D && (sign == 1 || sign == -1));
    if (T == 0 || H == 0 || half == 0) return;
    bool wide = rows_aligned16(be->act, half, rope->table) && columns_aligned16(be->act, D, x);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        size_t across = half / N < THREADS ? half / N : (size_t)THREADS;
        size_t down = H < THREADS / across ? H : THREADS / across;
        auto kernel = rope->interleaved ? rope_kernel<A, N, true> : rope_kernel<A, N, false>;
        LAUNCH(kernel, grid_for(T, 1), dim3((unsigned)across, (unsigned)down), 0, compute_stream(be), (A *)x.p, x.ld,
               *rope, pos, H, (float)sign);
    });
}

void cuda_rope_ops(backend_t *be) { be->rope = rope; }
