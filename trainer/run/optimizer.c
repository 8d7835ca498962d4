#include "trainer/run/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "trainer/ranks/ranks.h"

/* ---- the two kinds -------------------------------------------------------------------------------------- */

/* A page's part of an array, the page being at `place`. */
static void *part(const optimizer_page_t *g, unsigned char *place, state_array_t array) {
    return place + g->offset[array];
}

/* Parameters of a page that have one learning rate, as many whole blocks; both counted from the page's first. */
typedef struct {
    size_t first, count, block, n_blocks;
} run_t;

static void update_32bit(const optimizer_t *o, const optimizer_page_t *g, unsigned char *place, const run_t *run,
                         lora_t *lora, backend_t *be, const adamw_t *h) {
    (void)o;
    size_t at = g->first[STATE_M] + run->first;
    float *m = part(g, place, STATE_M), *v = part(g, place, STATE_V);
    be->adamw(be, lora->master + at, lora->grad + at, m + run->first, v + run->first, run->count, h);
}

static void update_8bit(const optimizer_t *o, const optimizer_page_t *g, unsigned char *place, const run_t *run,
                        lora_t *lora, backend_t *be, const adamw_t *h) {
    size_t at = g->first[STATE_M] + run->first;
    uint8_t *m = part(g, place, STATE_M), *v = part(g, place, STATE_V);
    float *m_absmax = part(g, place, STATE_M_ABSMAX), *v_absmax = part(g, place, STATE_V_ABSMAX);
    const adamw_8bit_state_t s = {.m = m + run->first,
                                  .v = v + run->first,
                                  .m_absmax = m_absmax + run->block,
                                  .v_absmax = v_absmax + run->block,
                                  .start = o->start + g->first[STATE_M_ABSMAX] + run->block};
    be->adamw_8bit(be, lora->master + at, lora->grad + at, &s, run->n_blocks, h);
}

typedef struct {
    dtype_t moment; /* of the first two arrays */
    size_t n_arrays;
    bool blocks;
    void (*update)(const optimizer_t *o, const optimizer_page_t *g, unsigned char *place, const run_t *run,
                   lora_t *lora, backend_t *be, const adamw_t *h);
} kind_t;

static const kind_t kinds[] = {
    [OPTIMIZER_32BIT] = {DT_F32, 2, false, update_32bit},
    [OPTIMIZER_8BIT] = {DT_U8, STATE_ARRAYS, true, update_8bit},
};

static const char *const array_names[STATE_ARRAYS] = {
    [STATE_M] = "exp_avg",
    [STATE_V] = "exp_avg_sq",
    [STATE_M_ABSMAX] = "exp_avg_absmax",
    [STATE_V_ABSMAX] = "exp_avg_sq_absmax",
};

/* ---- blocks --------------------------------------------------------------------------------------------- */

/* Blocks begin anew at each tensor, so that no constant serves values of two; start (NULL: only counts) gets
 * where each begins and, last, where all end. Gives their number. */
static size_t lay_out_blocks(const lora_t *lora, size_t *start) {
    size_t n = 0;
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        for (size_t at = 0; at < t->rows * t->cols; at += ADAMW_8BIT_BLOCK, n++)
            if (start) start[n] = t->offset + at;
    }
    if (start) start[n] = lora->count;
    return n;
}

static void upload_blocks(optimizer_t *o, const lora_t *lora, backend_t *be) {
    size_t *start = xmalloc((o->n_blocks + 1) * sizeof *start);
    lay_out_blocks(lora, start);
    be->upload(be, o->start, start, (o->n_blocks + 1) * sizeof *start);
    free(start);
}

/* ---- pages ---------------------------------------------------------------------------------------------- */

/* A page is large enough for copies to run at full speed and small enough that little more leaves than has to
 * (docs/speed.md): a sixteenth of the state, within these bounds. */
#define PAGE_MIN ((size_t)4 << 10)
#define PAGE_MAX ((size_t)16 << 20)
#define PAGES 16
/* Parameters of an fp32 page are a multiple of this. */
#define PAGE_STEP ((size_t)256)

static bool is_constant(size_t array) { return array == STATE_M_ABSMAX || array == STATE_V_ABSMAX; }

/* Parameters that a page should have. */
static size_t page_parameters(const optimizer_t *o) {
    size_t each = 2 * dtype_size(o->arrays[STATE_M].dtype), bytes = o->count * each / PAGES;
    bytes = bytes < PAGE_MIN ? PAGE_MIN : bytes > PAGE_MAX ? PAGE_MAX : bytes;
    return (bytes / each + PAGE_STEP - 1) / PAGE_STEP * PAGE_STEP;
}

/* Adds the page with these parameters and blocks; gives its bytes. */
static size_t add_page(optimizer_t *o, size_t page, size_t first, size_t end, size_t block, size_t block_end) {
    optimizer_page_t *g = &o->pages[page];
    size_t bytes = 0;
    for (size_t a = 0; a < o->n_arrays; a++) {
        g->first[a] = is_constant(a) ? block : first;
        g->count[a] = is_constant(a) ? block_end - block : end - first;
        g->offset[a] = bytes;
        bytes += pool_round(g->count[a] * dtype_size(o->arrays[a].dtype));
    }
    return bytes;
}

/* Cuts the state in pages: anywhere if it has no blocks, else between two (start: where each begins). Gives their
 * number; with `bytes` (else NULL) also fills in o->pages and the size of each. */
static size_t cut_pages(optimizer_t *o, const size_t *start, size_t *bytes) {
    size_t want = page_parameters(o), n = 0, block = 0;
    for (size_t first = 0; first < o->count; n++) {
        size_t end = first + want < o->count ? first + want : o->count, block_end = block;
        if (start) {
            while (block_end < o->n_blocks && start[block_end] < end) block_end++;
            end = start[block_end];
        }
        if (bytes) bytes[n] = add_page(o, n, first, end, block, block_end);
        first = end;
        block = block_end;
    }
    return n;
}

/* ---- both ----------------------------------------------------------------------------------------------- */

void optimizer_place(optimizer_t *o, optimizer_kind_t kind, const lora_t *lora, size_t n_homes, pool_t *pool) {
    const kind_t *k = &kinds[kind];
    *o = (optimizer_t){.kind = kind, .count = lora->count, .n_arrays = k->n_arrays};
    if (k->blocks) o->n_blocks = lay_out_blocks(lora, NULL);
    for (size_t i = 0; i < o->n_arrays; i++)
        o->arrays[i] = (optimizer_array_t){array_names[i], is_constant(i) ? DT_F32 : k->moment,
                                           is_constant(i) ? o->n_blocks : o->count};
    size_t *start = k->blocks ? xmalloc((o->n_blocks + 1) * sizeof *start) : NULL;
    if (start) lay_out_blocks(lora, start);
    size_t n = cut_pages(o, start, NULL), *bytes = xmalloc(n * sizeof *bytes);
    o->pages = xcalloc(n, sizeof *o->pages);
    cut_pages(o, start, bytes);
    pager_init(&o->pager, pool->be, true, bytes, n, n_homes, pool, POOL_OPTIMIZER);
    free(bytes);
    free(start);
    if (k->blocks) o->start = pool_take(pool, POOL_OPTIMIZER, (o->n_blocks + 1) * sizeof *o->start);
    o->sumsq = pool_take(pool, POOL_OPTIMIZER, sizeof(double));
}

void optimizer_free(optimizer_t *o) {
    pager_close(&o->pager);
    free(o->pages);
    o->pages = NULL;
}

int optimizer_open(optimizer_t *o, const lora_t *lora, const pool_t *pool, size_t top, const char *spill_dir,
                   err_t *err) {
    if (pager_open(&o->pager, pool, top, spill_dir, err)) return err->code;
    if (o->start) upload_blocks(o, lora, pool->be);
    o->t = 0;
    return 0;
}

/* The next tensors, from *i on, that are all A or all B: what of them is in the page behind `run`. A page begins and
 * ends between two blocks. */
static run_t next_run(const optimizer_page_t *g, const lora_t *lora, const run_t *run, size_t *i) {
    run_t next = {.first = run->first + run->count, .block = run->block + run->n_blocks};
    size_t at = g->first[STATE_M] + next.first, end = g->first[STATE_M] + g->count[STATE_M];
    const bool is_b = lora->tensors[*i].is_b;
    for (; *i < lora->n_tensors && lora->tensors[*i].is_b == is_b; ++*i) {
        const lora_tensor_t *t = &lora->tensors[*i];
        size_t low = max_size(at, t->offset), high = min_size(end, t->offset + t->rows * t->cols);
        if (low >= high) continue;
        next.count += high - low;
        next.n_blocks += (high - low + ADAMW_8BIT_BLOCK - 1) / ADAMW_8BIT_BLOCK;
        at = high;
    }
    return next;
}

/* The update of a page; with LoRA+ the tensors A and B each with their own rate. */
static void update_page(optimizer_t *o, const optimizer_page_t *g, unsigned char *place, lora_t *lora, backend_t *be,
                        const adamw_t *a, const adamw_t *b) {
    run_t run = {.count = g->count[STATE_M], .n_blocks = g->count[STATE_M_ABSMAX]};
    if (a->lr == b->lr) {
        kinds[o->kind].update(o, g, place, &run, lora, be, a);
        return;
    }
    run = (run_t){0};
    for (size_t i = 0; i < lora->n_tensors;) {
        const bool is_b = lora->tensors[i].is_b;
        run = next_run(g, lora, &run, &i);
        if (run.count) kinds[o->kind].update(o, g, place, &run, lora, be, is_b ? b : a);
    }
}

/* The updates of the pages, each while the next ones come and those before go back. */
static void update(optimizer_t *o, lora_t *lora, backend_t *be, const adamw_t *a, const adamw_t *b, size_t next_top) {
    pager_space_is_free(&o->pager);
    for (size_t i = 0; i < o->pager.n; i++) {
        unsigned char *place = pager_acquire(&o->pager, i, 1);
        update_page(o, &o->pages[i], place, lora, be, a, b);
        pager_release(&o->pager, i, next_top);
    }
}

/* The numbers of an update, for A and B. They take sums and powers, which two kinds of processors may round differently:
 * all ranks take rank 0's. */
typedef struct {
    double sumsq;
    adamw_t a, b;
} update_t;

/* Leaves out a and b where the gradient is not finite. */
static update_t prepare_update(const optimizer_t *o, const lora_t *lora, backend_t *be, const optimizer_hyper_t *h) {
    update_t u = {0};
    be->sumsq(be, o->sumsq, lora->grad, o->count);
    be->download(be, &u.sumsq, o->sumsq, sizeof u.sumsq);
    if (!isfinite(u.sumsq)) return u;
    /* As torch.nn.utils.clip_grad_norm_: the small constant keeps a zero norm harmless. */
    double clip = h->max_grad_norm > 0 ? h->max_grad_norm / (sqrt(u.sumsq) + 1e-6) : 1.0;
    u.a = (adamw_t){.lr = h->lr,
                    .beta1 = h->beta1,
                    .beta2 = h->beta2,
                    .eps = h->eps,
                    .weight_decay = h->weight_decay,
                    .c1 = (float)(1.0 - pow(h->beta1, (double)o->t + 1)),
                    .c2 = (float)(1.0 - pow(h->beta2, (double)o->t + 1)),
                    .grad_scale = (float)(clip < 1.0 ? clip : 1.0)};
    u.b = u.a;
    u.b.lr = h->lr_b;
    return u;
}

bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, size_t next_top,
                    double *grad_norm) {
    update_t u = prepare_update(o, lora, be, h);
    ranks_broadcast(&u, sizeof u);
    *grad_norm = sqrt(u.sumsq);
    if (!isfinite(u.sumsq)) return false;
    o->t++;
    update(o, lora, be, &u.a, &u.b, next_top);
    lora_refresh(lora, be);
    return true;
}

/* ---- from and to the host -------------------------------------------------------------------------------- */

/* Calls `move` for the part of each page that lies in the range. */
static void for_range(optimizer_t *o, state_array_t array, size_t first, size_t n, unsigned char *host,
                      void (*move)(pager_t *p, size_t page, size_t at, unsigned char *host, size_t bytes)) {
    size_t elem = dtype_size(o->arrays[array].dtype), end = first + n;
    CHECK(end <= o->arrays[array].count);
    for (size_t i = 0; i < o->pager.n; i++) {
        const optimizer_page_t *g = &o->pages[i];
        size_t from = g->first[array] > first ? g->first[array] : first, to = g->first[array] + g->count[array];
        if (to > end) to = end;
        if (from >= to) continue;
        move(&o->pager, i, g->offset[array] + (from - g->first[array]) * elem, host + (from - first) * elem,
             (to - from) * elem);
    }
}

static void move_out(pager_t *p, size_t page, size_t at, unsigned char *host, size_t bytes) {
    pager_read(p, page, at, host, bytes);
}

static void move_in(pager_t *p, size_t page, size_t at, unsigned char *host, size_t bytes) {
    pager_write(p, page, at, host, bytes);
}

void optimizer_read(optimizer_t *o, state_array_t array, size_t first, size_t n, void *host) {
    for_range(o, array, first, n, host, move_out);
}

void optimizer_write(optimizer_t *o, state_array_t array, size_t first, size_t n, const void *host) {
    for_range(o, array, first, n, (unsigned char *)host, move_in);
}
