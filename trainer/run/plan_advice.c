#include "trainer/run/plan_advice.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "trainer/config/config_schema.h"

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

/* Whether advice may name a key: a run that has begun would be another with other keys that define it. */
static bool may_change(const plan_need_t *asked, const char *section, const char *name) {
    return !asked->resumes || !config_key_find(section, name)->defines_run;
}

/* A generation, and nothing else. */
static bool generates(const plan_need_t *asked) { return asked->cache && !asked->train_tokens; }

/* The need with its micro-batches, or of a generation its positions, cut in `parts`. */
static plan_need_t cut_need(const plan_need_t *asked, size_t parts) {
    plan_need_t n = *asked;
    if (generates(asked)) {
        n.cache = (asked->cache + parts - 1) / parts;
        n.prompt_tokens = min_size(asked->prompt_tokens, n.cache);
        return n;
    }
    n.train_tokens = (asked->train_tokens + parts - 1) / parts;
    n.eval_tokens = (asked->eval_tokens + parts - 1) / parts;
    n.train_seg = min_size(asked->train_seg, n.train_tokens);
    n.eval_seg = min_size(asked->eval_seg, n.eval_tokens);
    return n;
}

/* The largest micro-batches, of a power of 2 of parts, that fit; of a generation the most positions. */
static void offer_cut(strbuf_t *b, const question_t *q, const plan_need_t *asked) {
    if (!may_change(asked, "training", "per_device_train_batch_size") || !may_change(asked, "data", "max_length"))
        return;
    size_t whole = generates(asked) ? asked->cache : max_size(asked->train_tokens, asked->eval_tokens);
    for (size_t parts = 2; parts <= whole; parts *= 2) {
        plan_need_t n = cut_need(asked, parts);
        if (!plan_would_fit(q, &n)) continue;
        if (b->len) strbuf_adds(b, ", or ");
        if (generates(asked))
            strbuf_addf(b, "at most %zu positions (a shorter prompt or a lower --max-new-tokens)", n.cache);
        else
            strbuf_addf(b, "%s of at most %zu tokens (lower training.per_device_train_batch_size or data.max_length)",
                        asked->train_tokens ? "micro-batches" : "batches", max_size(n.train_tokens, n.eval_tokens));
        return;
    }
}

/* The changes of the config that take less memory and cost only time, or the samples: in words, and what the need then is. */
enum { CHANGES = 6 };
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
    if (training && asked->cache) {
        plan_need_t *n = add_change(&c, asked, "training.sample_prompts none");
        n->cache = n->prompt_tokens = c.all.cache = c.all.prompt_tokens = 0;
    }
    return c;
}

/* What would fit: each single change that is enough; where there is none, all of them, with smaller micro-batches if
 * that takes it too. */
static char *advice(const question_t *q) {
    strbuf_t b = {0};
    changes_t c = changes_of(q->need);
    for (size_t i = 0; i < c.n; i++)
        if (plan_would_fit(q, &c.need[i])) strbuf_addf(&b, "%s%s", b.len ? ", or " : "", c.words[i]);
    offer_cut(&b, q, q->need);
    if (b.len || c.n == 0) return b.p ? b.p : xstrdup("");
    strbuf_t all = {0};
    if (!plan_would_fit(q, &c.all)) offer_cut(&all, q, &c.all);
    if (all.len || plan_would_fit(q, &c.all)) {
        for (size_t i = 0; i < c.n; i++) strbuf_addf(&b, "%s%s", i ? " and " : "", c.words[i]);
        if (all.len) strbuf_addf(&b, " and %s", all.p);
    }
    free(all.p);
    return b.p ? b.p : xstrdup("");
}

int plan_does_not_fit(const question_t *q, err_t *err) {
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
    if ((plan_pages_optimizer(need) || plan_pages_weights(need)) && p->total != unpaged)
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
