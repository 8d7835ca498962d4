#include "base/names.h"

#include <string.h>

#include "base/mem.h"

/* Names are short; what is longer is no misspelling of one. */
#define NAME_MAX_LEN ((size_t)63)

static char folded(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t min2(size_t a, size_t b) { return a < b ? a : b; }

/* Damerau-Levenshtein distance in its "optimal string alignment" form: insertion, deletion, substitution and
 * the swap of two neighbours cost 1 each. Case, and '-' against '_', cost nothing. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][NAME_MAX_LEN + 1];
    size_t *before = rows[0], *prev = rows[1], *cur = rows[2];
    for (size_t j = 0; j <= m; j++) prev[j] = j;
    for (size_t i = 1; i <= n; i++) {
        cur[0] = i;
        for (size_t j = 1; j <= m; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            size_t d = min2(min2(prev[j], cur[j - 1]) + 1, prev[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y) d = min2(d, before[j - 2] + 1);
            cur[j] = d;
        }
        size_t *oldest = before;
        before = prev;
        prev = cur;
        cur = oldest;
    }
    return prev[m];
}

const char *closest_name(const char *word, const char *const *names, size_t n) {
    size_t len = strlen(word), best = 0;
    const char *found = NULL;
    if (len == 0 || len > NAME_MAX_LEN) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = strlen(names[i]);
        if (m == 0 || m > NAME_MAX_LEN) continue;
        /* Near: at most a third of the letters differ. Of one or two letters none may, or anything would be near. */
        size_t d = edit_distance(word, len, names[i], m), limit = (len > m ? len : m) / 3;
        if (d <= limit && (!found || d < best)) {
            found = names[i];
            best = d;
        }
    }
    return found;
}

char *name_list(const char *const *names, size_t n) {
    strbuf_t b = {0};
    for (size_t i = 0; i < n; i++) {
        if (i > 0) strbuf_adds(&b, i + 1 < n ? ", " : " or ");
        strbuf_adds(&b, names[i]);
    }
    return b.p;
}

bool name_is_among(const char *name, const char *const *names) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

size_t name_count(const char *const *names) {
    size_t n = 0;
    while (names[n]) n++;
    return n;
}
