/* What a tokenizer is made of, and the steps of opening one. For the tokenizer's own files only. */
#ifndef DATA_TOKENIZER_TOKENIZER_PARTS_H
#define DATA_TOKENIZER_TOKENIZER_PARTS_H

#include <jansson.h>

#include "data/tokenizer/added.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/pretokenizer.h"
#include "data/tokenizer/spm.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/vocab.h"

enum { ROLE_TOKEN_BOS, ROLE_TOKEN_EOS, ROLE_TOKEN_PAD, ROLE_TOKEN_COUNT };

struct tokenizer {
    vocab_t vocab;
    added_t added; /* SentencePiece: tokens beside the model's own, which encoding does not look for */

    spm_model_t *spm;  /* SentencePiece; NULL: BPE, and the next five */
    bool dummy_prefix; /* SentencePiece puts a space before the first word */
    bpe_t bpe;
    pretokenizer_t *pre;
    json_t *pre_desc; /* what `pre` was made from, for tokenizer_save */
    bool nfc;

    int32_t role[ROLE_TOKEN_COUNT]; /* ids, -1: none */
    bool add_bos;
    char *chat_template;   /* NULL: none */
    size_t context_length; /* 0: unknown */
};

/* From the "pre_tokenizer" (or what a preset says in its place). Keeps a reference to `desc`. */
int tokenizer_set_pre(tokenizer_t *t, json_t *desc, const char *where, err_t *err);
/* From a serialized ModelProto. */
int tokenizer_load_spm(tokenizer_t *t, const void *proto, size_t len, const char *where, err_t *err);
/* From a tokenizer.json of byte-level BPE. *needs_spm is set, and nothing else done, when the file is a
 * converted SentencePiece model, whose tokenizer.model is needed instead. */
int tokenizer_load_json(tokenizer_t *t, const char *path, bool *needs_spm, err_t *err);
int tokenizer_load_gguf(tokenizer_t *t, const char *path, err_t *err);
/* Roles, add_bos and the chat template from the files beside a tokenizer.json or tokenizer.model. */
int tokenizer_load_settings(tokenizer_t *t, const char *dir, err_t *err);

/* Parts of a tokenizer.json; new references. */
json_t *json_of_token(const tokenizer_t *t, int32_t id);
json_t *json_of_added(const tokenizer_t *t, const added_token_t *a);
json_t *json_of_post_processor(const tokenizer_t *t);
json_t *json_of_spm(const tokenizer_t *t); /* a whole one */

#endif
