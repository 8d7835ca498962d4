/* The CPU as a device: memory, identity, and the choice of ops. The reference ops fill the table first and
 * the tuned ones override them, so an op that has no tuned form still works. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/mem.h"
#include "cpu/ops.h"
#include "cpu/ref.h"
#include "cpu/tiles_choice.h"

#define ALIGNMENT 64
#define STAGE_BYTES ((size_t)8 << 20) /* threads sleep between pieces: so much that waking them up is little of it */

static void *cpu_alloc(backend_t *be, size_t bytes, mem_kind_t kind) {
    (void)be;
    (void)kind;
    void *p = NULL;
    return posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1) == 0 ? p : NULL;
}

static void cpu_free(backend_t *be, void *p, mem_kind_t kind) {
    (void)be;
    (void)kind;
    free(p);
}

static void *cpu_stage(backend_t *be, size_t bytes) {
    cpu_impl_t *impl = be->impl;
    CHECK(bytes <= be->stage_bytes);
    if (!impl->stage) impl->stage = mem_checked(cpu_alloc(be, STAGE_BYTES, MEM_PINNED), STAGE_BYTES);
    return impl->stage;
}

static void cpu_copy(backend_t *be, void *dst, const void *src, size_t bytes) {
    (void)be;
    if (bytes) memcpy(dst, src, bytes);
}

static void cpu_zero(backend_t *be, void *dst, size_t bytes) {
    (void)be;
    if (bytes) memset(dst, 0, bytes);
}

static void cpu_sync(backend_t *be) { (void)be; }

/* There is one lane: each copy is done when the call returns, and all of its time is waited for. */
static void cpu_page(backend_t *be, void *dst, const void *src, size_t bytes) {
    cpu_impl_t *impl = be->impl;
    double begin = clock_seconds();
    cpu_copy(be, dst, src, bytes);
    impl->copy_seconds += clock_seconds() - begin;
}

static ticket_t cpu_mark(backend_t *be, lane_t lane) {
    (void)be;
    return (ticket_t){lane, 1};
}

static void cpu_wait(backend_t *be, lane_t lane, ticket_t t) {
    (void)be;
    (void)lane;
    (void)t;
}

static double cpu_stalled(backend_t *be) {
    cpu_impl_t *impl = be->impl;
    double seconds = impl->copy_seconds;
    impl->copy_seconds = 0;
    return seconds;
}

static void cpu_mem_info(backend_t *be, size_t *free_bytes, size_t *total_bytes) {
    (void)be;
    host_memory(free_bytes, total_bytes);
}

static size_t cpu_workspace_bytes(backend_t *be, const workspace_need_t *need) {
    size_t sizes[] = {
        tuned_linear_floats(be, need),
        tuned_attention_floats(be, need),
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) most = sizes[i] > most ? sizes[i] : most;
    return most * sizeof(float);
}

static void cpu_close(backend_t *be) {
    cpu_impl_t *impl = be->impl;
    free(impl->stage);
    free(impl);
    free(be);
}

static void tuned_ops(backend_t *be) {
    be->workspace_bytes = cpu_workspace_bytes;
    tuned_gemm_ops(be);
    tuned_weight_ops(be);
    tuned_linear_ops(be);
    tuned_row_ops(be);
    tuned_attention_ops(be);
    tuned_optimizer_ops(be);
}

int backend_open_cpu(dtype_t act, int threads, bool reference, backend_t **out, err_t *err) {
    if (act != DT_F32 && act != DT_BF16) return err_set(err, ERR_USAGE, "the CPU backend computes in f32 or bf16");
    if (threads < 0) return err_set(err, ERR_USAGE, "device.threads: %d; expected 0 (auto) or more", threads);
    backend_t *be = xcalloc(1, sizeof *be);
    *be = (backend_t){
        .name = "cpu",
        .act = act,
        .threads = threads ? threads : omp_get_num_procs(),
        .stage_bytes = STAGE_BYTES,
        .unified = true,
        .close = cpu_close,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .stage = cpu_stage,
        .upload = cpu_copy,
        .download = cpu_copy,
        .copy = cpu_copy,
        .zero = cpu_zero,
        .sync = cpu_sync,
        .mem_info = cpu_mem_info,
        .copy_in = cpu_page,
        .copy_out = cpu_page,
        .mark = cpu_mark,
        .wait = cpu_wait,
        .stalled = cpu_stalled,
        .workspace_bytes = ref_workspace_bytes,
    };
    ref_matrix_ops(be);
    ref_linear_ops(be);
    ref_row_ops(be);
    ref_attention_ops(be);
    ref_optimizer_ops(be);
    cpu_impl_t *impl = be->impl = xcalloc(1, sizeof *impl);
    if (!reference) {
        impl->kernels = kernels_best();
        impl->f32 = tiles_choice()->f32;
        impl->bf16 = tiles_choice()->bf16;
        tuned_ops(be);
    }
    omp_set_num_threads(be->threads);
    char kernels[64] = "reference ops";
    if (!reference) tiles_describe(impl->kernels->isa, act == DT_BF16 ? impl->bf16 : NULL, kernels, sizeof kernels);
    host_cpu_name(be->device, sizeof be->device, kernels);
    *out = be;
    return 0;
}
