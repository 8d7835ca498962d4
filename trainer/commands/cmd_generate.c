/* `qlora-train generate`: an answer to a prompt, token by token, with or without an adapter. */
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

/* A prompt goes through the model in pieces of at most this many tokens. */
#define PROMPT_PIECE ((size_t)512)
#define MAX_STOPS 8

typedef struct {
    const char *prompt, *system, *adapter;
    size_t max_new;
    double temperature;
    uint64_t seed;
} request_t;

static int parse_number(const char *name, const char *text, double max, double *out, err_t *err) {
    char *end;
    *out = strtod(text, &end);
    if (*end || end == text || !(*out >= 0) || *out > max)
        return err_set(err, ERR_USAGE, "--%s: %s; expected a number from 0 to %g", name, text, max);
    return 0;
}

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
    size_t most = model_source_config(run->src)->max_positions, positions = prompt.len + q->max_new;
    if (rc == 0 && prompt.len == 0) rc = err_set(err, ERR_USAGE, "--prompt: it has no tokens; expected some text");
    if (rc == 0 && positions > most)
        rc = err_set(err, ERR_USAGE,
                     "the prompt has %zu tokens; with --max-new-tokens %zu that is more than the %zu "
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
    if (rc == 0) rc = parse_number("temperature", temperature, 100, &q.temperature, &err);
    if (rc == 0) rc = option_whole("seed", seed, 0, (uint64_t)1 << 53, &q.seed, &err);
    q.max_new = (size_t)max_tokens;
    run_t run = {0};
    if (rc == 0) rc = config_load(pos[0], (char *const *)(pos + 1), n - 1, CONFIG_GENERATE, &run.config, &err);
    if (rc == 0) rc = generate(&run, &q, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}
