#include "data/jinja/exec.h"

#include <string.h>

/* ---- arguments ------------------------------------------------------------------------------------------ */

value_t arg_or(const call_args_t *args, size_t i, const char *name, value_t fallback) {
    if (i < args->n) return args->v[i];
    for (size_t k = 0; name && k < args->n_named; k++) {
        if (strcmp(args->names[k], name) == 0) return args->v[args->n + k];
    }
    return fallback;
}

static size_t position_of(const char *const *names, const char *name) {
    for (size_t i = 0; names && names[i]; i++) {
        if (strcmp(names[i], name) == 0) return i;
    }
    return SIZE_MAX;
}

void args_check(render_t *r, const call_args_t *args, size_t min, size_t max, const char *const *names,
                const char *what) {
    if (args->n > max) jinja_fail(r, "%s: %zu arguments; expected at most %zu", what, args->n, max);
    if (args->n < min && args->n_named == 0) {
        jinja_fail(r, "%s: %zu arguments; expected at least %zu", what, args->n, min);
    }
    for (size_t i = 0; i < args->n_named; i++) {
        if (position_of(names, args->names[i]) == SIZE_MAX) {
            jinja_fail(r, "%s: there is no argument '%s'", what, args->names[i]);
        }
    }
}

/* How many arguments a call has, with those that *list and **dict stand for. */
typedef struct {
    value_t *v;
    const char **names;
    size_t n, n_named;
} gathered_t;

static void add_named(run_t *run, gathered_t *g, const char *name, value_t v) {
    jinja_steps(&run->r, g->n_named);
    for (size_t i = 0; i < g->n_named; i++) {
        if (strcmp(g->names[i], name) == 0) jinja_fail(&run->r, "the argument '%s' is given twice", name);
    }
    g->names[g->n_named] = name;
    g->v[g->n + g->n_named++] = v;
}

static void add_dict(run_t *run, gathered_t *g, const dict_t *dict) {
    for (size_t i = 0; i < dict->n; i++) {
        if (dict->v[i].key.type != V_STRING) jinja_fail(&run->r, "**: the names of arguments must be strings");
        add_named(run, g, dict->v[i].key.s->p, dict->v[i].value);
    }
}

/* With *list, **dict or a caller; the values of `args` were not evaluated yet. */
static call_args_t eval_all_args(run_t *run, const args_t *args, const value_t *caller) {
    value_t *own = jinja_alloc(&run->r, (args->n + args->n_named + 1) * sizeof *own);
    const list_t *list = NULL;
    value_t dict = {.type = V_UNDEFINED};
    for (size_t i = 0; i < args->n + args->n_named; i++) own[i] = eval(run, args->v[i]);
    if (args->list) list = value_elements(&run->r, eval(run, args->list));
    if (args->dict) dict = eval(run, args->dict);
    if (args->dict && dict.type != V_DICT) jinja_fail(&run->r, "**: expected a dict, not %s", value_type_name(dict));
    size_t n = args->n + (list ? list->n : 0);
    size_t n_named = args->n_named + (caller != NULL) + (args->dict ? dict.dict->n : 0);
    gathered_t g = {.n = n};
    g.v = jinja_alloc(&run->r, (n + n_named + 1) * sizeof *g.v);
    g.names = jinja_alloc(&run->r, (n_named + 1) * sizeof *g.names);
    memcpy(g.v, own, args->n * sizeof *own);
    if (list && list->n) memcpy(g.v + args->n, list->v, list->n * sizeof *own);
    for (size_t i = 0; i < args->n_named; i++) add_named(run, &g, args->names[i], own[args->n + i]);
    if (caller) add_named(run, &g, "caller", *caller);
    if (args->dict) add_dict(run, &g, dict.dict);
    return (call_args_t){g.v, g.n, g.names, g.n_named};
}

call_args_t eval_args(run_t *run, const args_t *args, const value_t *caller) {
    if (args->list || args->dict || caller) return eval_all_args(run, args, caller);
    size_t n = args->n + args->n_named;
    if (n == 0) return (call_args_t){0};
    value_t *v = jinja_alloc(&run->r, n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = eval(run, args->v[i]);
    return (call_args_t){v, args->n, args->names, args->n_named};
}

value_t value_call(render_t *r, value_t fn, const call_args_t *args) {
    if (fn.type == V_FUNCTION) return fn.fn->call(r, fn.fn, args);
    if (fn.type == V_UNDEFINED) undefined_fail(r, fn);
    jinja_fail(r, "a value of type %s cannot be called", value_type_name(fn));
}

/* ---- macros --------------------------------------------------------------------------------------------- */

/* A macro and the variables around it. */
typedef struct {
    const macro_t *m;
    vars_t *outer;
} closure_t;

static _Noreturn void refuse_argument(render_t *r, const macro_t *m, const char *name) {
    jinja_fail(r, "the macro '%s' has no argument '%s'", m->name ? m->name : "caller", name);
}

/* The parameter that a named argument is for; SIZE_MAX: none that is still free. */
static size_t parameter(const macro_t *m, const call_args_t *args, const char *name) {
    for (size_t i = args->n; i < m->n; i++) {
        if (strcmp(m->params[i].text, name) == 0) return i;
    }
    return SIZE_MAX;
}

static void give_varargs(render_t *r, const macro_t *m, const call_args_t *args, vars_t *vars) {
    if (!m->takes_varargs && args->n > m->n) {
        jinja_fail(r, "the macro '%s' was given %zu arguments; expected at most %zu", m->name ? m->name : "caller",
                   args->n, m->n);
    }
    if (!m->takes_varargs) return;
    size_t rest = args->n > m->n ? args->n - m->n : 0;
    value_t v = value_list(r, V_TUPLE, rest);
    if (rest) memcpy(v.list->v, args->v + m->n, rest * sizeof *args->v);
    vars->v[m->varargs.slot] = v;
}

/* `given`: which parameters have a value. */
static void give_named(render_t *r, const macro_t *m, const call_args_t *args, vars_t *vars, bool *given) {
    value_t rest = m->takes_kwargs ? value_dict(r, args->n_named) : value_none();
    for (size_t i = 0; i < args->n_named; i++) {
        const char *name = args->names[i];
        value_t v = args->v[args->n + i];
        jinja_steps(r, m->n);
        size_t k = parameter(m, args, name);
        if (k != SIZE_MAX) {
            vars->v[m->params[k].slot] = v;
            given[k] = true;
        } else if (m->takes_caller && strcmp(name, "caller") == 0) {
            vars->v[m->caller.slot] = v;
        } else if (m->takes_kwargs) {
            dict_set(r, rest.dict, value_text(r, name, strlen(name), 0), v);
        } else {
            refuse_argument(r, m, name);
        }
    }
    if (m->takes_kwargs) vars->v[m->kwargs.slot] = rest;
}

/* In order: a default may name a parameter before it. */
static void give_defaults(run_t *run, const macro_t *m, vars_t *vars, const bool *given) {
    for (size_t i = 0; i < m->n; i++) {
        if (!given[i] && m->defaults[i]) vars->v[m->params[i].slot] = eval(run, m->defaults[i]);
    }
}

static void enter_macro(run_t *run, const macro_t *m, const call_args_t *args, vars_t *outer) {
    vars_t *vars = new_vars(run, &m->frame, outer);
    bool *given = jinja_alloc(&run->r, m->n + 1);
    for (size_t i = 0; i < m->n && i < args->n; i++) {
        vars->v[m->params[i].slot] = args->v[i];
        given[i] = true;
    }
    give_varargs(&run->r, m, args, vars);
    give_named(&run->r, m, args, vars, given);
    enter_frame(run, &m->frame, vars);
    run->vars = vars;
    give_defaults(run, m, vars, given);
}

static value_t call_macro(render_t *r, const function_t *fn, const call_args_t *args) {
    run_t *run = run_of(r);
    const closure_t *closure = fn->data;
    vars_t *vars = run->vars;
    capture_t c;
    if (++r->depth > JINJA_MAX_DEPTH) jinja_fail(r, "macros call each other more than %d deep", JINJA_MAX_DEPTH);
    capture_begin(run, &c);
    enter_macro(run, closure->m, args, closure->outer);
    exec_body(run, closure->m->body);
    run->vars = vars;
    r->depth--;
    return capture_end(run, &c);
}

value_t new_macro(run_t *run, const macro_t *m) {
    closure_t *closure = jinja_alloc(&run->r, sizeof *closure);
    function_t *fn = jinja_alloc(&run->r, sizeof *fn);
    *closure = (closure_t){m, run->vars};
    *fn = (function_t){.name = m->name ? m->name : "caller", .call = call_macro, .self = value_none(), .data = closure};
    value_t v = {.type = V_FUNCTION};
    v.fn = fn;
    return v;
}

bool macro_attribute(run_t *run, value_t v, const char *name, value_t *found) {
    if (v.type != V_FUNCTION || v.fn->call != call_macro) return false;
    const macro_t *m = ((const closure_t *)v.fn->data)->m;
    if (strcmp(name, "name") == 0) {
        *found = m->name ? value_text(&run->r, m->name, strlen(m->name), 0) : value_none();
    } else if (strcmp(name, "arguments") == 0) {
        *found = value_list(&run->r, V_TUPLE, m->n);
        for (size_t i = 0; i < m->n; i++) {
            found->list->v[i] = value_text(&run->r, m->params[i].text, strlen(m->params[i].text), 0);
        }
    } else if (strcmp(name, "caller") == 0) {
        *found = value_bool(m->takes_caller);
    } else if (strcmp(name, "catch_varargs") == 0) {
        *found = value_bool(m->takes_varargs);
    } else if (strcmp(name, "catch_kwargs") == 0) {
        *found = value_bool(m->takes_kwargs);
    } else {
        return false;
    }
    return true;
}

void exec_generation(run_t *run, const macro_t *m) {
    static const call_args_t none;
    vars_t *vars = run->vars;
    bool outer = run->generation;
    run->generation = true;
    enter_macro(run, m, &none, vars);
    exec_body(run, m->body);
    run->vars = vars;
    run->generation = outer;
}
