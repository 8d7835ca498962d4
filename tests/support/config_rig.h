/* Configs in a directory of their own, for the tests of what is read from them and of what is refused. */
#ifndef TESTS_CONFIG_RIG_H
#define TESTS_CONFIG_RIG_H

#include "testing.h"
#include "trainer/config/config.h"

/* Group fixtures: the working directory is a new one with what configs refer to: model/, train.jsonl, more.jsonl,
 * eval.jsonl, adapter/. */
int config_setup(void **state);
int config_teardown(void **state);

/* The text as c.yaml, loaded with the overrides. */
int load_bytes(const char *yaml, size_t len, char *const *overrides, size_t n, config_use_t use, config_t *c,
               err_t *err);
/* The same for a training without overrides. */
int load_text(const char *yaml, config_t *c, err_t *err);

/* The whole message, not a part of it. */
#define assert_message(expr, err, expected) \
    do { \
        assert_error(expr, err, ERR_USAGE, expected); \
        assert_string_equal((err).msg, expected); \
    } while (0)

/* `got` is `name` in the working directory. */
void assert_path(const char *got, const char *name);

/* What every config needs. */
#define MINIMAL "model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: out}\n"

/* Every key, each away from its default. */
extern const char config_everything[];

#endif
