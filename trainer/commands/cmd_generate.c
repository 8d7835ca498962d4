/* `qlora-train generate`: an answer to a prompt, token by token, with or without an adapter. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/conversation_parts.h"
#include "trainer/commands/command.h"
#include "trainer/run/run.h"

/* A prompt goes through the model in pieces of at most this many tokens. */
#define PROMPT_PIECE ((size_t)512)
#define MAX_STOPS 8

typedef struct {
    const char *prompt, *system, *adapter;
    uint64_t max_new;
    double temperature;
    uint64_t seed;
} request_t;

static int encode_prompt(run_t *run, const request_t *q, ids_t *ids, err_t *err) {
    size_t len = strlen(q->prompt);
    if (!run->chat) {
        if (tokenizer_add_bos(run->tok)) ids_add(ids, tokenizer_bos(run->tok));
        return tokenizer_encode(run->tok, q->prompt, len, true, ids, err);
    }
    conversation_t c = {.messages = json_array()};
    train_mark_t marks[2] = {TRAIN_BY_RULE, TRAIN_BY_RULE};
    c.marks = marks;
    if (q->system) json_array_append_new(c.messages, message_make("system", q->system, strlen(q->system)));
    json_array_append_new(c.messages, message_make("user", q->prompt, len));
    int rc = chat_prompt(run->chat, &c, ids, err);
    json_decref(c.messages);
    return rc;
}

/* A tokenizer may have more tokens than the model has embeddings. */
static int check_ids(const run_t *run, const ids_t *prompt, err_t *err) {
    size_t V = model_source_config(run->src)->vocab, len;
    for (size_t i = 0; i < prompt->len; i++) {
        if ((size_t)prompt->ids[i] < V) continue;
        const char *piece = tokenizer_piece(run->tok, prompt->ids[i], true, &len);
        return err_set(err, ERR_USAGE, "the prompt has the token \"%.*s\", id %d; the model's vocabulary has %zu",
                       len > 100 ? 100 : (int)len, piece, prompt->ids[i], V);
    }
    return 0;
}

static size_t stop_ids(const run_t *run, int32_t stops[MAX_STOPS]) {
    size_t n = run->chat ? chat_stop_ids(run->chat, stops, MAX_STOPS) : 0;
    const model_config_t *c = &run->model.config;
    for (size_t i = 0; i < c->n_eos && n < MAX_STOPS; i++) stops[n++] = (int32_t)c->eos[i];
    if (n < MAX_STOPS && tokenizer_eos(run->tok) >= 0) stops[n++] = tokenizer_eos(run->tok);
    return n;
}

static int32_t likeliest(const float *logits, size_t V) {
    size_t best = 0;
    for (size_t i = 1; i < V; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* From softmax(logits / temperature), by inversion of one uniform number. */
static int32_t sample(const float *logits, size_t V, double temperature, double u) {
    double max = logits[likeliest(logits, V)], sum = 0, run = 0;
    for (size_t i = 0; i < V; i++) sum += exp((logits[i] - max) / temperature);
    for (size_t i = 0; i < V; i++) {
        run += exp((logits[i] - max) / temperature);
        if (run >= u * sum) return (int32_t)i;
    }
    return (int32_t)V - 1;
}

static void print_piece(const run_t *run, int32_t id, bool first) {
    size_t len;
    const char *s = tokenizer_piece(run->tok, id, false, &len);
    /* Where every text gets a space before its first word, that is no space of the answer. */
    if (first && tokenizer_adds_space(run->tok) && len && s[0] == ' ') s++, len--;
    fwrite(s, 1, len, stdout);
    fflush(stdout);
}

static void answer(run_t *run, const request_t *q, const ids_t *prompt) {
    size_t V = run->model.config.vocab, n_stops;
    int32_t stops[MAX_STOPS];
    float *logits = xmalloc(V * sizeof *logits);
    n_stops = stop_ids(run, stops);
    acts_t *a = run_acts(run, PASS_GENERATE, run->need.eval_tokens);
    for (size_t i = 0; i < prompt->len; i += a->T) {
        size_t n = prompt->len - i < a->T ? prompt->len - i : a->T;
        model_extend(&run->model, a, &run->cache, prompt->ids + i, n, logits);
    }
    uint64_t key = rng_mix(q->seed ^ 0x73616d706c65u); /* "sample" */
    for (size_t made = 0; made < q->max_new; made++) {
        int32_t id = q->temperature > 0 ? sample(logits, V, q->temperature, rng_uniform(key, made))
                                        : likeliest(logits, V);
        for (size_t i = 0; i < n_stops; i++)
            if (id == stops[i]) goto done;
        print_piece(run, id, made == 0);
        if (made + 1 < q->max_new) model_extend(&run->model, a, &run->cache, &id, 1, logits);
    }
done:
    putchar('\n');
    free(logits);
}

static int generate(run_t *run, const request_t *q, err_t *err) {
    ids_t prompt = {0};
    if (run_open(run, false, false, true, err)) return err->code;
    if ((q->adapter || run->config.lora.init) && run_set_lora(run, q->adapter, err)) return err->code;
    int rc = encode_prompt(run, q, &prompt, err);
    if (rc == 0) rc = check_ids(run, &prompt, err);
    size_t most = model_source_config(run->src)->max_positions, positions = prompt.len + (size_t)q->max_new;
    if (rc == 0 && prompt.len == 0) rc = err_set(err, ERR_USAGE, "--prompt: it has no tokens; expected some text");
    if (rc == 0 && positions > most)
        rc = err_set(err, ERR_USAGE,
                     "the prompt has %zu tokens; with --max-new-tokens %" PRIu64 " that is more than the %zu "
                     "positions of the model",
                     prompt.len, q->max_new, most);
    run->need = (plan_need_t){.eval_tokens = prompt.len < PROMPT_PIECE ? prompt.len : PROMPT_PIECE,
                              .eval_seg = positions,
                              .cache = positions};
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
    {"max-new-tokens", ARG_WHOLE, offsetof(request_t, max_new), "N", "256", .min = 0, .max = 1 << 20,
     .help = "stop after N tokens"},
    {"temperature", ARG_REAL, offsetof(request_t, temperature), "T", "0", .min = 0, .max = 100,
     .help = "sample at this temperature; at 0 the likeliest token each time"},
    {"seed", ARG_WHOLE, offsetof(request_t, seed), "N", "0", .min = 0, .max = 9007199254740992.0,
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
