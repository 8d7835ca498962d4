#include "data/jinja/parser.h"

#include <string.h>

static stmt_t *parse_body(parser_t *p, const char *const *ends);

static stmt_t *new_stmt(parser_t *p, stmt_kind_t kind, jinja_place_t place) {
    stmt_t *s = jinja_alloc(&p->r, sizeof *s);
    s->kind = kind;
    s->place = place;
    return s;
}

/* The statements of a block, from the end of its first tag to the tag that ends it, whose name is at hand then. */
static stmt_t *parse_block(parser_t *p, const char *const *ends) {
    skip_op(p, ':');
    if (p->tok->type != T_BLOCK_END) parse_failed(p, "%}");
    p->tok++;
    return parse_body(p, ends);
}

/* The same to the one tag that ends it, whose name is skipped. */
static stmt_t *parse_to(parser_t *p, const char *end) {
    const char *const ends[] = {end, NULL};
    stmt_t *s = parse_block(p, ends);
    p->tok++;
    return s;
}

/* ---- targets -------------------------------------------------------------------------------------------- */

typedef struct {
    name_use_t use;
    bool attributes; /* ns.name is fine */
    const char *end; /* the word behind */
} target_rules_t;

static target_t parse_targets(parser_t *p, const target_rules_t *rules);

static bool at_constant(const parser_t *p) {
    return at_word(p, "true") || at_word(p, "True") || at_word(p, "false") || at_word(p, "False") ||
           at_word(p, "none") || at_word(p, "None");
}

/* A name that can be assigned to. */
static const char *expect_variable(parser_t *p, const char *expected) {
    if (at_constant(p)) parse_failed(p, expected);
    return expect_name(p, expected);
}

static target_t parse_one_target(parser_t *p, const target_rules_t *rules) {
    target_t target = {.kind = TARGET_NAME, .place = p->tok->place};
    if (skip_op(p, '(')) {
        const target_rules_t inside = {rules->use, false, NULL};
        enter_nested(p);
        target = parse_targets(p, &inside);
        leave_nested(p);
        expect_op(p, ')');
        return target;
    }
    const char *text = expect_variable(p, "a name to assign to");
    if (rules->attributes && at_op(p, '.')) {
        p->tok++;
        target.kind = TARGET_ATTRIBUTE;
        target.name = use_name(p, text, NAME_READ);
        target.key = p->tok->value;
        expect_name(p, "the name of an attribute");
        return target;
    }
    p->r.place = target.place;
    target.name = use_name(p, text, rules->use);
    return target;
}

static target_t tuple_target(parser_t *p, jinja_place_t place, const pointers_t *items) {
    target_t target = {.kind = TARGET_TUPLE, .place = place, .n = items->n};
    target.v = jinja_alloc(&p->r, (items->n + 1) * sizeof *target.v);
    for (size_t i = 0; i < items->n; i++) target.v[i] = *(target_t *)items->v[i];
    return target;
}

static bool at_target_end(const parser_t *p, const target_rules_t *rules) {
    return at_op(p, ')') || p->tok->type == T_BLOCK_END || (rules->end && at_word(p, rules->end));
}

/* One, or a tuple of some. */
static target_t parse_targets(parser_t *p, const target_rules_t *rules) {
    jinja_place_t place = p->tok->place;
    pointers_t items = {0};
    bool tuple = false;
    while (!at_target_end(p, rules)) {
        target_t *item = jinja_alloc(&p->r, sizeof *item);
        *item = parse_one_target(p, rules);
        pointers_add(p, &items, item);
        if (!skip_op(p, ',')) break;
        tuple = true;
    }
    if (!tuple && items.n == 0) parse_failed(p, "a name to assign to");
    return tuple ? tuple_target(p, place, &items) : *(target_t *)items.v[0];
}

/* ---- statements ----------------------------------------------------------------------------------------- */

static stmt_t *parse_if(parser_t *p, jinja_place_t place) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    stmt_t *s = new_stmt(p, S_IF, place);
    pointers_t branches = {0};
    do {
        branch_t *branch = jinja_alloc(&p->r, sizeof *branch);
        branch->test = parse_tuple(p, false, NULL);
        branch->body = parse_block(p, ends);
        pointers_add(p, &branches, branch);
    } while (skip_word(p, "elif"));
    if (skip_word(p, "else")) {
        s->branches.otherwise = parse_to(p, "endif");
    } else {
        p->tok++;
    }
    s->branches.n = branches.n;
    s->branches.v = jinja_alloc(&p->r, branches.n * sizeof *s->branches.v);
    for (size_t i = 0; i < branches.n; i++) s->branches.v[i] = *(branch_t *)branches.v[i];
    return s;
}

/* The same target once more: the filter of a loop has a frame of its own. */
static target_t copy_target(parser_t *p, const target_t *target) {
    target_t copy = *target;
    if (copy.kind != TARGET_TUPLE) return copy;
    copy.v = jinja_alloc(&p->r, (copy.n + 1) * sizeof *copy.v);
    for (size_t i = 0; i < copy.n; i++) copy.v[i] = copy_target(p, &target->v[i]);
    return copy;
}

static void parse_for_body(parser_t *p, for_t *f) {
    static const char *const ends[] = {"else", "endfor", NULL};
    p->loops++;
    f->body = parse_block(p, ends);
    p->loops--;
    size_t loops = p->loops;
    if (f->recursive) p->loops = 0; /* it is called, and a call is not left by `break` */
    if (skip_word(p, "else")) {
        f->otherwise = parse_to(p, "endfor");
    } else {
        p->tok++;
    }
    p->loops = loops;
}

static stmt_t *parse_for(parser_t *p, jinja_place_t place) {
    const target_rules_t rules = {NAME_SET, false, "in"};
    stmt_t *s = new_stmt(p, S_FOR, place);
    for_t *f = s->loop = jinja_alloc(&p->r, sizeof *f);
    p->fors++;
    f->target = parse_targets(p, &rules);
    f->filter_target = copy_target(p, &f->target);
    if (!skip_word(p, "in")) parse_failed(p, "in");
    f->iterable = parse_tuple(p, false, "recursive");
    if (skip_word(p, "if")) f->filter = parse_expression(p);
    f->recursive = skip_word(p, "recursive");
    f->loop = find_name(p, "loop");
    parse_for_body(p, f);
    p->fors--;
    return s;
}

/* The filters of a block, or what it wrote alone. */
static expr_t *captured(parser_t *p, bool named) {
    return parse_filters(p, new_expr(p, E_CAPTURED, p->tok->place, 0), named);
}

static stmt_t *parse_set(parser_t *p, jinja_place_t place) {
    const target_rules_t rules = {NAME_SET, true, NULL};
    stmt_t *s = new_stmt(p, S_SET, place);
    s->set.target = parse_targets(p, &rules);
    if (skip_op(p, '=')) {
        s->set.value = parse_tuple(p, true, NULL);
    } else {
        s->kind = S_SET_BLOCK;
        s->set.value = captured(p, false);
        s->set.body = parse_to(p, "endset");
    }
    return s;
}

static stmt_t *parse_filter_block(parser_t *p, jinja_place_t place) {
    stmt_t *s = new_stmt(p, S_FILTER, place);
    s->set.value = captured(p, true);
    s->set.body = parse_to(p, "endfilter");
    return s;
}

static stmt_t *parse_with(parser_t *p, jinja_place_t place) {
    const target_rules_t rules = {NAME_GIVEN, false, NULL};
    stmt_t *s = new_stmt(p, S_WITH, place);
    pointers_t targets = {0}, values = {0};
    while (p->tok->type != T_BLOCK_END && !at_op(p, ':')) {
        if (values.n) expect_op(p, ',');
        target_t *target = jinja_alloc(&p->r, sizeof *target);
        *target = parse_one_target(p, &rules);
        pointers_add(p, &targets, target);
        expect_op(p, '=');
        pointers_add(p, &values, parse_expression(p));
    }
    s->with.targets = tuple_target(p, place, &targets).v;
    s->with.values = (expr_t **)values.v;
    s->with.n = values.n;
    s->with.body = parse_to(p, "endwith");
    return s;
}

/* ---- macros --------------------------------------------------------------------------------------------- */

/* (a, b=1): no default may be left out behind one. */
static void parse_parameters(parser_t *p, macro_t *m) {
    pointers_t names = {0}, defaults = {0};
    expect_op(p, '(');
    while (!at_op(p, ')')) {
        if (names.n) expect_op(p, ',');
        p->r.place = p->tok->place;
        name_t *name = jinja_alloc(&p->r, sizeof *name);
        *name = use_name(p, expect_variable(p, "the name of a parameter"), NAME_GIVEN);
        jinja_steps(&p->r, names.n);
        for (size_t i = 0; i < names.n; i++) {
            if (((name_t *)names.v[i])->id == name->id) jinja_fail(&p->r, "two parameters '%s'", name->text);
        }
        pointers_add(p, &names, name);
        expr_t *value = skip_op(p, '=') ? parse_expression(p) : NULL;
        if (!value && defaults.n && defaults.v[defaults.n - 1]) jinja_fail(&p->r, "'%s' has no default", name->text);
        pointers_add(p, &defaults, value);
    }
    p->tok++;
    m->n = names.n;
    m->defaults = (expr_t **)defaults.v;
    m->params = jinja_alloc(&p->r, (names.n + 1) * sizeof *m->params);
    for (size_t i = 0; i < names.n; i++) m->params[i] = *(name_t *)names.v[i];
}

/* Whether parameter `special` is there without having been declared. */
static bool takes_special(parser_t *p, const macro_t *m, int special, bool read) {
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->params[i].text, special_names[special]) != 0) continue;
        if (special == SPECIAL_CALLER && read && !m->defaults[i]) {
            jinja_fail(&p->r, "the parameter 'caller' must have a default or be left out");
        }
        return false;
    }
    return read;
}

/* The body to `end`, which `break` does not leave. */
static void parse_macro_body(parser_t *p, macro_t *m, jinja_place_t place, const char *end) {
    enclosing_t enclosing = {.outer = p->macros};
    size_t loops = p->loops;
    p->macros = &enclosing;
    p->loops = 0;
    m->body = parse_to(p, end);
    p->loops = loops;
    p->macros = enclosing.outer;
    p->r.place = place;
    m->takes_caller = takes_special(p, m, SPECIAL_CALLER, enclosing.read[SPECIAL_CALLER]);
    m->takes_varargs = takes_special(p, m, SPECIAL_VARARGS, enclosing.read[SPECIAL_VARARGS]);
    m->takes_kwargs = takes_special(p, m, SPECIAL_KWARGS, enclosing.read[SPECIAL_KWARGS]);
    m->caller = find_name(p, "caller");
    m->varargs = find_name(p, "varargs");
    m->kwargs = find_name(p, "kwargs");
}

static stmt_t *parse_macro(parser_t *p, jinja_place_t place) {
    stmt_t *s = new_stmt(p, S_MACRO, place);
    macro_t *m = s->macro.macro = jinja_alloc(&p->r, sizeof *m);
    p->r.place = p->tok->place;
    m->name = expect_variable(p, "the name of the macro");
    s->macro.name = use_name(p, m->name, NAME_SET);
    parse_parameters(p, m);
    parse_macro_body(p, m, place, "endmacro");
    return s;
}

static stmt_t *parse_call_block(parser_t *p, jinja_place_t place) {
    stmt_t *s = new_stmt(p, S_CALL, place);
    macro_t *m = s->macro.macro = jinja_alloc(&p->r, sizeof *m);
    if (at_op(p, '(')) parse_parameters(p, m);
    s->macro.call = parse_expression(p);
    if (s->macro.call->kind != E_CALL) {
        p->r.place = place;
        jinja_fail(&p->r, "expected the call of a macro");
    }
    parse_macro_body(p, m, place, "endcall");
    return s;
}

static stmt_t *parse_generation(parser_t *p, jinja_place_t place) {
    stmt_t *s = new_stmt(p, S_GENERATION, place);
    s->macro.macro = jinja_alloc(&p->r, sizeof *s->macro.macro);
    p->t->marks_generation = true;
    parse_macro_body(p, s->macro.macro, place, "endgeneration");
    return s;
}

/* ---- bodies --------------------------------------------------------------------------------------------- */

static stmt_t *parse_print(parser_t *p, jinja_place_t place) {
    stmt_t *first = NULL, **end = &first;
    while (p->tok->type != T_BLOCK_END) {
        if (first) expect_op(p, ',');
        *end = new_stmt(p, S_OUTPUT, place);
        (*end)->output = parse_expression(p);
        end = &(*end)->next;
    }
    return first;
}

static stmt_t *parse_loop_control(parser_t *p, jinja_place_t place, stmt_kind_t kind, const char *word) {
    if (p->loops == 0) {
        p->r.place = place;
        jinja_fail(&p->r, "'%s' outside a loop", word);
    }
    return new_stmt(p, kind, place);
}

static _Noreturn void refuse_tag(parser_t *p, const token_t *tag) {
    static const char *const known[] = {"autoescape", "include", "import", "from", "extends", "block"};
    const char *word = tag->value.s->p;
    p->r.place = tag->place;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(word, known[i]) == 0) jinja_fail(&p->r, "{%% %s %%} is not supported in chat templates", word);
    }
    jinja_fail(&p->r, "unexpected tag '%s'", word);
}

static stmt_t *parse_statement(parser_t *p) {
    static const struct {
        const char *word;
        stmt_t *(*parse)(parser_t *, jinja_place_t);
    } statements[] = {
        {"if", parse_if},       {"for", parse_for},         {"set", parse_set},
        {"macro", parse_macro}, {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},   {"print", parse_print},     {"generation", parse_generation},
    };
    const token_t *tag = p->tok;
    const char *word = expect_name(p, "the name of a tag");
    if (strcmp(word, "break") == 0) return parse_loop_control(p, tag->place, S_BREAK, word);
    if (strcmp(word, "continue") == 0) return parse_loop_control(p, tag->place, S_CONTINUE, word);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (strcmp(word, statements[i].word) == 0) return statements[i].parse(p, tag->place);
    }
    refuse_tag(p, tag);
}

static bool at_one_of(const parser_t *p, const char *const *words) {
    for (; words && *words; words++) {
        if (at_word(p, *words)) return true;
    }
    return false;
}

static stmt_t *parse_text(parser_t *p) {
    stmt_t *s = new_stmt(p, S_TEXT, p->tok->place);
    s->text = (p->tok++)->value.s;
    return s;
}

static stmt_t *parse_output(parser_t *p) {
    stmt_t *s = new_stmt(p, S_OUTPUT, (p->tok++)->place);
    s->output = parse_tuple(p, true, NULL);
    if (p->tok->type != T_OUTPUT_END) parse_failed(p, "}}");
    p->tok++;
    return s;
}

/* To the tag named by one of `ends`; NULL: to the end of the template. */
static stmt_t *parse_body(parser_t *p, const char *const *ends) {
    stmt_t *first = NULL, **end = &first;
    enter_nested(p);
    for (;;) {
        if (p->tok->type == T_DATA) {
            *end = parse_text(p);
        } else if (p->tok->type == T_OUTPUT_BEGIN) {
            *end = parse_output(p);
        } else if (p->tok->type == T_BLOCK_BEGIN) {
            p->tok++;
            if (at_one_of(p, ends)) break;
            *end = parse_statement(p);
            if (p->tok->type != T_BLOCK_END) parse_failed(p, "%}");
            p->tok++;
        } else {
            break;
        }
        while (*end) end = &(*end)->next;
    }
    if (ends && p->tok->type == T_END) {
        const char *last = *ends;
        for (; *ends; ends++) last = *ends;
        parse_failed(p, last);
    }
    leave_nested(p);
    return first;
}

stmt_t *parse_template(parser_t *p) { return parse_body(p, NULL); }
