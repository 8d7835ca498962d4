/* Generation: what somebody says in, the tokens of an answer out, one at a time. */
#ifndef TRAINER_RUN_GENERATE_H
#define TRAINER_RUN_GENERATE_H

#include "trainer/run/run.h"

typedef struct {
    stop_ids_t stops;
    uint64_t max_new;   /* tokens at most */
    double temperature; /* 0: the likeliest token each time */
    uint64_t seed;      /* of the sampling */
} answer_spec_t;

/* The tokens that come before an answer: those of the prompt alone where the run has no chat template, else of the
 * conversation that it begins. system: NULL: the template's own. ERR_USAGE also where the model has no embedding of one. */
int generate_encode(const run_t *run, const char *system, const char *prompt, ids_t *ids, err_t *err);
/* Those of the chat template, the model and the tokenizer. */
stop_ids_t generate_stop_ids(const run_t *run);
/* What prompts of up to so many tokens need, with answers that end at so many positions. */
plan_need_t generate_need(size_t prompt, size_t positions);

/* `token` gets each token of the answer as it is made; the run was loaded with generate_need() of this prompt, or more.
 * Before each pass `stop` (may be NULL) is asked whether to give up: then false. */
typedef void token_fn(void *ctx, int32_t id);
bool generate_answer(run_t *run, const ids_t *prompt, const answer_spec_t *spec, bool (*stop)(void), token_fn *token,
                     void *ctx);

/* The bytes of a token of an answer; maybe a part of a character. Valid while the tokenizer lives. */
const char *generate_piece(const tokenizer_t *tok, int32_t id, bool first, size_t *len);

#endif
