/* Normalizers: what changes the text between added tokens before it is cut into words. A list of steps, from the
 * "normalizer" of a tokenizer.json. */
#ifndef DATA_TOKENIZER_NORMALIZER_H
#define DATA_TOKENIZER_NORMALIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"
#include "data/tokenizer/ids.h"

typedef struct normalizer normalizer_t;

/* Supported: NFC, Prepend, Replace (Regex or String), and Sequence of them; null is an empty list. ERR_USAGE for
 * anything else: silently different text would give silently different ids. */
int normalizer_open(const json_t *desc, const char *where, normalizer_t **norm, err_t *err);
void normalizer_close(normalizer_t *norm); /* NULL is fine */

/* *out is the text itself where nothing changes it, else buf->p, which is overwritten; then `from` (NULL: not wanted)
 * has, for each of its bytes, the byte of `text` that it was made from. */
int normalizer_apply(const normalizer_t *norm, const char *text, size_t len, strbuf_t *buf, places_t *from,
                     const char **out, size_t *out_len, err_t *err);
/* Whether it puts something before every text. */
bool normalizer_prepends(const normalizer_t *norm);

#endif
