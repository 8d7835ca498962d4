/* Directories with the tokenizers of tests/golden/tokenizer/. */
#ifndef SUPPORT_TOKENIZER_KINDS_H
#define SUPPORT_TOKENIZER_KINDS_H

#include "base/json.h"
#include "data/tokenizer/tokenizer.h"

/* Of a file, or the test fails. */
json_t *load_json(const char *path);
tokenizer_t *open_tokenizer(const char *path);

/* Writes `files` (name -> JSON; tokenizer.json: a patch of `base`; null: llama2-tokenizer.model) to a new directory. */
const char *write_kind(const json_t *base, const json_t *files);

#endif
