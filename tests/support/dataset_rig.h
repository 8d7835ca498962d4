/* Data files of a few rows and what they become, for the tests of datasets. */
#ifndef TESTS_DATASET_RIG_H
#define TESTS_DATASET_RIG_H

#include "data/dataset.h"
#include "testing.h"

/* Group fixtures. bpe: SmolLM2's vocabulary, whose base model ends texts with <|endoftext|>; spm: Llama 2's; and a
 * template for each. */
extern tokenizer_t *bpe, *spm;
extern chat_template_t *chatml, *llama2;
int dataset_setup(void **state);
int dataset_teardown(void **state);

/* A file in a directory of its own, whose path lives until the program ends. */
const char *write_file(const char *name, const void *data, size_t n);
dataset_spec_t spec_of(const char *const *files, size_t n, const tokenizer_t *tok, const chat_template_t *chat);
/* The text as a file, loaded by `like` but for its files. */
int load_rows(const char *name, const char *text, const dataset_spec_t *like, dataset_t *ds, err_t *err);
void assert_sample(const dataset_t *ds, size_t i, const tokenizer_t *tok, const char *want);
/* Loads one file by a ChatML model of the byte-level vocabulary and compares its first sample. */
void check_first(const char *name, const char *text, data_format_t format, const char *want);

#endif
