/* Rotary positions, in place: a block for each token. A thread keeps its cosines and sines and applies them to one
 * head after another. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* Block [pairs of a head / N, heads at a time]. */
template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    rope_kernel(A *x, size_t ldx, const float *table, const int32_t *pos, size_t H, size_t D, float sign) {
    size_t half = D / 2;
    const float *cos_sin = table + (size_t)pos[blockIdx.x] * D;
    x += (size_t)blockIdx.x * ldx + threadIdx.y * D;
    for (size_t i = (size_t)threadIdx.x * N; i < half; i += (size_t)blockDim.x * N) {
        float cs[2 * N];
        if constexpr (N == 1) {
            cs[0] = cos_sin[2 * i];
            cs[1] = cos_sin[2 * i + 1];
        } else {
            vec_load(cs, cos_sin + 2 * i);
        }
        A *lo = x + i; /* moves along: h * D + i takes more registers */
        for (size_t h = threadIdx.y; h < H; h += blockDim.y, lo += blockDim.y * D) {
            float a[N], b[N], ra[N], rb[N];
            vec_load(a, lo);
            vec_load(b, lo + half);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float c = cs[2 * j], s = sign * cs[2 * j + 1];
                ra[j] = a[j] * c - b[j] * s;
                rb[j] = b[j] * c + a[j] * s;
            }
            vec_store(lo, ra);
            vec_store(lo + half, rb);
        }
    }
}

static void rope(backend_t *be, void *x, size_t ldx, const float *table, const int32_t *pos, size_t T, size_t H,
                 size_t D, int sign) {
    CHECK(D % 2 == 0 && ldx >= H * D && (sign == 1 || sign == -1));
    if (T == 0 || H == 0 || D == 0) return;
    bool wide = rows_aligned16(be->act, D / 2, table) && rows_aligned16(be->act, ldx, x);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        size_t across = D / 2 / N < THREADS ? D / 2 / N : (size_t)THREADS;
        size_t down = H < THREADS / across ? H : THREADS / across;
        LAUNCH((rope_kernel<A, N>), grid_for(T, 1), dim3((unsigned)across, (unsigned)down), 0, compute_stream(be),
               (A *)x, ldx, table, pos, H, D, (float)sign);
    });
}

void cuda_rope_ops(backend_t *be) { be->rope = rope; }
