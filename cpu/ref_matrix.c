#include "cpu/act.h"
#include "cpu/ref.h"

static void quantize(backend_t *be, qweight_t *w, const bf16_t *host_x, size_t first, size_t n, float *absmax) {
    (void)be;
    CHECK(first % QUANT_BLOCK == 0 && n <= qweight_count(w) - first);
    CHECK(n % QUANT_BLOCK == 0 || first + n == qweight_count(w));
    quant_encode(w->type, host_x, n, w->codes + quant_code_bytes(w->type, first),
                 w->type == QUANT_NONE ? NULL : absmax + first / QUANT_BLOCK);
}

static void quantize_constants(backend_t *be, qweight_t *w, const float *absmax) {
    (void)be;
    CHECK(w->double_quant && w->type != QUANT_NONE);
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

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const void *A,
                 dtype_t a_type, size_t lda, const void *B, dtype_t b_type, size_t ldb, float beta, void *C,
                 dtype_t c_type, size_t ldc) {
    (void)be;
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += (double)act_get(A, a_type, ta ? k * lda + i : i * lda + k) *
                       act_get(B, b_type, tb ? j * ldb + k : k * ldb + j);
            double old = beta == 0 ? 0 : (double)beta * act_get(C, c_type, i * ldc + j);
            act_set(C, c_type, i * ldc + j, (float)(alpha * sum + old));
        }
    }
}

void ref_matrix_ops(backend_t *be) {
    be->quantize = quantize;
    be->quantize_constants = quantize_constants;
    be->dequant = dequant;
    be->gemm = gemm;
}
