#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "ops_cases.h"

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
    ZEROPOINT_70X61,
    ZEROPOINT_3,
    NONE_70X61,
    L2200X600,
    L50X70,
    NONE_3,
    FP4_2,
    TINY,
    F16_70X61,
    F16_3,
    F16_MIXED,
    INT8_W64X160,
    FP4_W33X1040,
    INT4_W70X32,
    FP4_W40X1040,
    INT8_W1048X160,
    SHORT_END_3,
    SHORT_END_100,
    NARROW
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
    [ZEROPOINT_70X61] = {1, {70}, 61, {QUANT_INT8_ZEROPOINT}, false},
    [ZEROPOINT_3] = {3, {64, 24, 40}, 192, {QUANT_INT8_ZEROPOINT, QUANT_INT8, QUANT_INT8_ZEROPOINT}, true},
    [NONE_70X61] = {1, {70}, 61, {QUANT_NONE}, false},
    [L2200X600] = {1, {2200}, 600, {QUANT_NF4}, true}, /* more than one panel */
    [L50X70] = {1, {50}, 70, {QUANT_NF4}, false},
    [NONE_3] = {3, {70, 22, 64}, 64, {QUANT_NONE, QUANT_NONE, QUANT_NONE}, false},
    [TINY] = {2, {3, 1}, 8, {QUANT_NF4, QUANT_INT8}, true},
    [F16_70X61] = {1, {70}, 61, {QUANT_F16}, false},
    [F16_3] = {3, {70, 22, 64}, 64, {QUANT_F16, QUANT_F16, QUANT_F16}, false},
    [F16_MIXED] = {3, {24, 41, 17}, 61, {QUANT_F16, QUANT_NF4, QUANT_NONE}, true},
    [INT8_W64X160] = {2, {64, 9}, 160, {QUANT_INT8, QUANT_INT8}, true}, /* columns: of 16 */
    [FP4_W33X1040] = {1, {33}, 1040, {QUANT_FP4}, true},
    [INT4_W70X32] = {2, {70, 1}, 32, {QUANT_INT4, QUANT_INT4}, false},
    [FP4_W40X1040] = {1, {40}, 1040, {QUANT_FP4}, true},
    [INT8_W1048X160] = {2, {1048, 520}, 160, {QUANT_INT8, QUANT_INT8}, true},
    /* the last block of codes is not whole; rows start inside of blocks */
    [SHORT_END_3] = {3, {61, 9, 35}, 104, {QUANT_NF4, QUANT_INT8_ZEROPOINT, QUANT_FP4}, true},
    [SHORT_END_100] = {2, {77, 21}, 100, {QUANT_NF4, QUANT_INT8}, true}, /* columns: of 4, not of 8 */
    [NARROW] = {2, {70, 333}, 4, {QUANT_NF4, QUANT_INT4}, false},
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
    APART = 512,    /* u or du in a matrix of its own, not behind x or dy */
    UNEQUAL = 1024, /* adapters of other ranks and scales: d, d + 3, d + 6 */
    EIGHTS = 8192,  /* with UNEQUAL: d, d + 8, d + 16 */
    BIAS = 2048,    /* on all layers; with UNEQUAL not on the second */
    HEAD = 4096     /* of one layer, as the head is: linear_t.apart */
};

typedef struct {
    linear_t l;
    qweight_t w[LINEAR_MAX];
    size_t T, cols, rows, width, pad, augmented_ld;
    dropout_t key;
    const dropout_t *drop; /* NULL: none */
} site_t;

/* The elements of an augmented weight of layers [first, first+n) of a site. */
static size_t augmented_size(const linear_t *l, size_t first, size_t n) {
    size_t rows = linear_width(l);
    for (size_t i = first; i < first + n; i++) rows += l->part[i].w->rows;
    return rows * linear_ld(linear_cols_of(l), linear_width(l));
}

/* A workspace of exactly what the case needs, whatever the one before had. */
static void site_workspace(rig_t *r, const site_t *s, int flags) {
    workspace_need_t need = {.max_tokens = s->T, .max_width = linear_ld(max_size(s->cols, s->rows), s->width)};
    for (size_t i = 0; i < s->l.n; i++) {
        need.max_weight = max_size(need.max_weight, qweight_count(&s->w[i]));
        need.max_augmented = max_size(need.max_augmented, augmented_size(&s->l, i, 1));
    }
    if (flags & HEAD) { /* nothing beside the weight, and that only if it is decoded */
        need.max_augmented = linear_is_augmented(&s->l) ? s->rows * s->cols : 0;
        rig_workspace(r, &need);
        return;
    }
    size_t together = flags & (ROOM_ONE | KEPT | RENEWED) ? 1 : flags & ROOM_TWO && s->l.n > 2 ? 2 : s->l.n;
    need.max_augmented = max_size(need.max_augmented, augmented_size(&s->l, 0, together));
    rig_workspace(r, &need);
}

/* The A of all layers one behind another. */
static void draw_adapters(rig_t *r, site_t *s) {
    void *a = rig_random(r, s->l.ab_type, s->width * s->cols, 0.05f);
    for (size_t i = 0, k = 0; i < s->l.n; k += s->l.part[i++].r) {
        linear_part_t *part = &s->l.part[i];
        if (part->r == 0) continue;
        part->a = (unsigned char *)a + k * s->cols * dtype_size(s->l.ab_type);
        part->b = rig_random(r, s->l.ab_type, part->w->rows * part->r, 0.1f);
    }
}

/* The adapters' values become others, on the device and where they are. */
static void renew_adapters(rig_t *r, const linear_t *l) {
    size_t size = dtype_size(l->ab_type), n_a = linear_width(l) * linear_cols_of(l);
    if (n_a) r->be->copy(r->be, (void *)linear_a(l), rig_random(r, l->ab_type, n_a, 0.05f), n_a * size);
    for (size_t i = 0; i < l->n; i++) {
        size_t n_b = l->part[i].w->rows * l->part[i].r;
        if (n_b) r->be->copy(r->be, (void *)l->part[i].b, rig_random(r, l->ab_type, n_b, 0.1f), n_b * size);
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

/* Layer i of the case's site, still without A and B. */
static linear_part_t site_part(rig_t *r, const params_t *p, const qweight_t *w, size_t i) {
    bool unequal = p->flags & UNEQUAL, biased = p->flags & BIAS && !(unequal && i == 1);
    return (linear_part_t){
        .w = w,
        .bias = biased ? rig_random(r, DT_F32, w->rows, 2) : NULL,
        .r = p->flags & 1 << i ? p->d + (unequal ? (p->flags & EIGHTS ? 8 : 3) * i : 0) : 0,
        .scale = unequal ? 0.5f + 0.25f * (float)i : 0.5f,
    };
}

/* s keeps pointers into itself. */
static void site_open(rig_t *r, const params_t *p, site_t *s) {
    memset(s, 0, sizeof *s);
    s->T = p->b;
    s->cols = sites[p->a].cols;
    s->pad = p->c;
    s->l.n = sites[p->a].n;
    s->l.apart = p->flags & HEAD;
    s->l.ab_type = p->flags & F32_AB && r->be->act == DT_F32 ? DT_F32 : DT_BF16;
    for (size_t i = 0; i < s->l.n; i++) {
        s->w[i] = rig_weight(r, sites[p->a].type[i], sites[p->a].double_quant, sites[p->a].rows[i], s->cols);
        s->l.part[i] = site_part(r, p, &s->w[i], i);
    }
    s->rows = linear_rows_of(&s->l);
    s->width = linear_width(&s->l);
    s->augmented_ld = linear_ld(s->cols, s->width);
    if (s->width) draw_adapters(r, s);
    if (p->flags & DROPPED) {
        s->key = dropout_key(r, s->T);
        s->drop = &s->key;
    }
    site_workspace(r, s, p->flags);
    if (!(p->flags & (KEPT | RENEWED))) return;
    s->l.augmented = rig_alloc(r, (s->rows + s->width) * s->augmented_ld * dtype_size(r->be->act));
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

/* The same of the adapters' side alone, as u of a step lies: nothing behind it but the case's padding. */
static columns_t dense(const rig_t *r, const site_t *s) {
    return (columns_t){r->be->act, s->T, s->pad / 2, s->width, s->width + s->pad};
}

static void run_linear_fwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    const columns_t of_x = beside(r, &s, s.cols, s.width), of_y = beside(r, &s, s.rows, 0);
    void *x = rig_columns(r, &of_x, 1), *y = rig_unwritten(r, &of_y);
    r->be->linear_fwd(r->be, s.T, rig_mat(x, &of_x), &s.l, rig_mat(y, &of_y));
    rig_output_columns(r, y, &of_y);
}

static void run_linear_bwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    const columns_t of_dy = beside(r, &s, s.rows, s.width), of_dx = beside(r, &s, s.cols, 0);
    void *dy = rig_columns(r, &of_dy, 1), *dx = rig_unwritten(r, &of_dx);
    r->be->linear_bwd(r->be, s.T, rig_mat(dy, &of_dy), &s.l, s.drop, rig_mat(dx, &of_dx));
    rig_output_columns(r, dx, &of_dx);
}

/* u is where x ends, in the same matrix, unless it is apart. */
static void run_adapter_fwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    bool apart = p->flags & APART;
    const columns_t of_xu = beside(r, &s, s.cols, s.width);
    columns_t of_x = of_xu, of_u = apart ? beside(r, &s, s.width, 0) : of_xu;
    of_x.cols = s.cols;
    if (!apart) of_u = (columns_t){of_u.type, of_u.rows, of_u.first + s.cols, s.width, of_u.ld};
    void *x = rig_columns(r, &of_x, 1), *u = apart ? rig_unwritten(r, &of_u) : rig_act_at(r, x, s.cols);
    r->be->adapter_fwd(r->be, s.T, rig_mat(x, &of_x), &s.l, s.drop, rig_mat(u, &of_u));
    (apart ? rig_output_columns : rig_output_inner)(r, u, &of_u);
    rig_output_columns(r, x, apart ? &of_x : &of_xu); /* x is as before, too */
}

/* du is where dy ends, in the same matrix, unless it is apart. */
static void run_adapter_bwd(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    bool apart = p->flags & APART;
    const columns_t of_all = beside(r, &s, s.rows, s.width), of_u = dense(r, &s);
    columns_t of_dy = of_all, of_du = apart ? beside(r, &s, s.width, 0) : of_all;
    of_dy.cols = s.rows;
    if (!apart) of_du = (columns_t){of_du.type, of_du.rows, of_du.first + s.rows, s.width, of_du.ld};
    void *dy = rig_columns(r, &of_dy, 1), *u = rig_columns(r, &of_u, 1);
    void *du = apart ? rig_unwritten(r, &of_du) : rig_act_at(r, dy, s.rows);
    float *dB[LINEAR_MAX] = {NULL}, *all; /* are added to */
    size_t n = 0;
    for (size_t i = 0; i < s.l.n; i++) n += s.w[i].rows * s.l.part[i].r;
    all = rig_random(r, DT_F32, n, 1);
    for (size_t i = 0, first = 0; i < s.l.n; first += s.w[i].rows * s.l.part[i].r, i++) dB[i] = all + first;
    r->be->adapter_bwd(r->be, s.T, rig_mat(dy, &of_dy), rig_mat(u, &of_u), &s.l, rig_mat(du, &of_du), dB);
    (apart ? rig_output_columns : rig_output_inner)(r, du, &of_du);
    rig_output_columns(r, dy, apart ? &of_dy : &of_all); /* dy is as before, too */
    rig_output(r, all, DT_F32, n);
}

static void run_adapter_grad(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    columns_t of_x = beside(r, &s, s.cols, s.width), of_du = beside(r, &s, s.rows, s.width);
    of_x.cols = s.cols; /* u is not read */
    of_du = (columns_t){of_du.type, of_du.rows, of_du.first + s.rows, s.width, of_du.ld};
    if (p->flags & APART) of_du = dense(r, &s);
    void *x = rig_columns(r, &of_x, 1), *du = rig_columns(r, &of_du, 1);
    float *dA = rig_random(r, DT_F32, s.width * s.cols, 1); /* is added to */
    r->be->adapter_grad(r->be, s.T, rig_mat(du, &of_du), rig_mat(x, &of_x), &s.l, s.drop, dA);
    rig_output(r, dA, DT_F32, s.width * s.cols);
}

/* a: T; b: C; c: padding; d: channels that are looked at. A takes one channel for each of its rows: u is drop(x), to
 * the bit. */
static void run_dropout(rig_t *r, const params_t *p) {
    size_t width = p->d;
    float *a = xcalloc(width * p->b, sizeof *a);
    for (size_t k = 0; k < width; k++) a[k * p->b + (k + 1) * p->b / width - 1] = 1;
    site_t s = {.T = p->a, .cols = p->b, .rows = 1, .width = width, .pad = p->c};
    s.w[0] = rig_weight(r, QUANT_NONE, false, 1, p->b);
    s.l = (linear_t){.n = 1, .ab_type = DT_BF16};
    s.l.part[0] = (linear_part_t){.w = &s.w[0],
                                  .r = width,
                                  .scale = 1,
                                  .a = rig_values(r, DT_BF16, a, width * p->b),
                                  .b = rig_random(r, DT_BF16, width, 1)};
    s.key = dropout_key(r, s.T);
    site_workspace(r, &s, 0);
    const columns_t of_x = beside(r, &s, s.cols, 0), of_u = beside(r, &s, width, 0);
    void *x = rig_columns(r, &of_x, 1), *u = rig_unwritten(r, &of_u);
    r->be->adapter_fwd(r->be, s.T, rig_mat(x, &of_x), &s.l, &s.key, rig_mat(u, &of_u));
    rig_output_columns(r, u, &of_u);
    free(a);
}

/* The augmented weight by its definition: the decoded weights, B's columns beside them, A below. No op reads the corner
 * below B, nor what lies beyond cols + width. */
static unsigned char *augmented_of(rig_t *r, const site_t *s) {
    backend_t *be = r->be;
    size_t size = dtype_size(be->act), row = 0, u = s->cols, ld = s->augmented_ld;
    unsigned char *want = xcalloc((s->rows + s->width) * ld, size);
    for (size_t i = 0; i < s->l.n; row += s->w[i++].rows) {
        const linear_part_t *part = &s->l.part[i];
        size_t n = qweight_count(&s->w[i]), n_b = s->w[i].rows * part->r;
        unsigned char *w = xmalloc(n * size), *b = xmalloc((n_b + 1) * size);
        void *decoded = rig_alloc(r, n * size), *cast = n_b ? rig_alloc(r, n_b * size) : NULL;
        be->dequant(be, &s->w[i], 0, n, decoded, be->act);
        be->download(be, w, decoded, n * size);
        if (cast) be->cast(be, cast, be->act, part->b, s->l.ab_type, n_b);
        if (cast) be->download(be, b, cast, n_b * size);
        for (size_t o = 0; o < s->w[i].rows; o++) {
            memcpy(want + (row + o) * ld * size, w + o * s->cols * size, s->cols * size);
            if (cast) memcpy(want + ((row + o) * ld + u) * size, b + o * part->r * size, part->r * size);
        }
        u += part->r;
        free(w);
        free(b);
    }
    if (s->width) {
        void *a = rig_alloc(r, s->width * s->cols * size);
        be->cast(be, a, be->act, linear_a(&s->l), s->l.ab_type, s->width * s->cols);
        for (size_t k = 0; k < s->width; k++)
            be->download(be, want + (s->rows + k) * ld * size, (unsigned char *)a + k * s->cols * size, s->cols * size);
    }
    return want;
}

static void run_linear_cache(rig_t *r, const params_t *p) {
    site_t s;
    site_open(r, p, &s);
    size_t size = dtype_size(r->be->act), ld = s.augmented_ld, n = (s.rows + s.width) * ld;
    const columns_t upper = {r->be->act, s.rows, 0, s.cols + s.width, ld};
    const columns_t lower = {r->be->act, s.width, 0, s.cols, ld};
    /* Renewed once more, without the weights: they may not even be there. */
    if (p->flags & RENEWED) renew_adapters(r, &s.l);
    unsigned char *want = augmented_of(r, &s), *got = xmalloc(n * size);
    for (size_t i = 0; p->flags & RENEWED && i < s.l.n; i++) forget_codes(r, &s.w[i]);
    if (p->flags & RENEWED) r->be->linear_cache(r->be, &s.l, false);
    r->be->download(r->be, got, s.l.augmented, n * size);
    for (size_t row = 0; row < s.rows + s.width; row++)
        CHECK(memcmp(got + row * ld * size, want + row * ld * size,
                     (row < s.rows ? s.cols + s.width : s.cols) * size) == 0);
    rig_output_inner(r, s.l.augmented, &upper);
    if (s.width) rig_output_inner(r, rig_act_at(r, s.l.augmented, s.rows * ld), &lower);
    free(want);
    free(got);
}

/* ---- the table --------------------------------------------------------------------------------------- */

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
    {ZEROPOINT_70X61, 20, 0, 0, 0},
    {ZEROPOINT_3, 9, 0, 0, 0},
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
    {ZEROPOINT_3, 33, 0, 4, ON(1) | DROPPED},
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
    /* the head */
    {NONE_70X61, 33, 0, 16, ON(1) | HEAD},
    {NONE_70X61, 1, 3, 4, ON(1) | HEAD},
    {NONE_70X61, 20, 0, 20, ON(1) | HEAD | DROPPED},
    {NONE_70X61, 5, 16, 1, ON(1) | HEAD | DROPPED | F32_AB},
    {NONE_70X61, 9, 0, 0, HEAD},
    {F16_70X61, 33, 0, 16, ON(1) | HEAD},
    {F16_70X61, 4, 3, 4, ON(1) | HEAD | DROPPED},
    {L64X96, 33, 0, 16, ON(1) | HEAD | DROPPED},
    /* F16 weights */
    {F16_70X61, 20, 0, 0, 0},
    {F16_70X61, 2, 0, 0, 0},
    {F16_70X61, 33, 3, 16, ON(1) | DROPPED},
    {F16_3, 33, 0, 0, 0},
    {F16_3, 1, 3, 16, ON(7)},
    {F16_3, 5, 0, 4, ON(5) | KEPT},
    {F16_3, 33, 0, 16, ON(7) | DROPPED | ROOM_ONE},
    {F16_MIXED, 33, 0, 4, ON(6) | DROPPED | RENEWED},
    {F16_MIXED, 4, 8, 16, ON(7) | ROOM_TWO},
    /* biases */
    {L64X96, 33, 0, 0, BIAS},
    {L61X37, 1, 0, 0, BIAS},
    {L61X2500, 4, 3, 1, ON(1) | BIAS},
    {L2200X600, 9, 0, 16, ON(1) | BIAS},
    {L50X70, 530, 0, 4, ON(1) | BIAS | DROPPED},
    {NONE_70X61, 20, 3, 0, BIAS},
    {NONE_70X61, 2, 0, 0, BIAS},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | BIAS},
    {ALIGNED_QKV, 300, 16, 16, ON(5) | BIAS},
    {ALIGNED_QKV, 33, 8, 16, ON(7) | BIAS | ROOM_ONE},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | BIAS | KEPT},
    {ALIGNED_QKV, 3, 0, 4, ON(2) | BIAS | RENEWED},
    {ODD_QKV, 33, 3, 0, BIAS},
    {ODD_QKV, 2, 0, 5, ON(7) | BIAS | F32_AB},
    {NONE_3, 33, 0, 0, BIAS},
    {NONE_3, 300, 3, 0, BIAS | ROOM_ONE},
    {F16_3, 33, 0, 16, ON(7) | BIAS},
    /* ranks and scales that differ */
    {ALIGNED_QKV, 33, 0, 16, ON(7) | UNEQUAL},
    {ALIGNED_QKV, 300, 16, 4, ON(7) | DROPPED | UNEQUAL | BIAS},
    {ALIGNED_QKV, 1, 0, 8, ON(7) | UNEQUAL | BIAS},
    {ALIGNED_QKV, 4, 3, 1, ON(5) | UNEQUAL},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | DROPPED | UNEQUAL | BIAS | ROOM_ONE},
    {ALIGNED_QKV, 33, 8, 16, ON(6) | UNEQUAL | ROOM_TWO},
    {ALIGNED_QKV, 33, 0, 8, ON(7) | UNEQUAL | BIAS | KEPT},
    {ODD_QKV, 5, 3, 2, ON(7) | DROPPED | UNEQUAL | RENEWED | F32_AB},
    {MIXED, 33, 0, 16, ON(3) | DROPPED | UNEQUAL | BIAS},
    {ODD_MIXED, 33, 3, 4, ON(7) | UNEQUAL | BIAS | ROOM_ONE},
    {NONE_3, 5, 0, 16, ON(7) | DROPPED | UNEQUAL | RENEWED | BIAS},
    {TINY, 3, 0, 2, ON(3) | UNEQUAL | BIAS},
    /* few tokens, for which a GPU decodes in registers: each coding, in runs and one by one */
    {L128X576, 2, 0, 16, ON(1) | BIAS},
    {L128X576, 3, 8, 0, 0},
    {L64X96, 4, 0, 40, ON(1) | BIAS},
    {L64X96, 2, 3, 8, ON(1)},
    {FRACTION_QKV, 1, 0, 16, ON(7) | UNEQUAL | BIAS},
    {FRACTION_QKV, 3, 16, 4, ON(5) | F32_AB},
    {GATE_UP, 1, 0, 16, ON(3)},
    {GATE_UP, 4, 0, 16, ON(3) | KEPT},
    {INT8_W64X160, 1, 0, 16, ON(3)},
    {INT8_W64X160, 4, 16, 4, ON(2) | BIAS | RENEWED},
    {INT8_64X61, 3, 0, 4, ON(1)},
    {FP4_W33X1040, 1, 0, 8, ON(1)},
    {FP4_W33X1040, 3, 0, 0, BIAS},
    {INT4_W70X32, 1, 0, 1, ON(3)},
    {INT4_W70X32, 2, 0, 33, ON(1) | F32_AB},
    {INT4_70X61, 1, 0, 4, ON(1) | BIAS},
    {INT8_70X61, 1, 3, 0, BIAS},
    {FP4_2, 1, 0, 4, ON(3)},
    {MIXED, 1, 0, 16, ON(3) | BIAS},
    {MIXED, 3, 0, 8, ON(2) | UNEQUAL | ROOM_ONE},
    {NONE_3, 2, 0, 16, ON(7)},
    {NONE_3, 4, 0, 4, ON(2) | BIAS | F32_AB},
    {F16_3, 4, 0, 16, ON(7) | BIAS},
    {F16_3, 3, 3, 4, ON(2)},
    {F16_70X61, 1, 0, 4, ON(1) | HEAD},
    {WIDE, 1, 0, 16, ON(3)},
    {ODD_QKV, 3, 0, 16, ON(7) | BIAS | KEPT},
    /* rows of the decoded weight that lie apart, whatever blocks they start and end in */
    {SHORT_END_3, 33, 0, 8, ON(7)},
    {SHORT_END_3, 33, 8, 20, ON(5) | BIAS | KEPT},
    {SHORT_END_3, 9, 0, 16, ON(7) | ROOM_ONE},
    {SHORT_END_3, 5, 0, 0, 0},
    {SHORT_END_100, 33, 0, 4, ON(3)},
    {SHORT_END_100, 9, 4, 12, ON(2) | F32_AB},
    {NARROW, 33, 0, 4, ON(3)},
    {NARROW, 9, 0, 16, ON(1) | F32_AB},
    /* ranks beyond the layer's own rows and columns; no tokens */
    {L64X96, 3, 0, 1024, ON(1)},
    {L61X37, 40, 3, 1024, ON(1) | DROPPED | BIAS},
    {TINY, 33, 0, 341, ON(3) | UNEQUAL},
    {ALIGNED_QKV, 0, 0, 16, ON(7) | DROPPED | BIAS},
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
    {F16_3, 33, 0, 4, ON(7) | DROPPED},
    {ALIGNED_QKV, 33, 0, 16, ON(7) | UNEQUAL},
    {ALIGNED_QKV, 300, 16, 4, ON(7) | DROPPED | UNEQUAL},
    {ALIGNED_QKV, 2, 3, 1, ON(5) | UNEQUAL | APART},
    {ODD_QKV, 33, 3, 5, ON(7) | DROPPED | UNEQUAL | F32_AB},
    {GATE_UP, 300, 0, 16, ON(3) | DROPPED | UNEQUAL},
    {MIXED, 4, 0, 8, ON(2) | UNEQUAL},
    {L64X96, 3, 0, 1024, ON(1) | DROPPED},
    {L61X37, 1701, 3, 40, ON(1)}, /* sums over more tokens than a pass has */
    {TINY, 33, 0, 341, ON(3) | UNEQUAL},
    {ALIGNED_QKV, 0, 0, 16, ON(7) | DROPPED},
    /* for a GPU's tensor cores: every width of tiles, ends of tiles, several shares of channels and of tokens */
    {L128X576, 1, 0, 8, ON(1)},
    {L128X576, 2, 16, 16, ON(1) | APART},
    {L128X576, 3, 0, 32, ON(1)},
    {FRACTION_QKV, 4, 0, 8, ON(7)},
    {FRACTION_QKV, 5, 8, 16, ON(7) | UNEQUAL | EIGHTS},
    {L128X576, 129, 0, 64, ON(1)},
    {L128X576, 528, 0, 8, ON(1) | APART},
    {L128X576, 127, 16, 24, ON(1) | APART},
    {FP4_W40X1040, 131, 0, 8, ON(1)},
    {GATE_UP, 257, 0, 32, ON(3)},
    {FRACTION_QKV, 528, 0, 8, ON(7) | UNEQUAL | EIGHTS},
    {FRACTION_QKV, 65, 16, 24, ON(5) | DROPPED},
    {FRACTION_QKV, 33, 0, 8, ON(6) | UNEQUAL | EIGHTS},
    {ALIGNED_QKV, 700, 8, 16, ON(7) | DROPPED},
    {INT8_W1048X160, 150, 0, 32, ON(3)},
    {INT8_W1048X160, 40, 8, 8, ON(1) | UNEQUAL},
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
    {F16_70X61, 1, 0, 0, KEPT},
    {F16_3, 1, 0, 16, ON(7) | RENEWED},
    {F16_MIXED, 1, 0, 4, ON(5) | KEPT},
    {ALIGNED_QKV, 1, 0, 16, ON(7) | UNEQUAL | RENEWED},
    {ODD_QKV, 1, 0, 2, ON(5) | UNEQUAL | BIAS | RENEWED | F32_AB},
    {MIXED, 1, 0, 8, ON(3) | UNEQUAL | KEPT},
};

const op_t linear_ops[] = {
    {"linear_fwd", run_linear_fwd, CASES(linear_cases), ROUNDED},
    {"linear_bwd", run_linear_bwd, CASES(linear_cases), ROUNDED},
    {"adapter_fwd", run_adapter_fwd, CASES(adapter_cases), ROUNDED},
    {"adapter_bwd", run_adapter_bwd, CASES(adapter_cases), ROUNDED},
    {"adapter_grad", run_adapter_grad, CASES(adapter_cases), ROUNDED},
    {"dropout", run_dropout, CASES(dropout_cases), SAME_BITS},
    {"linear_cache", run_linear_cache, CASES(keep_cases), SAME_BITS},
};
const size_t n_linear_ops = sizeof linear_ops / sizeof *linear_ops;
