/* Quantized weights: encode and decode. */
#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/ops.h"

enum { PIECE = 128 * 64 }; /* elements of a weight that one task encodes or decodes */

static void quantize(backend_t *be, qweight_t *w, const void *host_x, dtype_t x_type, size_t first, size_t n,
                     float *absmax) {
    CHECK(first % QUANT_BLOCK == 0 && n <= qweight_count(w) - first);
    CHECK(n % QUANT_BLOCK == 0 || first + n == qweight_count(w));
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t i = 0; i < n; i += PIECE)
        quant_encode(w->type, act_at_const(host_x, x_type, i), x_type, min_size(PIECE, n - i),
                     w->codes + quant_code_bytes(w->type, first + i),
                     quant_is_plain(w->type) ? NULL : absmax + (first + i) / QUANT_BLOCK);
}

/* Pieces end at multiples of PIECE of the weight, so that only the ends cut blocks. */
static void dequant(backend_t *be, const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type) {
    const cpu_kernels_t *k = cpu_kernels(be);
    CHECK(n <= qweight_count(w) && first <= qweight_count(w) - n);
    if (n == 0) return;
    size_t end = first + n;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > 2 * PIECE)
    for (size_t piece = first / PIECE; piece <= (end - 1) / PIECE; piece++) {
        size_t from = max_size(piece * PIECE, first), to = min_size((piece + 1) * PIECE, end);
        k->dequant(w, from, to - from, act_at(out, out_type, from - first), out_type, false);
    }
}

void tuned_weight_ops(backend_t *be) {
    be->quantize = quantize;
    be->dequant = dequant;
}
