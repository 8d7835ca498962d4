/* Every way of multiplying that this processor has (cpu/kernels/tiles.h), and that of AMX on tiles in plain C, against
 * plain loops in double. What must not be touched is NaN of one pattern: reading it shows in a result, writing to it in
 * the pattern. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cpu/act.h"
#include "cpu/kernels/tiles.h"

extern const tiles_t tiles_bf16_emulated;

enum { MOST = 32, GAP = 5, FILL = 0xff }; /* of rows and columns; elements between two rows that are nobody's */
static const size_t depths[] = {1, 2, 3, 31, 32, 33, 64, 100, 576};
static const size_t widths[] = {1, 5, 16, 17, 31, 32};
#define N_OF(array) (sizeof(array) / sizeof *(array))

/* Calls the test for each table. */
static void each_table(void (*test)(const tiles_t *)) {
    const tiles_t *t;
    for (int i = 0; (t = tiles_nth(i)); i++) test(t);
    test(&tiles_bf16_emulated);
}

/* ---- matrices ------------------------------------------------------------------------------------------------ */

typedef struct {
    unsigned char *p;
    dtype_t type;
    size_t rows, cols, ld;
} mat;

static size_t bytes_of(const mat *a) { return a->rows * a->ld * dtype_size(a->type); }

/* `cols` of each row are meant; all of it is the pattern. */
static mat mat_new(dtype_t type, size_t rows, size_t cols) {
    mat a = {.type = type, .rows = rows, .cols = cols, .ld = cols + GAP};
    a.p = xmalloc(bytes_of(&a));
    memset(a.p, FILL, bytes_of(&a));
    return a;
}

static void *at(const mat *a, size_t i, size_t j) { return act_at(a->p, a->type, i * a->ld + j); }
static float get(const mat *a, size_t i, size_t j) { return act_get(a->p, a->type, i * a->ld + j); }
static void set(const mat *a, size_t i, size_t j, float x) { act_set(a->p, a->type, i * a->ld + j, x); }

static mat mat_random(dtype_t type, size_t rows, size_t cols, uint64_t key) {
    mat a = mat_new(type, rows, cols);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) set(&a, i, j, 2 * rng_uniform(key, i * cols + j) - 1);
    return a;
}

static bool is_fill(const mat *a, size_t i, size_t j) {
    static const unsigned char fill[] = {FILL, FILL, FILL, FILL};
    return memcmp(at(a, i, j), fill, dtype_size(a->type)) == 0;
}

/* Beside the first rows and cols. */
static void assert_rest_is_fill(const tiles_t *t, const mat *a, size_t rows, size_t cols) {
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = i < rows ? cols : 0; j < a->ld; j++)
            if (!is_fill(a, i, j)) fail_msg("%s: wrote to row %zu, column %zu of %zu, %zu", t->name, i, j, rows, cols);
}

static mat transposed(const mat *a) {
    mat b = mat_new(a->type, a->cols, a->rows);
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->cols; j++) memcpy(at(&b, j, i), at(a, i, j), dtype_size(a->type));
    return b;
}

/* ---- products ------------------------------------------------------------------------------------------------ */

/* A [rows, K], B as its columns [cols, K], and what they give: in double, in double of absolute values, and by the
 * whole tile of the table. */
typedef struct {
    const tiles_t *t;
    size_t k;
    mat a, b, b_rows, c0, whole;
    double want[MOST][MOST], magnitude[MOST][MOST];
    unsigned char *panel;
} product_t;

static void pack(const product_t *p, size_t n, unsigned char *panel) {
    size_t bytes = tiles_panel_bytes(p->t, p->k);
    unsigned char *other = xmalloc(bytes + GAP);
    memset(panel, FILL, bytes + GAP);
    memset(other, FILL, bytes + GAP);
    p->t->pack_columns(panel, p->b.p, p->b.ld, n, p->k);
    p->t->pack_rows(other, p->b_rows.p, p->b_rows.ld, p->k, n);
    for (size_t i = 0; i < bytes; i++)
        if (panel[i] != other[i]) fail_msg("%s: two panels of %zu columns, K %zu, differ", p->t->name, n, p->k);
    for (size_t i = bytes; i < bytes + GAP; i++)
        if (panel[i] != FILL || other[i] != FILL) fail_msg("%s: wrote behind a panel", p->t->name);
    free(other);
}

static mat new_sums(const product_t *p) { return mat_new(DT_F32, MOST + 1, p->t->cols); }

/* Of the k from `first` on. */
static void multiply(const product_t *p, mat *c, size_t m, size_t n, size_t first, size_t k, bool add) {
    const size_t size = dtype_size(p->t->type);
    p->t->multiply(m, n, k, p->a.p + first * size, p->a.ld, p->panel + first * p->t->cols * size, (float *)(void *)c->p,
                   c->ld, add);
}

static product_t product_new(const tiles_t *t, size_t k) {
    product_t p = {.t = t, .k = k};
    p.a = mat_random(t->type, t->rows, tiles_padded(t, k), rng_fold(1, k)); /* whatever is finite in the padding */
    p.b = mat_random(t->type, t->cols, k, rng_fold(2, k));
    p.c0 = mat_random(DT_F32, t->rows, t->cols, rng_fold(3, k));
    p.b_rows = transposed(&p.b);
    for (size_t i = 0; i < t->rows; i++) {
        for (size_t j = 0; j < t->cols; j++) {
            for (size_t q = 0; q < k; q++) {
                double x = (double)get(&p.a, i, q) * get(&p.b, j, q);
                p.want[i][j] += x;
                p.magnitude[i][j] += fabs(x);
            }
        }
    }
    p.panel = xmalloc(tiles_panel_bytes(t, k) + GAP);
    pack(&p, t->cols, p.panel);
    p.whole = new_sums(&p);
    multiply(&p, &p.whole, t->rows, t->cols, 0, k, false);
    return p;
}

static void product_free(product_t *p) {
    free(p->a.p);
    free(p->b.p);
    free(p->b_rows.p);
    free(p->c0.p);
    free(p->whole.p);
    free(p->panel);
}

/* Each of K sums may be off by half a unit in its last place. */
static void assert_near(const product_t *p, float got, size_t i, size_t j, double c0) {
    double bound = ldexp((double)p->k + 2, -24) * (p->magnitude[i][j] + fabs(c0));
    if (!(fabs(got - (p->want[i][j] + c0)) <= bound))
        fail_msg("%s, K %zu: %.9g at %zu, %zu; expected %.9g", p->t->name, p->k, (double)got, i, j, p->want[i][j] + c0);
}

static void assert_same(const product_t *p, float got, float want, size_t i, size_t j) {
    if (f32_to_bits(got) != f32_to_bits(want))
        fail_msg("%s, K %zu: %.9g at %zu, %zu; elsewhere %.9g", p->t->name, p->k, (double)got, i, j, (double)want);
}

/* What a tile gives at i, j is what the whole tile gives there; added or not. */
static void check_shape(const product_t *p, size_t m, size_t n, bool add) {
    mat c = new_sums(p);
    for (size_t i = 0; add && i < m; i++)
        for (size_t j = 0; j < n; j++) set(&c, i, j, get(&p->c0, i, j));
    multiply(p, &c, m, n, 0, p->k, add);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            assert_near(p, get(&c, i, j), i, j, add ? (double)get(&p->c0, i, j) : 0);
            if (!add) assert_same(p, get(&c, i, j), get(&p->whole, i, j), i, j);
        }
    }
    assert_rest_is_fill(p->t, &c, m, p->t->cols);
    free(c.p);
}

static void check_products(const tiles_t *t) {
    print_message("%s\n", t->name);
    assert_true(t->rows <= TILE_MAX_ROWS && t->cols <= TILE_MAX_COLS && t->depth <= TILE_MAX_DEPTH);
    for (size_t d = 0; d < N_OF(depths); d++) {
        product_t p = product_new(t, depths[d]);
        for (size_t w = 0; w < N_OF(widths) && widths[w] <= t->cols; w++) {
            pack(&p, widths[w], p.panel);
            for (size_t m = 1; m <= t->rows; m++) {
                check_shape(&p, m, widths[w], false);
                check_shape(&p, m, widths[w], true);
            }
        }
        product_free(&p);
    }
}

static void test_products(void **state) {
    (void)state;
    each_table(check_products);
}

/* K in two pieces: the second is added as a sum of its own; by AMX it goes on as if there had been no cut. */
static void check_cut(const tiles_t *t) {
    const size_t k = 576, first = 192;
    product_t p = product_new(t, k);
    mat c = new_sums(&p), second = new_sums(&p);
    multiply(&p, &c, t->rows, t->cols, 0, first, false);
    multiply(&p, &second, t->rows, t->cols, first, k - first, false);
    for (size_t i = 0; t->depth < 32 && i < t->rows; i++)
        for (size_t j = 0; j < t->cols; j++) set(&p.whole, i, j, get(&c, i, j) + get(&second, i, j));
    multiply(&p, &c, t->rows, t->cols, first, k - first, true);
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < t->cols; j++) assert_same(&p, get(&c, i, j), get(&p.whole, i, j), i, j);
    free(c.p);
    free(second.p);
    product_free(&p);
}

static void test_cut(void **state) {
    (void)state;
    each_table(check_cut);
}

/* ---- around them ----------------------------------------------------------------------------------------------- */

static void check_transpose_of(const tiles_t *t, size_t k, size_t m) {
    mat x = mat_random(t->type, k, m, 4), y = mat_new(t->type, m + 1, tiles_padded(t, k));
    t->transpose(y.p, y.ld, x.p, x.ld, k, m);
    for (size_t i = 0; i < m; i++) {
        for (size_t q = 0; q < k; q++)
            if (memcmp(at(&y, i, q), at(&x, q, i), dtype_size(t->type)) != 0)
                fail_msg("%s: transpose of %zu, %zu at %zu, %zu", t->name, k, m, q, i);
        for (size_t q = k; q < y.cols; q++) assert_true(isfinite(get(&y, i, q)));
    }
    assert_rest_is_fill(t, &y, m, y.cols);
    free(x.p);
    free(y.p);
}

static void check_transpose(const tiles_t *t) {
    for (size_t d = 0; d < N_OF(depths); d++)
        for (size_t w = 0; w < N_OF(widths); w++) check_transpose_of(t, depths[d], widths[w]);
}

static void test_transpose(void **state) {
    (void)state;
    each_table(check_transpose);
}

typedef struct {
    dtype_t type;
    size_t m, n;
    float alpha, beta;
    bool has_bias;
} store_case_t;

static void check_store_of(const tiles_t *t, const store_case_t *k) {
    mat c = mat_random(DT_F32, k->m, t->cols, 5), bias = mat_random(DT_F32, 1, t->cols, 6);
    mat before = mat_random(k->type, k->m, k->n, 7), y = mat_new(k->type, k->m + 1, k->n);
    if (k->beta != 0) memcpy(y.p, before.p, bytes_of(&before));
    t->store(y.p, k->type, y.ld, (const float *)(void *)c.p, c.ld, k->m, k->n, k->alpha, k->beta,
             k->has_bias ? (const float *)(void *)bias.p : NULL);
    const double rounding = k->type == DT_BF16 ? ldexp(1, -8) : ldexp(1, -22);
    for (size_t i = 0; i < k->m; i++) {
        for (size_t j = 0; j < k->n; j++) {
            double want = (double)k->alpha * get(&c, i, j) + (k->has_bias ? get(&bias, 0, j) : 0) +
                          (k->beta != 0 ? (double)k->beta * get(&before, i, j) : 0);
            if (!(fabs(get(&y, i, j) - want) <= rounding * fabs(want) + ldexp(1, -22)))
                fail_msg("%s: stored %g; expected %g", t->name, (double)get(&y, i, j), want);
        }
    }
    assert_rest_is_fill(t, &y, k->m, k->n);
    free(c.p);
    free(bias.p);
    free(before.p);
    free(y.p);
}

static void check_store(const tiles_t *t) {
    static const float alphas[] = {1, 0.5f}, betas[] = {0, 1, -0.25f};
    for (size_t m = 1; m <= t->rows; m += 3)
        for (size_t w = 0; w < N_OF(widths) && widths[w] <= t->cols; w++)
            for (unsigned i = 0; i < 2 * 3 * 2 * 2; i++) {
                const store_case_t k = {.type = i & 1 ? DT_BF16 : DT_F32,
                                        .m = m,
                                        .n = widths[w],
                                        .alpha = alphas[i / 2 % 2],
                                        .beta = betas[i / 8],
                                        .has_bias = i / 4 % 2};
                check_store_of(t, &k);
            }
}

static void test_store(void **state) {
    (void)state;
    each_table(check_store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
