/* A SentencePiece BPE model as the tokenizer.json that gives the same ids: pieces in order of score become
 * merges in order of rank. Written beside tokenizer.model because what transformers 5 makes of that file alone
 * ranks pieces by id, not by score, which changes how runs of spaces are cut. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

typedef struct {
    int32_t left, right, whole;
    float score; /* of the whole */
} split_t;

typedef struct {
    split_t *v;
    size_t n, cap;
} splits_t;

static int compare(double a, double b) { return a < b ? -1 : a > b; }

/* Better scores first; of the same score, and of the same piece, lower ids first. */
static int by_rank(const void *pa, const void *pb) {
    const split_t *a = pa, *b = pb;
    int c = compare(b->score, a->score);
    if (c == 0) c = compare(a->whole, b->whole);
    if (c == 0) c = compare(a->left, b->left);
    return c ? c : compare(a->right, b->right);
}

/* All ways to make a piece of two others. */
static void add_splits(const tokenizer_t *t, int32_t id, float score, splits_t *s) {
    size_t len;
    const char *text = vocab_text(&t->vocab, id, &len);
    uint32_t c;
    for (size_t i = 0, n; i < len && (n = utf8_next(text + i, len - i, &c)); i += n) {
        int32_t left = vocab_find(&t->vocab, text, i);
        int32_t right = left < 0 ? -1 : vocab_find(&t->vocab, text + i, len - i);
        if (right < 0) continue;
        VEC_GROW(s->v, s->n, s->cap);
        s->v[s->n++] = (split_t){left, right, id, score};
    }
}

static json_t *model_json(const tokenizer_t *t) {
    splits_t s = {0};
    json_t *vocab = json_object(), *merges = json_array(), *unk = json_null();
    for (size_t i = 0; i < spm_model_size(t->spm); i++) {
        size_t len;
        float score;
        spm_type_t type;
        const char *piece = spm_model_piece(t->spm, (int32_t)i, &len, &score, &type);
        json_object_setn_new(vocab, piece, len, json_integer((json_int_t)i));
        if (type == SPM_NORMAL) add_splits(t, (int32_t)i, score, &s);
        if (type == SPM_UNKNOWN) unk = json_stringn(piece, len);
    }
    if (s.n) qsort(s.v, s.n, sizeof *s.v, by_rank);
    for (size_t i = 0; i < s.n; i++) {
        json_t *left = json_of_token(t, s.v[i].left), *right = json_of_token(t, s.v[i].right);
        json_array_append_new(merges, json_pack("[o, o]", left, right));
    }
    free(s.v);
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token", unk,
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 1, "byte_fallback", 1,
                     "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

static json_t *replace_json(const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content", to);
}

static json_t *normalizer_json(const tokenizer_t *t) {
    json_t *list = json_array();
    if (t->dummy_prefix) json_array_append_new(list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE_MARK));
    json_array_append_new(list, replace_json(" ", SPACE_MARK));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *decoder_json(const tokenizer_t *t) {
    json_t *list = json_pack("[o, {s:s}, {s:s}]", replace_json(SPACE_MARK, " "), "type", "ByteFallback", "type",
                             "Fuse");
    if (t->dummy_prefix)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *specials_json(const tokenizer_t *t) {
    json_t *list = json_array();
    for (size_t id = 0; id < t->vocab.n; id++) {
        added_token_t a = {.id = (int32_t)id, .special = true};
        if (t->vocab.tokens[id].special) json_array_append_new(list, json_of_added(t, &a));
    }
    return list;
}

json_t *json_of_spm(const tokenizer_t *t) {
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:n, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", specials_json(t), "normalizer", normalizer_json(t), "pre_tokenizer",
                     "post_processor", json_of_post_processor(t), "decoder", decoder_json(t), "model", model_json(t));
}
