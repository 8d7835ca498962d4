/* Configs of Axolotl and of LLaMA-Factory as configs of ours. A table for each (axolotl.c, llama_factory.c) has a row for
 * every key that is known of it: where the key goes, or why it goes nowhere. */
#ifndef TRAINER_IMPORT_IMPORT_H
#define TRAINER_IMPORT_IMPORT_H

#include <stddef.h>

#include "base/error.h"

typedef struct import import_t;

/* Reads `file` for a config that will be at `config`: relative paths are taken from the working directory, as both
 * programs do, and spelt so that the config finds them. ERR_USAGE, with file, line and column, where the file cannot be
 * read or makes a training that is none of ours. */
int import_read(const char *file, const char *config, import_t **im, err_t *err);
void import_free(import_t *im);

/* The config, which config_load() takes as CONFIG_WRITTEN unless its values do not go together. The caller frees. */
char *import_config(const import_t *im);
/* What is not carried over, one line each: "file:line:column: key: ...". */
size_t import_n_notes(const import_t *im);
const char *import_note_line(const import_t *im, size_t i);
/* How many paths the config names that are not there, the model and the data. */
size_t import_n_missing(const import_t *im);

/* Tables of all keys as Markdown: docs/import.md has them. The caller frees. */
char *import_key_tables(void);

#endif
