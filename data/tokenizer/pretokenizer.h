/* Pre-tokenizers: what cuts text into the words that BPE encodes one by one. A list of stages, each of which
 * cuts the pieces of the one before by a pattern (PCRE2, with Unicode properties). Described by the
 * "pre_tokenizer" of a tokenizer.json, or by a name as in a GGUF's tokenizer.ggml.pre. */
#ifndef DATA_TOKENIZER_PRETOKENIZER_H
#define DATA_TOKENIZER_PRETOKENIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct pretokenizer pretokenizer_t;

/* What a name in a GGUF stands for: the settings that a tokenizer.json would spell out. */
typedef struct {
    const char *name;
    const char *pre_tokenizer; /* JSON, as in a tokenizer.json */
    bool ignore_merges;        /* a word that is a token is taken whole */
    bool nfc;                  /* the text is normalised to NFC first */
    bool add_bos;              /* when the GGUF does not say */
} pretokenizer_preset_t;

/* ERR_USAGE, naming those that are known, for an unknown name. */
int pretokenizer_preset(const char *name, size_t len, const char *where, const pretokenizer_preset_t **preset,
                        err_t *err);

/* Supported: Split (Regex or String; Isolated, or Removed with invert), Digits, ByteLevel without a prefix
 * space, and Sequence of them that ends in ByteLevel. ERR_USAGE for anything else: silently different words
 * would give silently different ids. */
int pretokenizer_open(const json_t *desc, const char *where, pretokenizer_t **pre, err_t *err);
void pretokenizer_close(pretokenizer_t *pre); /* NULL is fine */

/* Calls `word` for each word of the text (valid UTF-8), in order. ERR_USAGE when a pattern exceeds the
 * matching limits, which those of real models never do. */
typedef void (*pretokenizer_word_fn)(void *ctx, const char *word, size_t len);
int pretokenizer_split(const pretokenizer_t *pre, const char *text, size_t len, pretokenizer_word_fn word, void *ctx,
                       err_t *err);

#endif
