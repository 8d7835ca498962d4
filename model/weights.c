/* Weights from a source to their places on the device, quantized on the way. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/model.h"

static const source_tensor_t *linear_tensor(const model_source_t *src, size_t layer, linear_kind_t k) {
    char name[96];
    snprintf(name, sizeof name, "model.layers.%zu.%s.weight", layer, linear_info[k].path);
    const source_tensor_t *t = model_source_find(src, name);
    CHECK(t != NULL); /* opening the source checked that it is there */
    return t;
}

void model_init(model_t *m, const model_config_t *config, backend_t *be, quant_type_t quant, bool double_quant,
                size_t positions) {
    *m = (model_t){.config = *config,
                   .be = be,
                   .quant = quant,
                   .double_quant = quant != QUANT_NONE && double_quant,
                   .rope_len = positions};
    const model_config_t *c = &m->config;
    m->embed = m->head = (qweight_t){.type = QUANT_NONE, .rows = c->vocab, .cols = c->hidden};
    m->layers = xcalloc(c->layers, sizeof *m->layers);
    for (size_t l = 0; l < c->layers; l++)
        for (int k = 0; k < LIN_COUNT; k++)
            m->layers[l].w[k] = (qweight_t){.type = quant,
                                            .double_quant = m->double_quant,
                                            .rows = linear_rows(c, (linear_kind_t)k),
                                            .cols = linear_cols(c, (linear_kind_t)k)};
}

void model_keep_quantized(model_t *m, const model_source_t *src) {
    for (size_t l = 0; l < m->config.layers; l++)
        for (int k = 0; k < LIN_COUNT; k++) {
            const source_tensor_t *t = linear_tensor(src, l, (linear_kind_t)k);
            if (!t->quantized) continue;
            m->layers[l].w[k].type = t->quant;
            m->layers[l].w[k].double_quant = t->double_quant;
        }
    const source_tensor_t *first = model_source_quantized(src);
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
    if (w->type == QUANT_NONE) return;
    if (!w->double_quant) {
        w->absmax = pool_take(pool, constants, quant_blocks(n) * sizeof(float));
        return;
    }
    w->absmax_q = pool_take(pool, constants, quant_blocks(n));
    w->nested_absmax = pool_take(pool, constants, quant_nested_blocks(n) * sizeof(float));
}

static void place_linears(layer_t *w, pool_t *pool) {
    for (int k = 0; k < LIN_COUNT; k++) place_weight(&w->w[k], pool, POOL_WEIGHTS, POOL_CONSTANTS);
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
        size_t n = linear_is_augmented(&l) ? (linear_rows_of(&l) + l.width) * linear_ld(l.w[0]->cols, l.width) : 0;
        m->layers[layer].augmented[s] = n ? pool_take(pool, POOL_CACHE, n * dtype_size(m->be->act)) : NULL;
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
        w->attn_norm = pool_take(pool, POOL_EMBEDDINGS, c->hidden * sizeof(float));
        w->ffn_norm = pool_take(pool, POOL_EMBEDDINGS, c->hidden * sizeof(float));
    }
    if (n_paged) place_pages(m, pool);
    for (size_t l = 0; l < n_cached; l++) place_augmented(m, l, pool);
    m->final_norm = pool_take(pool, POOL_EMBEDDINGS, c->hidden * sizeof(float));
    place_weight(&m->embed, pool, POOL_EMBEDDINGS, POOL_EMBEDDINGS);
    if (c->tied) m->head = m->embed;
    else place_weight(&m->head, pool, POOL_EMBEDDINGS, POOL_EMBEDDINGS);
    m->rope = pool_take(pool, POOL_EMBEDDINGS, m->rope_len * c->head_dim * sizeof(float));
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
static int read_piece(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, bf16_t *out,
                      err_t *err) {
    size_t threads = (size_t)omp_get_max_threads();
    err_t *errs = xcalloc(threads, sizeof *errs);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < threads; i++) {
        size_t a = part_begin(n, i, threads), b = part_begin(n, i + 1, threads);
        source_read_bf16(src, t, first + a, b - a, out + a, &errs[i]);
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
    size_t count = qweight_count(w), step = be->stage_bytes / sizeof(bf16_t);
    float *constants = w->double_quant ? absmax : w->absmax;
    CHECK(step > 0 && step % SOURCE_BLOCK == 0);
    for (size_t first = 0; first < count; first += step) {
        size_t n = count - first < step ? count - first : step;
        bf16_t *piece = be->stage(be, n * sizeof *piece);
        if (read_piece(src, t, first, n, piece, err)) return err->code;
        be->quantize(be, w, piece, first, n, constants);
    }
    release(src, t); /* first: the other waits for the device */
    if (w->double_quant) be->quantize_constants(be, w, absmax);
    return 0;
}

static int load_quantized(backend_t *be, const model_source_t *src, const source_tensor_t *t, qweight_t *w,
                          err_t *err) {
    qweight_t stored;
    if (source_quantized(src, t, &stored, err)) return err->code;
    size_t n = qweight_count(w);
    be->upload(be, w->codes, stored.codes, quant_code_bytes(w->type, n));
    if (w->double_quant) {
        be->upload(be, w->absmax_q, stored.absmax_q, quant_blocks(n));
        be->upload(be, w->nested_absmax, stored.nested_absmax, quant_nested_blocks(n) * sizeof(float));
        w->nested_offset = stored.nested_offset;
    } else {
        be->upload(be, w->absmax, stored.absmax, quant_blocks(n) * sizeof(float));
    }
    source_release(src, t);
    return 0;
}

static int load_norm(backend_t *be, const model_source_t *src, const char *name, float *place, float *host,
                     err_t *err) {
    const source_tensor_t *t = model_source_find(src, name);
    CHECK(t != NULL);
    if (source_read_f32(src, t, 0, t->cols, host, err)) return err->code;
    be->upload(be, place, host, t->cols * sizeof(float));
    return 0;
}

static int load_layer(model_t *m, const model_source_t *src, size_t l, float *absmax, float *host, err_t *err) {
    char name[96];
    layer_t *w = &m->layers[l];
    unsigned char *slot = m->pager.slots[0].place;
    if (is_paged(m, l)) place_in_page(m, l, slot);
    for (int k = 0; k < LIN_COUNT; k++) {
        const source_tensor_t *t = linear_tensor(src, l, (linear_kind_t)k);
        int rc = t->quantized ? load_quantized(m->be, src, t, &w->w[k], err)
                              : load_weight(m->be, src, t, &w->w[k], absmax, err);
        if (rc) return rc;
    }
    if (is_paged(m, l)) {
        const page_t *page = &m->pager.pages[page_of(m, l)];
        m->be->download(m->be, page->host, slot, page->bytes);
    }
    snprintf(name, sizeof name, "model.layers.%zu.input_layernorm.weight", l);
    if (load_norm(m->be, src, name, w->attn_norm, host, err)) return err->code;
    snprintf(name, sizeof name, "model.layers.%zu.post_attention_layernorm.weight", l);
    return load_norm(m->be, src, name, w->ffn_norm, host, err);
}

static int load_embeddings(model_t *m, const model_source_t *src, float *host, err_t *err) {
    const source_tensor_t *embed = model_source_find(src, "model.embed_tokens.weight");
    if (load_weight(m->be, src, embed, &m->embed, NULL, err)) return err->code;
    if (!m->config.tied) {
        const source_tensor_t *head = model_source_find(src, "lm_head.weight");
        if (load_weight(m->be, src, head, &m->head, NULL, err)) return err->code;
    }
    return load_norm(m->be, src, "model.norm.weight", m->final_norm, host, err);
}

/* The most blocks of any weight whose constants pass through fp32 on their way to a second level. */
static size_t staging_blocks(const model_t *m) {
    size_t most = 0;
    for (size_t i = 0; i < m->config.layers * LIN_COUNT; i++) {
        const qweight_t *w = &m->layers[i / LIN_COUNT].w[i % LIN_COUNT];
        if (w->double_quant && quant_blocks(qweight_count(w)) > most) most = quant_blocks(qweight_count(w));
    }
    return most;
}

int model_load(model_t *m, const model_source_t *src, err_t *err) {
    backend_t *be = m->be;
    size_t blocks = staging_blocks(m);
    m->cached = 0;
    float *host = xmalloc(m->config.hidden * sizeof *host);
    float *absmax = blocks ? be->alloc(be, blocks * sizeof(float), MEM_DEVICE) : NULL;
    int rc = blocks && !absmax ? err_set(err, ERR_FAILED, "%s: no memory for loading", be->device) : 0;
    for (size_t l = 0; rc == 0 && l < m->config.layers; l++) rc = load_layer(m, src, l, absmax, host, err);
    if (rc == 0) rc = load_embeddings(m, src, host, err);
    free(host);
    be->sync(be);
    if (absmax) be->free(be, absmax, MEM_DEVICE);
    if (rc) return rc;

    size_t n = m->rope_len * m->config.head_dim;
    float *table = xmalloc(n * sizeof *table);
    rope_table(&m->config, m->rope_len, table);
    be->upload(be, m->rope, table, n * sizeof *table);
    free(table);
    return 0;
}
