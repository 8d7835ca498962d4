#include "cpu/ref.h"
#include "model/element.h"

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

void ref_optimizer_ops(backend_t *be) {
    be->sumsq = sumsq;
    be->adamw = adamw;
}
