/* The collectives of a warp: what the last lane to arrive computes for all. */
#include "scheduler.h"

#include <algorithm>

namespace cuda_host {

enum { LANES = 32 };

const char *op_name(op_t op) {
    static const char *const names[] = {
        "__syncthreads",     "__syncthreads_count", "__syncthreads_or",  "__syncthreads_and", "__syncwarp",
        "__shfl_sync",       "__shfl_xor_sync",     "__shfl_down_sync",  "__shfl_up_sync",    "__ballot_sync",
        "__any_sync",        "__all_sync",          "__reduce_add_sync", "__reduce_min_sync", "__reduce_min_sync",
        "__reduce_max_sync", "__reduce_max_sync",   "__reduce_or_sync",  "__reduce_and_sync", "mma",
        "ldmatrix",          "ldmatrix.trans"};
    return names[op];
}

/* ---- shuffles ------------------------------------------------------------------------------------------ */
struct shuffle_t {
    uint64_t in, out;
    int source;
    size_t size;
};

/* The lane that `lane` reads; its own where the source lies outside its segment of `width` lanes. */
static int shuffle_source(op_t op, int lane, int operand, int width) {
    int first = lane & ~(width - 1), source;
    if (op == OP_SHFL) return first + (operand & (width - 1));
    if (op == OP_SHFL_XOR) source = lane ^ operand;
    else source = op == OP_SHFL_DOWN ? lane + operand : lane - operand;
    bool outside = op == OP_SHFL_UP ? source < first : source >= first + width;
    return outside || source < 0 ? lane : source;
}

static void shuffle_complete(thread_t *warp, uint32_t mask) {
    for (int i = 0; i < LANES; i++) {
        if (!(mask >> i & 1)) continue;
        auto s = (shuffle_t *)warp[i].payload;
        if (!(mask >> s->source & 1))
            fault(warp[i].at, "%s: lane %d reads lane %d, which is not in mask %08x", op_name(warp[i].op), i, s->source,
                  mask);
        auto from = (const shuffle_t *)warp[s->source].payload;
        if (from->size != s->size) fault(warp[i].at, "%s of values of different sizes", op_name(warp[i].op));
        s->out = from->in;
    }
}

uint64_t warp_shuffle(op_t op, size_t size, uint32_t mask, uint64_t value, int operand, int width, site_t at) {
    if (width < 1 || width > LANES || (width & (width - 1)))
        fault(at, "%s: width %d; expected a power of two up to 32", op_name(op), width);
    if (!self) fault(at, "%s outside a kernel", op_name(op));
    shuffle_t s = {value, 0, shuffle_source(op, thread_running()->lane, operand, width), size};
    collective(op, mask, &s, shuffle_complete, at);
    return s.out;
}

/* ---- votes and reductions --------------------------------------------------------------------------------- */
struct value_t {
    uint32_t in, out;
};

static void ballot_complete(thread_t *warp, uint32_t mask) {
    uint32_t bits = 0;
    for (int i = 0; i < LANES; i++)
        if ((mask >> i & 1) && ((value_t *)warp[i].payload)->in) bits |= 1u << i;
    for (int i = 0; i < LANES; i++)
        if (mask >> i & 1) ((value_t *)warp[i].payload)->out = bits;
}

uint32_t warp_ballot(op_t op, uint32_t mask, int predicate, site_t at) {
    value_t v = {(uint32_t)predicate, 0};
    collective(op, mask, &v, ballot_complete, at);
    return v.out;
}

static uint32_t combine(op_t op, uint32_t a, uint32_t b) {
    switch (op) {
    case OP_REDUCE_MIN: return std::min(a, b);
    case OP_REDUCE_MIN_SIGNED: return (uint32_t)std::min((int32_t)a, (int32_t)b);
    case OP_REDUCE_MAX: return std::max(a, b);
    case OP_REDUCE_MAX_SIGNED: return (uint32_t)std::max((int32_t)a, (int32_t)b);
    case OP_REDUCE_OR: return a | b;
    case OP_REDUCE_AND: return a & b;
    default: return a + b;
    }
}

static void reduce_complete(thread_t *warp, uint32_t mask) {
    int first = __builtin_ctz(mask);
    uint32_t all = ((value_t *)warp[first].payload)->in;
    for (int i = first + 1; i < LANES; i++)
        if (mask >> i & 1) all = combine(warp[i].op, all, ((value_t *)warp[i].payload)->in);
    for (int i = 0; i < LANES; i++)
        if (mask >> i & 1) ((value_t *)warp[i].payload)->out = all;
}

uint32_t warp_reduce(op_t op, uint32_t mask, uint32_t value, site_t at) {
    value_t v = {value, 0};
    collective(op, mask, &v, reduce_complete, at);
    return v.out;
}

/* ---- matrix fragments ----------------------------------------------------------------------------------------- */
/* Layouts of m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"): lane = 4 * group + t.
 * a: register i has row group + 8 * (i & 1), columns 2t, 2t+1 (+ 8 for i >= 2); b: register i has rows 2t, 2t+1
 * (+ 8 * i), column group; d: value i has row group + 8 * (i >> 1), column 2t + (i & 1). */
struct mma_t {
    float *d;
    const uint32_t *a, *b;
};

static float low(uint32_t pair) { return cuda_host_bits<float>(pair << 16); }
static float high(uint32_t pair) { return cuda_host_bits<float>(pair & 0xffff0000u); }

static void mma_complete(thread_t *warp, uint32_t) {
    float A[16][16], B[16][8], D[16][8];
    for (int lane = 0; lane < LANES; lane++) {
        auto m = (const mma_t *)warp[lane].payload;
        int group = lane >> 2, t = (lane & 3) * 2;
        for (int i = 0; i < 4; i++) {
            int row = group + (i & 1) * 8, col = t + (i >> 1) * 8;
            A[row][col] = low(m->a[i]);
            A[row][col + 1] = high(m->a[i]);
        }
        for (int i = 0; i < 2; i++) {
            B[t + i * 8][group] = low(m->b[i]);
            B[t + i * 8 + 1][group] = high(m->b[i]);
        }
        for (int i = 0; i < 4; i++) D[group + (i >> 1) * 8][t + (i & 1)] = m->d[i];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) D[i][j] += A[i][k] * B[k][j];
    for (int lane = 0; lane < LANES; lane++) {
        auto m = (const mma_t *)warp[lane].payload;
        int group = lane >> 2, t = (lane & 3) * 2;
        for (int i = 0; i < 4; i++) m->d[i] = D[group + (i >> 1) * 8][t + (i & 1)];
    }
}

void warp_mma(float d[4], const uint32_t a[4], const uint32_t b[2], site_t at) {
    mma_t m = {d, a, b};
    collective(OP_MMA, 0xffffffffu, &m, mma_complete, at);
}

struct ldmatrix_t {
    uint32_t *out;
    const uint32_t *row;
};

/* Value c of a row: two 16-bit values a word, the first in the low half. */
static uint32_t element(const thread_t *warp, int row, int c) {
    uint32_t pair = ((const ldmatrix_t *)warp[row].payload)->row[c / 2];
    return c % 2 ? pair >> 16 : pair & 0xffff;
}

/* Register j of lane 4 * group + t: of matrix j, row group, values 2t and 2t+1; transposed, column group. */
static void ldmatrix_complete(thread_t *warp, uint32_t) {
    bool trans = warp[0].op == OP_LDMATRIX_TRANS;
    for (int lane = 0; lane < LANES; lane++) {
        int group = lane >> 2, t = (lane & 3) * 2;
        for (int j = 0; j < 4; j++) {
            uint32_t x = trans ? element(warp, j * 8 + t, group) : element(warp, j * 8 + group, t);
            uint32_t y = trans ? element(warp, j * 8 + t + 1, group) : element(warp, j * 8 + group, t + 1);
            ((ldmatrix_t *)warp[lane].payload)->out[j] = x | y << 16;
        }
    }
}

void warp_ldmatrix(op_t op, uint32_t r[4], const uint32_t row[4], site_t at) {
    ldmatrix_t m = {r, row};
    collective(op, 0xffffffffu, &m, ldmatrix_complete, at);
}

} // namespace cuda_host
