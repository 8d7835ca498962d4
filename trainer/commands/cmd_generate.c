/* `qlora-train generate`: an answer to a prompt, token by token, with or without an adapter. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/terminal.h"
#include "trainer/commands/command.h"
#include "trainer/run/generate.h"

typedef struct {
    const char *prompt, *system, *adapter;
    answer_spec_t answer;
} request_t;

/* What prints an answer as it is made. */
typedef struct {
    const tokenizer_t *tok;
    bool begun;
    strbuf_t text; /* not written yet */
} printer_t;

/* Of U+0080 to U+009F, which a terminal would act on, the first byte waits for the second: each may be a token of its own,
 * and only both together show what they are. */
static void print_text(printer_t *p, bool all) {
    strbuf_t *b = &p->text;
    size_t n = b->len;
    if (!n) return;
    if (!all && (unsigned char)b->p[n - 1] == 0xc2) n--;
    terminal_write(stdout, b->p, n);
    fflush(stdout);
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

static void print_token(void *ctx, int32_t id) {
    printer_t *p = ctx;
    size_t len;
    const char *s = generate_piece(p->tok, id, !p->begun, &len);
    p->begun = true;
    strbuf_add(&p->text, s, len);
    print_text(p, false);
}

static void answer(run_t *run, const request_t *q, const ids_t *prompt) {
    printer_t p = {.tok = run->tok};
    answer_spec_t spec = q->answer;
    spec.stops = generate_stop_ids(run);
    generate_answer(run, prompt, &spec, NULL, print_token, &p);
    print_text(&p, true);
    putchar('\n');
    free(p.text.p);
}

static int generate(run_t *run, const request_t *q, err_t *err) {
    ids_t prompt = {0};
    if (run_open(run, false, false, true, err)) return err->code;
    if (q->system && !run->chat)
        return err_set(err, ERR_USAGE,
                       "--system: the prompt goes in no chat template, which it would be put in; expected --prompt "
                       "alone, or data.chat_template");
    if ((q->adapter || run->config.lora.init) && run_set_lora(run, q->adapter, err)) return err->code;
    int rc = generate_encode(run, q->system, q->prompt, &prompt, err);
    size_t most = model_source_config(run->src)->max_positions, positions = prompt.len + (size_t)q->answer.max_new;
    if (rc == 0 && prompt.len == 0) rc = err_set(err, ERR_USAGE, "--prompt: it has no tokens; expected some text");
    if (rc == 0 && positions > most)
        rc = err_set(err, ERR_USAGE,
                     "the prompt has %zu tokens; with --max-new-tokens %" PRIu64 " that is more than the %zu "
                     "positions of the model",
                     prompt.len, q->answer.max_new, most);
    run->need = generate_need(prompt.len, positions);
    if (rc == 0) rc = run_plan(run, err);
    if (rc == 0) rc = run_load(run, q->adapter, err);
    if (rc == 0) answer(run, q, &prompt);
    free(prompt.ids);
    return rc;
}

static int check_request(const args_t *args, const request_t *q, err_t *err) {
    if (args->n == 0 || !q->prompt)
        return err_set(err, ERR_USAGE, "generate: expected CONFIG.yaml and --prompt TEXT (see --help)");
    return *q->prompt ? 0 : err_set(err, ERR_USAGE, "--prompt: expected some text");
}

static int run_generate(int argc, char **argv) {
    args_t args;
    err_t err = {0};
    request_t q = {0};
    run_t run = {0};
    int rc = command_parse(&command_generate, argc, argv, &q, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) rc = check_request(&args, &q, &err);
    if (rc == 0)
        rc = config_load(args.pos[0], (char *const *)(args.pos + 1), args.n - 1, CONFIG_GENERATE, &run.config, &err);
    if (rc == 0) rc = generate(&run, &q, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}

static const positional_t positionals[] = {{"CONFIG.yaml", ARG_CONFIG, .help = "the config of the run"}};
static const option_t options[] = {
    {"prompt", ARG_TEXT, offsetof(request_t, prompt), "TEXT", .help = "what the user says"},
    {"system", ARG_TEXT, offsetof(request_t, system), "TEXT", .help = "a system message (the template's own)"},
    {"adapter", ARG_DIR, offsetof(request_t, adapter), "DIR",
     .help =
         "the adapter to use (output_dir/adapter or a checkpoint); without it the base model, with lora.init if the "
         "config names one"},
    {"max-new-tokens", ARG_WHOLE, offsetof(request_t, answer.max_new), "N", "256", .min = 0, .max = 1 << 20,
     .help = "stop after N tokens"},
    {"temperature", ARG_REAL, offsetof(request_t, answer.temperature), "T", "0", .min = 0, .max = 100,
     .help = "sample at this temperature; at 0 the likeliest token each time"},
    {"seed", ARG_WHOLE, offsetof(request_t, answer.seed), "N", "0", .min = 0, .max = 9007199254740992.0,
     .help = "of the sampling"},
};

const command_t command_generate = {
    .name = "generate",
    .synopsis = "CONFIG.yaml [--adapter DIR] --prompt TEXT [options] [section.key=value ...]",
    .what = "answer a prompt",
    .about =
        "Answers a prompt, put in the model's chat template (data.chat_template: none gives the text as it is). The "
        "answer goes to standard output as it is made.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .overrides = true,
    .run = run_generate,
};
