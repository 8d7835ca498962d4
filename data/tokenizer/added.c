#include "data/tokenizer/added.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "data/tokenizer/utf8.h"

static uint32_t new_node(added_t *a) {
    VEC_GROW(a->token_at, a->nodes, a->nodes_cap);
    a->token_at[a->nodes] = PAIRMAP_NONE;
    return (uint32_t)a->nodes++;
}

void added_add(added_t *a, added_token_t token, const char *text, size_t len) {
    if (a->nodes == 0) new_node(a), new_node(a);
    uint32_t node = token.normalized;
    if (len) a->begins[(uint8_t)text[0]] |= (uint8_t)(1u << node);
    a->any_always |= token.always;
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
static const added_token_t *longest(const added_t *a, bool normalized, bool plain, const char *text, size_t len,
                                    size_t *taken) {
    const added_token_t *found = NULL;
    uint32_t node = normalized;
    for (size_t i = 0; i < len; i++) {
        node = pairmap_get(&a->edges, pair_key(node, (uint8_t)text[i]));
        if (node == PAIRMAP_NONE) break;
        const added_token_t *t = a->token_at[node] == PAIRMAP_NONE ? NULL : &a->v[a->token_at[node]];
        if (!t || (plain && !t->always)) continue;
        found = t;
        *taken = i + 1;
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

/* \w of Unicode's regular expressions: alphabetic, mark, decimal digit, connector, joiner. */
static bool is_word(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9); /* the last: letters in circles */
}

/* Whether [start, end) has a letter or digit beside it. */
static bool in_word(const char *text, size_t len, size_t start, size_t end) {
    uint32_t c;
    size_t p = start;
    while (p > 0 && ((uint8_t)text[--p] & 0xc0) == 0x80) continue;
    if (start > 0 && utf8_next(text + p, start - p, &c) && is_word(c)) return true;
    return end < len && utf8_next(text + end, len - end, &c) && is_word(c);
}

bool added_find(const added_t *a, bool normalized, bool plain, const char *text, size_t len, size_t at,
                const added_token_t **token, size_t *start, size_t *end) {
    size_t taken;
    if (a->n == 0 || (plain && !a->any_always)) return false;
    for (size_t i = at; i < len; i += taken) {
        taken = 1;
        if (!(a->begins[(uint8_t)text[i]] >> normalized & 1)) continue;
        const added_token_t *t = longest(a, normalized, plain, text + i, len - i, &taken);
        if (!t || (t->single_word && in_word(text, len, i, i + taken))) continue;
        *token = t;
        *start = t->lstrip ? spaces_before(text, at, i) : i;
        *end = t->rstrip ? spaces_after(text, len, i + taken) : i + taken;
        return true;
    }
    return false;
}
