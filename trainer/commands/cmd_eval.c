/* `qlora-train eval`: mean loss and perplexity on data.eval. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/run/run.h"

static const char help[] =
    "usage: qlora-train eval CONFIG.yaml [--adapter DIR] [section.key=value ...]\n"
    "\n"
    "Mean loss and perplexity over all trained tokens of data.eval. Standard output ends with one line\n"
    "{\"eval_loss\": ..., \"eval_perplexity\": ..., \"label_tokens\": ...}.\n"
    "\n"
    "  --adapter DIR   the adapter to evaluate (output_dir/adapter or a checkpoint); without it the base\n"
    "                  model, with lora.init if the config names one\n";

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

int command_eval(int argc, char **argv) {
    const char *adapter = NULL;
    run_t run = {0};
    err_t err = {0};
    bool helped;
    const option_t opts[] = {{"adapter", &adapter, NULL}};
    int rc = command_config(argc, argv, "eval", help, opts, 1, CONFIG_EVAL, &run.config, &helped, &err);
    if (rc == 0 && !helped) rc = evaluate(&run, adapter, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}
