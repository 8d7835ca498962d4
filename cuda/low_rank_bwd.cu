/* du = s dy B and dB = dy^T u in one pass over dy: cuda/low_rank.h. A block has 512 channels of dy and a share of the
 * tokens, 16 at a time; a warp has 64 of these channels. Of B its rows stay in registers, and the sums of dB; those of du
 * over the block's channels are complete with each tile. */
#include "cuda/low_rank.h"

#include <type_traits>

#include "cuda/low_rank_tile.h"

namespace {

enum { WARPS = 8, THREADS = 32 * WARPS, STAGES = 4, TOKENS = 16, OWN = 64, COLS = OWN * WARPS };
/* Fewer blocks than of other kernels: each leaves a slab of dB, and one of du for its tokens. */
enum { BLOCKS = 128 };

/* R: the largest rank, up to 16 or 32. */
template <int R> struct bwd_t {
    enum { MT = OWN / 16, NT = R / 8, LD = tile_ld<COLS>, LDU = tile_ld<R>, STAGE = TOKENS * (LD + LDU) };
    enum { PART = TOKENS * tile_ld<R> }; /* a warp's part of du */
    static constexpr size_t bytes = STAGES * STAGE * sizeof(bf16_t) + WARPS * PART * sizeof(float);
};

typedef struct {
    const bf16_t *b;
    float *dB; /* added to, where there is one share of the tokens */
    float *du; /* [blocks][T][r] */
    uint32_t rows, r;
    uint32_t first, u; /* its first column of dy, and of u */
    uint32_t blocks;   /* that its rows are cut into */
    uint32_t dB_at;    /* of a slab of dB */
} bwd_layer_t;

typedef struct {
    const bf16_t *dy, *u;
    uint32_t ld_dy, ld_u;
    uint32_t T, share; /* share: of the tokens */
    uint32_t n;
    float *dB; /* [gridDim.y][dB_floats]; NULL: one share of the tokens */
    size_t dB_floats;
    bwd_layer_t layer[LINEAR_MAX];
} bwd_args_t;

/* B of the warp's channels as operands B, from its rows. */
template <int R>
__device__ __forceinline__ void load_b(uint32_t (&fb)[bwd_t<R>::MT][R / 8][2], const bwd_layer_t &l, uint32_t row) {
    const uint32_t lane = threadIdx.x % 32;
    auto value = [&](uint32_t o, uint32_t c) { return o < l.rows && c < l.r ? l.b[(size_t)o * l.r + c] : (bf16_t)0; };
#pragma unroll
    for (int k = 0; k < bwd_t<R>::MT; k++)
#pragma unroll
        for (int n = 0; n < R / 8; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const uint32_t o = row + k * 16 + h * 8 + lane % 4 * 2, c = n * 8 + lane / 4;
                fb[k][n][h] = value(o, c) | (uint32_t)value(o + 1, c) << 16;
            }
}

/* The warp's part of du for the tile: its channels. */
template <int R>
__device__ __forceinline__ void du_part(float *part, const bf16_t *dy, const uint32_t (&fb)[bwd_t<R>::MT][R / 8][2]) {
    using B = bwd_t<R>;
    float sum[B::NT][4] = {};
    dy += lane_straight<COLS>();
#pragma unroll
    for (int k = 0; k < B::MT; k++) {
        uint32_t fy[4];
        ldmatrix_x4(fy, dy + k * 16);
#pragma unroll
        for (int n = 0; n < B::NT; n++) mma_bf16_16816(sum[n], fy, fb[k][n]);
    }
    const int lane = threadIdx.x % 32;
    part += lane / 4 * tile_ld<R> + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < B::NT; n++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(float2 *)(part + h * 8 * tile_ld<R> + n * 8) = make_float2(sum[n][2 * h], sum[n][2 * h + 1]);
}

template <int R>
__device__ __forceinline__ void dB_product(float (&sum)[bwd_t<R>::MT][R / 8][4], const bf16_t *dy, const bf16_t *u) {
    using B = bwd_t<R>;
    uint32_t fu[B::NT / 2][4];
    dy += lane_across<COLS>();
    u += lane_straight<R>();
#pragma unroll
    for (int n = 0; n < B::NT; n += 2) ldmatrix_x4_trans(fu[n / 2], u + n * 8);
#pragma unroll
    for (int m = 0; m < B::MT; m++) {
        uint32_t fy[4];
        ldmatrix_x4_trans(fy, dy + m * 16);
#pragma unroll
        for (int n = 0; n < B::NT; n++) mma_bf16_16816(sum[m][n], fy, fu[n / 2] + n % 2 * 2);
    }
}

/* du of the tile from all warps' parts, in their order. */
template <int R> __device__ __forceinline__ void store_du(float *du, const float *parts, uint32_t r, int tokens) {
#pragma unroll
    for (int i = 0; i < TOKENS * R; i += THREADS) {
        const int t = (int)(i + threadIdx.x) / R, c = threadIdx.x % R;
        if (t >= tokens || c >= (int)r) continue;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += parts[w * bwd_t<R>::PART + t * tile_ld<R> + c];
        du[t * r + c] = sum;
    }
}

template <int R> __device__ __forceinline__ void store_dB(const bwd_args_t &g, const bwd_layer_t &l, uint32_t row,
                                                          const float (&sum)[bwd_t<R>::MT][R / 8][4]) {
    const uint32_t lane = threadIdx.x % 32;
    float *slab = g.dB ? g.dB + blockIdx.y * g.dB_floats + l.dB_at : l.dB;
#pragma unroll
    for (int m = 0; m < bwd_t<R>::MT; m++)
#pragma unroll
        for (int n = 0; n < R / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t o = row + m * 16 + i / 2 * 8 + lane / 4, c = n * 8 + lane % 4 * 2 + i % 2;
                if (o >= l.rows || c >= l.r) continue;
                float *to = slab + (size_t)o * l.r + c;
                *to = g.dB ? sum[m][n][i] : *to + sum[m][n][i];
            }
}

template <int R> __global__ void __launch_bounds__(THREADS) bwd_kernel(const __grid_constant__ bwd_args_t g) {
    using B = bwd_t<R>;
    DYN_SMEM(bf16_t, tiles);
    float *parts = (float *)(tiles + STAGES * B::STAGE);
    uint32_t block = blockIdx.x, layer = 0;
    while (block >= g.layer[layer].blocks) block -= g.layer[layer++].blocks;
    const bwd_layer_t &l = g.layer[layer];
    const uint32_t warp = threadIdx.x / 32, first = block * COLS, own = first + warp * OWN, t0 = blockIdx.y * g.share;
    const int n = (int)min(g.share, g.T - t0);
    const bf16_t *dy = g.dy + (size_t)t0 * g.ld_dy + l.first + first, *u = g.u + (size_t)t0 * g.ld_u + l.u;
    float *du = l.du + ((size_t)block * g.T + t0) * l.r;
    auto load = [&](int step) {
        bf16_t *tile = tiles + step % STAGES * B::STAGE;
        const int t = step * TOKENS;
        if (t < n) {
            load_tile<TOKENS, COLS, THREADS>(tile, dy, g.ld_dy, n - t, (int)(l.rows - first));
            load_tile<TOKENS, R, THREADS>(tile + TOKENS * B::LD, u, g.ld_u, n - t, (int)l.r);
            dy += (size_t)TOKENS * g.ld_dy;
            u += (size_t)TOKENS * g.ld_u;
        }
        cp_async_commit();
    };
    for (int step = 0; step < STAGES - 1; step++) load(step);
    uint32_t fb[B::MT][B::NT][2];
    float sum[B::MT][B::NT][4] = {};
    load_b<R>(fb, l, own);
    for (int step = 0; step * TOKENS < n; step++) {
        const bf16_t *tile = tiles + step % STAGES * B::STAGE;
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* this tile has landed for all; all have read the one that is loaded over, and the parts */
        load(step + STAGES - 1);
        du_part<R>(parts + warp * B::PART, tile + warp * OWN, fb);
        dB_product<R>(sum, tile + warp * OWN, tile + TOKENS * B::LD);
        __syncthreads();
        store_du<R>(du + (size_t)step * TOKENS * l.r, parts, l.r, n - step * TOKENS);
    }
    store_dB<R>(g, l, own, sum);
}

/* ---- launchers ------------------------------------------------------------------------------------------ */

/* How the work is cut: `tokens` at a time, in `parts` shares; the slabs of dB lie before those of du. */
typedef struct {
    size_t tokens, parts;
} cut_t;

/* Half of the place at most is for dB; what is left decides how many tokens there are slabs of du for. */
cut_t cut_for(const bwd_args_t &g, size_t T) {
    size_t blocks = 0, du_floats = 0;
    for (uint32_t i = 0; i < g.n; i++) {
        blocks += g.layer[i].blocks;
        du_floats += g.layer[i].blocks * g.layer[i].r;
    }
    const size_t most = min_size(ceil_div(T, TOKENS), SLAB_FLOATS / 2 / g.dB_floats);
    const size_t parts = parts_for(blocks, most, BLOCKS), left = SLAB_FLOATS - (parts > 1 ? parts * g.dB_floats : 0);
    return {min_size(T, left / du_floats / TOKENS * TOKENS), parts};
}

template <int R> void launch(backend_t *be, const bwd_args_t &g, unsigned blocks) {
    const size_t bytes = bwd_t<R>::bytes;
    CUDA_CHECK(cudaFuncSetAttribute(bwd_kernel<R>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    LAUNCH(bwd_kernel<R>, dim3(blocks, grid_for(g.T, g.share)), THREADS, bytes, compute_stream(be), g);
}

/* The next tokens, of which `parts` shares are the most. */
void bwd(backend_t *be, bwd_args_t g, size_t parts, const linear_t *l, mat_t du) {
    g.share = (uint32_t)share_of(g.T, parts, TOKENS);
    const uint32_t shares = grid_for(g.T, g.share);
    float *place = slab_place(be);
    g.dB = shares > 1 ? place : NULL;
    place += shares > 1 ? shares * g.dB_floats : 0;
    unsigned blocks = 0;
    uint32_t r = 0;
    for (uint32_t i = 0; i < g.n; i++) {
        bwd_layer_t *p = &g.layer[i];
        p->du = place;
        place += (size_t)p->blocks * g.T * p->r;
        blocks += p->blocks;
        r = r < p->r ? p->r : r;
    }
    if (r <= 16) launch<16>(be, g, blocks);
    else launch<32>(be, g, blocks);
    for (uint32_t i = 0, part = 0; i < g.n; i++, part++) {
        const bwd_layer_t *p = &g.layer[i];
        while (l->part[part].r == 0) part++;
        const slabs_t of_du = {p->du, g.T, p->r, p->r, p->blocks, (size_t)g.T * p->r};
        slabs_to_rows(be, of_du, l->part[part].scale, {(bf16_t *)du.p + p->u, du.ld});
        if (shares == 1) continue;
        const slabs_t of_dB = {g.dB + p->dB_at, p->rows, p->r, p->r, shares, g.dB_floats};
        slabs_add(be, of_dB, 1, p->dB, p->r);
    }
}

/* Whether all adapters of the site can be read 16 bytes at a time, and are narrow. */
bool covers(const backend_t *be, mat_t dy, mat_t u, const linear_t *l) {
    if (!is_low_rank(be, l, 0, max_size(dy.ld, u.ld)) || !columns_aligned16(DT_BF16, 0, dy, u)) return false;
    for (size_t i = 0; i < l->n; i++) {
        const linear_part_t *p = &l->part[i];
        if (p->r > LOW_RANK_RANK || p->r % 8 || p->w->rows % 8) return false;
    }
    return true;
}

} // namespace

bool low_rank_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                  float *const dB[LINEAR_MAX]) {
    if (!covers(be, dy, u, l)) return false;
    bwd_args_t g = {};
    size_t first = 0, at = 0;
    for (size_t i = 0; i < l->n; first += l->part[i].w->rows, at += l->part[i++].r) {
        const linear_part_t *p = &l->part[i];
        if (p->r == 0) continue;
        const uint32_t rows = (uint32_t)p->w->rows, r = (uint32_t)p->r;
        g.layer[g.n++] = {
            (const bf16_t *)p->b, dB[i], NULL, rows, r, (uint32_t)first, (uint32_t)at, grid_for(rows, COLS),
            (uint32_t)g.dB_floats};
        g.dB_floats += (size_t)rows * r;
    }
    CHECK(g.dB_floats <= UINT32_MAX);
    const cut_t cut = cut_for(g, T);
    if (cut.tokens == 0 && T > 0) return false;
    g.ld_dy = (uint32_t)dy.ld, g.ld_u = (uint32_t)u.ld;
    for (size_t t = 0; t < T; t += cut.tokens) {
        g.T = (uint32_t)min_size(cut.tokens, T - t);
        g.dy = (const bf16_t *)dy.p + t * dy.ld, g.u = (const bf16_t *)u.p + t * u.ld;
        bwd(be, g, cut.parts, l, {(bf16_t *)du.p + t * du.ld, du.ld});
    }
    return true;
}
