#include "cpu/act.h"
#include "cpu/ref.h"

static void quantize(backend_t *be, qweight_t *w, const void *host_x, dtype_t x_type, size_t first, size_t n,
                     float *absmax) {
    (void)be;
    CHECK(first % QUANT_BLOCK == 0 && n <= qweight_count(w) - first);
    CHECK(n % QUANT_BLOCK == 0 || first + n == qweight_count(w));
    quant_encode(w->type, host_x, x_type, n, w->codes + quant_code_bytes(w->type, first),
                 quant_is_plain(w->type) ? NULL : absmax + first / QUANT_BLOCK);
}

static void quantize_constants(backend_t *be, qweight_t *w, const float *absmax) {
    (void)be;
    CHECK(w->double_quant && quant_can_nest(w->type));
    quant_encode_constants(absmax, quant_blocks(qweight_count(w)), w->absmax_q, w->nested_absmax, &w->nested_offset);
}

static void dequant(backend_t *be, const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type) {
    (void)be;
    CHECK(n <= qweight_count(w) && first <= qweight_count(w) - n);
    for (size_t i = 0; i < n; i++) {
        float x;
        quant_decode(w, first + i, 1, &x);
        act_set(out, out_type, i, x);
    }
}

static double value_of(matrix_t m, bool transposed, size_t row, size_t col) {
    return act_get(m.p, m.type, transposed ? col * m.ld + row : row * m.ld + col);
}

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, matrix_t B,
                 float beta, matrix_t C) {
    (void)be;
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++) sum += value_of(A, ta, i, k) * value_of(B, tb, k, j);
            double old = beta == 0 ? 0 : beta * value_of(C, false, i, j);
            act_set(C.p, C.type, i * C.ld + j, (float)(alpha * sum + old));
        }
    }
}

void ref_matrix_ops(backend_t *be) {
    be->quantize = quantize;
    be->quantize_constants = quantize_constants;
    be->dequant = dequant;
    be->gemm = gemm;
}
