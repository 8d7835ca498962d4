/* Pre-tokenizers: what cuts text into the words that BPE encodes one by one. A list of stages, each of which
 * cuts the pieces of the one before by a pattern, or marks their spaces as SentencePiece does. Described by the
 * "pre_tokenizer" of a tokenizer.json, or by a name as in a GGUF's tokenizer.ggml.pre. */
#ifndef DATA_TOKENIZER_PRETOKENIZER_H
#define DATA_TOKENIZER_PRETOKENIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "data/tokenizer/pattern.h"

typedef struct pretokenizer pretokenizer_t;
enum { PRETOKENIZER_STAGES = 16 }; /* at most */

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* What a name in a GGUF stands for: the settings that a tokenizer.json would spell out. */
typedef struct {
    const char *names;     /* of like settings, a space between */
    const char *splits[6]; /* regular expressions that cut, one after another */
    bool gpt2;             /* GPT2_PATTERN last, as a part of ByteLevel */
    bool ignore_merges;    /* a word that is a token is taken whole */
    bool nfc;              /* the text is normalised to NFC first */
    bool add_bos;          /* when the GGUF does not say */
} pretokenizer_preset_t;

/* ERR_USAGE, naming those that are known, for an unknown name. */
int pretokenizer_preset(const char *name, size_t len, const char *where, const pretokenizer_preset_t **preset,
                        err_t *err);
/* The other way: the name for a "normalizer" and a "pre_tokenizer" of byte-level BPE; the caller frees. ERR_USAGE where
 * there is none. */
int pretokenizer_preset_name(const json_t *norm, const json_t *pre, bool ignore_merges, const char *where, char **name,
                             err_t *err);
/* As a "pre_tokenizer"; a new reference. */
json_t *pretokenizer_preset_json(const pretokenizer_preset_t *preset);

/* Supported: Split (Regex or String; Isolated, MergedWithPrevious, or Removed with invert), Digits, Metaspace,
 * ByteLevel without a prefix space, and Sequence of them in which nothing follows ByteLevel; null is an empty list.
 * ERR_USAGE for anything else: silently different words would give silently different ids. */
int pretokenizer_open(const json_t *desc, const char *where, pretokenizer_t **pre, err_t *err);
void pretokenizer_close(pretokenizer_t *pre); /* NULL is fine */

/* Whether words are bytes in the alphabet of byte-level BPE. */
bool pretokenizer_byte_level(const pretokenizer_t *pre);
/* Where a Metaspace puts the mark of a space before a text that does not begin with one. */
typedef enum { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS } prefix_t;
prefix_t pretokenizer_prefix(const pretokenizer_t *pre);

/* Calls `word` for each word of the text (valid UTF-8), in order. `first`: the text is the beginning of what is
 * encoded, not what follows an added token. */
typedef void (*pretokenizer_word_fn)(void *ctx, const char *word, size_t len);
/* Working memory of one thread. Zero-initialise. */
typedef struct {
    pattern_match_t *match[PRETOKENIZER_STAGES]; /* one per stage: the stages are walked depth first */
} pretokenizer_scratch_t;
int pretokenizer_split(const pretokenizer_t *pre, pretokenizer_scratch_t *scratch, const char *text, size_t len,
                       bool first, pretokenizer_word_fn word, void *ctx, err_t *err);
void pretokenizer_scratch_free(pretokenizer_scratch_t *scratch);

#endif
