#include "model/weights.h"

#include <omp.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/site.h"

static norm_t norm_shape(const model_config_t *c, size_t groups, size_t width) {
    return (norm_t){.groups = groups, .C = width / groups, .eps = c->norm_eps};
}

/* The sizes of a block's tensors. */
static void init_layer(const model_t *m, layer_t *w) {
    const model_config_t *c = &m->config;
    for (size_t i = 0; i < c->arch->n_tensors; i++) {
        const tensor_spec_t *t = &c->arch->tensors[i];
        size_t cols = model_dim(c, t->cols);
        if (t->role == TENSOR_LINEAR)
            w->w[t->slot] = (qweight_t){
                .type = m->quant, .double_quant = m->double_quant, .rows = model_dim(c, t->rows), .cols = cols};
        else if (norm_is_per_head(t)) {
            size_t heads = t->slot == NORM_Q ? c->heads : c->kv_heads;
            w->norm[t->slot] = norm_shape(c, heads, heads * cols);
        } else w->norm[t->slot] = norm_shape(c, 1, cols);
    }
}

void model_init(model_t *m, const model_config_t *config, backend_t *be, quant_type_t quant, bool double_quant,
                size_t positions) {
    *m = (model_t){.config = *config,
                   .be = be,
                   .quant = quant,
                   .double_quant = quant_can_nest(quant) && double_quant,
                   .rope_len = positions};
    const model_config_t *c = &m->config;
    m->embed = m->head = (qweight_t){.type = QUANT_NONE, .rows = c->vocab, .cols = c->hidden};
    m->final_norm = norm_shape(c, 1, c->hidden);
    m->layers = xcalloc(c->layers, sizeof *m->layers);
    for (size_t l = 0; l < c->layers; l++) init_layer(m, &m->layers[l]);
}

static quant_type_t held_type(const source_tensor_t *t) { return t->type == DT_F16 ? QUANT_F16 : QUANT_NONE; }

void model_take_types(model_t *m, const model_source_t *src, bool quantize_rest) {
    const source_tensor_t *first = model_source_quantized(src);
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        if (t->role == TENSOR_EMBEDDING) m->embed.type = held_type(t);
        if (t->role == TENSOR_HEAD) m->head.type = held_type(t);
        if (t->role != TENSOR_LINEAR) continue;
        qweight_t *w = &m->layers[t->layer].w[source_slot(t)];
        if (t->quantized) {
            w->type = t->quant;
            w->double_quant = t->double_quant;
        } else if ((first && !quantize_rest) || quant_is_plain(m->quant)) {
            w->type = held_type(t);
            w->double_quant = false;
        }
    }
    if (m->config.tied) m->head.type = m->embed.type;
    if (!first) return;
    m->quant = first->quant;
    m->double_quant = first->double_quant;
}

void model_free(model_t *m) {
    pager_close(&m->pager);
    free(m->layers);
    m->layers = NULL;
}

/* ---- places --------------------------------------------------------------------------------------------- */

static void place_weight(qweight_t *w, pool_t *pool, pool_class_t codes, pool_class_t constants) {
    size_t n = qweight_count(w);
    w->codes = pool_take(pool, codes, quant_code_bytes(w->type, n));
    if (quant_is_plain(w->type)) return;
    if (!w->double_quant) {
        w->absmax = pool_take(pool, constants, quant_blocks(n) * sizeof(float));
        return;
    }
    w->absmax_q = pool_take(pool, constants, quant_blocks(n));
    w->nested_absmax = pool_take(pool, constants, quant_nested_blocks(n) * sizeof(float));
}

static void place_linears(layer_t *w, pool_t *pool) {
    for (int k = 0; k < LINEAR_SLOTS; k++)
        if (w->w[k].rows) place_weight(&w->w[k], pool, POOL_WEIGHTS, POOL_CONSTANTS);
}

/* Paged layers are spread evenly, so that each has the others' work to be fetched behind; they are pages 0, 1, ... */
static size_t page_of(const model_t *m, size_t layer) { return layer * m->n_paged / m->config.layers; }

static bool is_paged(const model_t *m, size_t layer) { return page_of(m, layer + 1) > page_of(m, layer); }

static void place_pages(model_t *m, pool_t *pool) {
    size_t *bytes = xcalloc(m->n_paged, sizeof *bytes);
    for (size_t l = 0; l < m->config.layers; l++) {
        if (!is_paged(m, l)) continue;
        pool_t count = pool_counting(m->be);
        place_linears(&m->layers[l], &count);
        bytes[page_of(m, l)] = count.used;
    }
    pager_init(&m->pager, m->be, false, bytes, m->n_paged, 0, pool, POOL_WEIGHTS);
    pager_place_slots(&m->pager, pool, POOL_WEIGHTS);
    free(bytes);
}

static void place_augmented(model_t *m, size_t layer, pool_t *pool) {
    for (int s = 0; s < SITE_COUNT; s++) {
        linear_t l = site_linear(m, layer, (site_t)s);
        size_t width = linear_width(&l), cols = linear_cols_of(&l);
        size_t n = linear_is_augmented(&l) ? (linear_rows_of(&l) + width) * linear_ld(cols, width) : 0;
        m->layers[layer].augmented[s] = n ? pool_take(pool, POOL_CACHE, n * dtype_size(m->be->act)) : NULL;
    }
}

static float *place_floats(pool_t *pool, size_t n) { return pool_take(pool, POOL_EMBEDDINGS, n * sizeof(float)); }

/* Norms and biases. */
static void place_rest(model_t *m, layer_t *w, pool_t *pool) {
    for (int k = 0; k < NORM_SLOTS; k++)
        if (w->norm[k].C) w->norm[k].w = place_floats(pool, w->norm[k].C);
    for (int k = 0; k < LINEAR_SLOTS; k++)
        w->bias[k] = linear_has_bias(&m->config, (linear_slot_t)k) ? place_floats(pool, w->w[k].rows) : NULL;
}

static void place_rope(model_t *m, pool_t *pool) {
    const model_config_t *c = &m->config;
    for (size_t i = 0; i < c->n_rope; i++) {
        m->rope[i] = m->rope_q[i] = place_floats(pool, m->rope_len * c->rotated);
        if (c->rope[i].query_beta != 0) m->rope_q[i] = place_floats(pool, m->rope_len * c->rotated);
    }
}

void model_place(model_t *m, size_t n_paged, size_t n_cached, pool_t *pool) {
    const model_config_t *c = &m->config;
    CHECK(n_cached == 0 || (n_paged == 0 && m->be->act == DT_BF16));
    pager_close(&m->pager);
    m->n_paged = n_paged;
    m->n_cached = n_cached;
    m->cached = 0;
    for (size_t l = 0; l < c->layers; l++) {
        layer_t *w = &m->layers[l];
        if (!is_paged(m, l)) place_linears(w, pool);
        place_rest(m, w, pool);
    }
    if (n_paged) place_pages(m, pool);
    for (size_t l = 0; l < n_cached; l++) place_augmented(m, l, pool);
    m->final_norm.w = place_floats(pool, c->hidden);
    place_weight(&m->embed, pool, POOL_EMBEDDINGS, POOL_EMBEDDINGS);
    if (c->tied) m->head = m->embed;
    else place_weight(&m->head, pool, POOL_EMBEDDINGS, POOL_EMBEDDINGS);
    place_rope(m, pool);
}

int model_open_pages(model_t *m, const pool_t *pool, const char *spill_dir, err_t *err) {
    return m->n_paged ? pager_open(&m->pager, pool, 0, spill_dir, err) : 0;
}

/* Lays a layer's linear weights out in a page that is at `place`. */
static void place_in_page(model_t *m, size_t layer, unsigned char *place) {
    pool_t page = {.be = m->be, .base = place, .size = m->pager.pages[page_of(m, layer)].bytes};
    place_linears(&m->layers[layer], &page);
}

void model_acquire_layer(model_t *m, size_t layer, int dir) {
    if (is_paged(m, layer)) place_in_page(m, layer, pager_acquire(&m->pager, page_of(m, layer), dir));
}

void model_release_layer(model_t *m, size_t layer) {
    if (is_paged(m, layer)) pager_release(&m->pager, page_of(m, layer), 0);
}

/* ---- loading -------------------------------------------------------------------------------------------- */

/* Where part i of `parts` begins among n values: at a block. */
static size_t part_begin(size_t n, size_t i, size_t parts) {
    return i < parts ? n / SOURCE_BLOCK * i / parts * SOURCE_BLOCK : n;
}

/* Reads values [first, first+n) with all threads, each a range of its own. */
static int read_piece(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, uint8_t *out,
                      err_t *err) {
    size_t threads = (size_t)omp_get_max_threads();
    err_t *errs = xcalloc(threads, sizeof *errs);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < threads; i++) {
        size_t a = part_begin(n, i, threads), b = part_begin(n, i + 1, threads);
        source_read(src, t, first + a, b - a, t->type, out + a * dtype_size(t->type), &errs[i]);
    }
    int rc = 0;
    for (size_t i = 0; i < threads && rc == 0; i++)
        if (errs[i].code) {
            *err = errs[i];
            rc = err->code;
        }
    free(errs);
    return rc;
}

/* Also with all threads: unmapping pages of 4 KiB takes a third of the time of reading them. */
static void release(const model_source_t *src, const source_tensor_t *t) {
    size_t threads = (size_t)omp_get_max_threads();
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < threads; i++) source_release_part(src, t, i, threads);
}

/* In pieces that are as long as the backend can take from where they are read to; a row may be cut anywhere. While a
 * piece is copied and quantized on a device, the next one is read. */
static int load_weight(backend_t *be, const model_source_t *src, const source_tensor_t *t, qweight_t *w, float *absmax,
                       err_t *err) {
    size_t count = qweight_count(w), size = dtype_size(t->type), step = be->stage_bytes / size;
    float *constants = w->double_quant ? absmax : w->absmax;
    CHECK(step > 0 && step % SOURCE_BLOCK == 0);
    for (size_t first = 0; first < count; first += step) {
        size_t n = count - first < step ? count - first : step;
        void *piece = be->stage(be, n * size);
        if (read_piece(src, t, first, n, piece, err)) return err->code;
        be->quantize(be, w, piece, t->type, first, n, constants);
    }
    release(src, t); /* first: the other waits for the device */
    if (w->double_quant) be->quantize_constants(be, w, absmax);
    return 0;
}

/* What is held as it is stored: all threads read it to where a device copies it from, while the piece before is copied.
 * Where the device's memory is the host's there is nothing between the two. */
static void upload_stored(backend_t *be, void *dst, const void *src, size_t bytes) {
    size_t threads = (size_t)omp_get_max_threads();
    if (be->unified) {
        be->upload(be, dst, src, bytes);
        return;
    }
    for (size_t first = 0; first < bytes; first += be->stage_bytes) {
        size_t n = bytes - first < be->stage_bytes ? bytes - first : be->stage_bytes;
        unsigned char *piece = be->stage(be, n);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (size_t i = 0; i < threads; i++) {
            size_t a = part_begin(n, i, threads), b = part_begin(n, i + 1, threads);
            memcpy(piece + a, (const unsigned char *)src + first + a, b - a);
        }
        be->upload(be, (unsigned char *)dst + first, piece, n);
    }
}

static int load_quantized(backend_t *be, const model_source_t *src, const source_tensor_t *t, qweight_t *w,
                          err_t *err) {
    qweight_t stored;
    if (source_quantized(src, t, &stored, err)) return err->code;
    size_t n = qweight_count(w);
    upload_stored(be, w->codes, stored.codes, quant_code_bytes(w->type, n));
    if (w->double_quant) {
        upload_stored(be, w->absmax_q, stored.absmax_q, quant_blocks(n));
        upload_stored(be, w->nested_absmax, stored.nested_absmax, quant_nested_blocks(n) * sizeof(float));
        w->nested_offset = stored.nested_offset;
    } else {
        upload_stored(be, w->absmax, stored.absmax, quant_blocks(n) * sizeof(float));
    }
    source_release(src, t);
    return 0;
}

/* A norm or a bias. */
static int load_vector(const model_t *m, const model_source_t *src, const source_tensor_t *t, const float *place,
                       err_t *err) {
    float *host = xmalloc(t->cols * sizeof *host);
    int rc = source_read(src, t, 0, t->cols, DT_F32, host, err);
    for (size_t i = 0; t->role == TENSOR_NORM && m->config.arch->norm_plus_one && i < t->cols; i++) host[i] += 1;
    if (rc == 0) m->be->upload(m->be, (void *)(uintptr_t)place, host, t->cols * sizeof *host);
    free(host);
    return rc;
}

static int load_linear(model_t *m, const model_source_t *src, const source_tensor_t *t, float *absmax, err_t *err) {
    qweight_t *w = &m->layers[t->layer].w[source_slot(t)];
    return t->quantized ? load_quantized(m->be, src, t, w, err) : load_weight(m->be, src, t, w, absmax, err);
}

static int load_tensor(model_t *m, const model_source_t *src, const source_tensor_t *t, float *absmax, err_t *err) {
    layer_t *w = &m->layers[t->layer];
    switch (t->role) {
    case TENSOR_EMBEDDING: return load_weight(m->be, src, t, &m->embed, NULL, err);
    case TENSOR_HEAD: return load_weight(m->be, src, t, &m->head, NULL, err);
    case TENSOR_LINEAR: return load_linear(m, src, t, absmax, err);
    case TENSOR_BIAS: return load_vector(m, src, t, w->bias[source_slot(t)], err);
    default: return load_vector(m, src, t, t->spec ? w->norm[t->spec->slot].w : m->final_norm.w, err);
    }
}

/* All tensors in the source's order. The weights of a paged layer are made in a slot and go to its page from there. */
static int load_tensors(model_t *m, const model_source_t *src, float *absmax, err_t *err) {
    unsigned char *slot = m->pager.slots[0].place;
    size_t n = model_source_count(src);
    const page_t *page = NULL;
    for (size_t i = 0; i < n; i++) {
        const source_tensor_t *t = model_source_at(src, i);
        bool paged = t->role == TENSOR_LINEAR && is_paged(m, t->layer);
        if (paged && page != &m->pager.pages[page_of(m, t->layer)]) {
            place_in_page(m, t->layer, slot);
            page = &m->pager.pages[page_of(m, t->layer)];
        }
        if (load_tensor(m, src, t, absmax, err)) return err->code;
        const source_tensor_t *next = i + 1 < n ? model_source_at(src, i + 1) : NULL;
        if (page && !(next && next->spec && next->layer == t->layer)) {
            m->be->download(m->be, page->host, slot, page->bytes);
            page = NULL;
        }
    }
    return 0;
}

void model_load_rope(model_t *m) {
    const model_config_t *c = &m->config;
    size_t n = m->rope_len * c->rotated;
    float *table = xmalloc(n * sizeof *table);
    for (size_t i = 0; i < c->n_rope; i++) {
        for (int queries = 0; queries < 1 + (m->rope_q[i] != m->rope[i]); queries++) {
            rope_table(&c->rope[i], c->rotated, c->rope_long, queries, m->rope_len, table);
            m->be->upload(m->be, queries ? m->rope_q[i] : m->rope[i], table, n * sizeof *table);
        }
    }
    free(table);
}

/* The most blocks of any weight whose constants pass through fp32 on their way to a second level. */
static size_t staging_blocks(const model_t *m) {
    size_t most = 0;
    for (size_t i = 0; i < m->config.layers * LINEAR_SLOTS; i++) {
        const qweight_t *w = &m->layers[i / LINEAR_SLOTS].w[i % LINEAR_SLOTS];
        if (w->double_quant && quant_blocks(qweight_count(w)) > most) most = quant_blocks(qweight_count(w));
    }
    return most;
}

int model_load(model_t *m, const model_source_t *src, err_t *err) {
    backend_t *be = m->be;
    size_t blocks = staging_blocks(m);
    m->cached = 0;
    float *absmax = blocks ? be->alloc(be, blocks * sizeof(float), MEM_DEVICE) : NULL;
    int rc = blocks && !absmax ? err_set(err, ERR_FAILED, "%s: no memory for loading", be->device) : 0;
    if (rc == 0) rc = load_tensors(m, src, absmax, err);
    if (rc == 0) model_load_rope(m);
    be->sync(be);
    if (absmax) be->free(be, absmax, MEM_DEVICE);
    return rc;
}
