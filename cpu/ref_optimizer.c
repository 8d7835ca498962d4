#include "cpu/ref.h"
#include "model/backend/element.h"

static void sumsq(backend_t *be, double *out, const float *x, size_t n) {
    (void)be;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    *out = sum;
}

static void adamw(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    (void)be;
    for (size_t i = 0; i < n; i++) adamw_element(&p[i], g[i], &m[i], &v[i], h);
}

static float absmax_of(const float *x, size_t n) {
    float a = 0;
    for (size_t i = 0; i < n; i++) a = fmaxf(a, fabsf(x[i]));
    return a;
}

/* Codes and constant of one block; a block of zeros has code 0 throughout. */
static void quantize_block(const float *x, size_t n, const dynamic_map_t *map, uint8_t *codes, float *absmax) {
    *absmax = absmax_of(x, n);
    for (size_t i = 0; i < n; i++) codes[i] = *absmax > 0 ? dynamic_code(map->nearest, x[i] * (1.0f / *absmax)) : 0;
}

static void adamw_8bit(backend_t *be, float *p, const float *g, const adamw_8bit_state_t *s, size_t n_blocks,
                       const adamw_t *h) {
    (void)be;
    const dynamic_map_t *m_map = quant_dynamic_signed(), *v_map = quant_dynamic_unsigned();
    for (size_t b = 0; b < n_blocks; b++) {
        float m[ADAMW_8BIT_BLOCK], v[ADAMW_8BIT_BLOCK];
        size_t first = s->start[b] - s->start[0], n = s->start[b + 1] - s->start[b];
        for (size_t i = 0; i < n; i++) {
            m[i] = m_map->value[s->m[first + i]] * s->m_absmax[b];
            v[i] = v_map->value[s->v[first + i]] * s->v_absmax[b];
            adamw_8bit_moments(g[first + i], &m[i], &v[i], h);
            adamw_step(&p[first + i], m[i], v[i], h);
        }
        quantize_block(m, n, m_map, s->m + first, &s->m_absmax[b]);
        quantize_block(v, n, v_map, s->v + first, &s->v_absmax[b]);
    }
}

void ref_optimizer_ops(backend_t *be) {
    be->sumsq = sumsq;
    be->adamw = adamw;
    be->adamw_8bit = adamw_8bit;
}
