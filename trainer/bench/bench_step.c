/* Whole training steps of a model with random weights. The batch is the same every time, so the loss must fall: it
 * stands beside every speed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/bench/bench.h"
#include "trainer/run/flops.h"
#include "trainer/run/progress.h"

/* Dense bf16 rate of cards by a part of their name, as their data sheets give it: the base of the MFU. The longer name
 * comes first. */
static const struct {
    const char *device;
    double flops;
} peaks[] = {
    {"H200 NVL", 835.5e12}, {"H200", 989.4e12}, {"H100 80GB HBM3", 989.4e12}, {"H100 PCIe", 756e12}, {"A100", 312e12},
};

/* 0: not known. */
static double peak_flops(const backend_t *be) {
    for (size_t i = 0; be->act == DT_BF16 && i < sizeof peaks / sizeof *peaks; i++)
        if (strstr(be->device, peaks[i].device)) return peaks[i].flops;
    return 0;
}

typedef struct {
    bench_model_t m;
    bench_timed_t timed;
    double profiled_seconds, family[FAMILIES];
    size_t device_bytes; /* that the device had less of than before, driver and libraries included */
} timed_steps_t;

static int check_step(const bench_step_t *s, size_t step, err_t *err) {
    if (isfinite(s->loss) && isfinite(s->grad_norm)) return 0;
    return err_set(err, ERR_FAILED, "step %zu: loss %g, gradient norm %g; a step that goes wrong has no speed", step,
                   s->loss, s->grad_norm);
}

int bench_timed_steps(bench_model_t *m, size_t n, bench_timed_t *t, err_t *err) {
    double *seconds = xcalloc(n, sizeof *seconds);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= n; i++) {
        t->last = bench_model_step(m, i);
        if (i == 0) t->first = t->last;
        else seconds[i - 1] = t->last.seconds;
        rc = check_step(&t->last, i + 1, err);
    }
    if (rc == 0) t->seconds = bench_median(seconds, n);
    free(seconds);
    return rc;
}

/* ---- report --------------------------------------------------------------------------------------------- */

/* Blocks whose forward runs twice: the last of the recomputed ones left its values in place. */
static size_t run_twice(const bench_model_t *m) {
    size_t recomputed = m->model.config.layers - m->plan.layout.n_kept;
    return recomputed ? recomputed - 1 : 0;
}

static void put_speed(json_t *o, const timed_steps_t *s, const backend_t *be, const bench_step_spec_t *spec) {
    const bench_model_t *m = &s->m;
    flops_t flops = flops_of(&m->model.config, &(flops_work_t){.tokens = (double)m->batch.T,
                                                               .labels = (double)m->batch.n_labels,
                                                               .keys = (double)m->batch.max_seg / 2,
                                                               .lora = m->lora.count,
                                                               .recomputed = run_twice(m)});
    double rate = (flops.needed + flops.recomputed) / s->timed.seconds, peak = peak_flops(be);
    json_object_set_new(o, "seconds", json_real(s->timed.seconds));
    json_object_set_new(o, "tokens_per_second", json_real((double)m->batch.T / s->timed.seconds));
    json_object_set_new(o, "flops_per_token", json_real(flops.needed / (double)m->batch.T));
    json_object_set_new(o, "tflops", json_real(1e-12 * rate));
    if (spec->gemm_flops > 0) json_object_set_new(o, "of_bare_products", json_real(rate / spec->gemm_flops));
    if (peak > 0) json_object_set_new(o, "mfu", json_real(flops.needed / s->timed.seconds / peak));
}

static void put_memory(json_t *o, const timed_steps_t *s) {
    const plan_t *p = &s->m.plan;
    size_t recomputed = s->m.model.config.layers - p->layout.n_kept;
    json_object_set_new(o, "blocks_recomputed", json_integer((json_int_t)recomputed));
    json_object_set_new(o, "layers_cached", json_integer((json_int_t)p->layout.n_cached));
    json_object_set_new(o, "layers_paged", json_integer((json_int_t)p->layout.n_paged));
    json_object_set_new(o, "planned_bytes", json_integer((json_int_t)p->total));
    json_object_set_new(o, "peak_bytes", json_integer((json_int_t)s->m.pool.peak));
    json_object_set_new(o, "device_bytes", json_integer((json_int_t)s->device_bytes));
    json_object_set_new(o, "paged_bytes", json_integer((json_int_t)s->timed.last.paged_bytes));
    json_object_set_new(o, "stalled_seconds", json_real(s->timed.last.stalled));
}

static json_t *family_rows(const timed_steps_t *s) {
    json_t *rows = json_array();
    double sum = 0;
    for (int f = 0; f < FAMILIES; f++) sum += s->family[f];
    for (int f = 0; f < FAMILIES; f++)
        if (s->family[f] > 0)
            json_array_append_new(rows, json_pack("{s:s, s:f, s:f}", "family", bench_family_name((bench_family_t)f),
                                                  "seconds", s->family[f], "share", s->family[f] / sum));
    return rows;
}

/* What a step of all layers would take: head, loss and embedding once, the rest in proportion. */
static void put_scaled(json_t *o, const timed_steps_t *s, size_t full_layers) {
    const bench_model_t *m = &s->m;
    double sum = 0, once = s->family[FAMILY_HEAD] + s->family[FAMILY_LOSS] + s->family[FAMILY_EMBEDDING];
    for (int f = 0; f < FAMILIES; f++) sum += s->family[f];
    double fixed = once / sum * s->timed.seconds;
    double layer = (s->timed.seconds - fixed) / (double)m->model.config.layers;
    double seconds = fixed + layer * (double)full_layers;
    json_object_set_new(o, "scaled",
                        json_pack("{s:I, s:f, s:f}", "layers", (json_int_t)full_layers, "seconds", seconds,
                                  "tokens_per_second", (double)m->batch.T / seconds));
}

static json_t *report(const timed_steps_t *s, const backend_t *be, const bench_step_spec_t *spec) {
    const bench_step_t *first = &s->timed.first, *last = &s->timed.last;
    json_t *o = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "steps", (json_int_t)spec->steps, "labels",
                          (json_int_t)s->m.batch.n_labels, "first_loss", first->loss, "last_loss", last->loss,
                          "ln_vocab", log((double)s->m.model.config.vocab), "first_grad_norm", first->grad_norm,
                          "last_grad_norm", last->grad_norm);
    put_speed(o, s, be, spec);
    put_memory(o, s);
    if (!spec->profile) return o;
    json_object_set_new(o, "profiled_seconds", json_real(s->profiled_seconds));
    json_object_set_new(o, "families", family_rows(s));
    if (spec->full_layers > s->m.model.config.layers) put_scaled(o, s, spec->full_layers);
    return o;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void print_speed(const json_t *o) {
    strbuf_t line = {0};
    strbuf_addf(&line, "  %.3f s  %.1f tokens/s  %.3g TFLOP/s", number(o, "seconds"), number(o, "tokens_per_second"),
                number(o, "tflops"));
    if (json_object_get(o, "of_bare_products"))
        strbuf_addf(&line, "  %.0f%% of bare products", 100 * number(o, "of_bare_products"));
    if (json_object_get(o, "mfu")) strbuf_addf(&line, "  MFU %.0f%%", 100 * number(o, "mfu"));
    log_info("%s", line.p);
    free(line.p);
    const json_t *scaled = json_object_get(o, "scaled");
    if (scaled)
        log_info("  with all %.0f layers (calculated): %.3f s  %.1f tokens/s", number(scaled, "layers"),
                 number(scaled, "seconds"), number(scaled, "tokens_per_second"));
}

static void print(const json_t *o, size_t layers) {
    static const bench_column_t columns[] = {
        {"family", "", COLUMN_TEXT}, {"seconds", "ms", COLUMN_MS}, {"share", "share", COLUMN_PERCENT}};
    char planned[16], peak[16], device[16], paged[16], title[112];
    log_info("training steps, median of %.0f; of %zu layers %.0f recomputed, %.0f kept dequantized, %.0f paged",
             number(o, "steps"), layers, number(o, "blocks_recomputed"), number(o, "layers_cached"),
             number(o, "layers_paged"));
    print_speed(o);
    log_info("  loss %.4f -> %.4f (ln V %.4f)  gradient norm %.4f -> %.4f", number(o, "first_loss"),
             number(o, "last_loss"), number(o, "ln_vocab"), number(o, "first_grad_norm"), number(o, "last_grad_norm"));
    format_bytes((size_t)number(o, "planned_bytes"), planned);
    format_bytes((size_t)number(o, "peak_bytes"), peak);
    format_bytes((size_t)number(o, "device_bytes"), device);
    log_info("  memory: planned %s, peak %s, the device has %s less", planned, peak, device);
    format_bytes((size_t)number(o, "paged_bytes"), paged);
    if (number(o, "paged_bytes") > 0)
        log_info("  paging: %s a step, waited for %.3f s", paged, number(o, "stalled_seconds"));
    if (!json_object_get(o, "families")) return;
    snprintf(title, sizeof title, "one more step, op by op (%.3f s)", number(o, "profiled_seconds"));
    bench_table(title, json_object_get(o, "families"), columns, 3);
}

int bench_step(backend_t *be, const model_config_t *c, const bench_spec_t *spec, const bench_step_spec_t *step,
               json_t **json, err_t *err) {
    timed_steps_t s = {0};
    size_t before, after, total;
    *json = NULL;
    be->mem_info(be, &before, &total);
    int rc = bench_model_open(&s.m, be, c, spec, err);
    if (rc == 0) rc = bench_timed_steps(&s.m, step->steps, &s.timed, err);
    if (rc == 0) {
        if (step->profile) s.profiled_seconds = bench_profile_step(&s.m, step->steps + 1, s.family).seconds;
        be->mem_info(be, &after, &total);
        s.device_bytes = before > after ? before - after : 0;
        *json = report(&s, be, step);
        print(*json, c->layers);
    }
    bench_model_close(&s.m);
    return rc;
}
