#include "cpu/ops.h"

enum {
    CHUNK = 16384, /* elements of one task of adamw */
    PARTS = 256,   /* partial sums of sumsq, whatever the number of threads */
    WORTH_IT = 32768
};

static void sumsq(backend_t *be, double *out, const float *x, size_t n) {
    const cpu_kernels_t *k = cpu_kernels(be);
    size_t part = (n + PARTS - 1) / PARTS;
    double sums[PARTS] = {0}, total = 0;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < PARTS; i++)
        if (i * part < n) sums[i] = k->sumsq(x + i * part, n - i * part < part ? n - i * part : part);
    for (size_t i = 0; i < PARTS; i++) total += sums[i];
    *out = total;
}

static void adamw(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < n; i += CHUNK) k->adamw(p + i, g + i, m + i, v + i, n - i < CHUNK ? n - i : CHUNK, h);
}

static void adamw_8bit(backend_t *be, float *p, const float *g, const adamw_8bit_state_t *s, size_t n_blocks,
                       const adamw_t *h) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n_blocks * ADAMW_8BIT_BLOCK > WORTH_IT)
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = s->start[b] - s->start[0];
        k->adamw_8bit_block(p + at, g + at, s->m + at, s->v + at, &s->m_absmax[b], &s->v_absmax[b],
                            s->start[b + 1] - s->start[b], h);
    }
}

void tuned_optimizer_ops(backend_t *be) {
    be->sumsq = sumsq;
    be->adamw = adamw;
    be->adamw_8bit = adamw_8bit;
}
