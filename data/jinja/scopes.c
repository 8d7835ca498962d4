/* Which variable a name is. A frame (the template, the body of a loop, of a macro, ...) has a slot for each name that
 * it sets, and for each that it reads and no frame around it has. All of a frame counts, also what stands further
 * down: as Jinja has it, a loop that reads `x` in front of the template's {% set x = ... %} finds it undefined, whatever
 * variables the render has.
 *
 * A frame is walked twice: first its slots are made, then its names get theirs, and the frames within it are walked. */
#include "data/jinja/ast.h"

#include <string.h>

typedef struct scope scope_t;

/* A name that has a slot in a frame. */
typedef struct symbol {
    struct symbol *outer; /* the same name, further out */
    struct symbol *next;  /* of the same frame */
    const scope_t *scope;
    uint32_t id, slot;
} symbol_t;

typedef struct {
    render_t *r;
    jinja_t *t;
    symbol_t **top; /* of each name: the innermost symbol */
} finder_t;

struct scope {
    finder_t *f;
    frame_t *frame;
    symbol_t *symbols;
    uint32_t level;
    uint32_t branches; /* of {% if %} and of `a if b` that are around, in this frame */
    bool binding;      /* the second walk */
};

static void walk_expr(scope_t *s, expr_t *e);
static void walk_body(scope_t *s, stmt_t *body);

/* ---- slots ---------------------------------------------------------------------------------------------- */

static slot_t *add_slot(scope_t *s) {
    frame_t *frame = s->frame;
    if (frame->n == frame->cap) {
        size_t cap = frame->cap ? 2 * frame->cap : 4;
        slot_t *v = jinja_alloc(s->f->r, cap * sizeof *v);
        if (frame->n) memcpy(v, frame->v, frame->n * sizeof *v);
        frame->v = v;
        frame->cap = cap;
    }
    return &frame->v[frame->n++];
}

static void bind(const scope_t *s, name_t *name) {
    const symbol_t *symbol = s->f->top[name->id];
    name->depth = s->level - symbol->scope->level;
    name->slot = symbol->slot;
}

static void define(scope_t *s, const name_t *name, slot_kind_t kind) {
    symbol_t *symbol = jinja_alloc(s->f->r, sizeof *symbol), *outer = s->f->top[name->id];
    slot_t *slot = add_slot(s);
    slot->kind = kind;
    slot->name = *name;
    if (kind == SLOT_OUTER) bind(s, &slot->name);
    if (kind == SLOT_CONTEXT) s->f->t->from_context[name->id] = true;
    *symbol = (symbol_t){outer, s->symbols, s, name->id, (uint32_t)(s->frame->n - 1)};
    s->symbols = symbol;
    s->f->top[name->id] = symbol;
}

static void read_name(scope_t *s, name_t *name, jinja_place_t place) {
    if (s->binding) {
        bind(s, name);
    } else if (!s->f->top[name->id]) {
        s->f->r->place = place;
        if (strcmp(name->text, "self") == 0) jinja_fail(s->f->r, "'self' is not supported in chat templates");
        define(s, name, SLOT_CONTEXT);
    }
}

/* What is set in a branch only is, where that is not taken, what it would be without it. */
static void set_name(scope_t *s, name_t *name) {
    const symbol_t *symbol = s->f->top[name->id];
    if (s->binding) {
        bind(s, name);
    } else if (!symbol || symbol->scope != s) {
        define(s, name, symbol ? SLOT_OUTER : s->branches ? SLOT_CONTEXT : SLOT_NOTHING);
    }
}

static void give_name(scope_t *s, name_t *name) {
    const symbol_t *symbol = s->f->top[name->id];
    if (s->binding) {
        bind(s, name);
    } else if (!symbol || symbol->scope != s) {
        define(s, name, SLOT_GIVEN);
    }
}

static void walk_target(scope_t *s, target_t *target, void (*use)(scope_t *, name_t *)) {
    if (target->kind == TARGET_NAME) use(s, &target->name);
    if (target->kind == TARGET_ATTRIBUTE) read_name(s, &target->name, target->place);
    for (size_t i = 0; i < target->n; i++) walk_target(s, &target->v[i], use);
}

/* ---- expressions ---------------------------------------------------------------------------------------- */

/* An unknown filter or test is an error, but for one in a branch, which may be for another engine: there it is one if
 * the branch is taken. As Jinja has it. */
static void check_known(const scope_t *s, const expr_t *e) {
    bool known = e->kind == E_FILTER ? e->call.filter != NULL : e->call.test != NULL;
    if (known || s->branches) return;
    s->f->r->place = e->place;
    jinja_fail(s->f->r, "there is no %s '%s'", e->kind == E_FILTER ? "filter" : "test", e->call.name);
}

static void walk_args(scope_t *s, args_t *args) {
    for (size_t i = 0; i < args->n + args->n_named; i++) walk_expr(s, args->v[i]);
    walk_expr(s, args->list);
    walk_expr(s, args->dict);
}

static void walk_expr(scope_t *s, expr_t *e) {
    if (!e) return;
    switch (e->kind) {
    case E_CONST:
    case E_CAPTURED: break;
    case E_NAME: read_name(s, &e->name, e->place); break;
    case E_LIST:
    case E_TUPLE:
    case E_DICT:
    case E_COMPARE:
        for (size_t i = 0; i < e->items.n; i++) walk_expr(s, e->items.v[i]);
        break;
    case E_ATTRIBUTE: walk_expr(s, e->attribute.of); break;
    case E_CALL:
    case E_FILTER:
    case E_TEST:
        if (e->kind != E_CALL) check_known(s, e);
        walk_expr(s, e->call.of);
        walk_args(s, &e->call.args);
        break;
    default: /* E_IF, and what has no branches */
        s->branches += e->kind == E_IF;
        walk_expr(s, e->of.a);
        walk_expr(s, e->of.b);
        walk_expr(s, e->of.c);
        walk_expr(s, e->of.d);
        s->branches -= e->kind == E_IF;
    }
}

/* ---- frames within -------------------------------------------------------------------------------------- */

typedef void (*walk_fn)(scope_t *s, void *what);

static void walk_frame(scope_t *outer, frame_t *frame, walk_fn walk, void *what) {
    scope_t s = {.f = outer->f, .frame = frame, .level = outer->level + 1};
    walk(&s, what);
    s.binding = true;
    walk(&s, what);
    for (symbol_t *symbol = s.symbols; symbol; symbol = symbol->next) s.f->top[symbol->id] = symbol->outer;
}

static void walk_loop_body(scope_t *s, void *what) {
    for_t *f = what;
    give_name(s, &f->loop);
    walk_target(s, &f->target, give_name);
    walk_body(s, f->body);
}

static void walk_loop_filter(scope_t *s, void *what) {
    for_t *f = what;
    walk_target(s, &f->filter_target, give_name);
    walk_expr(s, f->filter);
}

static void walk_loop_else(scope_t *s, void *what) { walk_body(s, ((for_t *)what)->otherwise); }

static void walk_macro(scope_t *s, void *what) {
    macro_t *m = what;
    for (size_t i = 0; i < m->n; i++) give_name(s, &m->params[i]);
    if (m->takes_caller) give_name(s, &m->caller);
    if (m->takes_varargs) give_name(s, &m->varargs);
    if (m->takes_kwargs) give_name(s, &m->kwargs);
    for (size_t i = 0; i < m->n; i++) walk_expr(s, m->defaults[i]);
    walk_body(s, m->body);
}

static void walk_block(scope_t *s, void *what) {
    stmt_t *block = what;
    walk_body(s, block->set.body);
    walk_expr(s, block->set.value);
}

static void walk_with(scope_t *s, void *what) {
    stmt_t *with = what;
    for (size_t i = 0; i < with->with.n; i++) walk_target(s, &with->with.targets[i], give_name);
    walk_body(s, with->with.body);
}

/* ---- statements ----------------------------------------------------------------------------------------- */

static void walk_if(scope_t *s, stmt_t *stmt) {
    s->branches++;
    for (size_t i = 0; i < stmt->branches.n; i++) {
        walk_expr(s, stmt->branches.v[i].test);
        walk_body(s, stmt->branches.v[i].body);
    }
    walk_body(s, stmt->branches.otherwise);
    s->branches--;
}

static void walk_for(scope_t *s, for_t *f) {
    walk_expr(s, f->iterable);
    if (!s->binding) return;
    walk_frame(s, &f->frame, walk_loop_body, f);
    walk_frame(s, &f->filter_frame, walk_loop_filter, f);
    walk_frame(s, &f->else_frame, walk_loop_else, f);
}

static void walk_stmt(scope_t *s, stmt_t *stmt) {
    switch (stmt->kind) {
    case S_TEXT:
    case S_BREAK:
    case S_CONTINUE: break;
    case S_OUTPUT: walk_expr(s, stmt->output); break;
    case S_IF: walk_if(s, stmt); break;
    case S_FOR: walk_for(s, stmt->loop); break;
    case S_SET:
        walk_expr(s, stmt->set.value);
        walk_target(s, &stmt->set.target, set_name);
        break;
    case S_SET_BLOCK:
    case S_FILTER:
        if (stmt->kind == S_SET_BLOCK) walk_target(s, &stmt->set.target, set_name);
        if (s->binding) walk_frame(s, &stmt->set.frame, walk_block, stmt);
        break;
    case S_WITH:
        for (size_t i = 0; i < stmt->with.n; i++) walk_expr(s, stmt->with.values[i]);
        if (s->binding) walk_frame(s, &stmt->with.frame, walk_with, stmt);
        break;
    case S_MACRO:
    case S_CALL:
    case S_GENERATION:
        if (stmt->kind == S_MACRO) set_name(s, &stmt->macro.name);
        if (stmt->kind == S_CALL) walk_expr(s, stmt->macro.call);
        if (s->binding) walk_frame(s, &stmt->macro.macro->frame, walk_macro, stmt->macro.macro);
        break;
    }
}

static void walk_body(scope_t *s, stmt_t *body) {
    for (; body; body = body->next) walk_stmt(s, body);
}

void jinja_find_slots(render_t *r, jinja_t *t) {
    finder_t f = {.r = r, .t = t};
    f.top = jinja_alloc(r, (t->n_names + 1) * sizeof *f.top);
    t->from_context = jinja_alloc(r, t->n_names + 1);
    scope_t s = {.f = &f, .frame = &t->frame};
    walk_body(&s, t->body);
    s.binding = true;
    walk_body(&s, t->body);
}
