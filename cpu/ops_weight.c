/* Quantized weights: encode, decode, and the product of the frozen linear layer. */
#include <string.h>

#include "cpu/act.h"
#include "cpu/ops.h"

enum {
    PIECE = 128 * 64,            /* elements of a weight that one task encodes or decodes */
    PANEL_FLOATS = 1024 * 1024,  /* of W, decoded for one call of sgemm: a share of the last-level cache */
    TOKEN_BLOCK = 512,           /* rows of an fp32 accumulator where activations are BF16 */
    FEW_TOKENS = 4,              /* up to this many, decode and multiply in one pass over the weight; measured */
    FUSED_CHUNK = 2048           /* values decoded at a time there: the first-level cache */
};

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t tuned_weight_floats(const backend_t *be, const workspace_need_t *need) {
    /* A panel is at least one row and at most PANEL_FLOATS, unless a row is longer. */
    size_t panel = min(need->max_weight, PANEL_FLOATS > need->max_width ? PANEL_FLOATS : need->max_width);
    size_t few = FEW_TOKENS * need->max_width;
    size_t bf16 = be->act == DT_BF16 ? TOKEN_BLOCK * need->max_width + tuned_gemm_floats() : 0;
    return panel + bf16 > few ? panel + bf16 : few;
}

static void quantize(backend_t *be, qweight_t *w, const bf16_t *host_x, size_t first, size_t n, float *absmax) {
    CHECK(first % QUANT_BLOCK == 0 && n <= qweight_count(w) - first);
    CHECK(n % QUANT_BLOCK == 0 || first + n == qweight_count(w));
    #pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t i = 0; i < n; i += PIECE)
        quant_encode(w->type, host_x + i, min(PIECE, n - i), w->codes + quant_code_bytes(w->type, first + i),
                     w->type == QUANT_NONE ? NULL : absmax + (first + i) / QUANT_BLOCK);
}

/* Pieces end at multiples of PIECE of the weight, so that only the ends cut blocks. bf16: see cpu_kernels_t. */
static void dequant_pieces(const backend_t *be, const qweight_t *w, size_t first, size_t n, void *out,
                           dtype_t out_type, bool bf16) {
    const cpu_kernels_t *k = cpu_kernels(be);
    if (n == 0) return;
    size_t end = first + n;
    #pragma omp parallel for schedule(static) num_threads(be->threads) if (n > 2 * PIECE)
    for (size_t piece = first / PIECE; piece <= (end - 1) / PIECE; piece++) {
        size_t from = piece * PIECE > first ? piece * PIECE : first, to = min((piece + 1) * PIECE, end);
        k->dequant(w, from, to - from, act_at(out, out_type, from - first), out_type, bf16);
    }
}

static void dequant(backend_t *be, const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type) {
    CHECK(n <= qweight_count(w) && first <= qweight_count(w) - n);
    dequant_pieces(be, w, first, n, out, out_type, false);
}

/* y[T,rows] = x W^T + beta*y for few rows of x, which is what generating text needs: a row of W is decoded into
 * the first-level cache and multiplied there, without a trip through memory. */
static void few_tokens(backend_t *be, size_t T, const void *x_act, const qweight_t *w, float beta, void *y) {
    const cpu_kernels_t *k = cpu_kernels(be);
    size_t cols = w->cols;
    const float *x = x_act;
    if (be->act == DT_BF16) {
        CHECK(be->workspace_size >= sizeof(float) * T * cols);
        k->cast(be->workspace, DT_F32, x_act, DT_BF16, T * cols);
        x = be->workspace;
    }
    #pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t r = 0; r < w->rows; r++) {
        float chunk[FUSED_CHUNK], sum[FEW_TOKENS] = {0};
        for (size_t c = 0; c < cols; c += FUSED_CHUNK) {
            size_t n = min(FUSED_CHUNK, cols - c);
            k->dequant(w, r * cols + c, n, chunk, DT_F32, be->act == DT_BF16);
            for (size_t t = 0; t < T; t++) sum[t] += k->dot(chunk, x + t * cols + c, n);
        }
        for (size_t t = 0; t < T; t++) {
            size_t i = t * w->rows + r;
            act_set(y, be->act, i, sum[t] + (beta != 0 ? act_get(y, be->act, i) : 0));
        }
    }
}

/* y[:, panel] = x * panel^T + beta*y, one panel of rows of W after another. */
static void forward(backend_t *be, size_t T, const void *x, const qweight_t *w, float beta, void *y,
                    size_t panel_rows) {
    float *panel = be->workspace, *scratch = panel + panel_rows * w->cols;
    for (size_t r = 0; r < w->rows; r += panel_rows) {
        size_t n = min(panel_rows, w->rows - r);
        dequant_pieces(be, w, r * w->cols, n * w->cols, panel, DT_F32, be->act == DT_BF16);
        tuned_gemm_at(be, scratch, false, true, T, n, w->cols, 1, x, be->act, w->cols, panel, DT_F32, w->cols, beta,
                      act_at(y, be->act, r), be->act, w->rows);
    }
}

/* y = sum over panels of x[:, panel] * panel + beta*y. The sum is kept in fp32: in y itself, or for BF16 in an
 * accumulator for a block of tokens. */
static void backward(backend_t *be, size_t T, const void *x, const qweight_t *w, float beta, void *y,
                     size_t panel_rows) {
    const cpu_kernels_t *k = cpu_kernels(be);
    bool wide = be->act == DT_BF16;
    size_t cols = w->cols, block = wide ? TOKEN_BLOCK : T;
    float *panel = be->workspace, *acc = panel + panel_rows * cols, *scratch = acc + TOKEN_BLOCK * cols;
    for (size_t t = 0; t < T; t += block) {
        size_t tokens = min(block, T - t);
        void *y_block = act_at(y, be->act, t * cols);
        float *sum = wide ? acc : y_block;
        if (wide && beta != 0) k->cast(sum, DT_F32, y_block, DT_BF16, tokens * cols);
        for (size_t r = 0; r < w->rows; r += panel_rows) {
            size_t n = min(panel_rows, w->rows - r);
            dequant_pieces(be, w, r * cols, n * cols, panel, DT_F32, wide);
            tuned_gemm_at(be, scratch, false, false, tokens, cols, n, 1, act_at_const(x, be->act, t * w->rows + r),
                          be->act, w->rows, panel, DT_F32, cols, r == 0 ? beta : 1, sum, DT_F32, cols);
        }
        if (wide) k->cast(y_block, DT_BF16, sum, DT_F32, tokens * cols);
    }
}

static void gemm_weight(backend_t *be, bool transpose, size_t T, const void *x, const qweight_t *w, float beta,
                        void *y) {
    CHECK(beta == 0 || beta == 1);
    if (T == 0) return;
    if (transpose && T <= FEW_TOKENS) {
        few_tokens(be, T, x, w, beta, y);
        return;
    }
    size_t rows = PANEL_FLOATS / w->cols;
    rows = min(rows ? rows : 1, w->rows);
    size_t wide = be->act == DT_BF16 ? tuned_gemm_floats() + (transpose ? 0 : TOKEN_BLOCK * w->cols) : 0;
    CHECK(be->workspace_size >= sizeof(float) * (rows * w->cols + wide));
    (transpose ? forward : backward)(be, T, x, w, beta, y, rows);
}

void tuned_weight_ops(backend_t *be) {
    be->quantize = quantize;
    be->dequant = dequant;
    be->gemm_weight = gemm_weight;
}
