#include "trainer/run/prepare.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/backend_open.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/run_data.h"
#include "trainer/run/same_run.h"
#include "trainer/run/samples.h"

optimizer_kind_t prepare_optimizer_kind(optim_t optim) {
    bool is_8bit = optim == OPTIM_ADAMW_8BIT || optim == OPTIM_PAGED_ADAMW_8BIT;
    return is_8bit ? OPTIMIZER_8BIT : OPTIMIZER_32BIT;
}

/* `auto` means what it meant when the run began, there or in the directory that it goes on from: a sum of another type
 * in the middle of a run would be another run. */
static compute_t begun_in(const config_t *c, const output_dir_t *out) {
    train_state_t from = {0};
    const char *type = out->compute;
    err_t told_later = {0};
    if (!*type && c->training.resume[0] == '/' && checkpoint_read_state(c->training.resume, &from, &told_later) == 0)
        type = from.compute;
    return !strcmp(type, "f32") ? COMPUTE_F32 : !strcmp(type, "bf16") ? COMPUTE_BF16 : COMPUTE_AUTO;
}

static void say_type(const run_t *run, const output_dir_t *out) {
    if (run->config.quantization.compute_dtype != COMPUTE_AUTO) return;
    const char *now = backend_type_name(run->be);
    if (run->begun_in != COMPUTE_AUTO && run->be->act != backend_auto_type(run->be))
        log_warn("quantization.compute_dtype: auto is %s here, but the run began in %s and goes on in it",
                 run->be->act == DT_F32 ? "bf16" : "f32", now);
    if (out->begun && !*out->compute)
        log_warn("quantization.compute_dtype: %s/run.json does not say what the run computed in so far; it goes on in "
                 "%s",
                 out->dir, now);
}

/* What can be said of the directory before data are read. */
static int look_into(run_t *run, output_dir_t *out, const run_identity_t *id, err_t *err) {
    if (ranks_first() && output_dir_check_config(out, id, err) == 0) run->begun_in = begun_in(&run->config, out);
    if (ranks_agree(err)) return err->code;
    ranks_broadcast(&run->begun_in, sizeof run->begun_in);
    return 0;
}

static int open_run(run_t *run, run_identity_t *id, err_t *err) {
    if (run_open(run, true, true, false, err) == 0 && samples_prepare(run, err) == 0) run_set_lora(run, NULL, err);
    if (ranks_agree(err)) return err->code;
    snprintf(id->compute, sizeof id->compute, "%s", backend_type_name(run->be));
    id->data_id = run->train.fingerprint;
    id->model_id = run_model_id(run);
    id->eval_id = run->eval.n_samples ? run->eval.fingerprint : 0;
    id->model = output_dir_describe(model_source_config(run->src));
    /* Devices that join take memory for it, which a plan has to know. */
    return same_run_check(run, id, err) ? err->code : replicas_join(&run->replicas, run->be, err);
}

int prepare_open(run_t *run, output_dir_t *out, run_identity_t *id, err_t *err) {
    const config_t *c = &run->config;
    *id = (run_identity_t){.run_id = config_run_id(c), .config = config_run_text(c), .start = c->training.resume};
    if (look_into(run, out, id, err) || open_run(run, id, err)) return err->code;
    if (ranks_first()) output_dir_check(out, id, err);
    if (ranks_agree(err)) return err->code;
    ranks_broadcast(&out->begun, sizeof out->begun);
    ranks_broadcast(&out->finished, sizeof out->finished);
    say_type(run, out);
    return 0;
}

/* (all) */
static void say_ranks(const run_t *run) {
    const int n = ranks_size();
    double hosts = ranks_share().index == 0;
    ranks_sum(&hosts, 1);
    if (n == 1) return;
    const char *why = run->replicas.joined ? "" : run->be->no_join;
    log_info("ranks     %d on %.0f host%s (%s); gradients are added up %s%s%s; device and memory are those of rank 0",
             n, hosts, hosts == 1 ? "" : "s", ranks_library(),
             run->replicas.joined ? "by the devices" : "in host memory", *why ? ": " : "", why);
    if (run->config.training.accumulation < (size_t)n)
        log_warn(
            "a step of %zu micro-batch%s leaves %zu of %d ranks nothing to do: raise "
            "training.gradient_accumulation_steps to a multiple of %d, and lower per_device_train_batch_size if the "
            "step is to stay as large",
            run->config.training.accumulation, run->config.training.accumulation == 1 ? "" : "es",
            (size_t)n - run->config.training.accumulation, n, n);
}

static void warn_of_patience(const config_t *c, const steps_t *steps) {
    size_t patience = c->training.early_stopping_patience, n = steps_evaluations(steps, c);
    if (patience && patience >= n)
        log_warn("training.early_stopping_patience is %zu, and the run has %zu evaluation%s (training.eval_steps is "
                 "%zu): it cannot stop early",
                 patience, n, n == 1 ? "" : "s", c->training.eval_steps);
}

int prepare_plan(run_t *run, steps_t *steps, bool begun, err_t *err) {
    const config_t *c = &run->config;
    batch_spec_t spec = steps_batch_spec(c);
    steps_plan(steps, &run->train, &spec, c);
    run->need.train_tokens = steps->max_tokens;
    run->need.train_seg = steps->max_seg;
    run->need.resumes = begun || c->training.resume[0] == '/'; /* or goes on from another run's checkpoint */
    run->need.optimizer = prepare_optimizer_kind(c->training.optim);
    if (run->eval.n_samples && c->training.eval_steps)
        run_eval_extent(run, &run->eval, &run->need.eval_tokens, &run->need.eval_seg);
    samples_need(run);
    run_plan(run, err);
    /* Printed also when the plan is that nothing fits. */
    run_summary(run);
    say_ranks(run);
    run_show_first_row(run);
    log_info("steps     %zu of %zu x %zu rows (%zu epoch%s begun), micro-batches of up to %zu tokens", steps->total,
             spec.accumulation, spec.batch_size, steps->n_epochs, steps->n_epochs == 1 ? "" : "s", steps->max_tokens);
    warn_of_patience(c, steps);
    plan_print(&run->plan, run->model.config.layers);
    /* No rank takes memory before each has seen what is free. */
    return ranks_agree(err);
}
