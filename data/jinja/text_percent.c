/* format % values. */
#include "data/jinja/format.h"

#include <math.h>
#include <string.h>

typedef struct {
    render_t *r;
    const string_t *form;
    size_t at;
    value_t args;   /* the right operand */
    bool many;      /* it is a tuple, of which `next` is the first that was not used */
    size_t next, n; /* one value: n is 1 */
    bool markup;    /* what is written is escaped */
    builder_t text;
} percent_t;

static _Noreturn void fail_form(percent_t *p, const char *what) { jinja_fail(p->r, "%%-format: %s", what); }

static char peek(const percent_t *p) { return p->at < p->form->len ? p->form->p[p->at] : '\0'; }

static value_t next_value(percent_t *p) {
    if (p->next >= p->n) fail_form(p, "there are fewer values than the format has places");
    value_t v = p->many ? p->args.list->v[p->next] : p->args;
    p->next++;
    return v;
}

/* %(name)s: from a dict. */
static value_t named_value(percent_t *p) {
    size_t from = ++p->at;
    for (int depth = 1; depth > 0; p->at++) {
        if (p->at >= p->form->len) fail_form(p, "a '(' is not closed");
        depth += peek(p) == '(' ? 1 : peek(p) == ')' ? -1 : 0;
    }
    if (p->args.type != V_DICT) fail_form(p, "a name in a format needs a dict of values");
    value_t key = string_slice(p->r, p->form, from, p->at - 1), v;
    if (!dict_get(p->args.dict, key, &v)) jinja_fail(p->r, "%%-format: the dict has no '%s'", key.s->p);
    return v;
}

static int64_t read_size(percent_t *p) {
    int64_t n = 0;
    if (peek(p) == '*') {
        p->at++;
        n = value_integer(p->r, next_value(p), "the width of a format");
    } else {
        for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
            if (n <= FORMAT_MAX) n = n * 10 + (peek(p) - '0');
        }
    }
    if (n > FORMAT_MAX || n < -FORMAT_MAX) fail_form(p, "a width or precision is too large");
    return n;
}

static format_spec_t read_spec(percent_t *p) {
    format_spec_t spec = {.fill = " ", .fill_len = 1, .sign = '-', .precision = -1};
    bool zeros = false;
    for (; p->at < p->form->len && strchr("#0- +", peek(p)); p->at++) {
        char c = peek(p);
        if (c == '#') spec.alternate = true;
        if (c == '0') zeros = true;
        if (c == '-') spec.align = '<';
        if (c == '+' || (c == ' ' && spec.sign != '+')) spec.sign = c;
    }
    spec.width = read_size(p);
    if (spec.width < 0) {
        spec.align = '<';
        spec.width = -spec.width;
    }
    if (peek(p) == '.') {
        p->at++;
        spec.precision = read_size(p);
        if (spec.precision < 0) spec.precision = 0;
    }
    if (p->at < p->form->len && strchr("hlL", peek(p))) p->at++;
    if (zeros && !spec.align) spec.align = '0'; /* settled by the type */
    return spec;
}

static void zeros_in_front(format_spec_t *spec, bool number) {
    if (spec->align != '0') return;
    spec->align = number ? '=' : 0;
    if (number) spec->fill = "0";
}

/* The int that d, i, u see: a float is cut. */
static value_t integer_for(percent_t *p, value_t v, char type) {
    if (v.type == V_UNDEFINED) undefined_fail(p->r, v);
    if (v.type == V_FLOAT && type == 'd') {
        if (!(fabs(v.f) < 0x1p63)) fail_form(p, "a float is too large for %d");
        value_t cut = value_int((int64_t)v.f);
        cut.origin = v.origin;
        return cut;
    }
    if (!value_is_integer(v)) jinja_fail(p->r, "%%-format: %%%c needs a number; got a %s", type, value_type_name(v));
    return v;
}

static void write_number(percent_t *p, value_t v, format_spec_t spec) {
    zeros_in_front(&spec, true);
    if (strchr("dxXo", spec.type)) {
        format_integer(p->r, &p->text, integer_for(p, v, spec.type), &spec);
        return;
    }
    if (v.type == V_UNDEFINED) undefined_fail(p->r, v);
    if (!value_is_number(v))
        jinja_fail(p->r, "%%-format: %%%c needs a number; got a %s", spec.type, value_type_name(v));
    format_float(p->r, &p->text, v, &spec);
}

static void write_text(percent_t *p, value_t v, format_spec_t spec) {
    value_t text;
    if (spec.type == 'c') {
        if (v.type == V_STRING && count_chars(p->r, v.s) != 1) fail_form(p, "%c needs one character");
        text = v.type == V_STRING ? v : format_character(p->r, v);
        spec.precision = -1;
    } else {
        text = spec.type == 'r' ? value_repr(p->r, v) : p->markup ? value_soft(p->r, v) : value_str(p->r, v);
        if (p->markup) text = text_escape(p->r, text);
    }
    zeros_in_front(&spec, false);
    format_text(p->r, &p->text, text.s, &spec, '>');
}

static void write_place(percent_t *p) {
    bool named = peek(p) == '(';
    value_t v = named ? named_value(p) : value_none();
    format_spec_t spec = read_spec(p);
    char type = peek(p);
    if (type == '\0') fail_form(p, "it ends within a place");
    p->at++;
    if (type == '%') {
        build_bytes(p->r, &p->text, "%", 1, string_origin(p->form, p->at - 1));
        return;
    }
    if (!strchr("diuoxXeEfFgGcrs", type)) jinja_fail(p->r, "%%-format: %%%c is not supported", type);
    if (!named) v = next_value(p);
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    if (strchr("crs", type)) {
        write_text(p, v, spec);
    } else {
        write_number(p, v, spec);
    }
}

/* What Python takes for a mapping here: values that the format does not use are then no error. */
static bool is_mapping(value_t v) {
    return v.type == V_DICT || v.type == V_LIST || v.type == V_UNDEFINED ||
           (v.type == V_VIEW && v.list->kind == LIST_RANGE);
}

value_t text_percent(render_t *r, value_t format, value_t args) {
    percent_t p = {.r = r, .form = format.s, .args = args, .markup = format.markup, .many = args.type == V_TUPLE};
    p.n = p.many ? args.list->n : 1;
    while (p.at < p.form->len) {
        const char *mark = memchr(p.form->p + p.at, '%', p.form->len - p.at);
        size_t end = mark ? (size_t)(mark - p.form->p) : p.form->len;
        build_string(r, &p.text, p.form, p.at, end);
        p.at = end;
        if (!mark) break;
        p.at++;
        jinja_steps(r, 1);
        write_place(&p);
    }
    if (p.next < p.n && !is_mapping(args)) fail_form(&p, "there are more values than the format has places");
    value_t text = build_end(r, &p.text);
    text.markup = format.markup;
    return text;
}
