#include "data/odd_json.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In front of the replacement: U+FFFF is no character, and these bytes stand in no text. */
#define MARK "\xef\xbf\xbfodd\xef\xbf\xbf"
#define MARK_LEN (sizeof MARK - 1)

/* The bytes of a string with its quotes; n: it does not end. */
static size_t string_extent(const char *s, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (s[i] == '"') return i + 1;
        if (s[i] == '\\') i++;
    }
    return n;
}

static bool in_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' ||
           c == '.';
}

/* Of a number or a name such as true. */
static size_t word_extent(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && in_word(s[i])) i++;
    return i;
}

size_t json_extent(const char *s, size_t n) {
    size_t depth = 0;
    for (size_t i = 0; i < n;) {
        size_t k = s[i] == '"' ? string_extent(s + i, n - i) : word_extent(s + i, n - i);
        if (k == 0) {
            k = 1;
            if (s[i] == '{' || s[i] == '[') depth++;
            else if (s[i] == '}' || s[i] == ']') depth -= depth > 0;
        }
        i += k;
        if (depth == 0) return i;
    }
    return n;
}

static bool is_name(const char *s, size_t n, const char *name) { return n == strlen(name) && memcmp(s, name, n) == 0; }

static bool odd_word(const char *s, size_t n) {
    char word[400];
    if (is_name(s, n, "NaN") || is_name(s, n, "Infinity") || is_name(s, n, "-Infinity")) return true;
    if (n < 4 || !(s[0] == '-' || (s[0] >= '0' && s[0] <= '9'))) return false;
    if (n >= sizeof word) return true;
    memcpy(word, s, n);
    word[n] = 0;
    errno = 0;
    if (strpbrk(word, ".eE")) return isinf(strtod(word, NULL));
    strtoll(word, NULL, 10);
    return errno == ERANGE;
}

/* The number of \uXXXX at s, -1: it is none. */
static long escape(const char *s, size_t n) {
    char hex[5] = {0}, *end;
    if (n < 6 || s[0] != '\\' || s[1] != 'u') return -1;
    memcpy(hex, s + 2, 4);
    long v = strtol(hex, &end, 16);
    return end == hex + 4 ? v : -1;
}

/* Half of a surrogate pair, which no UTF-8 can hold. */
static bool odd_string(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '\\') continue;
        long u = escape(s + i, n - i);
        if (u >= 0xd800 && u < 0xdc00) {
            long low = escape(s + i + 6, n - i - 6);
            if (low < 0xdc00 || low >= 0xe000) return true;
            i += 11;
        } else if (u >= 0xdc00 && u < 0xe000) {
            return true;
        } else {
            i++;
        }
    }
    return false;
}

static void add_replaced(strbuf_t *out, const char *s, size_t n) {
    strbuf_adds(out, "\"" MARK);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\') strbuf_adds(out, "\\");
        strbuf_add(out, s + i, 1);
    }
    strbuf_adds(out, "\"");
}

bool odd_json_replace(const char *s, size_t n, strbuf_t *out) {
    bool odd = false;
    for (size_t i = 0; i < n;) {
        bool string = s[i] == '"';
        size_t k = string ? string_extent(s + i, n - i) : word_extent(s + i, n - i);
        bool replace = string ? odd_string(s + i, k) : odd_word(s + i, k);
        if (replace) add_replaced(out, s + i, k);
        else strbuf_add(out, s + i, k = k ? k : 1);
        odd |= replace;
        i += k;
    }
    return odd;
}

/* What stood in place of a text, NULL: it is itself. */
static const char *replaced(const char *text, size_t n) {
    return n > MARK_LEN && memcmp(text, MARK, MARK_LEN) == 0 ? text + MARK_LEN : NULL;
}

static const char *replaced_value(const json_t *v) {
    return json_is_string(v) ? replaced(json_string_value(v), json_string_length(v)) : NULL;
}

bool odd_json_is(const json_t *v) { return replaced_value(v) != NULL; }

/* What stood in place of the first odd value or key. */
static const char *find(const json_t *v) {
    const char *found = replaced_value(v), *key;
    json_t *inner;
    size_t i;
    if (json_is_array(v)) {
        json_array_foreach(v, i, inner) if (!found) found = find(inner);
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, inner) {
            if (!found) found = replaced(key, strlen(key));
            if (!found) found = find(inner);
        }
    }
    return found;
}

int odd_json_refuse(const json_t *v, err_t *err) {
    const char *text = find(v);
    if (!text) return 0;
    return err_set(err, ERR_USAGE, "%.60s: %s", text,
                   *text == '"' ? "half of a surrogate pair; expected text that UTF-8 can hold"
                                : "expected a finite number of at most 64 bits");
}
