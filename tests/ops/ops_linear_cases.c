#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops_cases.h"

static const dtype_t gemm_types[][3] = {
    {DT_F32, DT_F32, DT_F32},  {DT_F32, DT_BF16, DT_F32}, {DT_BF16, DT_BF16, DT_BF16},
    {DT_BF16, DT_F32, DT_F32}, {DT_F32, DT_F32, DT_BF16},
};

/* a,b,c: M,N,K; d: types; flags: 1 ta, 2 tb, 4 beta, 8 padded rows. */
static void run_gemm(rig_t *r, const params_t *p) {
    bool ta = p->flags & 1, tb = p->flags & 2;
    size_t M = p->a, N = p->b, K = p->c, pad = p->flags & 8 ? 3 : 0;
    size_t lda = (ta ? M : K) + pad, ldb = (tb ? K : N) + pad, ldc = N + pad;
    const dtype_t *t = gemm_types[p->d];
    void *A = rig_random(r, t[0], (ta ? K : M) * lda, 1), *B = rig_random(r, t[1], (tb ? N : K) * ldb, 1);
    /* Without beta C is not read: NaN, but for its padding. */
    float *c = xmalloc(M * ldc * sizeof *c);
    rig_normal(r->key, c, M * ldc, 1);
    for (size_t i = 0; i < M * ldc && !(p->flags & 4); i++) c[i] = i % ldc < N ? NAN : c[i];
    void *C = rig_values(r, t[2], c, M * ldc);
    free(c);
    r->be->gemm(r->be, ta, tb, M, N, K, 0.5f, A, t[0], lda, B, t[1], ldb, p->flags & 4 ? 0.75f : 0, C, t[2], ldc);
    rig_output(r, C, t[2], M * ldc); /* the padding too: it must stay */
}

/* a,b: rows, cols; c,d: first, n; flags: type | 8 double quantization | 16 to BF16. */
static void run_dequant(rig_t *r, const params_t *p) {
    qweight_t w = rig_weight(r, (quant_type_t)(p->flags & 7), p->flags & 8, p->a, p->b);
    dtype_t type = p->flags & 16 ? DT_BF16 : DT_F32;
    void *out = rig_alloc(r, p->d * dtype_size(type));
    r->be->dequant(r->be, &w, p->c, p->d, out, type);
    rig_output(r, out, type, p->d);
}

/* a: elements; b: quantization; in pieces of 192, as bytes; then the second level. */
static void run_quantize(rig_t *r, const params_t *p) {
    size_t n = p->a, blocks = quant_blocks(n), code_bytes = quant_code_bytes((quant_type_t)p->b, n);
    qweight_t w = {.type = (quant_type_t)p->b, .double_quant = p->b != QUANT_NONE, .rows = 1, .cols = n};
    float *x = xmalloc(n * sizeof *x);
    bf16_t *h = xmalloc(n * sizeof *h);
    rig_normal(r->key, x, n, 0.3f);
    for (size_t i = 0; i < n; i++) h[i] = bf16_from_f32(x[i]);
    float *absmax = rig_alloc(r, blocks * sizeof(float));
    w.codes = rig_alloc(r, code_bytes);
    w.absmax_q = rig_alloc(r, blocks);
    w.nested_absmax = rig_alloc(r, quant_nested_blocks(n) * sizeof(float));
    size_t step = p->c ? p->c : n;
    for (size_t i = 0; i < n; i += step) r->be->quantize(r->be, &w, h + i, i, n - i < step ? n - i : step, absmax);
    uint8_t *bytes = xmalloc(code_bytes + blocks);
    float *as_float = xmalloc((code_bytes + blocks) * sizeof *as_float);
    r->be->download(r->be, bytes, w.codes, code_bytes);
    size_t n_bytes = code_bytes;
    if (w.double_quant) {
        r->be->quantize_constants(r->be, &w, absmax);
        r->be->download(r->be, bytes + code_bytes, w.absmax_q, blocks);
        n_bytes += blocks;
        rig_output(r, absmax, DT_F32, blocks);
        rig_output(r, w.nested_absmax, DT_F32, quant_nested_blocks(n));
    }
    for (size_t i = 0; i < n_bytes; i++) as_float[i] = bytes[i];
    float *codes = rig_upload(r, as_float, n_bytes * sizeof *as_float);
    rig_output(r, codes, DT_F32, n_bytes);
    free(x);
    free(h);
    free(bytes);
    free(as_float);
}

/* ---- linear layers ------------------------------------------------------------------------------------ */

enum {
    ALIGNED_QKV,
    ODD_QKV,
    FRACTION_QKV,
    GATE_UP,
    MIXED,
    ODD_MIXED,
    WIDE,
    L64X96,
    L61X37,
    L128X576,
    L61X2500,
    L61X130,
    L130X61,
    INT4_70X64,
    INT4_70X61,
    INT8_70X61,
    INT8_64X61,
    NONE_70X61,
    L2200X600,
    L50X70,
    NONE_3,
    FP4_2,
    TINY
};
static const struct {
    size_t n, rows[LINEAR_MAX], cols;
    quant_type_t type[LINEAR_MAX];
    bool double_quant;
} sites[] = {
    [ALIGNED_QKV] = {3, {128, 64, 64}, 96, {QUANT_NF4, QUANT_NF4, QUANT_NF4}, true},
    [ODD_QKV] = {3, {61, 30, 33}, 37, {QUANT_NF4, QUANT_NF4, QUANT_NF4}, false},
    [FRACTION_QKV] = {3, {72, 24, 40}, 136, {QUANT_NF4, QUANT_NF4, QUANT_NF4}, true}, /* of 8, not of 64 */
    [GATE_UP] = {2, {192, 192}, 64, {QUANT_NF4, QUANT_NF4}, true},
    [MIXED] = {2, {96, 80}, 64, {QUANT_NF4, QUANT_NONE}, true},
    [ODD_MIXED] = {3, {24, 41, 17}, 61, {QUANT_NONE, QUANT_INT8, QUANT_NF4}, true},
    [WIDE] = {2, {300, 290}, 1100, {QUANT_NF4, QUANT_NF4}, true},
    [L64X96] = {1, {64}, 96, {QUANT_NF4}, false},
    [L61X37] = {1, {61}, 37, {QUANT_NF4}, true},
    [L128X576] = {1, {128}, 576, {QUANT_NF4}, true},
    [L61X2500] = {1, {61}, 2500, {QUANT_FP4}, false},
    [L61X130] = {1, {61}, 130, {QUANT_FP4}, false},
    [L130X61] = {1, {130}, 61, {QUANT_FP4}, true},
    [INT4_70X64] = {1, {70}, 64, {QUANT_INT4}, true},
    [INT4_70X61] = {1, {70}, 61, {QUANT_INT4}, false},
    [INT8_70X61] = {1, {70}, 61, {QUANT_INT8}, true},
    [INT8_64X61] = {1, {64}, 61, {QUANT_INT8}, false},
    [NONE_70X61] = {1, {70}, 61, {QUANT_NONE}, false},
    [L2200X600] = {1, {2200}, 600, {QUANT_NF4}, true}, /* more than one panel */
    [L50X70] = {1, {50}, 70, {QUANT_NF4}, false},
    [NONE_3] = {3, {70, 22, 64}, 64, {QUANT_NONE, QUANT_NONE, QUANT_NONE}, false},
    [TINY] = {2, {3, 1}, 8, {QUANT_NF4, QUANT_INT8}, true},
    [FP4_2] = {2, {40, 72}, 130, {QUANT_FP4, QUANT_FP4}, false},
};

/* Parameters of all that follow: a: site; b: T; c: padding beyond what linear_ld() gives; d: rank; flags: */
#define ON(layers) (layers) /* which layers have adapters, a bit each */
enum {
    DROPPED = 8,
    KEPT = 16,      /* the augmented weight is kept; else made for the use */
    RENEWED = 32,   /* the same, with adapters that have changed since */
    F32_AB = 64,    /* where act is F32 */
    ROOM_ONE = 128, /* in the workspace: for the largest layer's augmented weight alone */
    ROOM_TWO = 256, /* for that of the first two layers, if that is more; else for the whole site's */
    APART = 512     /* u or du in a matrix of its own, not behind x or dy */
};

typedef struct {
    linear_t l;
    qweight_t w[LINEAR_MAX];
    size_t T, cols, rows, pad, augmented_ld;
    dropout_t key;
    const dropout_t *drop; /* NULL: none */
} site_t;

/* The elements of an augmented weight of layers [first, first+n) of a site. */
static size_t augmented_size(const linear_t *l, size_t first, size_t n) {
    size_t rows = l->width;
    for (size_t i = first; i < first + n; i++) rows += l->w[i]->rows;
    return rows * linear_ld(l->w[0]->cols, l->width);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* A workspace of exactly what the case needs, whatever the one before had. */
static void site_workspace(rig_t *r, const site_t *s, int flags) {
    workspace_need_t need = {.max_tokens = s->T, .max_width = linear_ld(most(s->cols, s->rows), s->l.width)};
    for (size_t i = 0; i < s->l.n; i++) {
        need.max_weight = most(need.max_weight, qweight_count(&s->w[i]));
        need.max_augmented = most(need.max_augmented, augmented_size(&s->l, i, 1));
    }
    size_t together = flags & (ROOM_ONE | KEPT | RENEWED) ? 1 : flags & ROOM_TWO && s->l.n > 2 ? 2 : s->l.n;
    need.max_augmented = most(need.max_augmented, augmented_size(&s->l, 0, together));
    rig_workspace(r, &need);
}

static void draw_adapters(rig_t *r, site_t *s, int flags) {
    s->l.a = rig_random(r, s->l.ab_type, s->l.width * s->cols, 0.05f);
    for (size_t i = 0; i < s->l.n; i++)
        if (flags & 1 << i) s->l.b[i] = rig_random(r, s->l.ab_type, s->w[i].rows * s->l.r, 0.1f);
}

/* The adapters' values become others, on the device and where they are. */
static void renew_adapters(rig_t *r, const linear_t *l) {
    size_t size = dtype_size(l->ab_type), n_a = l->width * l->w[0]->cols;
    r->be->copy(r->be, (void *)l->a, rig_random(r, l->ab_type, n_a, 0.05f), n_a * size);
    for (size_t i = 0; i < l->n; i++) {
        size_t n_b = l->w[i]->rows * l->r;
        if (l->b[i]) r->be->copy(r->be, (void *)l->b[i], rig_random(r, l->ab_type, n_b, 0.1f), n_b * size);
    }
}

static void forget_codes(rig_t *r, const qweight_t *w) {
    r->be->zero(r->be, w->codes, quant_code_bytes(w->type, qweight_count(w)));
}

static dropout_t dropout_key(rig_t *r, size_t T) {
    return (dropout_t){.seed = 42,
                       .step = 7,
                       .layer = 3,
                       .site = 2,
                       .p = 0.1f,
                       .row = rig_indices(r, T, 16),
                       .pos = rig_indices(r, T, 4096)};
}

/* s keeps pointers into itself. */
static void site_open(rig_t *r, const params_t *p, site_t *s) {
    memset(s, 0, sizeof *s);
    s->T = p->b;
    s->cols = sites[p->a].cols;
    s->pad = p->c;
    s->l.n = sites[p->a].n;
    s->l.r = p->d;
    s->l.ab_type = p->flags & F32_AB && r->be->act == DT_F32 ? DT_F32 : DT_BF16;
    for (size_t i = 0; i < s->l.n; i++) {
        s->w[i] = rig_weight(r, sites[p->a].type[i], sites[p->a].double_quant, sites[p->a].rows[i], s->cols);
        s->l.w[i] = &s->w[i];
        s->l.width += p->flags & 1 << i ? p->d : 0;
    }
    s->rows = linear_rows_of(&s->l);
    s->augmented_ld = linear_ld(s->cols, s->l.width);
    if (s->l.width) draw_adapters(r, s, p->flags);
    if (p->flags & DROPPED) {
        s->key = dropout_key(r, s->T);
        s->drop = &s->key;
    }
    site_workspace(r, s, p->flags);
    if (!(p->flags & (KEPT | RENEWED))) return;
    s->l.augmented = rig_alloc(r, (s->rows + s->l.width) * s->augmented_ld * dtype_size(r->be->act));
    r->be->linear_cache(r->be, &s->l, true);
    if (!(p->flags & RENEWED)) return;
    renew_adapters(r, &s->l);
    r->be->linear_cache(r->be, &s->l, false);
}

/* Columns of a matrix of act values whose own are `cols` and `extra` ones behind them, and more by the case's padding,
 * of which half is in front. */
static columns_t beside(const rig_t *r, const site_t *s, size_t cols, size_t extra) {
    return (columns_t){r->be->act, s->T, s->pad / 2, cols + extra, linear_ld(cols, extra) + s->pad};
}

static void run_linear_fwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    const columns_t of_x = beside(r, &s, s.cols, s.l.width), of_y = beside(r, &s, s.rows, 0);
    void *x = rig_columns(r, &of_x, 1), *y = rig_unwritten(r, &of_y);
    r->be->linear_fwd(r->be, s.T, x, of_x.ld, &s.l, y, of_y.ld);
    rig_output_columns(r, y, &of_y);
}

static void run_linear_bwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    const columns_t of_dy = beside(r, &s, s.rows, s.l.width), of_dx = beside(r, &s, s.cols, 0);
    void *dy = rig_columns(r, &of_dy, 1), *dx = rig_unwritten(r, &of_dx);
    r->be->linear_bwd(r->be, s.T, dy, of_dy.ld, &s.l, s.drop, dx, of_dx.ld);
    rig_output_columns(r, dx, &of_dx);
}

/* u is where x ends, in the same matrix, unless it is apart. */
static void run_adapter_fwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    bool apart = p->flags & APART;
    const columns_t of_xu = beside(r, &s, s.cols, s.l.width);
    columns_t of_x = of_xu, of_u = apart ? beside(r, &s, s.l.width, 0) : of_xu;
    of_x.cols = s.cols;
    if (!apart) of_u = (columns_t){of_u.type, of_u.rows, of_u.first + s.cols, s.l.width, of_u.ld};
    void *x = rig_columns(r, &of_x, 1), *u = apart ? rig_unwritten(r, &of_u) : rig_act_at(r, x, s.cols);
    r->be->adapter_fwd(r->be, s.T, x, of_x.ld, &s.l, 0.5f, s.drop, u, of_u.ld);
    (apart ? rig_output_columns : rig_output_inner)(r, u, &of_u);
    rig_output_columns(r, x, apart ? &of_x : &of_xu); /* x is as before, too */
}

static void run_adapter_grad(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    columns_t of_x = beside(r, &s, s.cols, s.l.width), of_du = beside(r, &s, s.rows, s.l.width);
    of_x.cols = s.cols; /* u is not read */
    of_du = (columns_t){of_du.type, of_du.rows, of_du.first + s.rows, s.l.width, of_du.ld};
    if (p->flags & APART) of_du = beside(r, &s, s.l.width, 0);
    void *x = rig_columns(r, &of_x, 1), *du = rig_columns(r, &of_du, 1);
    float *dA = rig_random(r, DT_F32, s.l.width * s.cols, 1); /* is added to */
    r->be->adapter_grad(r->be, s.T, du, of_du.ld, x, of_x.ld, &s.l, s.drop, dA);
    rig_output(r, dA, DT_F32, s.l.width * s.cols);
}

/* a: T; b: C; c: padding; d: channels that are looked at. A takes one channel for each of its rows: u is drop(x), to
 * the bit. */
static void run_dropout(rig_t *r, const params_t *p) {
    size_t width = p->d;
    float *a = xcalloc(width * p->b, sizeof *a);
    for (size_t k = 0; k < width; k++) a[k * p->b + (k + 1) * p->b / width - 1] = 1;
    site_t s = {.T = p->a, .cols = p->b, .rows = 1, .pad = p->c, .w = {rig_weight(r, QUANT_NONE, false, 1, p->b)}};
    s.l = (linear_t){.n = 1,
                     .w = {&s.w[0]},
                     .r = width,
                     .width = width,
                     .a = rig_values(r, DT_BF16, a, width * p->b),
                     .b = {rig_random(r, DT_BF16, width, 1)},
                     .ab_type = DT_BF16};
    s.key = dropout_key(r, s.T);
    site_workspace(r, &s, 0);
    const columns_t of_x = beside(r, &s, s.cols, 0), of_u = beside(r, &s, width, 0);
    void *x = rig_columns(r, &of_x, 1), *u = rig_unwritten(r, &of_u);
    r->be->adapter_fwd(r->be, s.T, x, of_x.ld, &s.l, 1, &s.key, u, of_u.ld);
    rig_output_columns(r, u, &of_u);
    free(a);
}

/* The augmented weight by its definition: the decoded weights, B's columns beside them, A below. No op reads the corner
 * below B, nor what lies beyond cols + width. */
static unsigned char *augmented_of(rig_t *r, const site_t *s) {
    backend_t *be = r->be;
    size_t size = dtype_size(be->act), row = 0, u = s->cols, ld = s->augmented_ld;
    unsigned char *want = xcalloc((s->rows + s->l.width) * ld, size);
    for (size_t i = 0; i < s->l.n; row += s->w[i++].rows) {
        size_t n = qweight_count(&s->w[i]), n_b = s->w[i].rows * s->l.r;
        unsigned char *w = xmalloc(n * size), *b = xmalloc((n_b + 1) * size);
        void *decoded = rig_alloc(r, n * size), *cast = s->l.b[i] ? rig_alloc(r, n_b * size) : NULL;
        be->dequant(be, &s->w[i], 0, n, decoded, be->act);
        be->download(be, w, decoded, n * size);
        if (cast) be->cast(be, cast, be->act, s->l.b[i], s->l.ab_type, n_b);
        if (cast) be->download(be, b, cast, n_b * size);
        for (size_t o = 0; o < s->w[i].rows; o++) {
            memcpy(want + (row + o) * ld * size, w + o * s->cols * size, s->cols * size);
            if (cast) memcpy(want + ((row + o) * ld + u) * size, b + o * s->l.r * size, s->l.r * size);
        }
        if (cast) u += s->l.r;
        free(w);
        free(b);
    }
    if (s->l.width) {
        void *a = rig_alloc(r, s->l.width * s->cols * size);
        be->cast(be, a, be->act, s->l.a, s->l.ab_type, s->l.width * s->cols);
        for (size_t k = 0; k < s->l.width; k++)
            be->download(be, want + (s->rows + k) * ld * size, (unsigned char *)a + k * s->cols * size, s->cols * size);
    }
    return want;
}

static void run_linear_cache(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    size_t size = dtype_size(r->be->act), ld = s.augmented_ld, n = (s.rows + s.l.width) * ld;
    const columns_t upper = {r->be->act, s.rows, 0, s.cols + s.l.width, ld};
    const columns_t lower = {r->be->act, s.l.width, 0, s.cols, ld};
    /* Renewed once more, without the weights: they may not even be there. */
    if (p->flags & RENEWED) renew_adapters(r, &s.l);
    unsigned char *want = augmented_of(r, &s), *got = xmalloc(n * size);
    for (size_t i = 0; p->flags & RENEWED && i < s.l.n; i++) forget_codes(r, &s.w[i]);
    if (p->flags & RENEWED) r->be->linear_cache(r->be, &s.l, false);
    r->be->download(r->be, got, s.l.augmented, n * size);
    for (size_t row = 0; row < s.rows + s.l.width; row++)
        CHECK(memcmp(got + row * ld * size, want + row * ld * size,
                     (row < s.rows ? s.cols + s.l.width : s.cols) * size) == 0);
    rig_output_inner(r, s.l.augmented, &upper);
    if (s.l.width) rig_output_inner(r, rig_act_at(r, s.l.augmented, s.rows * ld), &lower);
    free(want);
    free(got);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const params_t gemm_cases[] = {
    {1, 1, 1, 0, 0},       {7, 5, 3, 0, 1},       {33, 65, 17, 0, 2},    {64, 16, 96, 0, 7},     {129, 17, 40, 0, 12},
    {300, 16, 576, 0, 2},  {300, 31, 64, 0, 9},   {16, 300, 200, 0, 1},  {70, 90, 0, 0, 4},      {70, 90, 0, 0, 0},
    {300, 16, 576, 1, 2},  {300, 576, 16, 1, 2},  {65, 33, 1500, 1, 4},  {65, 33, 1500, 2, 6},   {70, 1100, 64, 2, 8},
    {600, 600, 40, 2, 13}, {600, 40, 1100, 3, 1}, {40, 600, 1100, 3, 3}, {530, 1030, 20, 4, 12}, {530, 1030, 20, 4, 0},
};
static const params_t dequant_cases[] = {
    {8, 64, 0, 512, QUANT_NF4},
    {50, 30, 0, 1500, QUANT_NF4 | 8},
    {50, 30, 37, 1001, QUANT_NF4 | 8},
    {50, 30, 70, 3, QUANT_NF4},
    {50, 30, 0, 1500, QUANT_FP4 | 16},
    {50, 30, 1, 1499, QUANT_FP4 | 24},
    {50, 30, 64, 640, QUANT_INT4},
    {5, 13, 0, 65, QUANT_INT4 | 16},
    {50, 30, 3, 1490, QUANT_INT8 | 8},
    {50, 30, 0, 1500, QUANT_INT8 | 16},
    {50, 30, 9, 900, QUANT_NONE},
    {50, 30, 9, 900, QUANT_NONE | 16},
    {300, 577, 5, 173000, QUANT_NF4 | 8},
    /* a few values alone */
    {8, 64, 0, 12, QUANT_NF4 | 8},
    {8, 64, 64, 4, QUANT_FP4},
    {8, 64, 8, 8, QUANT_NF4 | 24},
    {8, 64, 0, 1, QUANT_INT4},
    {8, 64, 16, 4, QUANT_INT8},
    {8, 64, 4, 3, QUANT_NONE | 16},
};
static const params_t quantize_cases[] = {
    {1, QUANT_NF4, 0, 0, 0},       {1500, QUANT_NF4, 0, 0, 0},     {1500, QUANT_NF4, 192, 0, 0},
    {1501, QUANT_FP4, 640, 0, 0},  {1501, QUANT_INT4, 64, 0, 0},   {1501, QUANT_INT8, 128, 0, 0},
    {1501, QUANT_NONE, 640, 0, 0}, {70000, QUANT_NF4, 8256, 0, 0}, {70001, QUANT_FP4, 0, 0, 0},
    {40001, QUANT_INT8, 0, 0, 0},
};
static const params_t linear_cases[] = {
    /* the frozen weight alone */
    {L64X96, 33, 0, 0, 0},
    {L61X37, 40, 0, 0, 0},
    {L61X37, 1, 0, 0, 0},
    {L128X576, 1, 0, 0, 0},
    {L61X2500, 4, 0, 0, 0},
    {L61X130, 5, 0, 0, 0},
    {L130X61, 3, 0, 0, 0},
    {INT4_70X64, 20, 0, 0, 0},
    {INT4_70X61, 4, 0, 0, 0},
    {INT8_70X61, 20, 0, 0, 0},
    {INT8_64X61, 5, 0, 0, 0},
    {NONE_70X61, 20, 0, 0, 0},
    {NONE_70X61, 2, 0, 0, 0},
    {L2200X600, 9, 0, 0, 0},
    {L50X70, 530, 0, 0, 0},
    {ALIGNED_QKV, 33, 0, 0, 0},
    {ALIGNED_QKV, 1, 16, 0, 0},
    {ALIGNED_QKV, 300, 3, 0, 0},
    {ALIGNED_QKV, 33, 0, 0, ROOM_ONE},
    {ALIGNED_QKV, 33, 8, 0, ROOM_TWO},
    {ODD_QKV, 33, 0, 0, 0},
    {ODD_QKV, 4, 3, 0, ROOM_ONE},
    {GATE_UP, 2, 0, 0, KEPT},
    {MIXED, 33, 0, 0, 0},
    {MIXED, 5, 0, 0, ROOM_ONE},
    {NONE_3, 33, 0, 0, 0},
    {NONE_3, 1, 3, 0, 0},
    {ODD_MIXED, 33, 0, 0, KEPT},
    {NONE_70X61, 33, 3, 0, KEPT},
    {L64X96, 5, 0, 0, DROPPED}, /* nothing to drop */
    /* adapters */
    {TINY, 3, 0, 0, 0},
    {TINY, 5, 8, 8, ON(3) | DROPPED},
    {TINY, 1, 0, 1, ON(2) | ROOM_ONE},
    {L64X96, 33, 0, 16, ON(1)},
    {L64X96, 1, 16, 16, ON(1)},
    {L61X37, 5, 0, 20, ON(1) | DROPPED},
    {L128X576, 4, 16, 4, ON(1) | F32_AB},
    {L61X2500, 2, 0, 1, ON(1)},
    {INT8_70X61, 33, 3, 4, ON(1) | DROPPED},
    {INT4_70X64, 5, 0, 16, ON(1)},
    {NONE_70X61, 33, 0, 20, ON(1) | F32_AB},
    {L2200X600, 9, 0, 16, ON(1) | DROPPED},
    {L50X70, 530, 0, 4, ON(1) | DROPPED},
    {ALIGNED_QKV, 33, 0, 16, ON(7)},
    {ALIGNED_QKV, 300, 16, 16, ON(7) | DROPPED},
    {ALIGNED_QKV, 1, 0, 16, ON(7)},
    {ALIGNED_QKV, 2, 16, 20, ON(2) | DROPPED},
    {ALIGNED_QKV, 4, 0, 1, ON(7)},
    {ALIGNED_QKV, 5, 8, 4, ON(6) | DROPPED | F32_AB},
    {ALIGNED_QKV, 300, 3, 4, ON(5) | DROPPED},
    {ALIGNED_QKV, 33, 0, 16, ON(5)},
    {ODD_QKV, 33, 0, 16, ON(7) | DROPPED},
    {ODD_QKV, 300, 3, 20, ON(5) | F32_AB},
    {ODD_QKV, 1, 0, 1, ON(7)},
    {ODD_QKV, 4, 16, 4, ON(3)},
    {FRACTION_QKV, 33, 16, 20, ON(7) | DROPPED},
    {FRACTION_QKV, 5, 0, 4, ON(4)},
    {GATE_UP, 33, 0, 16, ON(3) | DROPPED},
    {GATE_UP, 2, 3, 1, ON(2)},
    {MIXED, 33, 0, 16, ON(3) | DROPPED},
    {MIXED, 300, 16, 20, ON(2)},
    {MIXED, 4, 0, 4, ON(1) | F32_AB},
    {ODD_MIXED, 33, 0, 4, ON(5) | DROPPED},
    {ODD_MIXED, 300, 3, 16, ON(7)},
    {ODD_MIXED, 1, 0, 1, ON(2)},
    {WIDE, 70, 0, 16, ON(3) | DROPPED},
    {WIDE, 5, 16, 16, ON(3)},
    {NONE_3, 33, 0, 16, ON(7) | DROPPED},
    {NONE_3, 5, 3, 4, ON(5) | F32_AB},
    {FP4_2, 33, 0, 20, ON(3)},
    {FP4_2, 300, 0, 1, ON(1) | DROPPED},
    /* a layer or two at a time */
    {ALIGNED_QKV, 300, 16, 16, ON(7) | DROPPED | ROOM_ONE},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | DROPPED | ROOM_TWO},
    {ALIGNED_QKV, 5, 0, 16, ON(5) | DROPPED | ROOM_ONE},
    {ALIGNED_QKV, 33, 0, 4, ON(1) | DROPPED | ROOM_TWO},
    {ALIGNED_QKV, 4, 0, 20, ON(6) | ROOM_ONE | F32_AB},
    {ALIGNED_QKV, 1, 3, 1, ON(7) | ROOM_TWO},
    {ODD_QKV, 33, 0, 4, ON(7) | DROPPED | ROOM_ONE},
    {ODD_QKV, 300, 3, 20, ON(5) | DROPPED | ROOM_TWO},
    {ODD_QKV, 5, 0, 1, ON(2) | ROOM_ONE},
    {FRACTION_QKV, 33, 16, 16, ON(6) | DROPPED | ROOM_ONE},
    {FRACTION_QKV, 2, 0, 20, ON(7) | ROOM_TWO},
    {GATE_UP, 33, 0, 16, ON(3) | DROPPED | ROOM_ONE},
    {MIXED, 33, 0, 16, ON(3) | DROPPED | ROOM_ONE},
    {MIXED, 5, 3, 4, ON(2) | ROOM_ONE},
    {ODD_MIXED, 33, 0, 16, ON(7) | DROPPED | ROOM_ONE},
    {ODD_MIXED, 4, 0, 4, ON(5) | ROOM_TWO | F32_AB},
    {NONE_3, 33, 0, 16, ON(7) | DROPPED | ROOM_ONE},
    {FP4_2, 300, 0, 4, ON(3) | DROPPED | ROOM_ONE},
    /* kept */
    {L64X96, 33, 0, 16, ON(1) | KEPT},
    {L61X37, 1, 0, 4, ON(1) | RENEWED},
    {ALIGNED_QKV, 33, 16, 16, ON(7) | DROPPED | KEPT},
    {ALIGNED_QKV, 300, 0, 16, ON(5) | DROPPED | RENEWED},
    {ALIGNED_QKV, 1, 0, 16, ON(7) | RENEWED},
    {ALIGNED_QKV, 4, 3, 20, ON(7) | DROPPED | KEPT | F32_AB},
    {ALIGNED_QKV, 5, 0, 1, ON(2) | RENEWED | F32_AB},
    {ODD_QKV, 33, 0, 4, ON(7) | DROPPED | RENEWED},
    {ODD_QKV, 2, 3, 20, ON(6) | KEPT},
    {FRACTION_QKV, 33, 0, 20, ON(5) | DROPPED | RENEWED},
    {MIXED, 33, 0, 16, ON(3) | DROPPED | RENEWED},
    {ODD_MIXED, 33, 3, 4, ON(5) | DROPPED | RENEWED | F32_AB},
    {ODD_MIXED, 300, 0, 16, ON(7) | KEPT},
    {NONE_3, 5, 0, 16, ON(7) | DROPPED | RENEWED},
    {WIDE, 33, 16, 4, ON(2) | KEPT},
};
static const params_t adapter_cases[] = {
    {L64X96, 1, 0, 16, ON(1)},
    {L64X96, 33, 0, 16, ON(1) | DROPPED},
    {L61X37, 5, 0, 1, ON(1) | APART},
    {L61X37, 4, 3, 4, ON(1) | DROPPED},
    {L61X2500, 33, 0, 4, ON(1) | DROPPED},
    {L61X2500, 2, 16, 20, ON(1) | F32_AB},
    {L128X576, 300, 0, 16, ON(1)},
    {L128X576, 300, 0, 16, ON(1) | DROPPED | F32_AB | APART},
    {L50X70, 530, 0, 4, ON(1) | DROPPED},
    {L50X70, 1100, 16, 16, ON(1) | DROPPED},
    {L50X70, 1100, 3, 1, ON(1) | DROPPED | APART},
    {ALIGNED_QKV, 33, 0, 16, ON(7)},
    {ALIGNED_QKV, 300, 16, 16, ON(7) | DROPPED},
    {ALIGNED_QKV, 300, 3, 20, ON(5) | DROPPED},
    {ALIGNED_QKV, 1, 0, 16, ON(5) | DROPPED},
    {ALIGNED_QKV, 2, 8, 4, ON(6)},
    {ALIGNED_QKV, 4, 0, 1, ON(7) | APART},
    {ALIGNED_QKV, 5, 16, 20, ON(2) | DROPPED | APART},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | DROPPED | ROOM_ONE},
    {ODD_QKV, 33, 0, 4, ON(7) | DROPPED},
    {ODD_QKV, 300, 3, 16, ON(5) | F32_AB},
    {ODD_QKV, 300, 0, 20, ON(7) | DROPPED | F32_AB},
    {FRACTION_QKV, 33, 8, 20, ON(7) | DROPPED},
    {FRACTION_QKV, 300, 16, 4, ON(4) | APART},
    {GATE_UP, 33, 0, 16, ON(3) | DROPPED},
    {ODD_MIXED, 33, 1, 4, ON(5) | DROPPED},
    {WIDE, 70, 0, 16, ON(3) | DROPPED | KEPT},
    {WIDE, 600, 16, 16, ON(3) | DROPPED},
};
static const params_t dropout_cases[] = {
    {1, 1, 0, 1, 0},      {13, 61, 0, 61, 0},  {90, 576, 0, 48, 0},  {33, 2056, 0, 257, 0},
    {300, 64, 16, 64, 0}, {300, 61, 3, 61, 0}, {1100, 72, 0, 36, 0},
};
static const params_t keep_cases[] = {
    {TINY, 1, 0, 4, ON(1) | RENEWED},
    {L64X96, 1, 0, 0, KEPT},
    {L64X96, 1, 0, 16, ON(1) | KEPT},
    {L61X37, 1, 0, 1, ON(1) | RENEWED},
    {L61X2500, 1, 0, 4, ON(1) | RENEWED},
    {L128X576, 1, 0, 16, ON(1) | RENEWED},
    {NONE_70X61, 1, 0, 20, ON(1) | RENEWED},
    {INT8_70X61, 1, 0, 4, ON(1) | KEPT},
    {INT4_70X61, 1, 0, 4, ON(1) | KEPT},
    {NONE_70X61, 1, 0, 0, KEPT},
    {ALIGNED_QKV, 1, 0, 0, KEPT},
    {ALIGNED_QKV, 1, 0, 16, ON(7) | KEPT},
    {ALIGNED_QKV, 1, 0, 16, ON(7) | RENEWED},
    {ALIGNED_QKV, 1, 0, 4, ON(5) | RENEWED | F32_AB},
    {ALIGNED_QKV, 1, 0, 20, ON(2) | RENEWED},
    {ALIGNED_QKV, 1, 0, 0, RENEWED},
    {ODD_QKV, 1, 0, 4, ON(7) | KEPT},
    {ODD_QKV, 1, 0, 20, ON(5) | RENEWED},
    {FRACTION_QKV, 1, 0, 1, ON(6) | RENEWED | F32_AB},
    {GATE_UP, 1, 0, 16, ON(3) | RENEWED},
    {MIXED, 1, 0, 16, ON(3) | RENEWED},
    {ODD_MIXED, 1, 0, 16, ON(5) | RENEWED | F32_AB},
    {ODD_MIXED, 1, 0, 4, ON(7) | KEPT},
    {NONE_3, 1, 0, 16, ON(7) | RENEWED},
    {FP4_2, 1, 0, 4, ON(1) | RENEWED},
    {WIDE, 1, 0, 16, ON(3) | RENEWED},
};

const op_t linear_ops[] = {
    {"gemm", run_gemm, CASES(gemm_cases), BY_SGEMM},
    {"dequant", run_dequant, CASES(dequant_cases), SAME_BITS},
    {"quantize", run_quantize, CASES(quantize_cases), SAME_BITS},
    {"linear_fwd", run_linear_fwd, CASES(linear_cases), BY_SGEMM},
    {"linear_bwd", run_linear_bwd, CASES(linear_cases), BY_SGEMM},
    {"adapter_fwd", run_adapter_fwd, CASES(adapter_cases), BY_SGEMM},
    {"adapter_grad", run_adapter_grad, CASES(adapter_cases), BY_SGEMM},
    {"dropout", run_dropout, CASES(dropout_cases), SAME_BITS},
    {"linear_cache", run_linear_cache, CASES(keep_cases), SAME_BITS},
};
const size_t n_linear_ops = sizeof linear_ops / sizeof *linear_ops;
