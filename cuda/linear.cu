/* The frozen linear layer: the weight is dequantized into the workspace, then multiplied there. Two such places take
 * turns, so that the next weight is dequantized on a stream of its own while the product before it still runs. */
#include "cuda/quant.h"

/* What LANE_COMPUTE was given may write weights, or lie where the slots lie now: the dequant stream waits for it. */
static void wait_for_compute(backend_t *be) {
    cuda_impl_t *impl = cuda_impl(be);
    if (!impl->weights_touched && impl->slot_workspace == be->workspace) return;
    CUDA_CHECK(cudaEventRecord(impl->touched, compute_stream(be)));
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, impl->touched, 0));
    impl->weights_touched = false;
    impl->slot_workspace = be->workspace;
}

/* w in be->act, for what LANE_COMPUTE is given next; then that is to record slot->read. */
static const void *dequantized(backend_t *be, const qweight_t *w, weight_slot_t **slot) {
    cuda_impl_t *impl = cuda_impl(be);
    size_t i = impl->slot_next, n = qweight_count(w);
    void *place = weight_scratch(be, i, n * dtype_size(be->act));
    *slot = &impl->slot[i];
    impl->slot_next = 1 - i;
    wait_for_compute(be);
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, (*slot)->read, 0)); /* the product before the last */
    dequant_on(be, impl->dequant, w, 0, n, place, be->act);
    CUDA_CHECK(cudaEventRecord((*slot)->filled, impl->dequant));
    CUDA_CHECK(cudaStreamWaitEvent(compute_stream(be), (*slot)->filled, 0));
    return place;
}

static void gemm_weight(backend_t *be, bool transpose, size_t T, const void *x, const qweight_t *w, float beta,
                        void *y) {
    CHECK(beta == 0 || beta == 1);
    if (T == 0) return;
    size_t in = transpose ? w->cols : w->rows, out = transpose ? w->rows : w->cols;
    bool quantized = w->type != QUANT_NONE;
    weight_slot_t *slot = NULL;
    const void *W = quantized ? dequantized(be, w, &slot) : w->codes;
    be->gemm(be, false, transpose, T, out, in, 1.0f, x, be->act, in, W, quantized ? be->act : DT_BF16, w->cols, beta, y,
             be->act, out);
    if (quantized) CUDA_CHECK(cudaEventRecord(slot->read, compute_stream(be)));
}

void cuda_weight_ops(backend_t *be) {
    be->gemm_weight = gemm_weight;
}
