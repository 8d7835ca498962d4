/* Byte-pair encoding (Sennrich et al. 2016): a word's first symbols are its bytes, in the alphabet of GPT-2, or its
 * characters, as SentencePiece has it; of all neighbouring pairs that have a merge the one with the lowest rank,
 * leftmost first, becomes one symbol, until none is left. */
#ifndef DATA_TOKENIZER_BPE_H
#define DATA_TOKENIZER_BPE_H

#include "data/tokenizer/pairmap.h"
#include "data/tokenizer/ids.h"
#include "data/tokenizer/vocab.h"
#include "data/tokenizer/wordcache.h"

typedef struct {
    int32_t left, right, result;
} bpe_merge_t;

typedef enum {
    BPE_BYTES,      /* in the printable alphabet of byte-level vocabularies */
    BPE_CHARACTERS, /* a character without a token is unknown */
    BPE_FALLBACK,   /* it is the tokens <0x00> to <0xFF> of its bytes */
} bpe_symbols_t;

typedef struct {
    const vocab_t *vocab;
    bpe_symbols_t symbols;
    int32_t byte_id[256]; /* the token of a single byte, -1: the vocabulary has none */
    int32_t ascii[128];   /* BPE_CHARACTERS, BPE_FALLBACK: the token of a character, -1: none */
    int32_t unk;          /* stands for what has no token; -1: that vanishes, as in the `tokenizers` library */
    bool fuse_unk;        /* a run of it gives one `unk` */
    bool ignore_merges;   /* a word that is a token is that token, whatever the merges would give */
    bpe_merge_t *merges;  /* by rank */
    size_t n_merges, cap;
    pairmap_t by_pair; /* (left, right) -> rank */
} bpe_t;

/* Working memory of one thread for one tokenizer; grows with the longest word. Zero-initialise. */
typedef struct {
    struct bpe_symbol *symbols;
    size_t n_symbols, symbols_cap;
    uint64_t *heap;
    size_t heap_len, heap_cap;
    strbuf_t text;
    wordcache_t words;
} bpe_scratch_t;

/* `vocab` must outlive the tokenizer and hold all tokens, which get their bytes here. ERR_USAGE when BPE_FALLBACK lacks
 * the token of a byte. */
int bpe_init(bpe_t *b, vocab_t *vocab, bpe_symbols_t symbols, const char *where, err_t *err);
/* The next merge, by the texts of its two tokens. ERR_USAGE when a token or the result is not in the
 * vocabulary, or the pair has a merge already. */
int bpe_add_merge(bpe_t *b, const char *left, size_t left_len, const char *right, size_t right_len, const char *where,
                  err_t *err);
/* The same where the ids are known. */
int bpe_add_merge_ids(bpe_t *b, bpe_merge_t merge, const char *where, err_t *err);
/* A merge written as "left right". */
int bpe_add_merge_text(bpe_t *b, const char *text, size_t len, const char *where, err_t *err);
/* Appends the ids of one word (fewer than 2^31 bytes). */
void bpe_encode(const bpe_t *b, bpe_scratch_t *s, const char *word, size_t len, ids_t *out);
/* The bytes of the word at which its ids begin, appended: what bpe_encode() made of it. */
void bpe_starts(const bpe_t *b, const char *word, size_t len, const int32_t *ids, size_t n, places_t *starts);
void bpe_free(bpe_t *b);
void bpe_scratch_free(bpe_scratch_t *s);
/* Gives back what only a very long word needs. */
void bpe_scratch_trim(bpe_scratch_t *s);

/* The printable alphabet of byte-level vocabularies: the 188 visible characters of Latin-1 stand for
 * themselves, the other bytes for U+0100 and up. Decoding is false when a character is not of the alphabet. */
void bytelevel_encode(const char *bytes, size_t len, strbuf_t *out);
bool bytelevel_decode(const char *text, size_t len, strbuf_t *out);

#endif
