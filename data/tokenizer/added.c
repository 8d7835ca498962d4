#include "data/tokenizer/added.h"

#include <stdlib.h>

#include "data/tokenizer/utf8.h"

static uint32_t new_node(added_t *a) {
    VEC_GROW(a->token_at, a->nodes, a->nodes_cap);
    a->token_at[a->nodes] = PAIRMAP_NONE;
    return (uint32_t)a->nodes++;
}

void added_add(added_t *a, const vocab_t *vocab, added_token_t token) {
    size_t len;
    const char *text = vocab_text(vocab, token.id, &len);
    if (a->nodes == 0) new_node(a);
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t edge = pair_key(node, (uint8_t)text[i]);
        uint32_t next = pairmap_get(&a->edges, edge);
        if (next == PAIRMAP_NONE) pairmap_put(&a->edges, edge, next = new_node(a));
        node = next;
    }
    VEC_GROW(a->v, a->n, a->cap);
    a->token_at[node] = (uint32_t)a->n;
    a->v[a->n++] = token;
}

void added_free(added_t *a) {
    free(a->v);
    free(a->token_at);
    pairmap_free(&a->edges);
    *a = (added_t){0};
}

/* The longest token at the start of `text`, NULL: none. */
static const added_token_t *longest(const added_t *a, bool normalized, const char *text, size_t len, size_t *taken) {
    const added_token_t *found = NULL;
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        node = pairmap_get(&a->edges, pair_key(node, (uint8_t)text[i]));
        if (node == PAIRMAP_NONE) break;
        const added_token_t *t = a->token_at[node] == PAIRMAP_NONE ? NULL : &a->v[a->token_at[node]];
        if (t && t->normalized == normalized) {
            found = t;
            *taken = i + 1;
        }
    }
    return found;
}

/* Unicode's White_Space. */
static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static size_t spaces_after(const char *text, size_t len, size_t at) {
    uint32_t c;
    for (size_t n; at < len && (n = utf8_next(text + at, len - at, &c)) && is_space(c);) at += n;
    return at;
}

static size_t spaces_before(const char *text, size_t lowest, size_t at) {
    while (at > lowest) {
        size_t p = at - 1;
        uint32_t c;
        while (p > lowest && ((uint8_t)text[p] & 0xc0) == 0x80) p--;
        if (utf8_next(text + p, at - p, &c) != at - p || !is_space(c)) break;
        at = p;
    }
    return at;
}

bool added_find(const added_t *a, bool normalized, const char *text, size_t len, size_t at, const added_token_t **token,
                size_t *start, size_t *end) {
    for (size_t i = at; a->n && i < len; i++) {
        size_t taken = 0;
        const added_token_t *t = longest(a, normalized, text + i, len - i, &taken);
        if (!t) continue;
        *token = t;
        *start = t->lstrip ? spaces_before(text, at, i) : i;
        *end = t->rstrip ? spaces_after(text, len, i + taken) : i + taken;
        return true;
    }
    return false;
}
