/* `qlora-train CONFIG.yaml`: trains, or goes on where the run stopped. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "trainer/commands/command.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/prepare.h"
#include "trainer/run/progress.h"
#include "trainer/run/record.h"
#include "trainer/run/starts.h"
#include "trainer/run/stop.h"
#include "trainer/run/train.h"

/* ---- what rank 0 does for all --------------------------------------------------------------------------- */

/* The checkpoint to go on from; *dir NULL: start at step 0. `none` and a directory say how the run begins: when it
 * was started so before and stopped, the same command continues it. */
static int find_start(const config_t *c, bool continued, char **dir, err_t *err) {
    const char *from = c->training.resume, *out = c->training.output_dir;
    bool any = false;
    *dir = NULL;
    if (!strcmp(from, "auto") || continued) {
        if (checkpoint_newest(out, dir, err)) return err->code;
        if (*dir || !strcmp(from, "auto") || !strcmp(from, "none")) return 0;
    } else if (checkpoint_any(out, &any, err)) {
        return err->code;
    } else if (any) {
        return err_set(err, ERR_USAGE,
                       "training.resume_from_checkpoint: %s, but %s has checkpoints of this run "
                       "already; remove them, choose another training.output_dir, or use auto",
                       from, out);
    }
    if (!strcmp(from, "none")) return 0;
    *dir = xstrdup(from);
    return checkpoint_verify(from, err);
}

/* The state of the checkpoint to start from, which must be this run's. */
static int read_start(const char *dir, train_state_t *state, err_t *err) {
    train_state_t saved;
    if (checkpoint_read_state(dir, &saved, err)) return err->code;
    const char *other = saved.run_id != state->run_id       ? "configuration"
                        : saved.data_id != state->data_id   ? "training data"
                        : saved.model_id != state->model_id ? "model"
                                                            : NULL;
    if (other) return err_set(err, ERR_USAGE, "%s is a checkpoint of another run (its %s differs)", dir, other);
    memcpy(saved.compute, state->compute, sizeof saved.compute);
    *state = saved;
    return 0;
}

static int resume(run_t *run, const char *dir, const train_state_t *state, err_t *err) {
    if (checkpoint_load(dir, state, &run->lora, &run->opt, run->be, err)) return err->code;
    log_info("resuming from %s (step %zu)", dir, state->step);
    return 0;
}

/* The masters that are the result: those of the last step, or of the best evaluation. */
static int read_result(run_t *run, const train_state_t *state, float *master, err_t *err) {
    char *best = state->evals.best_step == state->step ? NULL : record_best(&run->config, state);
    if (!best) {
        run->be->download(run->be, master, run->lora.master, run->lora.count * sizeof *master);
        return 0;
    }
    if (checkpoint_read_master(best, &run->lora, master, err))
        err_prefix(err,
                   "training.load_best_model_at_end: %s, the best, cannot be used (false gives the adapter of the "
                   "last step)",
                   best);
    free(best);
    return err->code;
}

static void say_where(const run_t *run, const train_state_t *state, bool learnt, const char *dir) {
    const evals_t *e = &state->evals;
    if (run->config.training.load_best && e->best_step)
        log_info("%sthe adapter of the best evaluation, after step %zu (eval_loss %.4f), is in %s",
                 learnt ? "done: " : "", e->best_step, e->best, dir);
    else log_info("%sthe adapter is in %s", learnt ? "done: " : "", dir);
}

/* The final adapter, under a temporary name first: it is there whole or not at all. Of a run that did not learn it is
 * written too, if it computes anything. */
static int write_adapter(run_t *run, const train_state_t *state, bool learnt, err_t *err) {
    const char *out = run->config.training.output_dir;
    char *tmp = path_join(out, ".tmp-adapter"), *dir = path_join(out, "adapter"),
         *old = path_join(out, ".tmp-adapter-old");
    float *master = xmalloc(run->lora.count * sizeof *master);
    int rc = read_result(run, state, master, err);
    if (rc == 0) rc = output_dir_check_place(out, err);
    if (rc == 0) rc = dir_remove(tmp, err);
    if (rc == 0) rc = dir_remove(old, err);
    if (rc == 0) rc = dir_make_new(tmp, err);
    if (rc == 0) rc = adapter_write(tmp, &run->lora, master, run->config.model.path, err);
    if (rc == 0) rc = dir_sync(tmp, err);
    if (rc == 0) rc = dir_discard(dir, old, err);
    if (rc == 0) rc = file_rename(tmp, dir, err);
    if (rc) {
        err_t ignored = {0};
        dir_remove(tmp, &ignored);
    }
    if (rc == 0) say_where(run, state, learnt, dir);
    free(master);
    free(old);
    free(tmp);
    free(dir);
    return rc;
}

/* The checkpoint to start from and its state; *start NULL: there is none. */
static int choose_start(const config_t *c, const output_dir_t *out, char **start, train_state_t *state, err_t *err) {
    if (find_start(c, out->continued, start, err)) return err->code;
    if (!*start) return 0;
    if (read_start(*start, state, err)) return err->code;
    /* The checkpoints that evaluations of another directory were of lie there: the best is looked for here from now on. */
    if (strcmp(*start, c->training.resume) == 0) state->evals = (evals_t){0};
    return 0;
}

static int tidy(const run_t *run, const output_dir_t *out, const train_state_t *state, err_t *err) {
    return checkpoint_tidy(out->dir, state->step, record_keep(&run->config, state), err);
}

/* The run as it was at its start, or as the checkpoint has it; what is not of it any more goes, as it went when the last
 * checkpoint was written (record.c). */
static int restore(run_t *run, const output_dir_t *out, const char *start, const train_state_t *state, err_t *err) {
    if (start && resume(run, start, state, err)) return err->code;
    return tidy(run, out, state, err);
}

/* After the last step. `rc`: of a run that did not learn its error, which stays. */
static void finish(run_t *run, output_dir_t *out, const run_identity_t *id, const train_state_t *state, bool usable,
                   int rc, err_t *err) {
    err_t unwritten = {0}, warned_of = {0};
    if (usable) write_adapter(run, state, rc == 0, rc ? &unwritten : err);
    if (unwritten.code) log_warn("%s", unwritten.msg);
    if (err->code) return;
    /* Nothing looks at a finished run again: what a removal left behind that failed once goes now. */
    tidy(run, out, state, &warned_of);
    output_dir_finish(out, id, err);
}

/* ---- train, all ranks ----------------------------------------------------------------------------------- */

/* All ranks have the model, and the state that rank 0 has read. */
static int load(run_t *run, const output_dir_t *out, train_state_t *state, err_t *err) {
    char *start = NULL;
    if (ranks_first()) choose_start(&run->config, out, &start, state, err);
    double begin = clock_seconds();
    if (ranks_agree(err) == 0) run_load(run, NULL, err);
    if (ranks_agree(err) == 0) log_info("weights   loaded and quantized in %.2f s", clock_seconds() - begin);
    if (ranks_first() && !err->code) restore(run, out, start, state, err);
    free(start);
    if (ranks_agree(err)) return err->code;
    replicas_open(&run->replicas, &run->lora, &run->opt, state);
    return 0;
}

static int train_in(run_t *run, const steps_t *steps, output_dir_t *out, const run_identity_t *id, err_t *err) {
    train_state_t state = {.run_id = id->run_id, .data_id = id->data_id, .model_id = id->model_id};
    memcpy(state.compute, id->compute, sizeof state.compute);
    char *yaml = config_to_yaml(&run->config);
    bool usable;
    log_info("config:\n%s", yaml);
    free(yaml);
    if (load(run, out, &state, err)) return err->code;
    if (ranks_first()) starts_add(run, steps, &state, err);
    if (ranks_agree(err)) return err->code;
    int rc = train_loop(run, steps, &state, &usable, err);
    if (rc == EXIT_STOPPED) return rc;
    if (ranks_first()) finish(run, out, id, &state, usable, rc, err);
    return ranks_agree(err);
}

/* Losses on other rows decide nothing: neither which was better, nor that none got better. */
static int check_same_eval(const config_t *c, const output_dir_t *out, err_t *err) {
    if (!out->other_eval || (!c->training.early_stopping_patience && !c->training.load_best)) return 0;
    return err_set(err, ERR_USAGE,
                   "training.%s: the evaluation data are other than when the run in %s began; expected the same, or %s",
                   c->training.load_best ? "load_best_model_at_end" : "early_stopping_patience", out->dir,
                   c->training.load_best ? "false" : "0");
}

/* A run that is not finished yet. */
static int go_on(run_t *run, output_dir_t *out, const run_identity_t *id, err_t *err) {
    steps_t steps = {0};
    int rc = prepare_plan(run, &steps, out->begun, err);
    if (rc == 0 && ranks_first() && output_dir_open(out, id, err) == 0) check_same_eval(&run->config, out, err);
    if (rc == 0) rc = ranks_agree(err);
    ranks_broadcast(&out->finished, sizeof out->finished);
    if (rc == 0 && !out->finished) rc = train_in(run, &steps, out, id, err);
    steps_free(&steps);
    return rc;
}

/* What is left of a finished run whose adapter is gone. */
static void say_gone(const char *dir, const char *adapter) {
    err_t err = {0};
    char *newest = NULL;
    checkpoint_newest(dir, &newest, &err);
    if (newest)
        log_warn("%s is gone; `qlora-train export %s --adapter DIR` writes that of its newest checkpoint", adapter,
                 newest);
    else
        log_warn("%s is gone, and so is every checkpoint that it could be written from; to train again remove %s, or "
                 "choose another training.output_dir",
                 adapter, dir);
    free(newest);
}

/* A finished run is left as it is; what somebody has taken away from it is named. */
static void say_finished(const output_dir_t *out) {
    char *adapter = path_join(out->dir, "adapter/adapter_model.safetensors");
    bool whole = path_exists(adapter);
    log_info("%s: this run is finished%s", out->dir, whole ? "; nothing to do" : "");
    if (!whole) say_gone(out->dir, adapter);
    free(adapter);
}

static int train(run_t *run, err_t *err) {
    output_dir_t out = output_dir_at(run->config.training.output_dir);
    run_identity_t id = {0};
    if (ranks_first()) output_dir_lock(&out, err);
    int rc = ranks_agree(err);
    if (rc == 0) rc = prepare_open(run, &out, &id, err);
    if (rc == 0 && out.finished) say_finished(&out);
    else if (rc == 0) rc = go_on(run, &out, &id, err);
    output_dir_close(&out);
    free(id.config);
    json_decref(id.model);
    return rc;
}

/* ---- command ------------------------------------------------------------------------------------------- */

/* Of all processes that a launcher has started. */
static int train_together(int argc, char **argv, run_t *run, err_t *err) {
    bool helped;
    command_config(&command_train, argc, argv, NULL, CONFIG_TRAIN, &run->config, &helped, err);
    if (ranks_agree(err) || helped) return err->code;
    stop_catch((int)run->config.training.preempted_exit_status);
    return train(run, err);
}

static int run_train(int argc, char **argv) {
    run_t run = {0};
    err_t err = {0};
    int rc = ranks_open(&err);
    if (rc == 0) rc = train_together(argc, argv, &run, &err);
    if (rc && rc != EXIT_STOPPED && ranks_first()) log_error("%s", err.msg);
    int status = rc == EXIT_STOPPED ? (int)run.config.training.preempted_exit_status : rc;
    /* What was asked for is done: srun, which ends the other ranks when the first has left, changes no status. */
    if (rc == EXIT_STOPPED) stop_hold();
    run_close(&run);
    ranks_close();
    return status;
}

static const positional_t positionals[] = {{"CONFIG.yaml", ARG_CONFIG, .help = "the config of the run"}};

const command_t command_train = {
    .name = "train",
    .synopsis = "CONFIG.yaml [section.key=value ...]",
    .what = "train, or resume where it stopped (\"train\" may be left out)",
    .about =
        "Trains what the config describes, or goes on where the run in training.output_dir stopped. SIGINT, SIGTERM, "
        "SIGUSR1 and SIGUSR2 finish the micro-batch, write a checkpoint of the last whole step and exit 75 "
        "(training.preempted_exit_status): the same command continues. They count as one request for two seconds; a "
        "SIGINT or SIGTERM that comes later ends at once.\n"
        "A run ends with 1, although all steps are done, when more than a tenth of them were skipped because loss "
        "or gradient were not finite, or when an evaluation was not.\n"
        "docs/config.md explains every key; a value on the command line overrides the file's. Started by mpirun or "
        "srun, several processes share the micro-batches of each step (docs/cluster.md).",
    COMMAND_POSITIONALS(positionals),
    .overrides = true,
    .run = run_train,
};
