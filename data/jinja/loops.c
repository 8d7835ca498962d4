#include "data/jinja/exec.h"

#include <string.h>

typedef struct {
    const for_t *f;
    vars_t *outer;       /* around the loop */
    vars_t *filter_vars; /* NULL: every element is taken */
    list_t *items;
    size_t at;     /* elements of `items` that were looked at */
    size_t length; /* once known; SIZE_MAX until then */
    size_t index0;
    size_t depth0; /* of a recursive loop */
    value_t previous, current, next;
    bool peeked;     /* `next` is the element to come */
    bool completed;  /* an iteration went to its end: as Jinja has it, `else` is for when none did */
    value_t changed; /* what loop.changed() was called with last */
} loop_t;

/* ---- the elements --------------------------------------------------------------------------------------- */

/* The next element that the filter lets through, which is asked no earlier than it is needed. */
static bool pull(run_t *run, loop_t *l, value_t *v) {
    while (l->at < l->items->n) {
        *v = l->items->v[l->at++];
        if (!l->filter_vars) return true;
        vars_t *vars = run->vars;
        assign(run, &l->f->filter_target, l->filter_vars, *v);
        run->vars = l->filter_vars;
        value_t test = eval(run, l->f->filter);
        run->vars = vars;
        if (value_truth(test)) return true;
    }
    return false;
}

static bool peek(run_t *run, loop_t *l) {
    if (!l->peeked) l->peeked = pull(run, l, &l->next);
    return l->peeked;
}

static bool step(run_t *run, loop_t *l) {
    value_t v = l->next;
    if (!l->peeked && !pull(run, l, &v)) return false;
    l->peeked = false;
    l->previous = l->current;
    l->current = v;
    l->index0++;
    return true;
}

/* Of a filtered loop: by taking all that is left. */
static size_t length(run_t *run, loop_t *l) {
    if (l->length != SIZE_MAX) return l->length;
    list_t *rest = value_list(&run->r, V_LIST, l->items->n - l->at).list;
    size_t n = 0;
    for (value_t v; pull(run, l, &v);) rest->v[n++] = v;
    rest->n = n;
    l->items = rest;
    l->at = 0;
    l->filter_vars = NULL;
    return l->length = l->index0 + 1 + l->peeked + n;
}

/* ---- the variable `loop` -------------------------------------------------------------------------------- */

static flow_t run_loop(run_t *run, loop_t *l, value_t iterable);

/* loop(children): the body again, for them. */
static value_t call_loop(render_t *r, const function_t *fn, const call_args_t *args) {
    run_t *run = run_of(r);
    const loop_t *l = fn->data;
    loop_t inner = {.f = l->f, .outer = l->outer, .depth0 = l->depth0 + 1};
    if (!l->f->recursive) jinja_fail(r, "the loop is not marked 'recursive', so that it cannot be called");
    args_check(r, args, 1, 1, NULL, "loop");
    vars_t *vars = run->vars;
    capture_t c;
    capture_begin(run, &c);
    run->vars = l->outer;
    run_loop(run, &inner, args->v[0]);
    run->vars = vars;
    return capture_end(run, &c);
}

static value_t call_cycle(render_t *r, const function_t *fn, const call_args_t *args) {
    const loop_t *l = fn->data;
    args_check(r, args, 1, SIZE_MAX, NULL, "loop.cycle");
    return args->v[l->index0 % args->n];
}

static value_t call_changed(render_t *r, const function_t *fn, const call_args_t *args) {
    loop_t *l = fn->data;
    args_check(r, args, 0, SIZE_MAX, NULL, "loop.changed");
    value_t v = value_list(r, V_TUPLE, args->n);
    if (args->n) memcpy(v.list->v, args->v, args->n * sizeof *args->v);
    bool changed = l->changed.type == V_UNDEFINED || !value_equal(r, l->changed, v);
    l->changed = v;
    return value_bool(changed);
}

static size_t loop_length(render_t *r, const function_t *fn) { return length(run_of(r), fn->data); }

static value_t loop_function(run_t *run, loop_t *l, const char *name,
                             value_t (*call)(render_t *, const function_t *, const call_args_t *)) {
    function_t *fn = jinja_alloc(&run->r, sizeof *fn);
    *fn = (function_t){
        .name = name, .call = call, .length = call == call_loop ? loop_length : NULL, .self = value_none(), .data = l};
    value_t v = {.type = V_FUNCTION};
    v.fn = fn;
    return v;
}

static bool loop_number(run_t *run, loop_t *l, const char *name, size_t *n) {
    if (strcmp(name, "index") == 0) return *n = l->index0 + 1, true;
    if (strcmp(name, "index0") == 0) return *n = l->index0, true;
    if (strcmp(name, "length") == 0) return *n = length(run, l), true;
    if (strcmp(name, "revindex") == 0) return *n = length(run, l) - l->index0, true;
    if (strcmp(name, "revindex0") == 0) return *n = length(run, l) - l->index0 - 1, true;
    if (strcmp(name, "depth") == 0) return *n = l->depth0 + 1, true;
    if (strcmp(name, "depth0") == 0) return *n = l->depth0, true;
    return false;
}

bool loop_attribute(run_t *run, value_t v, const char *name, value_t *found) {
    if (v.type != V_FUNCTION || v.fn->call != call_loop) return false;
    loop_t *l = v.fn->data;
    size_t n;
    if (loop_number(run, l, name, &n)) {
        *found = value_int((int64_t)n);
    } else if (strcmp(name, "first") == 0) {
        *found = value_bool(l->index0 == 0);
    } else if (strcmp(name, "last") == 0) {
        *found = value_bool(!peek(run, l));
    } else if (strcmp(name, "previtem") == 0) {
        *found = l->index0 > 0 ? l->previous : value_undefined(name);
    } else if (strcmp(name, "nextitem") == 0) {
        *found = peek(run, l) ? l->next : value_undefined(name);
    } else if (strcmp(name, "cycle") == 0) {
        *found = loop_function(run, l, name, call_cycle);
    } else if (strcmp(name, "changed") == 0) {
        *found = loop_function(run, l, name, call_changed);
    } else {
        *found = value_undefined(name);
    }
    return true;
}

/* ---- the loop ------------------------------------------------------------------------------------------- */

/* Which element of the traced list an iteration is for: its item, or one of those that it is unpacked into. */
static int32_t writer_of(const target_t *target, value_t item, int32_t otherwise) {
    if (item.type == V_DICT) return item.dict->element >= 0 ? item.dict->element : otherwise;
    if (target->kind != TARGET_TUPLE || (item.type != V_TUPLE && item.type != V_LIST)) return otherwise;
    for (size_t i = 0; i < item.list->n; i++) {
        value_t v = item.list->v[i];
        if (v.type == V_DICT && v.dict->element >= 0) return v.dict->element;
    }
    return otherwise;
}

static void run_body(run_t *run, loop_t *l, vars_t *vars) {
    const for_t *f = l->f;
    int32_t writer = run->writer;
    run->vars = vars;
    for (flow_t flow = FLOW_NEXT; flow != FLOW_BREAK && step(run, l);) {
        jinja_steps(&run->r, 1);
        enter_frame(run, &f->frame, vars);
        assign(run, &f->target, vars, l->current);
        run->writer = writer_of(&f->target, l->current, writer);
        flow = exec_body(run, f->body);
        l->completed |= flow == FLOW_NEXT;
        run->writer = writer;
    }
    run->vars = l->outer;
}

/* `break` in it leaves the loop around. */
static flow_t run_otherwise(run_t *run, loop_t *l) {
    vars_t *vars = new_vars(run, &l->f->else_frame, l->outer);
    enter_frame(run, &l->f->else_frame, vars);
    run->vars = vars;
    flow_t flow = exec_body(run, l->f->otherwise);
    run->vars = l->outer;
    return flow;
}

static flow_t run_loop(run_t *run, loop_t *on_stack, value_t iterable) {
    loop_t *l = jinja_alloc(&run->r, sizeof *l); /* `loop` may be kept */
    const for_t *f = on_stack->f;
    *l = *on_stack;
    l->items = value_elements(&run->r, iterable);
    l->length = f->filter ? SIZE_MAX : l->items->n;
    l->index0 = SIZE_MAX; /* in front of the first */
    l->changed = value_undefined(NULL);
    vars_t *vars = new_vars(run, &f->frame, l->outer);
    vars->v[f->loop.slot] = loop_function(run, l, "loop", call_loop);
    if (f->filter) {
        l->filter_vars = new_vars(run, &f->filter_frame, l->outer);
        enter_frame(run, &f->filter_frame, l->filter_vars);
    }
    run_body(run, l, vars);
    return f->otherwise && !l->completed ? run_otherwise(run, l) : FLOW_NEXT;
}

flow_t exec_for(run_t *run, const for_t *f) {
    loop_t l = {.f = f, .outer = run->vars};
    value_t iterable = eval(run, f->iterable);
    run->r.place = f->iterable->place;
    return run_loop(run, &l, iterable);
}
