/* Tokenizers: byte-pair encoding of bytes or of characters with byte fallback (tokenizer.json, or a GGUF with
 * tokenizer.ggml.model = gpt2 or llama), and SentencePiece's own library (tokenizer.model). */
#ifndef DATA_TOKENIZER_TOKENIZER_H
#define DATA_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "data/tokenizer/ids.h"

typedef struct tokenizer tokenizer_t;

/* path: a model directory (tokenizer.json, else tokenizer.model), a bare tokenizer.json or tokenizer.model by its
 * suffix, else a GGUF file. A tokenizer.json of SentencePiece's Unigram needs its tokenizer.model beside it, which
 * is read instead. Special tokens by role come from tokenizer_config.json / special_tokens_map.json /
 * generation_config.json beside it where there are such files. */
int tokenizer_open(const char *path, tokenizer_t **tok, err_t *err);
void tokenizer_close(tokenizer_t *tok); /* NULL is fine */

/* Appends the ids of `text` (UTF-8, `len` bytes). No BOS or EOS is added.
 * With `specials` added and special tokens in the text become their ids; without, they are plain text (but for the
 * user-defined pieces of a SentencePiece model, which are part of its text).
 * ERR_USAGE on invalid UTF-8, with the byte offset. */
int tokenizer_encode(const tokenizer_t *tok, const char *text, size_t len, bool specials, ids_t *out, err_t *err);
/* The same, with the byte of `text` where each id begins, appended to `starts`. Ids that share a character (the bytes of
 * one that has no token) all begin where it does; an added token that takes the white space before it begins with that;
 * a space that only the tokenizer puts before a word begins where the word does. `inside`: the text follows a token in a
 * longer one, so that no space is put before its first word where only the beginning of a text has one. */
int tokenizer_encode_starts(const tokenizer_t *tok, const char *text, size_t len, bool specials, bool inside,
                            ids_t *out, places_t *starts, err_t *err);

/* The bytes of one id as they appear in a running text (may be a part of a UTF-8 character). Special tokens
 * give an empty string unless `specials`. Returns a pointer valid while the tokenizer lives; *len its length.
 * SentencePiece: the word-start mark is a space. */
const char *tokenizer_piece(const tokenizer_t *tok, int32_t id, bool specials, size_t *len);
/* Decodes a sequence into a new string (SentencePiece: without the space it put before the first word). */
char *tokenizer_decode(const tokenizer_t *tok, const int32_t *ids, size_t n, bool specials, size_t *len);

size_t tokenizer_vocab(const tokenizer_t *tok); /* one more than the largest id */
bool tokenizer_is_spm(const tokenizer_t *tok);  /* of SentencePiece's kind: not of bytes */
/* Whether a space is put before the first word of every text, also of one that follows a token. */
bool tokenizer_adds_space(const tokenizer_t *tok);
bool tokenizer_add_bos(const tokenizer_t *tok); /* whether text starts with BOS by the model's own settings */
int32_t tokenizer_bos(const tokenizer_t *tok);  /* -1: none */
int32_t tokenizer_eos(const tokenizer_t *tok);
int32_t tokenizer_find(const tokenizer_t *tok, const char *token); /* id of an exact token, -1: none */
bool tokenizer_is_special(const tokenizer_t *tok, int32_t id);

/* The model's own chat templates (Jinja): chat_template.jinja, which is the one named "default", and
 * additional_chat_templates/NAME.jinja; or the key of tokenizer_config.json; or tokenizer.chat_template and
 * tokenizer.chat_template.NAME of a GGUF. NULL: none of that name. */
const char *tokenizer_chat_template(const tokenizer_t *tok, const char *name, size_t *len);
/* Which of these they were, for people; NULL: there are none. */
const char *tokenizer_templates_from(const tokenizer_t *tok);
/* Special tokens by the names under which templates know them ("bos_token"), an object of texts. */
const json_t *tokenizer_named_tokens(const tokenizer_t *tok);
/* The ids that end a text by the model's files: EOS first, then those of generation_config.json and config.json. */
const int32_t *tokenizer_ends(const tokenizer_t *tok, size_t *n);

/* Writes tokenizer.json and tokenizer_config.json (with the chat template) to a directory, for exports from a
 * GGUF: the result loads in transformers and gives the same ids. SentencePiece: tokenizer.model as well, of the
 * GGUF's pieces and scores, for programs that read only that. */
int tokenizer_save(const tokenizer_t *tok, const char *dir, err_t *err);

#endif
