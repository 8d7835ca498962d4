#include "trainer/run/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/config/config_schema.h"

/* Logits are the widest activation by far: a chunk of rows takes about this much. */
#define LOGITS_BYTES ((size_t)64 << 20)
#define LOGITS_MIN_ROWS ((size_t)32)

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t chunk_rows(const model_t *m, const plan_need_t *need) {
    size_t rows = most(LOGITS_BYTES / (m->config.vocab * dtype_size(m->be->act)), LOGITS_MIN_ROWS);
    size_t tokens = most(most(need->train_tokens, need->eval_tokens), 1);
    return rows < tokens ? rows : tokens;
}

void plan_place_fixed(pool_t *pool, model_t *m, lora_t *lora, optimizer_t *opt, kv_cache_t *cache,
                      const plan_need_t *need, const layout_t *layout) {
    model_place(m, layout->n_paged, layout->n_cached, pool);
    if (lora) lora_place(lora, pool, opt != NULL);
    if (opt) optimizer_place(opt, need->optimizer, lora, layout->n_homes, pool);
    if (cache) kv_cache_place(cache, m, need->cache, pool);
    workspace_need_t w = model_workspace_need(m, most(need->train_tokens, need->eval_tokens),
                                              most(need->train_seg, need->eval_seg));
    size_t bytes = m->be->workspace_bytes(m->be, &w);
    m->be->workspace = pool_take(pool, POOL_WORKSPACE, bytes);
    m->be->workspace_size = bytes;
    /* Activations are dead while the optimizer works: the slots of its homeless pages are where they begin. */
    pool_mark_t mark = pool_mark(pool);
    if (opt) pager_place_slots(&opt->pager, pool, POOL_OPTIMIZER);
    pool_reset(pool, &mark);
}

static bool pages_optimizer(const plan_need_t *need) { return need->page_optimizer && !need->no_room; }

static bool pages_weights(const plan_need_t *need) { return need->page_weights && !need->no_room; }

/* ---- bytes of a layout ---------------------------------------------------------------------------------- */

/* A question to which layouts are the answers. */
typedef struct {
    model_t *m;
    lora_t *lora;
    const plan_need_t *need;
    plan_t *p;
} question_t;

/* What a layout takes. */
typedef struct {
    size_t fixed;      /* from the front */
    size_t update;     /* of it and of all that the optimizer's update needs, pages too */
    size_t homes;      /* optimizer pages with a place of their own */
    size_t acts, eval; /* activations of the largest passes */
    size_t bytes[POOL_CLASSES];
} taken_t;

static size_t acts_bytes(const question_t *q, const layout_t *layout, pass_t pass, size_t tokens) {
    if (!tokens) return 0;
    pool_t pool = pool_counting(q->m->be);
    acts_t acts = {.blocks = xcalloc(q->m->config.layers, sizeof(block_acts_t))};
    acts_place(&acts, q->m, &(acts_spec_t){pass, tokens, layout->n_kept, layout->chunk}, &pool);
    free(acts.blocks);
    return pool.used;
}

static taken_t take(const question_t *q, const layout_t *layout) {
    taken_t t = {0};
    pool_t pool = pool_counting(q->m->be);
    optimizer_t opt = {0};
    kv_cache_t cache = {0};
    plan_place_fixed(&pool, q->m, q->lora, q->need->train_tokens ? &opt : NULL, q->need->cache ? &cache : NULL, q->need,
                     layout);
    kv_cache_free(&cache);
    optimizer_free(&opt);
    t.fixed = pool.used;
    t.homes = pool.back;
    t.update = pool.peak;
    for (int c = 0; c < POOL_CLASSES; c++) t.bytes[c] = pool.bytes[c];
    t.acts = acts_bytes(q, layout, PASS_TRAIN, q->need->train_tokens);
    t.eval = acts_bytes(q, layout, PASS_LOSS, q->need->eval_tokens);
    t.bytes[POOL_ACTIVATIONS] += most(t.acts, t.eval);
    return t;
}

/* Where the activations of the largest pass end. */
static size_t top_of(const taken_t *t) { return t->fixed + most(t->acts, t->eval); }

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
    if (!pages_optimizer(q->need) || !t.homes || top > limit) return false;
    if (t.update > limit) {
        layout->n_homes = choose_homes(q, layout, limit);
        if (layout->n_homes == SIZE_MAX) return false;
        t = take(q, layout);
    }
    /* All that the limit allows, so that few pages have to leave; but nothing that is never used. */
    size_t size = limit / POOL_ALIGN * POOL_ALIGN, both = top + t.homes < size ? top + t.homes : size;
    q->p->total = most(both, t.update);
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
    if (!pages_weights(q->need) || L <= PAGER_SLOTS) return false;
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
    if (layout->n_kept < L || layout->n_paged || all > limit) return;
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
    for (size_t i = 0; i < w->n; i++)
        p->weights_step_bytes += q->need->micro_batches * w->pages[i].bytes *
                                 ((i >= PAGER_SLOTS) + (i + PAGER_SLOTS < w->n));
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

/* ---- what would make it fit -------------------------------------------------------------------------------- */

static bool would_fit(const question_t *q, const plan_need_t *need) {
    plan_t p = {.layout.chunk = chunk_rows(q->m, need)};
    question_t other = {q->m, q->lora, need, &p};
    layout_t layout = p.layout;
    return choose_kept(&other, &layout, q->p->limit) || choose_paged(&other, &layout, q->p->limit);
}

/* Whether advice may name a key: a run that has begun would be another with other keys that define it. */
static bool may_change(const plan_need_t *asked, const char *section, const char *name) {
    return !asked->resumes || !config_key_find(section, name)->defines_run;
}

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }

/* The need with its micro-batches, or of a generation its positions, cut in `parts`. */
static plan_need_t cut_need(const plan_need_t *asked, size_t parts) {
    plan_need_t n = *asked;
    n.cache = (asked->cache + parts - 1) / parts;
    n.train_tokens = (asked->train_tokens + parts - 1) / parts;
    n.eval_tokens = asked->cache ? least_of(asked->eval_tokens, n.cache) : (asked->eval_tokens + parts - 1) / parts;
    n.train_seg = least_of(asked->train_seg, n.train_tokens);
    n.eval_seg = least_of(asked->eval_seg, asked->cache ? n.cache : n.eval_tokens);
    return n;
}

/* The largest micro-batches, of a power of 2 of parts, that fit; of a generation the most positions. */
static void offer_cut(strbuf_t *b, const question_t *q, const plan_need_t *asked) {
    if (!may_change(asked, "training", "per_device_train_batch_size") || !may_change(asked, "data", "max_length"))
        return;
    size_t whole = asked->cache ? asked->cache : most(asked->train_tokens, asked->eval_tokens);
    for (size_t parts = 2; parts <= whole; parts *= 2) {
        plan_need_t n = cut_need(asked, parts);
        if (!would_fit(q, &n)) continue;
        if (b->len) strbuf_adds(b, ", or ");
        if (asked->cache)
            strbuf_addf(b, "at most %zu positions (a shorter prompt or a lower --max-new-tokens)", n.cache);
        else
            strbuf_addf(b, "%s of at most %zu tokens (lower training.per_device_train_batch_size or data.max_length)",
                        asked->train_tokens ? "micro-batches" : "batches", most(n.train_tokens, n.eval_tokens));
        return;
    }
}

/* The changes of the config that take less memory and cost only time: in words, and what the need then is. */
enum { CHANGES = 5 };
typedef struct {
    const char *words[CHANGES];
    plan_need_t need[CHANGES], all; /* with one of them, with all */
    size_t n;
} changes_t;

static plan_need_t *add_change(changes_t *c, const plan_need_t *asked, const char *words) {
    c->words[c->n] = words;
    c->need[c->n] = *asked;
    return &c->need[c->n++];
}

static changes_t changes_of(const plan_need_t *asked) {
    changes_t c = {.all = *asked};
    bool training = asked->train_tokens != 0, optim = training && may_change(asked, "training", "optim");
    if (training && asked->checkpointing == TRI_FALSE && may_change(asked, "training", "gradient_checkpointing"))
        add_change(&c, asked, "training.gradient_checkpointing auto")->checkpointing = c.all.checkpointing = TRI_AUTO;
    if (optim && !asked->page_optimizer)
        add_change(&c, asked, "a paged training.optim")->page_optimizer = c.all.page_optimizer = true;
    if (optim && asked->optimizer == OPTIMIZER_32BIT)
        add_change(&c, asked, "an 8-bit training.optim")->optimizer = c.all.optimizer = OPTIMIZER_8BIT;
    if (!asked->page_weights && may_change(asked, "device", "page_weights"))
        add_change(&c, asked, "device.page_weights auto")->page_weights = c.all.page_weights = true;
    if (asked->no_room && may_change(asked, "device", "spill"))
        add_change(&c, asked, "device.spill to a directory")->no_room = c.all.no_room = false;
    return c;
}

/* What would fit: each single change that is enough; where there is none, all of them, with smaller micro-batches if
 * that takes it too. */
static char *advice(const question_t *q) {
    strbuf_t b = {0};
    changes_t c = changes_of(q->need);
    for (size_t i = 0; i < c.n; i++)
        if (would_fit(q, &c.need[i])) strbuf_addf(&b, "%s%s", b.len ? ", or " : "", c.words[i]);
    offer_cut(&b, q, q->need);
    if (b.len || c.n == 0) return b.p ? b.p : xstrdup("");
    strbuf_t all = {0};
    if (!would_fit(q, &c.all)) offer_cut(&all, q, &c.all);
    if (all.len || would_fit(q, &c.all)) {
        for (size_t i = 0; i < c.n; i++) strbuf_addf(&b, "%s%s", i ? " and " : "", c.words[i]);
        if (all.len) strbuf_addf(&b, " and %s", all.p);
    }
    free(all.p);
    return b.p ? b.p : xstrdup("");
}

/* The least limit that would do, and how many optimizer pages are at home then. */
static size_t least_limit(const question_t *q, layout_t *layout) {
    layout->n_homes = SIZE_MAX;
    taken_t all = take(q, layout);
    if (!pages_optimizer(q->need)) return top_of(&all) + all.homes;
    layout->n_homes = 0;
    taken_t none = take(q, layout);
    if (all.update < none.update) layout->n_homes = SIZE_MAX;
    return most(top_of(&all), all.update < none.update ? all.update : none.update);
}

static int does_not_fit(const question_t *q, err_t *err) {
    const plan_t *p = q->p;
    const plan_need_t *need = q->need;
    double least = mib(p->total) + 0.05; /* rounded up: whoever sets it gets what fits */
    char *fitting = advice(q), needs[160], paged[80] = "", larger[160];
    if (need->train_tokens)
        snprintf(needs, sizeof needs,
                 "the run does not fit: it needs %.1f MiB with every block recomputed (%.1f MiB "
                 "with none) for micro-batches of up to %zu tokens",
                 mib(p->total_recompute_all), mib(p->total_keep_all), need->train_tokens);
    else snprintf(needs, sizeof needs, "the model does not fit: it needs %.1f MiB", mib(p->total_keep_all) + 0.05);
    size_t unpaged = need->train_tokens ? p->total_recompute_all : p->total_keep_all;
    if ((pages_optimizer(need) || pages_weights(need)) && p->total != unpaged)
        snprintf(paged, sizeof paged, ", %.1f MiB with all the paging that the config allows", least);
    snprintf(larger, sizeof larger, "expected a limit of at least %.1f MiB%s", least,
             !need->train_tokens ? " or a smaller model"
             : need->resumes     ? ": the other keys that would help define this run"
                                 : ", a lower lora.r or a smaller model: smaller micro-batches are not enough");
    err_set(err, ERR_USAGE, "%s%s, and device.memory_limit leaves %.1f MiB; %s%s", needs, paged, mib(p->limit),
            *fitting ? "it would fit with " : larger, fitting);
    free(fitting);
    return err->code;
}

/* ---- plan ----------------------------------------------------------------------------------------------- */

int plan_make(plan_t *p, model_t *m, lora_t *lora, const plan_need_t *need, size_t limit, err_t *err) {
    *p = (plan_t){.limit = limit, .layout.chunk = chunk_rows(m, need)};
    question_t q = {m, lora, need, p};
    layout_t layout = p->layout;
    bool training = need->train_tokens != 0;
    p->total_recompute_all = training ? total_unpaged(&q, &layout) : 0;
    layout.n_kept = m->config.layers;
    p->total_keep_all = total_unpaged(&q, &layout);
    bool ok = training ? choose_kept(&q, &layout, limit) : fits(&q, &layout, limit);
    if (!ok) ok = choose_paged(&q, &layout, limit);
    if (ok && training) choose_cached(&q, &layout, limit);
    if (!ok) p->total = least_limit(&q, &layout);
    fill_in(&q, &layout);
    return ok ? 0 : does_not_fit(&q, err);
}

static void print_paged(const plan_t *p, size_t layers) {
    if (p->shared)
        log_info("  %-26s %12zu bytes  %9.1f MiB  (they reach over optimizer pages)", "shared by activations",
                 p->shared, mib(p->shared));
    if (p->host_optimizer)
        log_info("  optimizer pages in host memory: up to %.1f MiB, %.1f MiB moved by a step of the largest "
                 "micro-batches",
                 mib(p->host_optimizer), mib(p->optimizer_step_bytes));
    if (p->layout.n_paged)
        log_info("  weights of %zu of %zu layers in host memory: %.1f MiB, %.1f MiB moved by a step", p->layout.n_paged,
                 layers, mib(p->host_weights), mib(p->weights_step_bytes));
}

void plan_print(const plan_t *p, size_t layers) {
    log_info("memory:");
    for (int c = 0; c < POOL_CLASSES; c++)
        if (p->bytes[c])
            log_info("  %-26s %12zu bytes  %9.1f MiB", pool_class_name((pool_class_t)c), p->bytes[c], mib(p->bytes[c]));
    print_paged(p, layers);
    log_info("  %-26s %12zu bytes  %9.1f MiB", "total", p->total, mib(p->total));
    if (p->limit < SIZE_MAX)
        log_info("  %-26s %12zu bytes  %9.1f MiB  (limit %.1f MiB)", "free",
                 p->limit > p->total ? p->limit - p->total : 0, mib(p->limit > p->total ? p->limit - p->total : 0),
                 mib(p->limit));
    if (p->bytes[POOL_GRADIENTS])
        log_info("  recomputed blocks: %zu of %zu  (none: %.1f MiB, all: %.1f MiB, nothing paged)",
                 layers - p->layout.n_kept, layers, mib(p->total_keep_all), mib(p->total_recompute_all));
}
