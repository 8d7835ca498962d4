#include "data/jinja/parser.h"

#include <string.h>

/* What an expression may be high; the evaluator recurses that deep. */
enum { MAX_HEIGHT = 500 };

static expr_t *parse_or(parser_t *p);
static expr_t *parse_unary(parser_t *p, bool with_filters);
static expr_t *parse_primary(parser_t *p);

expr_t *new_expr(parser_t *p, expr_kind_t kind, jinja_place_t place, uint32_t height) {
    if (height >= MAX_HEIGHT) {
        p->r.place = place;
        jinja_fail(&p->r, "an expression of more than %d steps in a row", MAX_HEIGHT);
    }
    expr_t *e = jinja_alloc(&p->r, sizeof *e);
    e->kind = kind;
    e->place = place;
    e->height = height + 1;
    return e;
}

static uint32_t higher(uint32_t height, const expr_t *e) { return e && e->height > height ? e->height : height; }

static expr_t *binary(parser_t *p, expr_kind_t kind, char op, jinja_place_t place, expr_t *a, expr_t *b) {
    expr_t *e = new_expr(p, kind, place, higher(a->height, b));
    e->of.a = a;
    e->of.b = b;
    e->of.op = op;
    return e;
}

static expr_t *unary(parser_t *p, expr_kind_t kind, jinja_place_t place, expr_t *a) {
    expr_t *e = new_expr(p, kind, place, a->height);
    e->of.a = a;
    return e;
}

static expr_t *constant(parser_t *p, jinja_place_t place, value_t v) {
    expr_t *e = new_expr(p, E_CONST, place, 0);
    e->constant = v;
    return e;
}

static expr_t *sequence(parser_t *p, expr_kind_t kind, jinja_place_t place, const pointers_t *items) {
    uint32_t height = 0;
    for (size_t i = 0; i < items->n; i++) height = higher(height, items->v[i]);
    expr_t *e = new_expr(p, kind, place, height);
    e->items.v = (expr_t **)items->v;
    e->items.n = items->n;
    return e;
}

/* ---- what has a rank ------------------------------------------------------------------------------------ */

expr_t *parse_expression(parser_t *p) {
    enter_nested(p);
    expr_t *e = parse_or(p);
    while (at_word(p, "if")) {
        jinja_place_t place = (p->tok++)->place;
        expr_t *test = parse_or(p), *otherwise = skip_word(p, "else") ? parse_expression(p) : NULL;
        expr_t *whole = new_expr(p, E_IF, place, higher(higher(e->height, test), otherwise));
        whole->of.a = e;
        whole->of.b = test;
        whole->of.c = otherwise;
        e = whole;
    }
    leave_nested(p);
    return e;
}

static expr_t *parse_power(parser_t *p) {
    expr_t *e = parse_unary(p, true);
    while (at_op(p, OP_POW)) {
        jinja_place_t place = (p->tok++)->place;
        e = binary(p, E_BINARY, 'p', place, e, parse_unary(p, true));
    }
    return e;
}

/* Left to right: `next` and the operators of `ops` between. */
static expr_t *parse_chain(parser_t *p, const char *ops, expr_t *(*next)(parser_t *)) {
    expr_t *e = next(p);
    while (p->tok->type == T_OP && strchr(ops, p->tok->op)) {
        const token_t *op = p->tok++;
        e = binary(p, E_BINARY, op->op, op->place, e, next(p));
    }
    return e;
}

static expr_t *parse_product(parser_t *p) { return parse_chain(p, "*/%f", parse_power); }
static expr_t *parse_joined(parser_t *p) { return parse_chain(p, "~", parse_product); }
static expr_t *parse_sum(parser_t *p) { return parse_chain(p, "+-", parse_joined); }

/* The comparison at hand, which is skipped; 0: there is none. */
static char skip_comparison(parser_t *p) {
    if (p->tok->type == T_OP && strchr("en<>lg", p->tok->op)) return (p->tok++)->op;
    if (skip_word(p, "in")) return OP_IN;
    if (!at_word(p, "not") || !token_is_word(p->tok + 1, "in")) return 0;
    p->tok += 2;
    return OP_NOT_IN;
}

static expr_t *parse_comparison(parser_t *p) {
    jinja_place_t place = p->tok->place;
    expr_t *first = parse_sum(p);
    pointers_t items = {0};
    builder_t ops = {0};
    for (char op; (op = skip_comparison(p)) != 0;) {
        if (items.n == 0) {
            place = p->tok[-1].place;
            pointers_add(p, &items, first);
        }
        build_bytes(&p->r, &ops, &op, 1, 0);
        pointers_add(p, &items, parse_sum(p));
    }
    if (items.n == 0) return first;
    expr_t *e = sequence(p, E_COMPARE, place, &items);
    e->items.ops = ops.p;
    return e;
}

static expr_t *parse_not(parser_t *p) {
    if (!at_word(p, "not")) return parse_comparison(p);
    enter_nested(p);
    jinja_place_t place = (p->tok++)->place;
    expr_t *e = unary(p, E_NOT, place, parse_not(p));
    leave_nested(p);
    return e;
}

static expr_t *parse_and(parser_t *p) {
    expr_t *e = parse_not(p);
    while (at_word(p, "and")) {
        jinja_place_t place = (p->tok++)->place;
        e = binary(p, E_AND, 0, place, e, parse_not(p));
    }
    return e;
}

static expr_t *parse_or(parser_t *p) {
    expr_t *e = parse_and(p);
    while (at_word(p, "or")) {
        jinja_place_t place = (p->tok++)->place;
        e = binary(p, E_OR, 0, place, e, parse_and(p));
    }
    return e;
}

static bool at_tuple_end(const parser_t *p, const char *end_word) {
    token_type_t type = p->tok->type;
    if (type == T_OUTPUT_END || type == T_BLOCK_END || at_op(p, ')')) return true;
    return end_word && at_word(p, end_word);
}

expr_t *parse_tuple(parser_t *p, bool with_if, const char *end_word) {
    pointers_t items = {0};
    jinja_place_t place = p->tok->place;
    bool tuple = false;
    while (!at_tuple_end(p, end_word)) {
        pointers_add(p, &items, with_if ? parse_expression(p) : parse_or(p));
        if (!skip_op(p, ',')) break;
        tuple = true;
    }
    if (!tuple && items.n == 0) parse_failed(p, "an expression");
    return tuple ? sequence(p, E_TUPLE, place, &items) : items.v[0];
}

/* ---- literals, names, brackets -------------------------------------------------------------------------- */

static expr_t *parse_name(parser_t *p) {
    jinja_place_t place = p->tok->place;
    const char *text = (p->tok++)->value.s->p;
    if (strcmp(text, "true") == 0 || strcmp(text, "True") == 0) return constant(p, place, value_bool(true));
    if (strcmp(text, "false") == 0 || strcmp(text, "False") == 0) return constant(p, place, value_bool(false));
    if (strcmp(text, "none") == 0 || strcmp(text, "None") == 0) return constant(p, place, value_none());
    name_t name = use_name(p, text, NAME_READ);
    expr_t *e = new_expr(p, E_NAME, place, 0);
    e->name = name;
    return e;
}

static expr_t *parse_strings(parser_t *p) {
    const token_t *first = p->tok++;
    if (p->tok->type != T_STRING) return constant(p, first->place, first->value);
    builder_t b = {0};
    build_string(&p->r, &b, first->value.s, 0, first->value.s->len);
    for (; p->tok->type == T_STRING; p->tok++) build_string(&p->r, &b, p->tok->value.s, 0, p->tok->value.s->len);
    return constant(p, first->place, build_end(&p->r, &b));
}

static expr_t *parse_list(parser_t *p) {
    jinja_place_t place = (p->tok++)->place;
    pointers_t items = {0};
    while (!at_op(p, ']')) {
        pointers_add(p, &items, parse_expression(p));
        if (!skip_op(p, ',')) break;
    }
    expect_op(p, ']');
    return sequence(p, E_LIST, place, &items);
}

static expr_t *parse_dict(parser_t *p) {
    jinja_place_t place = (p->tok++)->place;
    pointers_t items = {0};
    while (!at_op(p, '}')) {
        pointers_add(p, &items, parse_expression(p));
        expect_op(p, ':');
        pointers_add(p, &items, parse_expression(p));
        if (!skip_op(p, ',')) break;
    }
    expect_op(p, '}');
    return sequence(p, E_DICT, place, &items);
}

/* ( ... ): an expression, or a tuple, which may be empty. */
static expr_t *parse_parentheses(parser_t *p) {
    jinja_place_t place = (p->tok++)->place;
    pointers_t none = {0};
    expr_t *e = at_op(p, ')') ? sequence(p, E_TUPLE, place, &none) : parse_tuple(p, true, NULL);
    expect_op(p, ')');
    return e;
}

static expr_t *parse_primary(parser_t *p) {
    switch (p->tok->type) {
    case T_NAME: return parse_name(p);
    case T_STRING: return parse_strings(p);
    case T_INT:
    case T_FLOAT: p->tok++; return constant(p, p->tok[-1].place, p->tok[-1].value);
    default: break;
    }
    if (at_op(p, '(')) return parse_parentheses(p);
    if (at_op(p, '[')) return parse_list(p);
    if (at_op(p, '{')) return parse_dict(p);
    parse_failed(p, "an expression");
}

/* ---- what follows an operand ---------------------------------------------------------------------------- */

static expr_t *subscript(parser_t *p, jinja_place_t place, expr_t *of, expr_t *key) {
    return binary(p, E_ITEM, 0, place, of, key);
}

static expr_t *parse_attribute(parser_t *p, expr_t *of) {
    p->tok++;
    const token_t *name = p->tok++;
    if (name->type == T_INT) return subscript(p, name->place, of, constant(p, name->place, name->value));
    if (name->type != T_NAME) {
        p->tok = name;
        parse_failed(p, "a name or a number");
    }
    expr_t *e = new_expr(p, E_ATTRIBUTE, name->place, of->height);
    e->attribute.of = of;
    e->attribute.name = name->value.s->p;
    return e;
}

static bool at_slice_end(const parser_t *p) { return at_op(p, ']') || at_op(p, ',') || at_op(p, ':'); }

/* What is behind the first part of [start:stop:step], at the colon. */
static expr_t *parse_slice(parser_t *p, jinja_place_t place, expr_t *of, expr_t *start) {
    expr_t *stop = NULL, *step = NULL;
    p->tok++;
    if (!at_slice_end(p)) stop = parse_expression(p);
    if (skip_op(p, ':') && !at_slice_end(p)) step = parse_expression(p);
    expr_t *e = new_expr(p, E_SLICE, place, higher(higher(higher(of->height, start), stop), step));
    e->of.a = of;
    e->of.b = start;
    e->of.c = stop;
    e->of.d = step;
    return e;
}

static expr_t *parse_subscript(parser_t *p, expr_t *of) {
    jinja_place_t place = (p->tok++)->place;
    pointers_t keys = {0};
    while (!at_op(p, ']')) {
        expr_t *key = at_op(p, ':') ? NULL : parse_expression(p);
        if (at_op(p, ':') && keys.n == 0) {
            expr_t *slice = parse_slice(p, place, of, key);
            expect_op(p, ']');
            return slice;
        }
        if (!key) parse_failed(p, "an expression");
        pointers_add(p, &keys, key);
        if (at_op(p, ']')) break;
        expect_op(p, ',');
    }
    expect_op(p, ']');
    return subscript(p, place, of, keys.n == 1 ? keys.v[0] : sequence(p, E_TUPLE, place, &keys));
}

static void add_named(parser_t *p, pointers_t *names, pointers_t *values) {
    char *name = (char *)p->tok->value.s->p;
    jinja_steps(&p->r, names->n);
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->v[i], name) == 0) jinja_fail(&p->r, "the argument '%s' is given twice", name);
    }
    p->tok += 2;
    pointers_add(p, names, name);
    pointers_add(p, values, parse_expression(p));
}

static void check_argument(parser_t *p, jinja_place_t place, bool fine) {
    if (fine) return;
    p->r.place = place;
    jinja_fail(&p->r, "arguments in the wrong order; expected positional, named, *list, **dict");
}

static void parse_argument(parser_t *p, args_t *args, pointers_t *positional, pointers_t *names, pointers_t *values) {
    jinja_place_t place = p->r.place = p->tok->place;
    if (skip_op(p, '*')) {
        check_argument(p, place, !args->list && !args->dict);
        args->list = parse_expression(p);
    } else if (skip_op(p, OP_POW)) {
        check_argument(p, place, !args->dict);
        args->dict = parse_expression(p);
    } else if (p->tok->type == T_NAME && p->tok[1].type == T_OP && p->tok[1].op == '=') {
        check_argument(p, place, !args->dict);
        add_named(p, names, values);
    } else {
        check_argument(p, place, !args->list && !args->dict && names->n == 0);
        pointers_add(p, positional, parse_expression(p));
    }
}

static args_t parse_arguments(parser_t *p) {
    args_t args = {0};
    pointers_t positional = {0}, names = {0}, values = {0};
    expect_op(p, '(');
    while (!at_op(p, ')')) {
        parse_argument(p, &args, &positional, &names, &values);
        if (!skip_op(p, ',')) break;
    }
    expect_op(p, ')');
    args.n = positional.n;
    args.n_named = names.n;
    args.names = (const char **)names.v;
    for (size_t i = 0; i < values.n; i++) pointers_add(p, &positional, values.v[i]);
    args.v = (expr_t **)positional.v;
    return args;
}

static expr_t *call_expr(parser_t *p, expr_kind_t kind, jinja_place_t place, expr_t *of, args_t args) {
    uint32_t height = higher(higher(of->height, args.list), args.dict);
    for (size_t i = 0; i < args.n + args.n_named; i++) height = higher(height, args.v[i]);
    expr_t *e = new_expr(p, kind, place, height);
    e->call.of = of;
    e->call.args = args;
    return e;
}

static expr_t *parse_call(parser_t *p, expr_t *of) {
    jinja_place_t place = p->tok->place;
    return call_expr(p, E_CALL, place, of, parse_arguments(p));
}

static expr_t *parse_postfix(parser_t *p, expr_t *e) {
    for (;;) {
        if (at_op(p, '.')) {
            e = parse_attribute(p, e);
        } else if (at_op(p, '[')) {
            e = parse_subscript(p, e);
        } else if (at_op(p, '(')) {
            e = parse_call(p, e);
        } else {
            return e;
        }
    }
}

/* The name of a filter or test, which may have dots in it (none has that there is). */
static const char *filter_name(parser_t *p, const char *what) {
    const char *name = expect_name(p, what);
    while (skip_op(p, '.')) {
        const char *part = expect_name(p, what);
        builder_t b = {0};
        build_bytes(&p->r, &b, name, strlen(name), 0);
        build_bytes(&p->r, &b, ".", 1, 0);
        build_bytes(&p->r, &b, part, strlen(part), 0);
        name = build_end(&p->r, &b).s->p;
    }
    return name;
}

expr_t *parse_filters(parser_t *p, expr_t *of, bool named) {
    while (named || skip_op(p, '|')) {
        jinja_place_t place = p->tok->place;
        const char *name = filter_name(p, "the name of a filter");
        args_t args = at_op(p, '(') ? parse_arguments(p) : (args_t){0};
        of = call_expr(p, E_FILTER, place, of, args);
        of->call.name = name;
        of->call.filter = jinja_filter(of->call.name);
        named = false;
    }
    return of;
}

/* Whether the argument of a test stands here without parentheses. */
static bool at_bare_argument(const parser_t *p) {
    if (p->tok->type == T_NAME) return !at_word(p, "else") && !at_word(p, "or") && !at_word(p, "and");
    if (p->tok->type == T_STRING || p->tok->type == T_INT || p->tok->type == T_FLOAT) return true;
    return at_op(p, '[') || at_op(p, '{');
}

static args_t parse_test_arguments(parser_t *p) {
    args_t args = {0};
    if (at_op(p, '(')) return parse_arguments(p);
    if (!at_bare_argument(p)) return args;
    if (at_word(p, "is")) parse_failed(p, "one test; several in a row need parentheses");
    args.v = jinja_alloc(&p->r, sizeof *args.v);
    args.v[args.n++] = parse_postfix(p, parse_primary(p));
    return args;
}

static expr_t *parse_test(parser_t *p, expr_t *of) {
    p->tok++;
    bool negated = skip_word(p, "not");
    jinja_place_t place = p->tok->place;
    const char *name = filter_name(p, "the name of a test");
    expr_t *e = call_expr(p, E_TEST, place, of, parse_test_arguments(p));
    e->call.name = name;
    e->call.test = jinja_test(e->call.name);
    return negated ? unary(p, E_NOT, place, e) : e;
}

static expr_t *parse_filters_and_tests(parser_t *p, expr_t *e) {
    for (;;) {
        if (at_op(p, '|')) {
            e = parse_filters(p, e, false);
        } else if (at_word(p, "is")) {
            e = parse_test(p, e);
        } else if (at_op(p, '(')) {
            e = parse_call(p, e);
        } else {
            return e;
        }
    }
}

/* A sign binds closer than a filter: -1|abs is 1. */
static expr_t *parse_unary(parser_t *p, bool with_filters) {
    expr_t *e;
    if (at_op(p, '-') || at_op(p, '+')) {
        enter_nested(p);
        const token_t *sign = p->tok++;
        e = unary(p, sign->op == '-' ? E_NEGATIVE : E_POSITIVE, sign->place, parse_unary(p, false));
        leave_nested(p);
    } else {
        e = parse_primary(p);
    }
    e = parse_postfix(p, e);
    return with_filters ? parse_filters_and_tests(p, e) : e;
}
