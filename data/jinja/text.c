/* Texts cut, joined, searched and replaced; every character kept keeps its origin. */
#include "data/jinja/library.h"

#include <string.h>

/* ---- search --------------------------------------------------------------------------------------------- */

static bool matches(render_t *r, const string_t *s, const string_t *needle, size_t at) {
    if (s->p[at] != needle->p[0] || needle->len > s->len - at) return false;
    jinja_steps(r, 1 + needle->len / 64);
    return memcmp(s->p + at, needle->p, needle->len) == 0;
}

size_t text_find(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to) {
    if (from > to || needle->len > to - from) return NOT_FOUND;
    if (needle->len == 0) return from;
    jinja_steps(r, (to - from) / 64);
    for (size_t last = to - needle->len; from <= last; from++) {
        const char *p = memchr(s->p + from, needle->p[0], last - from + 1);
        if (!p) return NOT_FOUND;
        from = (size_t)(p - s->p);
        if (matches(r, s, needle, from)) return from;
    }
    return NOT_FOUND;
}

size_t text_rfind(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to) {
    if (from > to || needle->len > to - from) return NOT_FOUND;
    if (needle->len == 0) return to;
    jinja_steps(r, (to - from) / 64);
    for (size_t at = to - needle->len + 1; at-- > from;) {
        if (matches(r, s, needle, at)) return at;
    }
    return NOT_FOUND;
}

/* Where the next character begins; behind the last: one byte past the end. */
static size_t next_character(const string_t *s, size_t at) {
    size_t n = 1;
    if (at < s->len) text_char(s->p, s->len, at, &n);
    return at + n;
}

size_t text_count(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to) {
    size_t count = 0;
    for (size_t at; from <= to && (at = text_find(r, s, needle, from, to)) != NOT_FOUND; count++) {
        from = needle->len > 0 ? at + needle->len : next_character(s, at);
    }
    return count;
}

bool text_all_digits(const string_t *s) {
    for (size_t i = 0; i < s->len; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') return false;
    }
    return s->len > 0;
}

/* ---- making --------------------------------------------------------------------------------------------- */

value_t text_replace(render_t *r, const string_t *s, const string_t *old, const string_t *with, int64_t count) {
    builder_t text = {0};
    size_t done = 0, from = 0, at;
    for (; count != 0 && from <= s->len && (at = text_find(r, s, old, from, s->len)) != NOT_FOUND; count--) {
        build_string(r, &text, s, done, at);
        build_string(r, &text, with, 0, with->len);
        done = at + old->len;
        from = old->len > 0 ? done : next_character(s, at);
    }
    if (done == 0 && text.len == 0 && from == 0) return (value_t){.type = V_STRING, .s = s};
    build_string(r, &text, s, done, s->len);
    return build_end(r, &text);
}

value_t text_join(render_t *r, const string_t *separator, const list_t *strings) {
    builder_t text = {0};
    for (size_t i = 0; i < strings->n; i++) {
        const string_t *s = strings->v[i].s;
        if (i > 0) build_string(r, &text, separator, 0, separator->len);
        build_string(r, &text, s, 0, s->len);
    }
    return build_end(r, &text);
}

value_t text_repeat(render_t *r, const string_t *s, int64_t times) {
    builder_t text = {0};
    if (s->len == 0) times = 0;
    if (times > 0 && (size_t)times > JINJA_MAX_MEMORY / s->len) {
        jinja_fail(r, "a text of %zu bytes %lld times is too long", s->len, (long long)times);
    }
    for (; times > 0; times--) build_string(r, &text, s, 0, s->len);
    return build_end(r, &text);
}

value_t text_pad(render_t *r, const string_t *s, int64_t width, const string_t *fill, char align) {
    int64_t chars = (int64_t)count_chars(r, s);
    if (width <= chars) return (value_t){.type = V_STRING, .s = s};
    int64_t pad = width - chars, before = align == '<' ? 0 : align == '>' ? pad : pad / 2 + (pad & width & 1);
    builder_t text = {0};
    const string_t *left = text_repeat(r, fill, before).s, *right = text_repeat(r, fill, pad - before).s;
    build_string(r, &text, left, 0, left->len);
    build_string(r, &text, s, 0, s->len);
    build_string(r, &text, right, 0, right->len);
    return build_end(r, &text);
}

static const char *html_escape(char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '\'': return "&#39;";
    case '"': return "&#34;";
    default: return NULL;
    }
}

value_t text_escape(render_t *r, value_t v) {
    if (v.type == V_STRING && v.markup) return v;
    const string_t *s = value_str(r, v).s;
    builder_t text = {0};
    size_t done = 0;
    jinja_steps(r, s->len / 64);
    for (size_t i = 0; i < s->len; i++) {
        const char *escape = html_escape(s->p[i]);
        if (!escape) continue;
        build_string(r, &text, s, done, i);
        build_bytes(r, &text, escape, strlen(escape), string_origin(s, i));
        done = i + 1;
    }
    if (done == 0) return (value_t){.type = V_STRING, .markup = true, .s = s};
    build_string(r, &text, s, done, s->len);
    return value_markup(build_end(r, &text));
}

/* ---- ends and lines ------------------------------------------------------------------------------------- */

static bool is_stripped(render_t *r, const string_t *s, size_t at, size_t n, int32_t c, const string_t *chars) {
    if (!chars) return char_space(c);
    string_t one = {.p = s->p + at, .len = n};
    return text_find(r, chars, &one, 0, chars->len) != NOT_FOUND;
}

value_t text_strip(render_t *r, const string_t *s, const string_t *chars, int sides) {
    size_t from = 0, to = s->len, n;
    while ((sides & 1) && from < to) {
        int32_t c = text_char(s->p, s->len, from, &n);
        if (!is_stripped(r, s, from, n, c, chars)) break;
        from += n;
    }
    while ((sides & 2) && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s->p[at] & 0xc0) == 0x80) at--;
        int32_t c = text_char(s->p, s->len, at, &n);
        if (!is_stripped(r, s, at, to - at, c, chars)) break;
        to = at;
    }
    jinja_steps(r, (s->len - (to - from)) / 16);
    return string_slice(r, s, from, to);
}

/* Bytes of the end of line at byte i; 0: there is none. */
static size_t line_end(const string_t *s, size_t i) {
    size_t n;
    int32_t c = text_char(s->p, s->len, i, &n);
    if (c == '\r') return i + 1 < s->len && s->p[i + 1] == '\n' ? 2 : 1;
    bool end = (c >= '\n' && c <= '\f') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    return end ? n : 0;
}

static size_t count_lines(const string_t *s) {
    size_t n = 0, last = 0, bytes;
    for (size_t i = 0; i < s->len; i += bytes) {
        bytes = line_end(s, i);
        if (bytes > 0) {
            n++;
            last = i + bytes;
        } else {
            text_char(s->p, s->len, i, &bytes);
        }
    }
    return last < s->len ? n + 1 : n;
}

list_t *text_lines(render_t *r, const string_t *s, bool keep_ends) {
    jinja_steps(r, s->len / 4);
    list_t *lines = value_list(r, V_LIST, count_lines(s)).list;
    size_t from = 0;
    for (size_t k = 0; k < lines->n; k++) {
        size_t at = from, end = 0, n;
        while (at < s->len && (end = line_end(s, at)) == 0) {
            text_char(s->p, s->len, at, &n);
            at += n;
        }
        lines->v[k] = string_slice(r, s, from, keep_ends ? at + end : at);
        from = at + end;
    }
    return lines;
}
