#include "data/jinja/exec.h"

#include <string.h>

void enter_eval(run_t *run) {
    if (++run->nesting > MAX_NESTING) jinja_fail(&run->r, "nested too deeply");
    jinja_steps(&run->r, 1);
}

static value_t variable(const run_t *run, const name_t *name) {
    const vars_t *vars = run->vars;
    for (uint32_t i = name->depth; i > 0; i--) vars = vars->outer;
    return vars->v[name->slot];
}

static value_t eval_items(run_t *run, const expr_t *e) {
    value_t list = value_list(&run->r, e->kind == E_LIST ? V_LIST : V_TUPLE, e->items.n);
    for (size_t i = 0; i < e->items.n; i++) list.list->v[i] = eval(run, e->items.v[i]);
    return list;
}

static value_t eval_dict(run_t *run, const expr_t *e) {
    value_t dict = value_dict(&run->r, e->items.n / 2);
    for (size_t i = 0; i < e->items.n; i += 2) {
        value_t key = eval(run, e->items.v[i]), value = eval(run, e->items.v[i + 1]);
        run->r.place = e->items.v[i]->place;
        dict_set(&run->r, dict.dict, key, value);
    }
    return dict;
}

static bool own_attribute(run_t *run, value_t of, const char *name, value_t *found) {
    return loop_attribute(run, of, name, found) || macro_attribute(run, of, name, found);
}

static value_t eval_attribute(run_t *run, const expr_t *e) {
    value_t of = eval(run, e->attribute.of), found;
    run->r.place = e->place;
    if (of.type == V_FUNCTION && own_attribute(run, of, e->attribute.name, &found)) return found;
    return value_attribute(&run->r, of, e->attribute.name);
}

static value_t eval_item(run_t *run, const expr_t *e) {
    value_t of = eval(run, e->of.a), key = eval(run, e->of.b), found;
    run->r.place = e->place;
    if (of.type == V_FUNCTION && key.type == V_STRING && own_attribute(run, of, key.s->p, &found)) return found;
    return value_item(&run->r, of, key);
}

static value_t eval_or_none(run_t *run, const expr_t *e) { return e ? eval(run, e) : value_none(); }

static value_t eval_slice(run_t *run, const expr_t *e) {
    value_t of = eval(run, e->of.a), start = eval_or_none(run, e->of.b), stop = eval_or_none(run, e->of.c);
    value_t step = eval_or_none(run, e->of.d);
    run->r.place = e->place;
    return value_sliced(&run->r, of, start, stop, step);
}

value_t eval_call(run_t *run, const expr_t *e, const value_t *caller) {
    value_t fn = eval(run, e->call.of);
    call_args_t args = eval_args(run, &e->call.args, caller);
    run->r.place = e->place;
    return value_call(&run->r, fn, &args);
}

static value_t eval_filter(run_t *run, const expr_t *e) {
    if (!e->call.filter) jinja_fail(&run->r, "there is no filter '%s'", e->call.name);
    value_t of = eval(run, e->call.of);
    call_args_t args = eval_args(run, &e->call.args, NULL);
    run->r.place = e->place;
    return e->call.filter(&run->r, of, &args);
}

static value_t eval_test(run_t *run, const expr_t *e) {
    if (!e->call.test) jinja_fail(&run->r, "there is no test '%s'", e->call.name);
    value_t of = eval(run, e->call.of);
    call_args_t args = eval_args(run, &e->call.args, NULL);
    run->r.place = e->place;
    return value_bool(e->call.test(&run->r, of, &args));
}

static value_t eval_binary(run_t *run, const expr_t *e) {
    value_t a = eval(run, e->of.a), b = eval(run, e->of.b);
    run->r.place = e->place;
    return value_binary(&run->r, e->of.op, a, b);
}

static bool compare(run_t *run, char op, value_t a, value_t b) {
    switch (op) {
    case OP_EQ: return value_equal(&run->r, a, b);
    case OP_NE: return !value_equal(&run->r, a, b);
    case OP_IN: return value_contains(&run->r, b, a);
    case OP_NOT_IN: return !value_contains(&run->r, b, a);
    case '<': return value_compare(&run->r, a, b) < 0;
    case '>': return value_compare(&run->r, a, b) > 0;
    case OP_LE: return value_compare(&run->r, a, b) <= 0;
    default: return value_compare(&run->r, a, b) >= 0;
    }
}

/* a < b < c: each operand once, and no further than the first that does not hold. */
static value_t eval_compare(run_t *run, const expr_t *e) {
    value_t left = eval(run, e->items.v[0]);
    for (size_t i = 1; i < e->items.n; i++) {
        value_t right = eval(run, e->items.v[i]);
        run->r.place = e->place;
        if (!compare(run, e->items.ops[i - 1], left, right)) return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static value_t eval_logic(run_t *run, const expr_t *e) {
    value_t a = eval(run, e->of.a);
    run->r.place = e->place;
    return value_truth(a) == (e->kind == E_AND) ? eval(run, e->of.b) : a;
}

static value_t eval_if(run_t *run, const expr_t *e) {
    value_t test = eval(run, e->of.b);
    run->r.place = e->place;
    if (value_truth(test)) return eval(run, e->of.a);
    return e->of.c ? eval(run, e->of.c) : value_undefined(NULL);
}

static value_t eval_sign(run_t *run, const expr_t *e) {
    value_t v = eval(run, e->of.a);
    run->r.place = e->place;
    /* + is what - does twice: a number stays, True becomes 1, and there is none for anything else. */
    value_t negative = value_negative(&run->r, v);
    return e->kind == E_NEGATIVE ? negative : v.type == V_BOOL ? value_int(v.b) : v;
}

static value_t eval_compound(run_t *run, const expr_t *e) {
    switch (e->kind) {
    case E_LIST:
    case E_TUPLE: return eval_items(run, e);
    case E_DICT: return eval_dict(run, e);
    case E_ATTRIBUTE: return eval_attribute(run, e);
    case E_ITEM: return eval_item(run, e);
    case E_SLICE: return eval_slice(run, e);
    case E_CALL: return eval_call(run, e, NULL);
    case E_FILTER: return eval_filter(run, e);
    case E_TEST: return eval_test(run, e);
    case E_NEGATIVE:
    case E_POSITIVE: return eval_sign(run, e);
    case E_BINARY: return eval_binary(run, e);
    case E_AND:
    case E_OR: return eval_logic(run, e);
    case E_COMPARE: return eval_compare(run, e);
    case E_IF: return eval_if(run, e);
    default: break; /* E_NOT; eval() has the others */
    }
    value_t v = eval(run, e->of.a);
    run->r.place = e->place;
    return value_bool(!value_truth(v));
}

value_t eval(run_t *run, const expr_t *e) {
    run->r.place = e->place;
    switch (e->kind) {
    case E_CONST: return e->constant;
    case E_NAME: return variable(run, &e->name);
    case E_CAPTURED: return run->captured;
    default: break;
    }
    enter_eval(run);
    value_t v = eval_compound(run, e);
    leave_eval(run);
    return v;
}
