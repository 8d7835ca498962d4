/* What a tokenizer is made of, and the steps of opening one. For the tokenizer's own files only. */
#ifndef DATA_TOKENIZER_TOKENIZER_PARTS_H
#define DATA_TOKENIZER_TOKENIZER_PARTS_H

#include <jansson.h>
#include <pthread.h>

#include "data/tokenizer/added.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/pretokenizer.h"
#include "data/tokenizer/spm.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/vocab.h"

enum { ROLE_TOKEN_BOS, ROLE_TOKEN_EOS, ROLE_TOKEN_PAD, ROLE_TOKEN_COUNT };

/* How transformers reads the files of a directory, where that is not what they say themselves. */
typedef struct {
    bool llama_class; /* its LlamaTokenizer, which replaces the steps of a tokenizer.json by a Metaspace */
    prefix_t prefix;  /* by the "legacy" of tokenizer_config.json */
} class_rule_t;

/* Working memory of one encoding; kept for the next, with the words that it knows. */
typedef struct tokenizer_scratch {
    bpe_scratch_t bpe;
    pretokenizer_scratch_t pre;
    places_t starts; /* of one word */
    struct tokenizer_scratch *next;
} tokenizer_scratch_t;

/* Those that no thread uses at the moment. */
typedef struct {
    pthread_mutex_t lock;
    tokenizer_scratch_t *idle;
} scratch_pool_t;
scratch_pool_t *scratch_pool_new(void);

struct tokenizer {
    scratch_pool_t *scratch; /* threads share a tokenizer, which is constant to them but for this */
    vocab_t vocab;
    added_t added;
    prefix_t prefix; /* which texts get a space before the first word */

    spm_model_t *spm;      /* a tokenizer.model; NULL: byte-pair encoding by what follows */
    spm_model_t *unspaced; /* the same model without a space before the first word; NULL: not needed */
    bool one_space;        /* a text that begins with a space gets no other */

    bpe_t bpe;
    normalizer_t *norm;
    pretokenizer_t *pre;
    json_t *norm_desc, *pre_desc; /* what they were made from, for tokenizer_save; NULL: empty lists */
    spm_pieces_t pieces;          /* of a GGUF of SentencePiece, for tokenizer_save */

    int32_t role[ROLE_TOKEN_COUNT]; /* ids, -1: none */
    bool add_bos;
    json_t *templates; /* chat templates, name -> text; NULL: none */
    const char *templates_from;
    json_t *named;         /* special tokens, name -> text */
    ids_t ends;            /* ids that end a text, EOS first */
    size_t context_length; /* 0: unknown */
};

/* From a "normalizer" and a "pre_tokenizer" (or what stands for them); keeps references. */
int tokenizer_set_steps(tokenizer_t *t, json_t *norm, json_t *pre, const char *where, err_t *err);
/* Adds a token of the vocabulary to those that are found in text, where normalised text is searched as normalised. */
int tokenizer_add_added(tokenizer_t *t, added_token_t token, err_t *err);
/* From a serialized ModelProto. */
int tokenizer_load_spm(tokenizer_t *t, const void *proto, size_t len, class_rule_t rule, const char *where, err_t *err);
/* From a tokenizer.json of BPE. *needs_spm is set, and nothing else done, when the file is a converted SentencePiece
 * model of another kind, whose tokenizer.model is needed instead. */
int tokenizer_load_json(tokenizer_t *t, const char *path, class_rule_t rule, bool *needs_spm, err_t *err);
int tokenizer_load_gguf(tokenizer_t *t, const char *path, err_t *err);
/* The rule for the files of a directory. */
int tokenizer_class_rule(const char *dir, class_rule_t *rule, err_t *err);
/* Roles, add_bos and what follows from the files beside a tokenizer.json or tokenizer.model. */
int tokenizer_load_settings(tokenizer_t *t, const char *dir, err_t *err);

/* `where` is for messages; `from` a constant, for people. */
int tokenizer_add_template(tokenizer_t *t, const char *name, const char *text, size_t len, const char *where,
                           const char *from, err_t *err);
int tokenizer_load_templates(tokenizer_t *t, const char *dir, const json_t *config, err_t *err);
/* From tokenizer_config.json and special_tokens_map.json, each may be NULL. `own_roles`: BOS, EOS and PAD as they are so
 * far count where the files name none. */
void tokenizer_name_tokens(tokenizer_t *t, const json_t *config, const json_t *map, bool own_roles);
void tokenizer_add_ends(tokenizer_t *t, const json_t *v);

#endif
