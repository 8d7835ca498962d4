#include "data/jinja/lexer.h"

#include <string.h>
#include <utf8proc.h>

#include "data/jinja/ast.h"

typedef struct {
    render_t *r;
    const char *s; /* line ends are \n */
    size_t n, at;
    size_t placed;              /* s[placed] is at r->place */
    bool line_starts;           /* what was read last ended with a line end */
    char open[JINJA_MAX_DEPTH]; /* the brackets to be closed */
    size_t n_open;
    tokens_t out;
} lexer_t;

/* ---- characters ----------------------------------------------------------------------------------------- */

/* How many bytes the white space at s[at] takes, as Python has white space; 0: there is none. */
static size_t space_at(const char *s, size_t n, size_t at) {
    const unsigned char *p = (const unsigned char *)s + at;
    size_t left = n - at;
    if (left == 0) return 0;
    if (p[0] < 0x80) return p[0] == ' ' || (p[0] >= 9 && p[0] <= 13) || (p[0] >= 0x1c && p[0] <= 0x1f);
    if (left >= 2 && p[0] == 0xc2) return p[1] == 0x85 || p[1] == 0xa0 ? 2 : 0;
    if (left < 3) return 0;
    uint32_t c = (uint32_t)(p[0] << 16 | p[1] << 8 | p[2]);
    bool space = c == 0xe19a80 || (c >= 0xe28080 && c <= 0xe2808a) || c == 0xe280a8 || c == 0xe280a9 || c == 0xe280af ||
                 c == 0xe2819f || c == 0xe38080;
    return space ? 3 : 0;
}

static size_t skip_space(const lexer_t *x, size_t at) {
    for (size_t k; (k = space_at(x->s, x->n, at)) > 0;) at += k;
    return at;
}

/* Where [from, to) ends without the white space at its end. */
static size_t strip_end(const lexer_t *x, size_t from, size_t to) {
    while (to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)x->s[start] & 0xc0) == 0x80) start--;
        if (space_at(x->s, to, start) != to - start) break;
        to = start;
    }
    return to;
}

static bool text_at(const lexer_t *x, size_t at, const char *text) {
    size_t n = strlen(text);
    return x->n - at >= n && memcmp(x->s + at, text, n) == 0;
}

/* Forward only. */
static void place_at(lexer_t *x, size_t at) {
    jinja_place_t *p = &x->r->place;
    for (; x->placed < at; x->placed++) {
        if (x->s[x->placed] == '\n') {
            p->line++;
            p->column = 1;
        } else if (((unsigned char)x->s[x->placed] & 0xc0) != 0x80) {
            p->column++;
        }
    }
}

static token_t *add_token(lexer_t *x, token_type_t type) {
    if (x->out.n == x->out.cap) {
        size_t cap = x->out.cap ? 2 * x->out.cap : 64;
        token_t *v = jinja_alloc(x->r, cap * sizeof *v);
        if (x->out.n) memcpy(v, x->out.v, x->out.n * sizeof *v);
        x->out.v = v;
        x->out.cap = cap;
    }
    token_t *t = &x->out.v[x->out.n++];
    t->type = type;
    t->place = x->r->place;
    return t;
}

/* ---- inside a tag --------------------------------------------------------------------------------------- */

static void close_bracket(lexer_t *x, char c) {
    if (x->n_open == 0) jinja_fail(x->r, "unexpected '%c'", c);
    char open = x->open[--x->n_open], expected = open == '(' ? ')' : open == '[' ? ']' : '}';
    if (c != expected) jinja_fail(x->r, "unexpected '%c'; expected '%c'", c, expected);
}

static void read_operator(lexer_t *x) {
    static const struct {
        const char *text;
        char op;
    } two[] = {{"//", OP_FLOORDIV}, {"**", OP_POW}, {"==", OP_EQ}, {"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE}};
    char c = x->s[x->at];
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (!text_at(x, x->at, two[i].text)) continue;
        add_token(x, T_OP)->op = two[i].op;
        x->at += 2;
        return;
    }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) jinja_fail(x->r, "unexpected character");
    if (strchr("([{", c)) {
        if (x->n_open == JINJA_MAX_DEPTH) jinja_fail(x->r, "brackets nested more than %d deep", JINJA_MAX_DEPTH);
        x->open[x->n_open++] = c;
    } else if (strchr(")]}", c)) {
        close_bracket(x, c);
    }
    add_token(x, T_OP)->op = c;
    x->at++;
}

/* How many bytes of a name s[at] is; 0: it is not part of one. */
static size_t name_part(const lexer_t *x, size_t at) {
    if (at >= x->n) return 0;
    unsigned char c = (unsigned char)x->s[at];
    if (c < 0x80) return c == '_' || (c >= '0' && c <= '9') || (c | 32u) - 'a' < 26u;
    utf8proc_int32_t code;
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)x->s + at, (utf8proc_ssize_t)(x->n - at), &code);
    utf8proc_category_t kind = utf8proc_category(code);
    bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
    bool mark = kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ND ||
                kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_PC;
    return letter || mark ? (size_t)k : 0;
}

static void read_name(lexer_t *x) {
    size_t from = x->at;
    for (size_t k; (k = name_part(x, x->at)) > 0;) x->at += k;
    add_token(x, T_NAME)->value = value_text(x->r, x->s + from, x->at - from, 0);
}

static void read_number(lexer_t *x) {
    value_t v = literal_number(x->r, x->s, x->n, x->at, &x->at);
    add_token(x, v.type == V_INT ? T_INT : T_FLOAT)->value = v;
}

/* Behind the end of the tag if it is at `at`; 0: it is not. */
static size_t tag_end(const lexer_t *x, size_t at, const char *end, bool trims) {
    if (text_at(x, at, end)) return at + 2 + (trims && at + 2 < x->n && x->s[at + 2] == '\n');
    if (at >= x->n || !text_at(x, at + 1, end)) return 0;
    if (x->s[at] == '-') return skip_space(x, at + 3);
    return x->s[at] == '+' && trims ? at + 3 : 0;
}

/* One token, or the end of the tag (false). */
static bool read_token(lexer_t *x, const char *end, token_type_t end_type) {
    x->at = skip_space(x, x->at);
    place_at(x, x->at);
    if (x->at >= x->n) return false;
    size_t behind = x->n_open ? 0 : tag_end(x, x->at, end, end_type == T_BLOCK_END);
    if (behind) {
        add_token(x, end_type);
        x->at = behind;
        return false;
    }
    char c = x->s[x->at];
    if (c >= '0' && c <= '9') {
        read_number(x);
    } else if (name_part(x, x->at)) {
        read_name(x);
    } else if (c == '\'' || c == '"') {
        value_t v = literal_string(x->r, x->s, x->n, x->at + 1, &x->at);
        add_token(x, T_STRING)->value = v;
    } else {
        read_operator(x);
    }
    return true;
}

static void read_tag(lexer_t *x, const char *end, token_type_t begin_type, token_type_t end_type) {
    add_token(x, begin_type);
    x->n_open = 0;
    while (read_token(x, end, end_type)) {}
}

/* ---- between tags --------------------------------------------------------------------------------------- */

/* The first tag from `at`, or n. */
static size_t find_tag(const lexer_t *x, size_t at) {
    for (; at + 1 < x->n; at++) {
        const char *p = memchr(x->s + at, '{', x->n - at - 1);
        if (!p) break;
        at = (size_t)(p - x->s);
        if (p[1] == '{' || p[1] == '%' || p[1] == '#') return at;
    }
    return x->n;
}

/* The text [from, to) in front of a tag, whose sign ('-', '+' or any other character) is given. */
static void add_data(lexer_t *x, size_t from, size_t to, char sign, bool lstrips) {
    size_t end = to;
    if (sign == '-') {
        end = strip_end(x, from, to);
    } else if (sign != '+' && lstrips) {
        size_t line = to;
        while (line > from && x->s[line - 1] != '\n') line--;
        if ((line > from || x->line_starts) && strip_end(x, line, to) == line) end = line;
    }
    place_at(x, from);
    if (end > from) add_token(x, T_DATA)->value = value_text(x->r, x->s + from, end - from, 0);
}

static size_t skip_sign(const lexer_t *x, size_t at) {
    return at + (at < x->n && (x->s[at] == '-' || x->s[at] == '+'));
}

/* Behind `{% WORD` with any sign and white space; 0: that is not at `at`. */
static size_t word_tag(const lexer_t *x, size_t at, const char *word) {
    if (!text_at(x, at, "{%")) return 0;
    at = skip_space(x, skip_sign(x, at + 2));
    return text_at(x, at, word) ? skip_space(x, at + strlen(word)) : 0;
}

/* Behind the `{% raw %}` at `at`; 0: there is none. No line end is taken off behind it. */
static size_t raw_begin(const lexer_t *x, size_t at) {
    size_t end = word_tag(x, at, "raw");
    if (end && text_at(x, end, "%}")) return end + 2;
    return end && text_at(x, end, "-%}") ? skip_space(x, end + 3) : 0;
}

static void read_raw(lexer_t *x, size_t from) {
    size_t at = from, end, behind;
    if (from >= x->n) {
        x->at = x->n; /* as Jinja has it: with nothing behind it, it needs no end */
        return;
    }
    for (;; at++) {
        at = find_tag(x, at);
        if (at >= x->n) jinja_fail(x->r, "a raw block without an end; expected {%% endraw %%}");
        end = word_tag(x, at, "endraw");
        if (end && (behind = tag_end(x, end, "%}", true)) > 0) break;
    }
    add_data(x, from, at, x->s[at + 2], true);
    x->at = behind;
}

static void read_comment(lexer_t *x, size_t from) {
    if (from >= x->n) {
        x->at = x->n;
        return;
    }
    for (size_t at = from; at < x->n; at++) {
        const char *p = memchr(x->s + at, '#', x->n - at);
        if (!p) break;
        at = (size_t)(p - x->s);
        if (!text_at(x, at, "#}")) continue;
        size_t start = at > from && (x->s[at - 1] == '-' || x->s[at - 1] == '+') ? at - 1 : at;
        x->at = tag_end(x, start, "#}", true);
        return;
    }
    jinja_fail(x->r, "a comment without an end; expected #}");
}

/* The text up to the next tag, and the tag. */
static void read_piece(lexer_t *x) {
    size_t tag = find_tag(x, x->at);
    if (tag >= x->n) {
        place_at(x, x->at);
        add_token(x, T_DATA)->value = value_text(x->r, x->s + x->at, x->n - x->at, 0);
        x->at = x->n;
        return;
    }
    char kind = x->s[tag + 1];
    size_t raw = raw_begin(x, tag);
    add_data(x, x->at, tag, tag + 2 < x->n ? x->s[tag + 2] : 0, kind != '{');
    place_at(x, tag);
    x->at = skip_sign(x, tag + 2);
    x->line_starts = raw && x->s[raw - 1] == '\n';
    if (raw) {
        read_raw(x, raw);
    } else if (kind == '#') {
        read_comment(x, x->at);
    } else if (kind == '%') {
        read_tag(x, "%}", T_BLOCK_BEGIN, T_BLOCK_END);
    } else {
        read_tag(x, "}}", T_OUTPUT_BEGIN, T_OUTPUT_END);
    }
    x->line_starts = x->s[x->at - 1] == '\n';
}

/* With all line ends as \n, and without one at the end. */
static void normalise(lexer_t *x, const char *text, size_t len) {
    char *s = jinja_alloc(x->r, len + 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n') continue;
        s[x->n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (x->n && s[x->n - 1] == '\n') x->n--;
    x->s = s;
}

tokens_t jinja_tokens(render_t *r, const char *text, size_t len) {
    lexer_t x = {.r = r, .line_starts = true};
    r->place = (jinja_place_t){1, 1};
    normalise(&x, text, len);
    while (x.at < x.n) read_piece(&x);
    place_at(&x, x.n);
    add_token(&x, T_END);
    return x.out;
}
