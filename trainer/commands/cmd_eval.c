/* `qlora-train eval`: mean loss and perplexity on data.eval. */
#include <math.h>

#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/run/run.h"

typedef struct {
    const char *adapter;
} given_t;

static int evaluate(run_t *run, const char *adapter, err_t *err) {
    if (run_open(run, false, true, false, err)) return err->code;
    if ((adapter || run->config.lora.init) && run_set_lora(run, adapter, err)) return err->code;
    run_eval_extent(run, &run->eval, &run->need.eval_tokens, &run->need.eval_seg);
    if (run_plan(run, err)) return err->code;
    run_summary(run);
    if (run_load(run, adapter, err)) return err->code;
    size_t tokens;
    double loss;
    run_evaluate(run, &run->eval, NULL, &loss, &tokens);
    if (!isfinite(loss)) return err_set(err, ERR_FAILED, "the loss is not finite");
    log_info("{\"eval_loss\": %.9g, \"eval_perplexity\": %.9g, \"label_tokens\": %zu}", loss, exp(loss), tokens);
    return 0;
}

static int run_eval(int argc, char **argv) {
    given_t given = {0};
    run_t run = {0};
    err_t err = {0};
    bool helped;
    int rc = command_config(&command_eval, argc, argv, &given, CONFIG_EVAL, &run.config, &helped, &err);
    if (rc == 0 && !helped) rc = evaluate(&run, given.adapter, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}

static const positional_t positionals[] = {{"CONFIG.yaml", ARG_CONFIG, .help = "the config of the run"}};
static const option_t options[] = {
    {"adapter", ARG_DIR, offsetof(given_t, adapter), "DIR",
     .help =
         "the adapter to evaluate (output_dir/adapter or a checkpoint); without it the base model, with lora.init if "
         "the config names one"},
};

const command_t command_eval = {
    .name = "eval",
    .synopsis = "CONFIG.yaml [--adapter DIR] [section.key=value ...]",
    .what = "mean loss and perplexity on data.eval",
    .about = "Mean loss and perplexity over all trained tokens of data.eval. Standard output ends with one line "
             "{\"eval_loss\": ..., \"eval_perplexity\": ..., \"label_tokens\": ...}.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .overrides = true,
    .run = run_eval,
};
