#include "trainer/run/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "data/conversation_parts.h"

/* A prompt goes through the model in pieces of at most this many tokens. */
#define PROMPT_PIECE ((size_t)512)

/* ---- prompts -------------------------------------------------------------------------------------------- */

static int encode(const run_t *run, const char *system, const char *prompt, ids_t *ids, err_t *err) {
    size_t len = strlen(prompt);
    if (!run->chat) {
        if (tokenizer_add_bos(run->tok)) ids_add(ids, tokenizer_bos(run->tok));
        return tokenizer_encode(run->tok, prompt, len, true, ids, err);
    }
    conversation_t c = {.messages = json_array()};
    train_mark_t marks[2] = {TRAIN_BY_RULE, TRAIN_BY_RULE};
    c.marks = marks;
    if (system) json_array_append_new(c.messages, message_make("system", system, strlen(system)));
    json_array_append_new(c.messages, message_make("user", prompt, len));
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

int generate_encode(const run_t *run, const char *system, const char *prompt, ids_t *ids, err_t *err) {
    return encode(run, system, prompt, ids, err) ? err->code : check_ids(run, ids, err);
}

stop_ids_t generate_stop_ids(const run_t *run) {
    enum { MOST = sizeof(((stop_ids_t *)NULL)->id) / sizeof(int32_t) };
    const model_config_t *c = model_source_config(run->src);
    stop_ids_t s;
    s.n = run->chat ? chat_stop_ids(run->chat, s.id, MOST) : 0;
    for (size_t i = 0; i < c->n_eos && s.n < MOST; i++) s.id[s.n++] = (int32_t)c->eos[i];
    if (s.n < MOST && tokenizer_eos(run->tok) >= 0) s.id[s.n++] = tokenizer_eos(run->tok);
    return s;
}

/* ---- answers -------------------------------------------------------------------------------------------- */

plan_need_t generate_need(size_t prompt, size_t positions) {
    return (plan_need_t){.prompt_tokens = min_size(prompt, PROMPT_PIECE), .cache = positions};
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

static bool ends(const stop_ids_t *stops, int32_t id) {
    for (size_t i = 0; i < stops->n; i++)
        if (stops->id[i] == id) return true;
    return false;
}

/* Whether it was not given up. */
static bool extend(run_t *run, const int32_t *ids, size_t n, float *logits, bool (*stop)(void)) {
    if (stop && stop()) return false;
    model_extend(&run->model, &run->acts, &run->cache, ids, n, logits);
    return true;
}

static bool read_prompt(run_t *run, const ids_t *prompt, float *logits, bool (*stop)(void)) {
    size_t piece = run_generation(run)->T;
    for (size_t i = 0; i < prompt->len; i += piece)
        if (!extend(run, prompt->ids + i, min_size(prompt->len - i, piece), logits, stop)) return false;
    return true;
}

bool generate_answer(run_t *run, const ids_t *prompt, const answer_spec_t *spec, bool (*stop)(void), token_fn *token,
                     void *ctx) {
    size_t V = run->model.config.vocab;
    float *logits = xmalloc(V * sizeof *logits);
    bool whole = read_prompt(run, prompt, logits, stop);
    uint64_t key = rng_mix(spec->seed ^ 0x73616d706c65u); /* "sample" */
    for (size_t made = 0; whole && made < spec->max_new; made++) {
        int32_t id = spec->temperature > 0 ? sample(logits, V, spec->temperature, rng_uniform(key, made))
                                           : likeliest(logits, V);
        if (ends(&spec->stops, id)) break;
        token(ctx, id);
        if (made + 1 < spec->max_new) whole = extend(run, &id, 1, logits, stop);
    }
    free(logits);
    return whole;
}

const char *generate_piece(const tokenizer_t *tok, int32_t id, bool first, size_t *len) {
    const char *s = tokenizer_piece(tok, id, false, len);
    /* Where every text gets a space before its first word, that is no space of the answer. */
    if (!first || !tokenizer_adds_space(tok) || *len == 0 || s[0] != ' ') return s;
    --*len;
    return s + 1;
}
