/* What paging costs: the same steps with everything on the device and under limits that force pages out. */
#include <stdio.h>

#include "trainer/bench/bench.h"

typedef struct {
    const char *what;
    size_t limit;
} variant_t;

static json_t *row_of(const bench_model_t *m, const variant_t *v, const bench_timed_t *t, const bench_timed_t *whole) {
    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:I, s:f, s:f}", "paged", v->what, "bytes", (json_int_t)m->plan.total,
                     "layers_paged", (json_int_t)m->plan.layout.n_paged, "seconds", t->seconds, "of_unpaged",
                     t->seconds / whole->seconds, "paged_bytes", (json_int_t)t->last.paged_bytes, "stalled_seconds",
                     t->last.stalled, "loss", t->last.loss);
}

/* Adds a row. whole: what the first variant, unpaged, took; filled in by it. */
static int measure(backend_t *be, const model_config_t *c, const bench_spec_t *spec, size_t steps, const variant_t *v,
                   bench_timed_t *whole, plan_t *plan, json_t *rows, err_t *err) {
    bench_model_t m;
    bench_timed_t t = {0};
    bench_spec_t limited = *spec;
    bool first = json_array_size(rows) == 0;
    limited.limit = v->limit;
    limited.paging = !first;
    limited.cache = false;
    limited.checkpointing = TRI_TRUE;
    int rc = bench_model_open(&m, be, c, &limited, err);
    if (rc == 0) rc = bench_timed_steps(&m, steps, &t, err);
    if (rc == 0 && first) {
        *whole = t;
        *plan = m.plan;
    }
    if (rc == 0 && (t.last.loss != whole->last.loss || t.last.grad_norm != whole->last.grad_norm))
        rc = err_set(err, ERR_FAILED,
                     "paging (%s): loss %.9g, gradient norm %.9g; without it %.9g, %.9g; expected the "
                     "same bits",
                     v->what, t.last.loss, t.last.grad_norm, whole->last.loss, whole->last.grad_norm);
    if (rc == 0) json_array_append_new(rows, row_of(&m, v, &t, whole));
    bench_model_close(&m);
    return rc;
}

static void print(const json_t *rows) {
    static const bench_column_t columns[] = {{"paged", "paged", COLUMN_TEXT},
                                             {"bytes", "device memory", COLUMN_BYTES},
                                             {"seconds", "step, ms", COLUMN_MS},
                                             {"of_unpaged", "of unpaged", COLUMN_PERCENT},
                                             {"paged_bytes", "moved a step", COLUMN_BYTES},
                                             {"stalled_seconds", "waited, ms", COLUMN_MS}};
    bench_table("paging, all blocks recomputed", rows, columns, 6);
}

int bench_paging(backend_t *be, const model_config_t *c, const bench_spec_t *spec, size_t steps, json_t **json,
                 err_t *err) {
    bench_timed_t whole = {0};
    plan_t plan = {0};
    json_t *rows = json_array();
    *json = rows;
    int rc = measure(be, c, spec, steps, &(variant_t){"nothing", spec->limit}, &whole, &plan, rows, err);
    /* Activations reach over all of the optimizer's pages, so each step's push them out. */
    if (rc == 0) rc = measure(be, c, spec, steps, &(variant_t){"optimizer", plan.top}, &whole, &plan, rows, err);
    size_t half = (plan.bytes[POOL_WEIGHTS] + plan.bytes[POOL_CONSTANTS]) / 2;
    if (rc == 0 && c->layers >= 4 * PAGER_SLOTS)
        rc = measure(be, c, spec, steps, &(variant_t){"half of the weights, optimizer", plan.top - half}, &whole, &plan,
                     rows, err);
    if (rc == 0) print(rows);
    return rc;
}
