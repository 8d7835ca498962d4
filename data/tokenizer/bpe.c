#include "data/tokenizer/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/utf8.h"

static void init_bytes(bpe_t *b, vocab_t *vocab) {
    strbuf_t buf = {0};
    for (size_t id = 0; id < vocab->n; id++) {
        size_t len;
        const char *text = vocab_text(vocab, (int32_t)id, &len);
        buf.len = 0;
        if (len && bytelevel_decode(text, len, &buf)) vocab_set_bytes(vocab, (int32_t)id, buf.p, buf.len);
    }
    for (int i = 0; i < 256; i++) {
        buf.len = 0;
        bytelevel_encode(&(char){(char)i}, 1, &buf);
        b->byte_id[i] = vocab_find(vocab, buf.p, buf.len);
    }
    free(buf.p);
}

static void init_characters(bpe_t *b, vocab_t *vocab) {
    for (size_t id = 0; id < vocab->n; id++) vocab_unmark_spaces(vocab, (int32_t)id);
    for (int i = 0; i < 128; i++) b->ascii[i] = vocab_find(vocab, &(char){(char)i}, 1);
}

static int init_fallback(bpe_t *b, vocab_t *vocab, const char *where, err_t *err) {
    for (int i = 0; i < 256; i++) {
        char name[8];
        int n = sprintf(name, "<0x%02X>", (unsigned)i);
        b->byte_id[i] = vocab_find(vocab, name, (size_t)n);
        if (b->byte_id[i] < 0)
            return err_set(err, ERR_USAGE, "%s: byte_fallback: the vocabulary has no token %s", where, name);
        vocab_set_bytes(vocab, b->byte_id[i], &(char){(char)i}, 1);
    }
    return 0;
}

int bpe_init(bpe_t *b, vocab_t *vocab, bpe_symbols_t symbols, const char *where, err_t *err) {
    *b = (bpe_t){.vocab = vocab, .symbols = symbols, .unk = -1};
    if (symbols == BPE_BYTES) init_bytes(b, vocab);
    else init_characters(b, vocab);
    return symbols == BPE_FALLBACK ? init_fallback(b, vocab, where, err) : 0;
}

int bpe_add_merge_ids(bpe_t *b, bpe_merge_t merge, const char *where, err_t *err) {
    uint64_t pair = pair_key((uint32_t)merge.left, (uint32_t)merge.right);
    uint32_t before = pairmap_put(&b->by_pair, pair, (uint32_t)b->n_merges);
    if (before != PAIRMAP_NONE)
        return err_set(err, ERR_USAGE, "%s: merge %zu repeats merge %u", where, b->n_merges, (unsigned)before);
    VEC_GROW(b->merges, b->n_merges, b->cap);
    b->merges[b->n_merges++] = merge;
    return 0;
}

int bpe_add_merge(bpe_t *b, const char *left, size_t left_len, const char *right, size_t right_len, const char *where,
                  err_t *err) {
    strbuf_t both = {0};
    quoted_t q;
    strbuf_add(&both, left, left_len);
    strbuf_add(&both, right, right_len);
    struct {
        const char *text;
        size_t len;
        int32_t id;
    } part[3] = {{left, left_len, -1}, {right, right_len, -1}, {both.p, both.len, -1}};
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        part[i].id = vocab_find(b->vocab, part[i].text, part[i].len);
        if (part[i].id < 0)
            rc = err_set(err, ERR_USAGE, "%s: merge %zu: %s %s is not in the vocabulary", where, b->n_merges,
                         i < 2 ? "the token" : "its result", token_quote(q, part[i].text, part[i].len));
    }
    free(both.p);
    return rc ? rc : bpe_add_merge_ids(b, (bpe_merge_t){part[0].id, part[1].id, part[2].id}, where, err);
}

int bpe_add_merge_text(bpe_t *b, const char *text, size_t len, const char *where, err_t *err) {
    const char *space = memchr(text, ' ', len);
    size_t left = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', len - left - 1)) {
        quoted_t q;
        return err_set(err, ERR_USAGE, "%s: merge %zu is %s; expected two tokens with one space between", where,
                       b->n_merges, token_quote(q, text, len));
    }
    return bpe_add_merge(b, text, left, space + 1, len - left - 1, where, err);
}

/* Symbols form a linked list over the word's bytes; a symbol that was merged into its left neighbour has id
 * GONE. The heap holds candidates as rank << 32 | index of the left symbol: the smallest is the next merge.
 * Candidates that a merge made void stay in the heap and are recognised when they come out, as the ids at
 * their place are no longer those of their merge. So a word of n bytes costs O(n log n). */
enum { GONE = -2 };
typedef struct bpe_symbol {
    int32_t id, prev, next; /* prev, next: -1 at the ends */
} symbol_t;

static void heap_push(bpe_scratch_t *s, uint64_t x) {
    VEC_GROW(s->heap, s->heap_len, s->heap_cap);
    size_t i = s->heap_len++;
    for (; i > 0 && s->heap[(i - 1) / 2] > x; i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = x;
}

static uint64_t heap_pop(bpe_scratch_t *s) {
    uint64_t *h = s->heap, top = h[0], x = h[--s->heap_len];
    size_t i = 0, n = s->heap_len;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && h[child + 1] < h[child]) child++;
        if (h[child] >= x) break;
        h[i] = h[child];
    }
    h[i] = x;
    return top;
}

static void push_candidate(const bpe_t *b, bpe_scratch_t *s, int32_t at) {
    int32_t next = at >= 0 ? s->symbols[at].next : -1;
    if (next < 0) return;
    uint32_t rank = pairmap_get(&b->by_pair, pair_key((uint32_t)s->symbols[at].id, (uint32_t)s->symbols[next].id));
    if (rank != PAIRMAP_NONE) heap_push(s, pair_key(rank, (uint32_t)at));
}

static void add_symbol(bpe_scratch_t *s, int32_t id) {
    int32_t n = (int32_t)s->n_symbols++;
    s->symbols[n] = (symbol_t){id, n - 1, n + 1};
}

/* What has no token: `unk`, once for a run of it where it is fused, or nothing. */
static void add_unknown(const bpe_t *b, bpe_scratch_t *s, bool after_unknown) {
    if (b->unk >= 0 && !(after_unknown && b->fuse_unk)) add_symbol(s, b->unk);
}

/* The next character's token; -1: it has none. *n is its length. */
static int32_t character_at(const bpe_t *b, const char *p, size_t len, size_t *n) {
    uint32_t c;
    *n = utf8_next(p, len, &c);
    return *n == 1 ? b->ascii[c] : vocab_find(b->vocab, p, *n);
}

static void split_to_symbols(const bpe_t *b, bpe_scratch_t *s, const char *word, size_t len) {
    if (len > s->symbols_cap) {
        s->symbols_cap = 2 * len;
        s->symbols = xrealloc_array(s->symbols, s->symbols_cap, sizeof *s->symbols);
    }
    s->n_symbols = 0;
    bool unknown = false;
    for (size_t i = 0, n = 1; i < len; i += n) {
        int32_t id = b->symbols == BPE_BYTES ? b->byte_id[(uint8_t)word[i]] : character_at(b, word + i, len - i, &n);
        bool fallback = id < 0 && b->symbols == BPE_FALLBACK;
        for (size_t k = 0; fallback && k < n; k++) add_symbol(s, b->byte_id[(uint8_t)word[i + k]]);
        if (id >= 0) add_symbol(s, id);
        else if (!fallback) add_unknown(b, s, unknown);
        unknown = id < 0 && !fallback;
    }
    if (s->n_symbols) s->symbols[s->n_symbols - 1].next = -1;
}

static void merge_symbols(const bpe_t *b, bpe_scratch_t *s) {
    s->heap_len = 0;
    for (size_t i = 0; i < s->n_symbols; i++) push_candidate(b, s, (int32_t)i);
    while (s->heap_len) {
        uint64_t top = heap_pop(s);
        const bpe_merge_t *m = &b->merges[top >> 32];
        int32_t at = (int32_t)(uint32_t)top;
        symbol_t *left = &s->symbols[at];
        if (left->id != m->left || left->next < 0 || s->symbols[left->next].id != m->right) continue;
        symbol_t *right = &s->symbols[left->next];
        left->id = m->result;
        left->next = right->next;
        right->id = GONE;
        if (left->next >= 0) s->symbols[left->next].prev = at;
        push_candidate(b, s, left->prev);
        push_candidate(b, s, at);
    }
}

/* The token that is the whole word, -1: none. */
static int32_t whole_word(const bpe_t *b, bpe_scratch_t *s, const char *word, size_t len) {
    if (b->symbols != BPE_BYTES) return vocab_find(b->vocab, word, len);
    s->text.len = 0;
    bytelevel_encode(word, len, &s->text);
    return vocab_find(b->vocab, s->text.p, s->text.len);
}

static void encode_word(const bpe_t *b, bpe_scratch_t *s, const char *word, size_t len, ids_t *out) {
    int32_t id = b->ignore_merges ? whole_word(b, s, word, len) : -1;
    if (id >= 0) {
        ids_add(out, id);
        return;
    }
    split_to_symbols(b, s, word, len);
    merge_symbols(b, s);
    for (int32_t i = s->n_symbols ? 0 : -1; i >= 0; i = s->symbols[i].next) ids_add(out, s->symbols[i].id);
}

void bpe_encode(const bpe_t *b, bpe_scratch_t *s, const char *word, size_t len, ids_t *out) {
    CHECK(len < INT32_MAX);
    wordcache_slot_t *slot = wordcache_slot(&s->words, word, len);
    if (slot && wordcache_holds(slot, word, len)) {
        for (size_t i = 0; i < slot->n; i++) ids_add(out, slot->ids[i]);
        return;
    }
    size_t from = out->len;
    encode_word(b, s, word, len, out);
    if (slot) wordcache_put(slot, word, len, ids_from(out, from), out->len - from);
}

/* The length of the character or byte at `i` if it has no token of its own, else 0. */
static size_t without_token(const bpe_t *b, const char *word, size_t len, size_t i) {
    size_t n = 1;
    if (i >= len || b->symbols == BPE_FALLBACK) return 0;
    int32_t id = b->symbols == BPE_BYTES ? b->byte_id[(uint8_t)word[i]] : character_at(b, word + i, len - i, &n);
    return id < 0 ? n : 0;
}

/* How many bytes of the word a token is: a piece of SentencePiece has its text in there, others their bytes. */
static size_t covered(const bpe_t *b, int32_t id) {
    size_t n;
    const char *bytes = vocab_bytes(b->vocab, id, &n);
    if (b->symbols == BPE_BYTES) return n;
    if (b->symbols == BPE_FALLBACK && n == 1 && b->byte_id[(uint8_t)bytes[0]] == id) return 1;
    vocab_text(b->vocab, id, &n);
    return n;
}

void bpe_starts(const bpe_t *b, const char *word, size_t len, const int32_t *ids, size_t n, places_t *starts) {
    size_t at = 0, k;
    for (size_t i = 0; i < n; i++) {
        while (b->unk < 0 && (k = without_token(b, word, len, at))) at += k;
        places_add(starts, at < len ? at : len - 1);
        bool unknown = ids[i] == b->unk && (k = without_token(b, word, len, at));
        if (!unknown) at += covered(b, ids[i]);
        while (unknown) {
            at += k;
            unknown = b->fuse_unk && (k = without_token(b, word, len, at));
        }
    }
}

void bpe_free(bpe_t *b) {
    free(b->merges);
    pairmap_free(&b->by_pair);
    *b = (bpe_t){0};
}

void bpe_scratch_free(bpe_scratch_t *s) {
    free(s->symbols);
    free(s->heap);
    free(s->text.p);
    wordcache_free(&s->words);
    *s = (bpe_scratch_t){0};
}

void bpe_scratch_trim(bpe_scratch_t *s) {
    enum { USUAL = 1 << 16 }; /* symbols */
    if (s->symbols_cap <= USUAL) return;
    wordcache_t words = s->words;
    s->words = (wordcache_t){0};
    bpe_scratch_free(s);
    s->words = words;
}
