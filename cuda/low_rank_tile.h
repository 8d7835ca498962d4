/* What the kernels of cuda/low_rank.h share: tiles in shared memory, fragments of mma m16n8k16, slabs.
 *
 * A tile's rows lie 8 elements further apart than they have columns (a multiple of 16): the 8 rows of an ldmatrix then
 * fall into different banks. Fragments as in cuda/attention_tile.h. */
#ifndef CUDA_LOW_RANK_TILE_H
#define CUDA_LOW_RANK_TILE_H

#include "cuda/low_rank.h"
#include "cuda/vec.h"

template <int COLS> constexpr int tile_ld = COLS + 8;

/* Starts the copy of a tile. Of src only so many rows and columns (a multiple of 8) are there: zeros for the others.
 * Within a tile 32 bits are enough to count elements. */
template <int ROWS, int COLS, int THREADS>
static __device__ __forceinline__ void load_tile(bf16_t *tile, const bf16_t *src, uint32_t ld, int rows, int cols) {
    constexpr int CHUNKS = COLS / 8, STEP = THREADS / CHUNKS; /* 16-byte pieces of a row; rows at a time */
    const uint32_t first = threadIdx.x / CHUNKS, col = threadIdx.x % CHUNKS * 8;
    const bool there = (int)col < cols;
    if (THREADS % CHUNKS && first >= STEP) return;
    tile += first * tile_ld<COLS> + col;
    src += first * ld + col;
#pragma unroll
    for (int r = 0; r < ROWS; r += STEP) {
        if (ROWS % STEP == 0 || r + first < ROWS)
            cp_async16_zfill(tile + r * tile_ld<COLS>, src + r * ld, there && r + (int)first < rows);
    }
}

/* Where a lane's ldmatrix row begins in a 16x16 piece of a tile, by the operand and how the tile has it: A by its rows,
 * or B by its rows (transposed by ldmatrix); B by its columns, or A by its columns (transposed). */
template <int COLS> static __device__ __forceinline__ int lane_straight() {
    const int lane = threadIdx.x % 32;
    return lane % 16 * tile_ld<COLS> + lane / 16 * 8;
}

template <int COLS> static __device__ __forceinline__ int lane_across() {
    const int lane = threadIdx.x % 32;
    return (lane / 16 * 8 + lane % 8) * tile_ld<COLS> + lane / 8 % 2 * 8;
}

/* ---- slabs --------------------------------------------------------------------------------------------- */

/* n matrices of rows x cols sums, `stride` apart. */
typedef struct {
    const float *p;
    uint32_t rows, cols, ld, n;
    size_t stride;
} slabs_t;

/* out = scale * their sum. */
void slabs_to_rows(backend_t *be, const slabs_t &s, float scale, mat_t out);
/* out += scale * their sum. */
void slabs_add(backend_t *be, const slabs_t &s, float scale, float *out, size_t ld);

/* The place for them, and the floats that it has. */
float *slab_place(const backend_t *be);
static const size_t SLAB_FLOATS = CUDA_BLAS_BYTES / sizeof(float);
static_assert(SLAB_FLOATS >= 128 * LOW_RANK_WIDTH, "a tile of every kind has room");

/* ---- what a launcher chooses ---------------------------------------------------------------------------- */

/* About as many blocks as an H100 can hold at once. */
enum { LOW_RANK_BLOCKS = 256 };

/* Parts to cut n into, so that `others` times as many make that many blocks: between 1 and `most`. */
static inline size_t parts_for(size_t others, size_t most, size_t blocks) {
    return max_size(1, min_size(most, (blocks + others / 2) / others));
}

/* What a part has of n, a multiple of `unit`. */
static inline size_t share_of(size_t n, size_t parts, size_t unit) { return ceil_div(ceil_div(n, unit), parts) * unit; }

/* ld: of what tiles are loaded from, a tile of at most 128 rows at a time. */
static inline bool is_low_rank(const backend_t *be, const linear_t *l, size_t width, size_t ld) {
    return ld < UINT32_MAX / 128 && be->act == DT_BF16 && l->ab_type == DT_BF16 && linear_width(l) > 0 &&
           width <= LOW_RANK_WIDTH;
}

#endif
