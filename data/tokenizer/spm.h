/* Building blocks of SentencePiece tokenizers around the library (data/tokenizer/spm_shim.h): pieces into a vocabulary,
 * and a ModelProto written by hand, so that a GGUF, which keeps pieces, scores and types only, runs through
 * the same library as a tokenizer.model. */
#ifndef DATA_TOKENIZER_SPM_H
#define DATA_TOKENIZER_SPM_H

#include "data/tokenizer/spm_shim.h"
#include "data/tokenizer/vocab.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, how pieces write a space */

/* A ModelProto (sentencepiece_model.proto) in protobuf's wire format, a piece at a time in the order of ids. */
typedef struct {
    strbuf_t buf;
    bool has_bytes; /* a piece of type SPM_BYTE was added */
} spm_proto_t;      /* zero-initialise; free .buf.p */

typedef struct {
    const char *piece[4]; /* unk, bos, eos, pad: NULL for none */
    int32_t id[4];        /* -1 for none */
    bool add_dummy_prefix;
    bool remove_extra_whitespaces;
} spm_settings_t;

void spm_proto_piece(spm_proto_t *p, const char *piece, size_t len, float score, spm_type_t type);
/* Ends the message: a BPE model of the llama family, which normalises nothing. */
void spm_proto_end(spm_proto_t *p, size_t n_pieces, const spm_settings_t *s);

/* All pieces of a model, with the bytes they stand for ("▁" is a space, "<0x41>" a byte); control and unknown
 * pieces are special. */
int spm_vocab(spm_model_t *m, vocab_t *v, const char *where, err_t *err);
/* Whether the model puts a space before the first word. */
bool spm_has_dummy_prefix(spm_model_t *m);

#endif
