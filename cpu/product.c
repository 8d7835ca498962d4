/* A task is some rows and some panels of one product. It packs its panels of B, as many of them as stay in a second-level
 * cache, and runs all its rows of A past them. Where K is long that is done for one part of K after another. */
#include "cpu/product.h"

#include <math.h>
#include <omp.h>

#include "base/minmax.h"
#include "cpu/operands.h"
#include "model/backend/element.h"

enum {
    TILE_FLOATS = TILE_MAX_ROWS * TILE_MAX_COLS,
    SUM_FLOATS = 256 * 1024, /* sums of a task that wait for the next part of K */
    TASKS = 2,               /* of a thread at least, so that one that is held up does not hold up all */
    LEAST_ROWS = 32,         /* of a task */
    WORTH_IT = 1 << 20       /* multiply-adds from which threads pay for their start */
};

typedef struct {
    const product_t *p;
    size_t m, M;   /* its rows [m, m+M) */
    packer_t pack; /* with its columns */
    float *tile, *sums;
} task_t;

/* ---- multiplying ---------------------------------------------------------------------------------------------- */

/* The rows of A of a block, and what of the panel they are multiplied by: pieces that lie side by side are one run. */
typedef struct {
    rows_t a;
    size_t depth, n; /* rows [depth, depth+n) of a panel */
    bool ends_mask;
} run_t;

static size_t runs_of(const task_t *k, const pass_t *pass, size_t m, size_t M, run_t *run) {
    const tiles_t *t = k->pack.t;
    size_t n = 0, depth = 0;
    for (size_t i = 0; i < pass->n; i++) {
        const piece_t *piece = &pass->piece[i];
        size_t padded = tiles_padded(t, piece->n);
        rows_t a = operands_pack_a(&k->pack, piece, depth, m, M);
        run_t *last = n ? &run[n - 1] : NULL;
        if (last && !last->ends_mask && last->a.ld == a.ld &&
            (const unsigned char *)last->a.p + last->n * dtype_size(t->type) == a.p) {
            last->n += padded;
            last->ends_mask = piece->ends_mask;
        } else {
            run[n++] = (run_t){a, depth, padded, piece->ends_mask};
        }
        depth += padded;
    }
    return n;
}

/* Dropout of the sums of rows [m, m+M), columns [n, n+N). */
static void mask_sums(const task_t *k, float *sums, size_t ld, size_t m, size_t M, size_t n, size_t N) {
    const dropout_t *d = k->p->mask;
    for (size_t i = 0; i < M; i++) {
        operands_drop(k->pack.be, sums + i * ld, DT_F32, d, m + i, n, N);
        cpu_kernels(k->pack.be)->scale(sums + i * ld, N, dropout_scale(d->p));
    }
}

static void store_transposed(const product_t *p, const float *c, size_t ldc, size_t m, size_t M, size_t n, size_t N) {
    for (size_t j = 0; j < N; j++)
        for (size_t i = 0; i < M; i++) {
            size_t to = (n + j) * p->c.ld + m + i;
            float old = p->beta != 0 ? p->beta * act_get(p->c.p, p->c.type, to) : 0.0f;
            act_set(p->c.p, p->c.type, to, p->alpha * c[i * ldc + j] + (p->bias ? p->bias[n + j] : 0.0f) + old);
        }
}

static void store(const task_t *k, const float *c, size_t ldc, size_t m, size_t M, size_t n, size_t N) {
    const product_t *p = k->p;
    if (p->tc) {
        store_transposed(p, c, ldc, m, M, n, N);
        return;
    }
    k->pack.t->store(act_at(p->c.p, p->c.type, m * p->c.ld + n), p->c.type, p->c.ld, c, ldc, M, N, p->alpha, p->beta,
                     p->bias ? p->bias + n : NULL);
}

/* C itself takes the sums where nothing else becomes of them. */
static bool sums_in_c(const task_t *k, size_t cols) {
    const product_t *p = k->p;
    return p->c.type == DT_F32 && !p->tc && p->alpha == 1 && (p->beta == 0 || p->beta == 1) && !p->bias && !p->mask &&
           cols == k->pack.t->cols;
}

typedef struct {
    bool first, last; /* pass of the product */
} turn_t;

/* Where the sums of panel i lie for rows [m, m+M): in C, or until the last pass among those of the task. */
typedef struct {
    float *c;
    size_t ld;
    bool in_c;
} sums_t;

static sums_t sums_at(const task_t *k, turn_t turn, size_t m, size_t M, size_t i, size_t cols) {
    const product_t *p = k->p;
    size_t width = k->pack.t->cols, panels = (k->pack.N + width - 1) / width;
    if (sums_in_c(k, cols)) return (sums_t){(float *)p->c.p + m * p->c.ld + k->pack.n + i * width, p->c.ld, true};
    if (turn.first && turn.last) return (sums_t){k->tile, width, false};
    return (sums_t){k->sums + ((m - k->m) * panels + i * M) * width, width, false};
}

/* One block of rows, in one pass, by all panels of the task. */
static void multiply_rows(const task_t *k, const pass_t *pass, turn_t turn, size_t m, size_t M) {
    const tiles_t *t = k->pack.t;
    run_t run[MAX_PIECES];
    size_t runs = runs_of(k, pass, m, M, run);
    for (size_t i = 0; i * t->cols < k->pack.N; i++) {
        size_t n = k->pack.n + i * t->cols, cols = min_size(t->cols, k->pack.N - i * t->cols);
        sums_t sums = sums_at(k, turn, m, M, i, cols);
        bool add = !turn.first || (sums.in_c && k->p->beta == 1);
        for (size_t r = 0; r < runs; r++, add = true) {
            t->multiply(M, cols, run[r].n, run[r].a.p, run[r].a.ld, panel_at(&k->pack, pass, i, run[r].depth), sums.c,
                        sums.ld, add);
            if (run[r].ends_mask) mask_sums(k, sums.c, sums.ld, m, M, n, cols);
        }
        if (turn.last && !sums.in_c) store(k, sums.c, sums.ld, m, M, n, cols);
    }
}

/* A product of no terms, or of K 0. */
static void store_zeros(const task_t *k) {
    const tiles_t *t = k->pack.t;
    memset(k->tile, 0, TILE_FLOATS * sizeof(float));
    for (size_t m = 0; m < k->M; m += t->rows)
        for (size_t n = 0; n < k->pack.N; n += t->cols)
            store(k, k->tile, t->cols, k->m + m, min_size(t->rows, k->M - m), k->pack.n + n,
                  min_size(t->cols, k->pack.N - n));
}

static void run_task(const task_t *k) {
    cursor_t at = {0};
    pass_t pass, next;
    size_t blocks = (k->M + k->pack.t->rows - 1) / k->pack.t->rows;
    bool more = operands_next_pass(k->pack.t, k->p, &at, &pass);
    if (!more) store_zeros(k);
    for (turn_t turn = {.first = true}; more; turn.first = false, pass = next) {
        more = operands_next_pass(k->pack.t, k->p, &at, &next);
        turn.last = !more;
        operands_pack_b(&k->pack, &pass);
        for (size_t b = 0; b < blocks; b++) { /* as even as can be */
            size_t m = k->M * b / blocks, end = k->M * (b + 1) / blocks;
            multiply_rows(k, &pass, turn, k->m + m, end - m);
        }
    }
}

/* ---- tasks ---------------------------------------------------------------------------------------------------- */

/* How a product is cut: `cols` columns and `rows` rows to a task. */
typedef struct {
    const tiles_t *t;
    size_t rows, cols, row_parts, col_parts;
} cut_t;

/* Whether all values come from BF16. A weight is decoded to what A is. */
static bool is_bf16(const product_t *p) {
    for (size_t i = 0; i < p->n; i++) {
        const term_t *term = &p->term[i];
        if (term->K && (term->a.type != DT_BF16 || (!term->w && term->b.type != DT_BF16))) return false;
    }
    return true;
}

static size_t parts(size_t n, size_t of) { return (n + of - 1) / of; }

static size_t deepest_pass(const tiles_t *t, const product_t *p) {
    size_t deepest = 1;
    pass_t pass;
    for (cursor_t at = {0}; operands_next_pass(t, p, &at, &pass);) deepest = max_size(deepest, pass.depth);
    return deepest;
}

/* What a task costs in multiply-adds: its own, and the reading of A, which is again for each task, and of B. The weights
 * are rough; they keep tasks from becoming so small that they mostly pack. */
static double task_cost(const product_t *p, size_t rows, size_t cols) {
    bool turned = false, decoded = false;
    for (size_t i = 0; i < p->n; i++) {
        turned |= p->term[i].ta || p->term[i].drop_a;
        decoded |= p->term[i].w != NULL;
    }
    double of_a = turned ? 32 : 8, of_b = decoded ? 48 : 16;
    return (double)rows * ((double)cols + of_a) + (double)cols * of_b;
}

/* Panels of a product, in units that a task has whole ones of: where rows of a weight are decoded, a task begins where
 * its blocks do, so that none is decoded twice. */
static size_t unit_of(const tiles_t *t, const product_t *p) {
    for (size_t i = 0; i < p->n; i++)
        if (p->term[i].w && !p->term[i].tb && t->cols < QUANT_BLOCK) return QUANT_BLOCK;
    return t->cols;
}

/* Tasks of the products that are like this one in all but their columns. */
static size_t alike_tasks(const product_t *p, size_t n, const product_t *this, size_t cols) {
    size_t tasks = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i].M == this->M && p[i].n == this->n && p[i].term[0].K == this->term[0].K) tasks += parts(p[i].N, cols);
    return tasks;
}

/* The cut that is done first, if it has enough tasks for no thread to wait long for another one that is held up. */
static cut_t cut_of(const backend_t *be, const product_t *all, size_t n, const product_t *p, size_t wanted) {
    cut_t c = {.t = cpu_tiles(be, is_bf16(p) ? DT_BF16 : DT_F32)};
    size_t threads = (size_t)be->threads, unit = unit_of(c.t, p), row = deepest_pass(c.t, p) * dtype_size(c.t->type);
    size_t fit = min_size(max_size(PANELS_BYTES / row / unit, 1), parts(p->N, unit));
    double best = INFINITY;
    for (size_t cut = 1; cut == 1 || p->M / cut >= LEAST_ROWS; cut *= 2) {
        for (size_t units = fit; units > 0; units--) {
            size_t cols = units * unit, rows = min_size(parts(p->M, cut), SUM_FLOATS / cols);
            size_t tasks = parts(p->M, rows) * alike_tasks(all, n, p, cols);
            double cost = (double)parts(tasks, threads) * task_cost(p, rows, min_size(cols, p->N));
            if (tasks < wanted) cost *= (double)wanted / (double)tasks;
            if (cost < best) {
                best = cost;
                c.rows = rows;
                c.cols = cols;
            }
        }
    }
    c.row_parts = parts(p->M, c.rows);
    c.col_parts = parts(p->N, c.cols);
    return c;
}

/* Weights that are BF16 are matrices. */
static void set_matrix(term_t *term) {
    const qweight_t *w = term->w;
    if (!w || w->type != QUANT_NONE) return;
    term->b = (matrix_t){w->codes, DT_BF16, w->cols};
    term->w = NULL;
}

/* Task i of a product; those that share their columns are not neighbours, and so not at work together. */
static task_t task_of(const backend_t *be, const cut_t *c, const product_t *p, size_t i) {
    task_t k = {.p = p, .pack = {.be = be, .t = c->t, .rounded = be->act == DT_BF16}};
    k.m = i / c->col_parts * c->rows;
    k.pack.n = i % c->col_parts * c->cols;
    k.M = min_size(c->rows, p->M - k.m);
    k.pack.N = min_size(c->cols, p->N - k.pack.n);
    return k;
}

/* ---- scratch of a thread -------------------------------------------------------------------------------------- */

static size_t thread_bytes(void) { return operands_bytes() + (TILE_FLOATS + SUM_FLOATS) * sizeof(float); }

size_t product_floats(const backend_t *be) { return (size_t)be->threads * thread_bytes() / sizeof(float); }

static void lay_out(task_t *k, const backend_t *be, int thread) {
    unsigned char *scratch = (unsigned char *)be->workspace + (size_t)thread * thread_bytes();
    operands_lay_out(&k->pack, scratch);
    k->tile = (float *)(void *)(scratch + operands_bytes());
    k->sums = k->tile + TILE_FLOATS;
}

/* ---- the products ---------------------------------------------------------------------------------------------- */

static size_t work_of(const product_t *p) {
    size_t K = 0;
    for (size_t i = 0; i < p->n; i++) K += p->term[i].K;
    return p->M * p->N * K;
}

void products(const backend_t *be, const product_t *given, size_t n) {
    product_t p[PRODUCTS_MAX];
    cut_t cut[PRODUCTS_MAX];
    size_t work = 0, tasks = 0, wanted = be->threads > 1 ? TASKS * (size_t)be->threads : 1;
    CHECK(n <= PRODUCTS_MAX && be->workspace_size >= product_floats(be) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        p[i] = given[i];
        for (size_t j = 0; j < p[i].n; j++) set_matrix(&p[i].term[j]);
        work += work_of(&p[i]);
    }
    for (size_t i = 0; i < n; i++) {
        cut[i] = (cut_t){0};
        if (p[i].M == 0 || p[i].N == 0) continue;
        cut[i] = cut_of(be, p, n, &p[i], parts(wanted * work_of(&p[i]), max_size(work, 1)));
        tasks += cut[i].row_parts * cut[i].col_parts;
    }
#pragma omp parallel num_threads(be->threads) if (work > WORTH_IT)
    {
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < tasks; task++) {
            size_t i = 0, of_i = task;
            for (; of_i >= cut[i].row_parts * cut[i].col_parts; i++) of_i -= cut[i].row_parts * cut[i].col_parts;
            task_t k = task_of(be, &cut[i], &p[i], of_i);
            lay_out(&k, be, omp_get_thread_num());
            run_task(&k);
        }
    }
}
