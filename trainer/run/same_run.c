#include "trainer/run/same_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/ranks/ranks.h"

/* What must be equal beside the configuration that defines the run: the models and data behind its paths, and when the
 * ranks meet. */
typedef struct {
    uint64_t model_id, data_id, eval_id, prompts_id;
    size_t eval_steps, save_steps, preempted_exit_status, early_stopping_patience, load_best;
    char compute[8];
} facts_t;

static facts_t facts_of(const run_t *run, const run_identity_t *id) {
    const config_t *c = &run->config;
    facts_t f = {.model_id = id->model_id,
                 .data_id = id->data_id,
                 .eval_id = run->eval.n_samples ? run->eval.fingerprint : 0,
                 .prompts_id = run->prompts.id,
                 .eval_steps = c->training.eval_steps,
                 .save_steps = c->training.save_steps,
                 .preempted_exit_status = c->training.preempted_exit_status,
                 .early_stopping_patience = c->training.early_stopping_patience,
                 .load_best = c->training.load_best};
    memcpy(f.compute, id->compute, sizeof f.compute);
    return f;
}

static size_t line_length(const char *text) { return strcspn(text, "\n"); }

/* The first line in which they differ; the keys are the same in both. */
static int check_config(const char *mine, const char *first, err_t *err) {
    while (*mine && *first) {
        size_t n = line_length(mine), m = line_length(first);
        if (n != m || memcmp(mine, first, n) != 0)
            return err_set(err, ERR_USAGE, "%.*s, but rank 0 has %.*s; expected one configuration for all ranks",
                           (int)n, mine, (int)m, first);
        mine += n + (mine[n] != 0);
        first += m + (first[m] != 0);
    }
    return 0;
}

static int check_number(const char *key, size_t mine, size_t first, err_t *err) {
    if (mine == first) return 0;
    return err_set(err, ERR_USAGE, "%s=%zu, but rank 0 has %zu; expected one configuration for all ranks", key, mine,
                   first);
}

static int check_facts(const facts_t *mine, const facts_t *first, err_t *err) {
    const char *other = mine->model_id != first->model_id       ? "another model"
                        : mine->data_id != first->data_id       ? "other training data (or another chat template)"
                        : mine->eval_id != first->eval_id       ? "other evaluation data"
                        : mine->prompts_id != first->prompts_id ? "other prompts (training.sample_prompts)"
                                                                : NULL;
    if (other) return err_set(err, ERR_USAGE, "%s than rank 0; expected the same files for all ranks", other);
    if (strcmp(mine->compute, first->compute) != 0)
        return err_set(err, ERR_USAGE, "computes in %s, but rank 0 in %s; set quantization.compute_dtype",
                       mine->compute, first->compute);
    if (check_number("training.eval_steps", mine->eval_steps, first->eval_steps, err) ||
        check_number("training.save_steps", mine->save_steps, first->save_steps, err) ||
        check_number("training.early_stopping_patience", mine->early_stopping_patience, first->early_stopping_patience,
                     err) ||
        check_number("training.load_best_model_at_end", mine->load_best, first->load_best, err))
        return err->code;
    return check_number("training.preempted_exit_status", mine->preempted_exit_status, first->preempted_exit_status,
                        err);
}

/* The device of a rank. */
typedef struct {
    char backend[8], id[sizeof(((backend_t *)NULL)->device_id)];
} device_t;

/* All compute on the same kind of device, and no two on one GPU. Of two the higher rank is at fault. */
static void check_device(const backend_t *be, err_t *err) {
    device_t mine = {0}, *all = xmalloc((size_t)ranks_size() * sizeof *all);
    snprintf(mine.backend, sizeof mine.backend, "%s", be->name);
    memcpy(mine.id, be->device_id, sizeof mine.id);
    ranks_gather(&mine, sizeof mine, all);
    if (strcmp(mine.backend, all[0].backend) != 0)
        err_set(err, ERR_USAGE, "runs on %s, but rank 0 on %s%s%s; expected the same device.backend for all ranks",
                mine.backend, all[0].backend, *be->no_gpu ? ": " : "", be->no_gpu);
    for (int k = 0; k < ranks_rank() && *mine.id && !err->code; k++)
        if (strcmp(mine.id, all[k].id) == 0)
            err_set(err, ERR_USAGE,
                    "on the GPU of %s, %s; expected one for each process: show each its own or all of a host's to all "
                    "(CUDA_VISIBLE_DEVICES, srun --gpus-per-node)",
                    ranks_name(k), mine.id);
    free(all);
}

/* Rank 0's; the caller frees. */
static char *first_text(const char *mine) {
    size_t len = strlen(mine);
    ranks_broadcast(&len, sizeof len);
    char *text = ranks_first() ? xstrdup(mine) : xcalloc(len + 1, 1);
    ranks_broadcast(text, len);
    return text;
}

int same_run_check(const run_t *run, const run_identity_t *id, err_t *err) {
    facts_t mine = facts_of(run, id), first = mine;
    char *config = first_text(id->config);
    ranks_broadcast(&first, sizeof first);
    check_device(run->be, err);
    if (!err->code && check_config(id->config, config, err) == 0) check_facts(&mine, &first, err);
    free(config);
    return ranks_agree(err);
}
