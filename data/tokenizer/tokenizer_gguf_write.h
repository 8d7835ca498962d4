/* A tokenizer as the metadata of a GGUF. */
#ifndef DATA_TOKENIZER_TOKENIZER_GGUF_WRITE_H
#define DATA_TOKENIZER_TOKENIZER_GGUF_WRITE_H

#include "data/tokenizer/tokenizer.h"
#include "model/formats/gguf_write.h"

/* The keys "tokenizer.ggml." for a model of `vocab` rows, and tokenizer.chat_template: `chat_template`, or the
 * tokenizer's own (NULL). `ends`: the tokens that end generation, by the model's config. `where` for messages. ERR_USAGE
 * where a GGUF cannot say it: a pre-tokenizer without a name there, more tokens than the model has rows. */
int tokenizer_put_gguf(const tokenizer_t *t, size_t vocab, const long *ends, size_t n_ends, const char *chat_template,
                       gguf_writer_t *w, const char *where, err_t *err);

#endif
