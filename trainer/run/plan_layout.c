#include "trainer/run/plan_layout.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/minmax.h"

/* Logits are the widest activation by far: a chunk of rows takes about this much. */
#define LOGITS_BYTES ((size_t)64 << 20)
#define LOGITS_MIN_ROWS ((size_t)32)

static size_t chunk_rows(const model_t *m, const plan_need_t *need) {
    size_t rows = max_size(LOGITS_BYTES / (m->config.vocab * dtype_size(m->be->act)), LOGITS_MIN_ROWS);
    size_t tokens = max_size(max_size(need->train_tokens, need->eval_tokens), 1);
    return rows < tokens ? rows : tokens;
}

workspace_need_t plan_workspace_need(const model_t *m, const plan_need_t *need) {
    return model_workspace_need(m, max_size(max_size(need->train_tokens, need->eval_tokens), need->prompt_tokens),
                                max_size(max_size(need->train_seg, need->eval_seg), need->cache));
}

void plan_place_fixed(pool_t *pool, model_t *m, lora_t *lora, optimizer_t *opt, const plan_need_t *need,
                      const layout_t *layout) {
    model_place(m, layout->n_paged, layout->n_cached, pool);
    if (lora) lora_place(lora, pool, opt != NULL);
    if (opt) optimizer_place(opt, need->optimizer, lora, layout->n_homes, pool);
    workspace_need_t w = plan_workspace_need(m, need);
    size_t bytes = m->be->workspace_bytes(m->be, &w);
    m->be->workspace = pool_take(pool, POOL_WORKSPACE, bytes);
    m->be->workspace_size = bytes;
    /* Activations are dead while the optimizer works: the slots of its homeless pages are where they begin. */
    pool_mark_t mark = pool_mark(pool);
    if (opt) pager_place_slots(&opt->pager, pool, POOL_OPTIMIZER);
    pool_reset(pool, &mark);
}

void plan_place_generation(pool_t *pool, const model_t *m, kv_cache_t *cache, acts_t *acts, const plan_need_t *need,
                           const layout_t *layout) {
    kv_cache_place(cache, m, need->cache, pool);
    acts_place(acts, m, &(acts_spec_t){PASS_GENERATE, need->prompt_tokens, 0, layout->chunk, layout->tile}, pool);
}

/* ---- bytes of a layout ---------------------------------------------------------------------------------- */

/* What a layout takes. */
typedef struct {
    size_t fixed;       /* from the front */
    size_t update;      /* of it and of all that the optimizer's update needs, pages too */
    size_t homes;       /* optimizer pages with a place of their own */
    size_t acts, other; /* activations of the largest passes: in the training, beside it */
    size_t bytes[POOL_CLASSES];
} taken_t;

static size_t acts_bytes(const question_t *q, const layout_t *layout, pass_t pass, size_t tokens) {
    if (!tokens) return 0;
    pool_t pool = pool_counting(q->m->be);
    acts_t acts = {.blocks = xcalloc(q->m->config.layers, sizeof(block_acts_t))};
    acts_place(&acts, q->m, &(acts_spec_t){pass, tokens, layout->n_kept, layout->chunk, layout->tile}, &pool);
    free(acts.blocks);
    return pool.used;
}

static size_t generation_bytes(const question_t *q, const layout_t *layout) {
    if (!q->need->prompt_tokens) return 0;
    pool_t pool = pool_counting(q->m->be);
    kv_cache_t cache;
    acts_t acts = {.blocks = xcalloc(q->m->config.layers, sizeof(block_acts_t))};
    plan_place_generation(&pool, q->m, &cache, &acts, q->need, layout);
    kv_cache_free(&cache);
    free(acts.blocks);
    return pool.used;
}

static taken_t take(const question_t *q, const layout_t *layout) {
    taken_t t = {0};
    pool_t pool = pool_counting(q->m->be);
    optimizer_t opt = {0};
    plan_place_fixed(&pool, q->m, q->lora, q->need->train_tokens ? &opt : NULL, q->need, layout);
    optimizer_free(&opt);
    t.fixed = pool.used;
    t.homes = pool.back;
    t.update = pool.peak;
    for (int c = 0; c < POOL_CLASSES; c++) t.bytes[c] = pool.bytes[c];
    t.acts = acts_bytes(q, layout, PASS_TRAIN, q->need->train_tokens);
    t.other = max_size(acts_bytes(q, layout, PASS_LOSS, q->need->eval_tokens), generation_bytes(q, layout));
    t.bytes[POOL_ACTIVATIONS] += max_size(t.acts, t.other);
    return t;
}

/* Where the activations of the largest pass end. */
static size_t top_of(const taken_t *t) { return t->fixed + max_size(t->acts, t->other); }

/* Bytes of the whole run with every optimizer page on the device and nothing in its way. */
static size_t total_unpaged(const question_t *q, const layout_t *layout) {
    layout_t all = *layout;
    all.n_homes = SIZE_MAX;
    taken_t t = take(q, &all);
    return top_of(&t) + t.homes;
}

/* ---- the choice ----------------------------------------------------------------------------------------- */

/* The most homes that leave room for the update; SIZE_MAX: there is none even without any. */
static size_t choose_homes(const question_t *q, layout_t *layout, size_t limit) {
    layout->n_homes = 0;
    taken_t none = take(q, layout);
    if (none.update > limit) return SIZE_MAX;
    /* Pages are equally large, but for the last: a search that takes the true sizes each time. */
    size_t low = 0, high = 1;
    while (high < SIZE_MAX / 4) {
        layout->n_homes = high;
        if (take(q, layout).update > limit) break;
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        layout->n_homes = mid;
        if (take(q, layout).update <= limit) low = mid;
        else high = mid;
    }
    return low;
}

/* Whether the layout fits with as many optimizer pages at home as there is room for; fills in n_homes and the plan's
 * total. */
static bool fits(const question_t *q, layout_t *layout, size_t limit) {
    layout->n_homes = SIZE_MAX;
    taken_t t = take(q, layout);
    size_t top = top_of(&t), all = top + t.homes;
    q->p->total = all;
    if (all <= limit) return true;
    if (!plan_pages_optimizer(q->need) || !t.homes || top > limit) return false;
    if (t.update > limit) {
        layout->n_homes = choose_homes(q, layout, limit);
        if (layout->n_homes == SIZE_MAX) return false;
        t = take(q, layout);
    }
    /* All that the limit allows, so that few pages have to leave; but nothing that is never used. */
    size_t size = limit / POOL_ALIGN * POOL_ALIGN, both = top + t.homes < size ? top + t.homes : size;
    q->p->total = max_size(both, t.update);
    return true;
}

static bool choose_kept(const question_t *q, layout_t *layout, size_t limit) {
    size_t L = q->m->config.layers, least = q->need->checkpointing == TRI_FALSE ? L : 0;
    size_t from = q->need->checkpointing == TRI_TRUE ? 0 : L;
    for (layout->n_kept = from; !fits(q, layout, limit); layout->n_kept--)
        if (layout->n_kept == least) return false;
    return true;
}

/* The fewest paged layers that are enough. */
static bool choose_paged(const question_t *q, layout_t *layout, size_t limit) {
    size_t L = q->m->config.layers;
    if (!plan_pages_weights(q->need) || L <= PAGER_SLOTS) return false;
    layout->n_kept = q->need->checkpointing == TRI_FALSE ? L : 0;
    for (layout->n_paged = PAGER_SLOTS + 1; layout->n_paged <= L; layout->n_paged++)
        if (fits(q, layout, limit)) return true;
    layout->n_paged = L;
    fits(q, layout, limit);
    return false;
}

/* Products round to BF16 what they dequantize, so a copy in BF16 is as good; worth its place only if nothing else wants
 * it. */
static void choose_cached(const question_t *q, layout_t *layout, size_t limit) {
    size_t L = q->m->config.layers, all = total_unpaged(q, layout);
    if (!q->need->cache_weights || q->m->be->act != DT_BF16) return;
    /* Blocks that are recomputed because there was no room for them would have been kept instead. */
    bool recomputes = layout->n_kept < L && q->need->checkpointing != TRI_TRUE;
    if (recomputes || layout->n_paged || all > limit) return;
    layout->n_cached = 1;
    size_t one = total_unpaged(q, layout) - all;
    layout->n_cached = (limit - all) / one < L ? (limit - all) / one : L;
    q->p->total = total_unpaged(q, layout);
}

/* ---- the figures of the choice ---------------------------------------------------------------------------- */

static void count_paged(const question_t *q, size_t top_of_training) {
    plan_t *p = q->p;
    pool_t pool = pool_counting(q->m->be);
    if (q->need->train_tokens) {
        optimizer_t opt;
        optimizer_place(&opt, q->need->optimizer, q->lora, p->layout.n_homes, &pool);
        p->host_optimizer = pager_away_bytes(&opt.pager, p->total, p->top);
        p->optimizer_step_bytes = 2 * pager_away_bytes(&opt.pager, p->total, top_of_training);
        optimizer_free(&opt);
    }
    model_place(q->m, p->layout.n_paged, p->layout.n_cached, &pool);
    const pager_t *w = &q->m->pager;
    p->host_weights = pager_away_bytes(w, 0, 0);
    /* A pass begins with the pages in the slots with which the one before ended. */
    for (size_t i = 0; i < w->n; i++) {
        size_t times = (size_t)(i >= PAGER_SLOTS) + (size_t)(i + PAGER_SLOTS < w->n);
        p->weights_step_bytes += q->need->micro_batches * w->pages[i].bytes * times;
    }
}

static void fill_in(const question_t *q, const layout_t *layout) {
    plan_t *p = q->p;
    taken_t t = take(q, layout);
    p->layout = *layout;
    p->top = top_of(&t);
    size_t sum = 0;
    for (int c = 0; c < POOL_CLASSES; c++) sum += p->bytes[c] = t.bytes[c];
    p->shared = sum > p->total ? sum - p->total : 0;
    count_paged(q, t.fixed + t.acts);
}

/* ---- plan ----------------------------------------------------------------------------------------------- */

/* The least limit that would do, and how many optimizer pages are at home then. */
static size_t least_limit(const question_t *q, layout_t *layout) {
    layout->n_homes = SIZE_MAX;
    taken_t all = take(q, layout);
    if (!plan_pages_optimizer(q->need)) return top_of(&all) + all.homes;
    layout->n_homes = 0;
    taken_t none = take(q, layout);
    if (all.update < none.update) layout->n_homes = SIZE_MAX;
    return max_size(top_of(&all), all.update < none.update ? all.update : none.update);
}

bool plan_would_fit(const question_t *q, const plan_need_t *need) {
    plan_t p = {.layout = {.chunk = chunk_rows(q->m, need), .tile = q->m->be->tile_rows}};
    question_t other = {q->m, q->lora, need, &p};
    layout_t layout = p.layout;
    return choose_kept(&other, &layout, q->p->limit) || choose_paged(&other, &layout, q->p->limit);
}

bool plan_choose(const question_t *q) {
    plan_t *p = q->p;
    p->layout.chunk = chunk_rows(q->m, q->need);
    p->layout.tile = q->m->be->tile_rows;
    layout_t layout = p->layout;
    bool training = q->need->train_tokens != 0;
    p->total_recompute_all = training ? total_unpaged(q, &layout) : 0;
    layout.n_kept = q->m->config.layers;
    p->total_keep_all = total_unpaged(q, &layout);
    bool ok = training ? choose_kept(q, &layout, p->limit) : fits(q, &layout, p->limit);
    if (!ok) ok = choose_paged(q, &layout, p->limit);
    if (ok && training) choose_cached(q, &layout, p->limit);
    if (!ok) p->total = least_limit(q, &layout);
    fill_in(q, &layout);
    return ok;
}
