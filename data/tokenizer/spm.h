/* Building blocks of SentencePiece tokenizers around the library (data/tokenizer/spm_shim.h): pieces into a vocabulary,
 * pieces and scores, which is what a GGUF keeps, into merges, and a ModelProto written by hand. */
#ifndef DATA_TOKENIZER_SPM_H
#define DATA_TOKENIZER_SPM_H

#include "data/tokenizer/bpe.h"
#include "data/tokenizer/spm_shim.h"
#include "data/tokenizer/vocab.h"

typedef struct {
    float *score;
    uint8_t *type; /* spm_type_t */
    size_t n;      /* by id */
    int32_t id[4]; /* unk, bos, eos, pad: -1 for none */
    bool add_dummy_prefix;
    bool remove_extra_whitespaces;
} spm_pieces_t;
void spm_pieces_free(spm_pieces_t *p);

/* The merges that do what the library does with pieces and scores: those of the best score first. */
int spm_merges(const spm_pieces_t *p, bpe_t *bpe, const char *where, err_t *err);

/* A ModelProto (sentencepiece_model.proto) in protobuf's wire format: a BPE model of the llama family, which
 * normalises nothing. The caller frees .p. */
strbuf_t spm_proto(const spm_pieces_t *p, const vocab_t *vocab);

/* All pieces of a model, with the bytes they stand for ("▁" is a space, "<0x41>" a byte); control and unknown
 * pieces are special. */
int spm_vocab(spm_model_t *m, vocab_t *v, const char *where, err_t *err);
/* Whether the model puts a space before the first word. */
bool spm_has_dummy_prefix(spm_model_t *m);

#endif
