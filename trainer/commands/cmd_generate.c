/* `qlora-train generate`: an answer to a prompt, token by token, with or without an adapter. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/run/generate.h"

static const char help[] =
    "usage: qlora-train generate CONFIG.yaml --prompt TEXT [options] [section.key=value ...]\n"
    "\n"
    "Answers a prompt, put in the model's chat template (data.chat_template: none gives the text as it is).\n"
    "The answer goes to standard output as it is made.\n"
    "\n"
    "  --prompt TEXT          what the user says\n"
    "  --system TEXT          a system message (default: the template's own)\n"
    "  --adapter DIR          the adapter to use (output_dir/adapter or a checkpoint); without it the base\n"
    "                         model, with lora.init if the config names one\n"
    "  --max-new-tokens N     stop after N tokens (default 256)\n"
    "  --temperature T        sample at this temperature; 0 (default): the likeliest token each time\n"
    "  --seed N               of the sampling (default 0)\n";

typedef struct {
    const char *prompt, *system, *adapter;
    answer_spec_t answer;
} request_t;

static int parse_number(const char *name, const char *text, double max, double *out, err_t *err) {
    char *end;
    *out = strtod(text, &end);
    if (*end || end == text || !(*out >= 0) || *out > max)
        return err_set(err, ERR_USAGE, "--%s: %s; expected a number from 0 to %g", name, text, max);
    return 0;
}

/* What prints an answer as it is made. */
typedef struct {
    const tokenizer_t *tok;
    bool begun;
} printer_t;

static void print_token(void *ctx, int32_t id) {
    printer_t *p = ctx;
    size_t len;
    const char *s = generate_piece(p->tok, id, !p->begun, &len);
    p->begun = true;
    fwrite(s, 1, len, stdout);
    fflush(stdout);
}

static void answer(run_t *run, const request_t *q, const ids_t *prompt) {
    printer_t p = {.tok = run->tok};
    answer_spec_t spec = q->answer;
    spec.stops = generate_stop_ids(run);
    generate_answer(run, prompt, &spec, NULL, print_token, &p);
    putchar('\n');
}

static int generate(run_t *run, const request_t *q, err_t *err) {
    ids_t prompt = {0};
    if (run_open(run, false, false, true, err)) return err->code;
    if ((q->adapter || run->config.lora.init) && run_set_lora(run, q->adapter, err)) return err->code;
    int rc = generate_encode(run, q->system, q->prompt, &prompt, err);
    size_t most = model_source_config(run->src)->max_positions, positions = prompt.len + q->answer.max_new;
    if (rc == 0 && prompt.len == 0) rc = err_set(err, ERR_USAGE, "--prompt: it has no tokens; expected some text");
    if (rc == 0 && positions > most)
        rc = err_set(err, ERR_USAGE,
                     "the prompt has %zu tokens; with --max-new-tokens %zu that is more than the %zu "
                     "positions of the model",
                     prompt.len, q->answer.max_new, most);
    run->need = generate_need(prompt.len, positions);
    if (rc == 0) rc = run_plan(run, err);
    if (rc == 0) rc = run_load(run, q->adapter, err);
    if (rc == 0) answer(run, q, &prompt);
    free(prompt.ids);
    return rc;
}

int command_generate(int argc, char **argv) {
    enum { MAX_POS = 256 };
    const char *pos[MAX_POS], *max_new = "256", *temperature = "0", *seed = "0";
    bool want_help = false;
    size_t n;
    err_t err = {0};
    request_t q = {0};
    option_t opts[] = {{"prompt", &q.prompt, NULL},         {"system", &q.system, NULL},
                       {"adapter", &q.adapter, NULL},       {"max-new-tokens", &max_new, NULL},
                       {"temperature", &temperature, NULL}, {"seed", &seed, NULL},
                       {"help", NULL, &want_help}};
    int rc = options_parse(argc, argv, opts, sizeof opts / sizeof *opts, pos, MAX_POS, &n, &err);
    if (rc == 0 && want_help) {
        fputs(help, stdout);
        return 0;
    }
    uint64_t max_tokens = 0;
    if (rc == 0 && (n == 0 || !q.prompt))
        rc = err_set(&err, ERR_USAGE, "generate: expected CONFIG.yaml and --prompt TEXT (see --help)");
    if (rc == 0 && !*q.prompt) rc = err_set(&err, ERR_USAGE, "--prompt: expected some text");
    if (rc == 0) rc = option_whole("max-new-tokens", max_new, 0, 1 << 20, &max_tokens, &err);
    if (rc == 0) rc = parse_number("temperature", temperature, 100, &q.answer.temperature, &err);
    if (rc == 0) rc = option_whole("seed", seed, 0, (uint64_t)1 << 53, &q.answer.seed, &err);
    q.answer.max_new = (size_t)max_tokens;
    run_t run = {0};
    if (rc == 0) rc = config_load(pos[0], (char *const *)(pos + 1), n - 1, CONFIG_GENERATE, &run.config, &err);
    if (rc == 0) rc = generate(&run, &q, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}
