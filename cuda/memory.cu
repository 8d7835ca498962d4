/* Memory of the device and copies on LANE_COMPUTE. Data of the caller passes through pinned memory, so that it may be
 * reused at once and the copy itself runs beside what the host does next. */
#include "cuda/cuda_impl.h"

static const size_t STAGING_BYTES = 3 * STAGING_PIECE, LANDING_PIECE = STAGING_PIECE / 8;

/* ---- staging ----------------------------------------------------------------------------------------- */

static void free_oldest(staging_t *s) {
    CUDA_CHECK(cudaEventSynchronize(s->piece[s->first].done));
    s->tail = s->piece[s->first].end;
    s->first = (s->first + 1) % STAGING_PIECES;
    s->n_pieces--;
}

/* The offset of a new place. What stage() gave and was not used is freed with it. */
static size_t new_place(staging_t *s, size_t bytes) {
    CHECK(bytes <= STAGING_PIECE);
    size_t n = (bytes + 255) / 256 * 256, place = s->head % STAGING_BYTES;
    s->given = NULL;
    if (place + n > STAGING_BYTES) s->head += STAGING_BYTES - place; /* a piece does not run across the end */
    while (s->n_pieces == STAGING_PIECES || (s->n_pieces && s->head + n - s->tail > STAGING_BYTES)) free_oldest(s);
    place = s->head % STAGING_BYTES;
    s->head += n;
    return place;
}

static void *stage(backend_t *be, size_t bytes) {
    staging_t *s = &cuda_impl(be)->staging;
    s->given = s->host + new_place(s, bytes);
    s->given_bytes = bytes;
    return s->given;
}

size_t staging_take(cuda_impl_t *impl, const void *src, size_t bytes) {
    staging_t *s = &impl->staging;
    if (s->given && src == s->given) {
        CHECK(bytes <= s->given_bytes);
        s->given = NULL;
        return (size_t)((const unsigned char *)src - s->host);
    }
    size_t place = new_place(s, bytes);
    memcpy(s->host + place, src, bytes);
    return place;
}

void staging_release(cuda_impl_t *impl) {
    staging_t *s = &impl->staging;
    size_t i = (s->first + s->n_pieces++) % STAGING_PIECES;
    s->piece[i].end = s->head;
    CUDA_CHECK(cudaEventRecord(s->piece[i].done, impl->lane[LANE_COMPUTE].stream));
}

/* ---- the contract ------------------------------------------------------------------------------------- */

static void *cuda_alloc(backend_t *be, size_t bytes, mem_kind_t kind) {
    (void)be;
    void *p = NULL;
    if (bytes == 0) bytes = 1;
    cudaError_t e = kind == MEM_DEVICE ? cudaMalloc(&p, bytes) : cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* else the next launch would report it */
        return NULL;
    }
    cuda_check(e, "allocation", __FILE__, __LINE__);
    return p;
}

static void cuda_free(backend_t *be, void *p, mem_kind_t kind) {
    if (!p) return;
    be->sync(be);
    if (kind == MEM_DEVICE) CUDA_CHECK(cudaFree(p));
    else CUDA_CHECK(cudaFreeHost(p));
}

static void upload(backend_t *be, void *dst, const void *host_src, size_t bytes) {
    cuda_impl_t *impl = cuda_impl(be);
    impl->weights_touched = true;
    for (size_t at = 0; at < bytes; at += STAGING_PIECE) {
        size_t n = min_size(STAGING_PIECE, bytes - at);
        size_t place = staging_take(impl, (const unsigned char *)host_src + at, n);
        CUDA_CHECK(cudaMemcpyAsync((unsigned char *)dst + at, impl->staging.host + place, n, cudaMemcpyHostToDevice,
                                   compute_stream(be)));
        staging_release(impl);
    }
}

void download_pieces(const backend_t *be, const void *src, size_t bytes, landed_t *take, void *ctx) {
    cuda_impl_t *impl = cuda_impl(be);
    size_t pieces = (bytes + LANDING_PIECE - 1) / LANDING_PIECE;
    for (size_t i = 0; i < pieces + 1; i++) {
        if (i < pieces) {
            size_t at = i * LANDING_PIECE;
            CUDA_CHECK(cudaMemcpyAsync(impl->landing + i % 2 * LANDING_PIECE, (const unsigned char *)src + at,
                                       min_size(LANDING_PIECE, bytes - at), cudaMemcpyDeviceToHost,
                                       compute_stream(be)));
            CUDA_CHECK(cudaEventRecord(impl->landed[i % 2], compute_stream(be)));
        }
        if (i > 0) {
            CUDA_CHECK(cudaEventSynchronize(impl->landed[(i - 1) % 2]));
            take(ctx, impl->landing + (i - 1) % 2 * LANDING_PIECE,
                 min_size(LANDING_PIECE, bytes - (i - 1) * LANDING_PIECE));
        }
    }
}

static void append(void *ctx, const unsigned char *piece, size_t bytes) {
    unsigned char **dst = (unsigned char **)ctx;
    memcpy(*dst, piece, bytes);
    *dst += bytes;
}

static void download(backend_t *be, void *host_dst, const void *src, size_t bytes) {
    unsigned char *dst = (unsigned char *)host_dst;
    download_pieces(be, src, bytes, append, &dst);
}

static void copy(backend_t *be, void *dst, const void *src, size_t bytes) {
    cuda_impl(be)->weights_touched = true;
    CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, compute_stream(be)));
}

static void zero(backend_t *be, void *dst, size_t bytes) {
    cuda_impl(be)->weights_touched = true;
    CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, compute_stream(be)));
}

static void mem_info(backend_t *be, size_t *free_bytes, size_t *total_bytes) {
    (void)be;
    CUDA_CHECK(cudaMemGetInfo(free_bytes, total_bytes));
}

/* ---- workspace ----------------------------------------------------------------------------------------- */

static size_t workspace_bytes(backend_t *be, const workspace_need_t *need) {
    cuda_impl(be)->layout = cuda_workspace_layout(be->act, need);
    cuda_impl(be)->slot_workspace = NULL; /* its parts may lie elsewhere now */
    return cuda_impl(be)->layout.total;
}

static unsigned char *workspace_begin(const backend_t *be) {
    CHECK(be->workspace && be->workspace_size == cuda_impl(be)->layout.total);
    return (unsigned char *)(((uintptr_t)be->workspace + 255) / 256 * 256);
}

void *compute_scratch(const backend_t *be, size_t bytes) {
    unsigned char *begin = workspace_begin(be);
    CHECK(bytes <= cuda_impl(be)->layout.scratch);
    return begin;
}

void *weight_scratch(const backend_t *be, size_t i, size_t bytes) {
    const cuda_workspace_t *layout = &cuda_impl(be)->layout;
    unsigned char *begin = workspace_begin(be);
    CHECK(bytes <= layout->weight);
    return begin + layout->scratch + i * layout->weight;
}

void cuda_memory_ops(backend_t *be) {
    be->alloc = cuda_alloc;
    be->free = cuda_free;
    be->stage_bytes = STAGING_PIECE;
    be->stage = stage;
    be->upload = upload;
    be->download = download;
    be->copy = copy;
    be->zero = zero;
    be->mem_info = mem_info;
    be->workspace_bytes = workspace_bytes;
    be->exceeds = cuda_exceeds;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static void upload_tables(cuda_impl_t *impl) {
    device_tables_t *host = (device_tables_t *)xmalloc(sizeof *host);
    host->signed_map = *quant_dynamic_signed();
    host->unsigned_map = *quant_dynamic_unsigned();
    for (int t = QUANT_NF4; t <= QUANT_INT4; t++) memcpy(host->table4[t], quant_table((quant_type_t)t), 16 * 4);
    CUDA_CHECK(
        cudaMemcpyAsync(impl->tables, host, sizeof *host, cudaMemcpyHostToDevice, impl->lane[LANE_COMPUTE].stream));
    CUDA_CHECK(cudaStreamSynchronize(impl->lane[LANE_COMPUTE].stream));
    free(host);
    impl->signed_map = &impl->tables->signed_map;
    impl->unsigned_map = &impl->tables->unsigned_map;
}

int cuda_memory_open(cuda_impl_t *impl, err_t *err) {
    staging_t *s = &impl->staging;
    if (CUDA_TRY(cudaHostAlloc(&s->host, STAGING_BYTES, cudaHostAllocDefault), err)) return err->code;
    if (CUDA_TRY(cudaHostAlloc(&impl->landing, 2 * LANDING_PIECE, cudaHostAllocDefault), err)) return err->code;
    if (CUDA_TRY(cudaMalloc(&s->device, STAGING_BYTES), err)) return err->code;
    if (CUDA_TRY(cudaMalloc(&impl->tables, sizeof *impl->tables), err)) return err->code;
    for (size_t i = 0; i < STAGING_PIECES; i++)
        if (CUDA_TRY(cudaEventCreateWithFlags(&s->piece[i].done, cudaEventDisableTiming), err)) return err->code;
    for (size_t i = 0; i < 2; i++)
        if (CUDA_TRY(cudaEventCreateWithFlags(&impl->landed[i], cudaEventDisableTiming), err)) return err->code;
    upload_tables(impl);
    return 0;
}

void cuda_memory_close(cuda_impl_t *impl) {
    staging_t *s = &impl->staging;
    if (s->host) CUDA_CHECK(cudaFreeHost(s->host));
    if (impl->landing) CUDA_CHECK(cudaFreeHost(impl->landing));
    if (s->device) CUDA_CHECK(cudaFree(s->device));
    if (impl->tables) CUDA_CHECK(cudaFree(impl->tables));
    for (size_t i = 0; i < STAGING_PIECES; i++)
        if (s->piece[i].done) CUDA_CHECK(cudaEventDestroy(s->piece[i].done));
    for (size_t i = 0; i < 2; i++)
        if (impl->landed[i]) CUDA_CHECK(cudaEventDestroy(impl->landed[i]));
}
