/* What the SentencePiece library believes of a tokenizer.model without a look: its table of normalisation, a double array
 * that it walks by whatever the table says. A table that leads outside of itself is refused before the library sees it. */
#ifndef DATA_TOKENIZER_SPM_CHECK_H
#define DATA_TOKENIZER_SPM_CHECK_H

#include <stddef.h>

#include "base/error.h"

/* proto: a serialized ModelProto (sentencepiece_model.proto). ERR_USAGE; `where` for messages. */
int spm_check(const void *proto, size_t len, const char *where, err_t *err);

#endif
