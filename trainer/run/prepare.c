#include "trainer/run/prepare.h"

#include "base/log.h"

optimizer_kind_t prepare_optimizer_kind(optim_t optim) {
    bool is_8bit = optim == OPTIM_ADAMW_8BIT || optim == OPTIM_PAGED_ADAMW_8BIT;
    return is_8bit ? OPTIMIZER_8BIT : OPTIMIZER_32BIT;
}

int prepare_open(run_t *run, output_dir_t *out, run_identity_t *id, err_t *err) {
    const config_t *c = &run->config;
    *id = (run_identity_t){.run_id = config_run_id(c), .config = config_run_text(c), .start = c->training.resume};
    if (output_dir_check_config(out, id, err)) return err->code;
    if (run_open(run, true, true, false, err) || run_set_lora(run, NULL, err)) return err->code;
    id->data_id = run->train.fingerprint;
    id->model_id = run_model_id(run);
    return output_dir_check(out, id, err);
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
    int rc = run_plan(run, err);
    /* Printed also when the plan is that nothing fits. */
    run_summary(run);
    log_info("steps     %zu of %zu x %zu rows (%zu epoch%s begun), micro-batches of up to %zu tokens", steps->total,
             spec.accumulation, spec.batch_size, steps->n_epochs, steps->n_epochs == 1 ? "" : "s", steps->max_tokens);
    plan_print(&run->plan, run->model.config.layers);
    return rc;
}
