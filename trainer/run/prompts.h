/* The prompts of training.sample_prompts, and what is known of their answers before the model is loaded. */
#ifndef TRAINER_RUN_PROMPTS_H
#define TRAINER_RUN_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/tokenizer/ids.h"

/* Each is answered at every evaluation: a file of more is rather data, given by mistake. */
#define PROMPTS_MOST ((size_t)256)
#define PROMPTS_MOST_BYTES ((size_t)1 << 20)

/* Ids that end an answer. */
typedef struct {
    int32_t id[8];
    size_t n;
} stop_ids_t;

typedef struct {
    char *text;
    size_t line; /* of the file */
    ids_t ids;   /* all that comes before the answer; filled in by samples_prepare() */
} prompt_t;

typedef struct {
    prompt_t *at;
    size_t n; /* 0: none are asked for */
    /* by samples_prepare() */
    bool in_template; /* a chat template */
    stop_ids_t stops;
    size_t longest;   /* tokens */
    size_t positions; /* where the last answer ends at the latest */
    uint64_t id;      /* of texts and tokens */
} prompts_t;

/* One a line, each once; lines of white space are passed over. ERR_USAGE, with file and line, for what is no text in UTF-8,
 * too much of it, or none. */
int prompts_read(const char *path, prompts_t *p, err_t *err);
void prompts_free(prompts_t *p);

#endif
