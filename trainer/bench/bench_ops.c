/* The ops that a step spends its time in, one by one, at a model's shapes: what decoding costs against a copy, what
 * the products on the fly cost against bare ones, what adapters add, and attention. */
#include <stdio.h>

#include "model/site.h"
#include "trainer/bench/bench.h"

/* Layers to go through in turn: more than caches hold, less than what takes long to fill. */
#define MAX_LAYERS ((size_t)16)
#define MAX_WEIGHT_BYTES ((size_t)2 << 30)
#define SCRATCH_BYTES ((size_t)512 << 20)

typedef struct {
    bench_model_t m;
    backend_t *be;
    size_t T;
    unsigned char *scratch; /* decoded weights */
    size_t scratch_size;
    linear_slot_t slot; /* of the call at hand */
    site_t site;
    bool forward;
    double bare[LINEAR_SLOTS][2]; /* seconds of the bare product, [forward]; 0: not measured */
} rig_t;

/* ---- memory --------------------------------------------------------------------------------------------- */

/* At most an eighth of what is free, but at least `need`. */
static size_t scratch_bytes(backend_t *be, size_t need) {
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    size_t n = free_bytes / 8 < SCRATCH_BYTES ? free_bytes / 8 : SCRATCH_BYTES;
    return (n > need ? n : need) / POOL_ALIGN * POOL_ALIGN;
}

static int out_of_memory(backend_t *be, size_t bytes, err_t *err) {
    return err_set(err, ERR_FAILED, "%s: cannot allocate %.2f GiB of memory for measuring", be->device,
                   (double)bytes / (1 << 30));
}

static size_t weight_bytes(const qweight_t *w) {
    size_t n = qweight_count(w);
    return quant_code_bytes(w->type, n) + quant_constant_bytes(w->type, w->double_quant, n);
}

static size_t layers_to_measure(const model_config_t *c, const bench_spec_t *spec) {
    size_t layer = 0;
    for (unsigned k = 0; k < LINEAR_SLOTS; k++)
        layer += weight_bytes(&(qweight_t){.type = spec->quant,
                                           .double_quant = spec->double_quant,
                                           .rows = linear_rows(c, (linear_slot_t)k),
                                           .cols = linear_cols(c, (linear_slot_t)k)});
    size_t n = MAX_WEIGHT_BYTES / layer;
    if (n > MAX_LAYERS) n = MAX_LAYERS;
    if (n > c->layers) n = c->layers;
    return n ? n : 1;
}

static size_t decoded_bytes(const rig_t *r, const qweight_t *w) {
    return (qweight_count(w) * dtype_size(r->be->act) + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
}

static int open_rig(rig_t *r, backend_t *be, const model_config_t *c, const bench_spec_t *spec, err_t *err) {
    model_config_t cut = *c;
    bench_spec_t all_recomputed = *spec;
    all_recomputed.checkpointing = TRI_TRUE;
    all_recomputed.paging = all_recomputed.cache = false;
    cut.layers = layers_to_measure(c, spec);
    *r = (rig_t){.be = be, .T = spec->rows * spec->length};
    if (bench_model_open(&r->m, be, &cut, &all_recomputed, err)) return err->code;
    size_t largest = 0;
    for (unsigned k = 0; k < LINEAR_SLOTS; k++) {
        size_t n = decoded_bytes(r, &r->m.model.layers[0].w[k]);
        if (n > largest) largest = n;
    }
    r->scratch_size = scratch_bytes(be, largest);
    r->scratch = be->alloc(be, r->scratch_size, MEM_DEVICE);
    if (!r->scratch) return out_of_memory(be, r->scratch_size, err);
    be->zero(be, r->scratch, r->scratch_size);
    /* Leaves values of a real step in all the buffers, segments on the device, and B that is not zero. */
    bench_model_step(&r->m, 0);
    return 0;
}

static void close_rig(rig_t *r) {
    if (r->scratch) r->be->free(r->be, r->scratch, MEM_DEVICE);
    bench_model_close(&r->m);
}

static const qweight_t *weight_at(const rig_t *r, size_t i) {
    return &r->m.model.layers[i % r->m.model.config.layers].w[r->slot];
}

/* What goes into a linear layer or a site and comes out of it, in either direction. */
typedef struct {
    mat_t in, out;
} io_t;

static io_t site_io(const rig_t *r, site_t site) {
    const model_config_t *c = &r->m.model.config;
    const acts_t *a = &r->m.acts;
    const block_acts_t *b = &a->blocks[0];
    mat_t t = {a->t, c->hidden}, dh = {a->dh, c->hidden}, dff = {a->dff, c->ffn};
    mat_t dattn = {a->dattn, c->heads * c->head_dim}, dy = a->dt.p ? a->dt : a->dx;
    const struct {
        mat_t x, y, dy, dx;
    } io[SITE_COUNT] = {
        [SITE_QKV] = {a->h, b->qkv, a->dqkv, dh},
        [SITE_O] = {b->attn, t, dy, dattn},
        [SITE_GATE_UP] = {a->h, b->gate_up, b->gate_up, dh},
        [SITE_DOWN] = {a->ff, t, dy, dff},
    };
    return r->forward ? (io_t){io[site].x, io[site].y} : (io_t){io[site].dy, io[site].dx};
}

static const tensor_spec_t *spec_of(const rig_t *r) { return arch_linear(r->m.model.config.arch, r->slot); }

static site_t site_of(const rig_t *r) { return spec_of(r)->site; }

/* ---- copy and decoding ---------------------------------------------------------------------------------- */

static void call_copy(void *ctx, size_t i) {
    rig_t *r = ctx;
    size_t half = r->scratch_size / 2;
    unsigned char *a = r->scratch, *b = a + half;
    r->be->copy(r->be, i % 2 ? a : b, i % 2 ? b : a, half);
}

double bench_copy(backend_t *be, err_t *err) {
    rig_t r = {.be = be, .scratch_size = scratch_bytes(be, 2 * POOL_ALIGN)};
    r.scratch = be->alloc(be, r.scratch_size, MEM_DEVICE);
    if (!r.scratch) {
        out_of_memory(be, r.scratch_size, err);
        return 0;
    }
    be->zero(be, r.scratch, r.scratch_size);
    size_t moved = r.scratch_size / 2 * 2; /* halves of it, read and written */
    double rate = (double)moved / bench_time(be, call_copy, &r);
    be->free(be, r.scratch, MEM_DEVICE);
    return rate;
}

static void call_dequant(void *ctx, size_t i) {
    rig_t *r = ctx;
    const qweight_t *w = weight_at(r, i);
    size_t places = r->scratch_size / decoded_bytes(r, w);
    r->be->dequant(r->be, w, 0, qweight_count(w), r->scratch + i % places * decoded_bytes(r, w), r->be->act);
}

static void put_rate(json_t *row, const char *key, double work, double seconds) {
    json_object_set_new(row, key, json_real(work / seconds));
}

static json_t *weight_row(const char *name, const qweight_t *w) {
    return json_pack("{s:s, s:I, s:I}", "layer", name, "rows", (json_int_t)w->rows, "cols", (json_int_t)w->cols);
}

static void put_dequant(json_t *row, double bytes, double seconds, double copy) {
    put_rate(row, "gb_per_s", 1e-9 * bytes, seconds);
    if (copy > 0) put_rate(row, "of_copy", bytes / copy, seconds);
}

static json_t *measure_dequant(rig_t *r, double copy) {
    json_t *rows = json_array();
    double all_bytes = 0, all_seconds = 0;
    for (unsigned k = 0; k < LINEAR_SLOTS; k++) {
        r->slot = (linear_slot_t)k;
        if (!spec_of(r)) continue;
        const qweight_t *w = weight_at(r, 0);
        double bytes = (double)(weight_bytes(w) + qweight_count(w) * dtype_size(r->be->act));
        double seconds = bench_time(r->be, call_dequant, r);
        json_t *row = weight_row(linear_name(spec_of(r)), w);
        put_dequant(row, bytes, seconds, copy);
        json_array_append_new(rows, row);
        all_bytes += bytes;
        all_seconds += seconds;
    }
    json_t *all = json_pack("{s:s}", "layer", "all");
    put_dequant(all, all_bytes, all_seconds, copy);
    json_array_append_new(rows, all);
    return rows;
}

static void print_dequant(const json_t *rows) {
    static const bench_column_t columns[] = {{"layer", "", COLUMN_TEXT},
                                             {"rows", "rows", COLUMN_NUMBER},
                                             {"cols", "cols", COLUMN_NUMBER},
                                             {"gb_per_s", "GB/s", COLUMN_NUMBER},
                                             {"of_copy", "of a copy", COLUMN_PERCENT}};
    bench_table("decoding of weights (bytes read and written)", rows, columns, 5);
}

/* ---- products ------------------------------------------------------------------------------------------- */

/* Dense, whatever the rows' distance is in training. */
static void call_bare(void *ctx, size_t i) {
    rig_t *r = ctx;
    backend_t *be = r->be;
    const qweight_t *w = weight_at(r, i);
    io_t io = site_io(r, site_of(r));
    size_t in = r->forward ? w->cols : w->rows, out = r->forward ? w->rows : w->cols;
    be->gemm(be, false, r->forward, r->T, out, in, 1.0f, (matrix_t){io.in.p, be->act, in},
             (matrix_t){r->scratch, be->act, w->cols}, 0.0f, (matrix_t){io.out.p, be->act, out});
}

static void call_weight(void *ctx, size_t i) {
    rig_t *r = ctx;
    io_t io = site_io(r, site_of(r));
    linear_t l = {.n = 1, .part = {{.w = weight_at(r, i)}}};
    if (r->forward) r->be->linear_fwd(r->be, r->T, io.in, &l, io.out);
    else r->be->linear_bwd(r->be, r->T, io.in, &l, NULL, io.out);
}

static const char *const directions[2] = {"backward", "forward"};

/* seconds: of the bare product and of the one on the fly. */
static void put_products(json_t *row, bool forward, double flops, const double seconds[2]) {
    char key[48];
    snprintf(key, sizeof key, "%s_bare_tflops", directions[forward]);
    put_rate(row, key, 1e-12 * flops, seconds[0]);
    snprintf(key, sizeof key, "%s_tflops", directions[forward]);
    put_rate(row, key, 1e-12 * flops, seconds[1]);
    snprintf(key, sizeof key, "%s_of_bare", directions[forward]);
    put_rate(row, key, seconds[0], seconds[1]);
}

static void measure_direction(rig_t *r, bool forward, json_t *row, double flops, double sums[2]) {
    r->forward = forward;
    double seconds[2];
    bench_time_all(r->be, (const bench_call_t[]){call_bare, call_weight}, 2, r, seconds);
    put_products(row, forward, flops, seconds);
    r->bare[r->slot][forward] = seconds[0];
    for (int i = 0; i < 2; i++) sums[i] += seconds[i];
}

static json_t *measure_gemm(rig_t *r, double *flops_per_second) {
    json_t *rows = json_array();
    double all_flops = 0, sums[2][2] = {{0}}; /* seconds [forward][on the fly] */
    for (unsigned k = 0; k < LINEAR_SLOTS; k++) {
        r->slot = (linear_slot_t)k;
        if (!spec_of(r)) continue;
        const qweight_t *w = weight_at(r, 0);
        double flops = 2.0 * (double)r->T * (double)qweight_count(w);
        json_t *row = weight_row(linear_name(spec_of(r)), w);
        r->be->dequant(r->be, w, 0, qweight_count(w), r->scratch, r->be->act);
        for (int forward = 1; forward >= 0; forward--) measure_direction(r, forward, row, flops, sums[forward]);
        json_array_append_new(rows, row);
        all_flops += flops;
    }
    json_t *all = json_pack("{s:s}", "layer", "all");
    for (int forward = 1; forward >= 0; forward--) put_products(all, forward, all_flops, sums[forward]);
    json_array_append_new(rows, all);
    *flops_per_second = 2 * all_flops / (sums[0][0] + sums[1][0]);
    return rows;
}

static void print_gemm(const json_t *rows, size_t T) {
    static const bench_column_t columns[] = {{"layer", "", COLUMN_TEXT},
                                             {"rows", "rows", COLUMN_NUMBER},
                                             {"cols", "cols", COLUMN_NUMBER},
                                             {"forward_bare_tflops", "bare forward", COLUMN_NUMBER},
                                             {"forward_tflops", "decoded", COLUMN_NUMBER},
                                             {"forward_of_bare", "of bare", COLUMN_PERCENT},
                                             {"backward_bare_tflops", "bare backward", COLUMN_NUMBER},
                                             {"backward_tflops", "decoded", COLUMN_NUMBER},
                                             {"backward_of_bare", "of bare", COLUMN_PERCENT}};
    char title[96];
    snprintf(title, sizeof title, "products of %zu tokens, TFLOP/s: on a decoded weight, and decoding on the fly", T);
    bench_table(title, rows, columns, 9);
}

/* ---- with adapters -------------------------------------------------------------------------------------- */

static void call_site(void *ctx, size_t i) {
    rig_t *r = ctx;
    const acts_t *a = &r->m.acts;
    block_ctx_t block = {.m = &r->m.model, .a = &r->m.acts, .T = r->T};
    size_t layer = i % r->m.model.config.layers;
    io_t io = site_io(r, r->site);
    mat_t u = a->blocks[0].u[r->site];
    if (r->forward) {
        site_fwd(&block, layer, r->site, io.in, u, io.out);
        return;
    }
    mat_t x = r->site == SITE_O ? a->blocks[0].attn : r->site == SITE_DOWN ? a->ff : a->h;
    site_bwd(&block, layer, r->site, x, u, io.in, io.out);
}

static const char *const site_names[SITE_COUNT] = {"q, k, v", "o", "gate, up", "down"};

static json_t *measure_sites(rig_t *r) {
    json_t *rows = json_array();
    for (int s = 0; s < SITE_COUNT; s++) {
        json_t *row = json_pack("{s:s}", "site", site_names[s]);
        linear_slot_t slots[LINEAR_MAX];
        size_t n = arch_site(r->m.model.config.arch, (site_t)s, slots);
        r->site = (site_t)s;
        for (int forward = 1; forward >= 0; forward--) {
            char key[48];
            double bare = 0;
            r->forward = forward;
            double seconds = bench_time(r->be, call_site, r);
            for (size_t i = 0; i < n; i++) bare += r->bare[slots[i]][forward];
            snprintf(key, sizeof key, "%s_seconds", directions[forward]);
            json_object_set_new(row, key, json_real(seconds));
            snprintf(key, sizeof key, "%s_of_bare", directions[forward]);
            if (bare > 0) put_rate(row, key, bare, seconds);
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static void print_sites(const json_t *rows, size_t rank) {
    static const bench_column_t columns[] = {{"site", "", COLUMN_TEXT},
                                             {"forward_seconds", "forward, ms", COLUMN_MS},
                                             {"forward_of_bare", "of bare products", COLUMN_PERCENT},
                                             {"backward_seconds", "backward, ms", COLUMN_MS},
                                             {"backward_of_bare", "of bare products", COLUMN_PERCENT}};
    char title[96];
    snprintf(title, sizeof title, "linear layers with adapters of rank %zu (their gradients in the backward)", rank);
    bench_table(title, rows, columns, 5);
}

static json_t *measure_low_rank(rig_t *r, double copy) {
    mat_t x[SITE_COUNT], dy[SITE_COUNT];
    for (int s = 0; s < SITE_COUNT; s++) {
        r->forward = true;
        x[s] = site_io(r, (site_t)s).in;
        r->forward = false;
        dy[s] = site_io(r, (site_t)s).in;
    }
    return bench_low_rank(&r->m, r->be, site_names, x, dy, copy);
}

/* ---- attention ------------------------------------------------------------------------------------------ */

static void call_attention(void *ctx, size_t i) {
    (void)i;
    rig_t *r = ctx;
    backend_t *be = r->be;
    const model_config_t *c = &r->m.model.config;
    const acts_t *a = &r->m.acts;
    const block_acts_t *b = &a->blocks[0];
    const batch_t *batch = &r->m.batch;
    size_t q = c->heads * c->head_dim, kv = q + c->kv_heads * c->head_dim;
    attn_shape_t shape = {.Hq = c->heads,
                          .Hkv = c->kv_heads,
                          .D = c->head_dim,
                          .window = c->kinds[0].window,
                          .scale = (float)c->attn_scale,
                          .softcap = (float)c->attn_softcap,
                          .ld_q = b->qkv.ld,
                          .ld_k = b->qkv.ld,
                          .ld_v = b->qkv.ld,
                          .ld_o = b->attn.ld,
                          .ld_dout = q,
                          .ld_dqkv = a->dqkv.ld};
    attn_segments_t seg = {.n = batch->n_seg,
                           .q_off = a->seg_off,
                           .kv_off = a->seg_off,
                           .kv_len = a->seg_len,
                           .max_q = batch->max_seg,
                           .max_kv = batch->max_seg};
    const void *k = mat_column(be, b->qkv, q), *v = mat_column(be, b->qkv, kv);
    if (r->forward) be->attn_fwd(be, b->attn.p, b->lse, b->qkv.p, k, v, &shape, &seg);
    else
        be->attn_bwd(be, a->dqkv.p, mat_column(be, a->dqkv, q), mat_column(be, a->dqkv, kv), a->dattn, b->qkv.p, k, v,
                     b->attn.p, b->lse, &shape, &seg);
}

static json_t *measure_attention(rig_t *r) {
    const model_config_t *c = &r->m.model.config;
    json_t *rows = json_array();
    /* Two products forward and five backward, of which half is masked. */
    double flops = 2.0 * (double)r->T * (double)r->m.batch.max_seg * (double)(c->heads * c->head_dim);
    for (int forward = 1; forward >= 0; forward--) {
        r->forward = forward;
        double seconds = bench_time(r->be, call_attention, r);
        json_t *row = json_pack("{s:s, s:f}", "pass", directions[forward], "seconds", seconds);
        put_rate(row, "tflops", 1e-12 * flops * (forward ? 1 : 2.5), seconds);
        json_array_append_new(rows, row);
    }
    return rows;
}

static void print_attention(const json_t *rows, const model_config_t *c, const bench_spec_t *spec) {
    static const bench_column_t columns[] = {
        {"pass", "", COLUMN_TEXT}, {"seconds", "ms", COLUMN_MS}, {"tflops", "TFLOP/s", COLUMN_NUMBER}};
    char title[128];
    snprintf(title, sizeof title, "attention, %zu rows of %zu, %zu/%zu heads of %zu (causal: half of it counts)",
             spec->rows, spec->length, c->heads, c->kv_heads, c->head_dim);
    bench_table(title, rows, columns, 3);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

int bench_ops(backend_t *be, const model_config_t *c, const bench_spec_t *spec, unsigned parts, double copy,
              bench_ops_t *out, err_t *err) {
    rig_t r;
    *out = (bench_ops_t){0};
    int rc = open_rig(&r, be, c, spec, err);
    if (rc == 0) {
        json_t *o = out->json = json_object(), *rows;
        if (parts & BENCH_DEQUANT) {
            json_object_set_new(o, "dequant", rows = measure_dequant(&r, copy));
            print_dequant(rows);
        }
        if (parts & BENCH_GEMM) {
            json_object_set_new(o, "gemm", rows = measure_gemm(&r, &out->gemm_flops));
            print_gemm(rows, r.T);
        }
        if (parts & BENCH_LINEAR) {
            json_object_set_new(o, "linear", rows = measure_sites(&r));
            print_sites(rows, spec->rank);
            json_object_set_new(o, "low_rank", measure_low_rank(&r, copy));
        }
        if (parts & BENCH_ATTENTION) {
            json_object_set_new(o, "attention", rows = measure_attention(&r));
            print_attention(rows, c, spec);
        }
    }
    close_rig(&r);
    return rc;
}
