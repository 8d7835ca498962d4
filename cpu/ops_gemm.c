/* The product of two matrices. */
#include "cpu/product.h"

enum { FEW_COLUMNS = 64 };

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, matrix_t B,
                 float beta, matrix_t C) {
    product_t p = {.M = M, .N = N, .n = 1, .term = {{.K = K, .a = A, .ta = ta, .b = B, .tb = tb}}, .c = C};
    p.alpha = alpha;
    p.beta = beta;
    /* A transposed A is turned around for its rows; what is packed as B is not. With few columns that is most of the
     * work (the gradient of B of an adapter), so the transpose of C is computed. */
    if (ta && N <= FEW_COLUMNS && M > N) {
        p.term[0] = (term_t){.K = K, .a = B, .ta = !tb, .b = A, .tb = !ta};
        p.M = N;
        p.N = M;
        p.tc = true;
    }
    products(be, &p, 1);
}

void tuned_gemm_ops(backend_t *be) { be->gemm = gemm; }
