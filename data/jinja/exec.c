#include "data/jinja/exec.h"

#include <string.h>

/* ---- variables ------------------------------------------------------------------------------------------ */

vars_t *new_vars(run_t *run, const frame_t *frame, vars_t *outer) {
    vars_t *vars = jinja_alloc(&run->r, sizeof *vars + frame->n * sizeof *vars->v);
    vars->outer = outer;
    for (size_t i = 0; i < frame->n; i++) vars->v[i] = value_undefined(frame->v[i].name.text);
    return vars;
}

/* A variable of the render, or else a global, or undefined. */
static value_t context_value(run_t *run, const name_t *name) {
    const jinja_input_t *in = run->in;
    value_t v;
    for (size_t i = 0; i < in->n_vars; i++) {
        const jinja_var_t *var = &in->vars[i];
        if (!var->value || strcmp(var->name, name->text) != 0) continue;
        return value_of_json(&run->r, var->value, var->traced, var->traced ? var->items : SIZE_MAX);
    }
    return jinja_global(&run->r, name->text, &v) ? v : value_undefined(name->text);
}

static value_t from_context(run_t *run, const name_t *name) {
    if (!run->known[name->id]) run->context[name->id] = context_value(run, name);
    run->known[name->id] = true;
    return run->context[name->id];
}

void enter_frame(run_t *run, const frame_t *frame, vars_t *vars) {
    jinja_steps(&run->r, frame->n);
    for (size_t i = 0; i < frame->n; i++) {
        const slot_t *slot = &frame->v[i];
        const vars_t *from = vars;
        switch (slot->kind) {
        case SLOT_GIVEN: break;
        case SLOT_CONTEXT: vars->v[i] = from_context(run, &slot->name); break;
        case SLOT_OUTER:
            for (uint32_t k = slot->name.depth; k > 0; k--) from = from->outer;
            vars->v[i] = from->v[slot->name.slot];
            break;
        case SLOT_NOTHING: vars->v[i] = value_undefined(slot->name.text); break;
        }
    }
}

static value_t *variable(vars_t *vars, const name_t *name) {
    for (uint32_t i = name->depth; i > 0; i--) vars = vars->outer;
    return &vars->v[name->slot];
}

static void set_attribute(run_t *run, const target_t *target, vars_t *vars, value_t v) {
    value_t of = *variable(vars, &target->name);
    run->r.place = target->place;
    if (of.type != V_NAMESPACE)
        jinja_fail(&run->r, "'%s' is no namespace; only that has attributes to set", target->name.text);
    if (target->key.s->p[0] == '_') jinja_fail(&run->r, "'%s': no attribute may begin with _", target->key.s->p);
    dict_set(&run->r, of.dict, target->key, v);
}

void assign(run_t *run, const target_t *target, vars_t *vars, value_t v) {
    if (target->kind == TARGET_NAME) {
        *variable(vars, &target->name) = v;
    } else if (target->kind == TARGET_ATTRIBUTE) {
        set_attribute(run, target, vars, v);
    } else {
        run->r.place = target->place;
        const list_t *list = value_elements(&run->r, v);
        if (list->n != target->n) jinja_fail(&run->r, "%zu values for %zu names", list->n, target->n);
        for (size_t i = 0; i < target->n; i++) assign(run, &target->v[i], vars, list->v[i]);
    }
}

/* ---- what is written ------------------------------------------------------------------------------------ */

void capture_begin(run_t *run, capture_t *c) {
    *c = (capture_t){.capture = run->capture, .generation = run->generation};
    run->capture = &c->b;
    run->generation = false;
}

value_t capture_end(run_t *run, capture_t *c) {
    run->capture = c->capture;
    run->generation = c->generation;
    return build_end(&run->r, &c->b);
}

static void write_value(run_t *run, jinja_place_t place, value_t v) {
    run->r.place = place;
    write_string(run, v.type == V_STRING ? v.s : value_str(&run->r, v).s);
}

/* What a call block or a filter block makes must be a text: Jinja joins it to the rest as it is. */
static void write_text(run_t *run, jinja_place_t place, value_t v) {
    run->r.place = place;
    if (v.type != V_STRING) jinja_fail(&run->r, "the block makes a %s; expected a str", value_type_name(v));
    write_string(run, v.s);
}

/* ---- statements ----------------------------------------------------------------------------------------- */

static flow_t exec_if(run_t *run, const stmt_t *s) {
    for (size_t i = 0; i < s->branches.n; i++) {
        const branch_t *branch = &s->branches.v[i];
        value_t test = eval(run, branch->test);
        run->r.place = branch->test->place;
        if (value_truth(test)) return exec_body(run, branch->body);
    }
    return exec_body(run, s->branches.otherwise);
}

static void exec_set(run_t *run, const stmt_t *s) { assign(run, &s->set.target, run->vars, eval(run, s->set.value)); }

/* {% set x %} and {% filter f %}: what the body writes, filtered. */
static flow_t exec_captured(run_t *run, const stmt_t *s) {
    capture_t c;
    vars_t *outer = run->vars, *vars = new_vars(run, &s->set.frame, outer);
    enter_frame(run, &s->set.frame, vars);
    run->vars = vars;
    capture_begin(run, &c);
    flow_t flow = exec_body(run, s->set.body);
    run->captured = capture_end(run, &c);
    value_t v = flow == FLOW_NEXT ? eval(run, s->set.value) : value_none();
    run->vars = outer;
    if (flow != FLOW_NEXT) return flow;
    if (s->kind == S_SET_BLOCK) {
        assign(run, &s->set.target, outer, v);
    } else {
        write_text(run, s->place, v);
    }
    return flow;
}

static flow_t exec_with(run_t *run, const stmt_t *s) {
    vars_t *outer = run->vars, *vars = new_vars(run, &s->with.frame, outer);
    enter_frame(run, &s->with.frame, vars);
    for (size_t i = 0; i < s->with.n; i++) assign(run, &s->with.targets[i], vars, eval(run, s->with.values[i]));
    run->vars = vars;
    flow_t flow = exec_body(run, s->with.body);
    run->vars = outer;
    return flow;
}

static void exec_macro(run_t *run, const stmt_t *s) {
    *variable(run->vars, &s->macro.name) = new_macro(run, s->macro.macro);
}

static void exec_call(run_t *run, const stmt_t *s) {
    value_t caller = new_macro(run, s->macro.macro);
    write_text(run, s->place, eval_call(run, s->macro.call, &caller));
}

static flow_t exec_stmt(run_t *run, const stmt_t *s) {
    switch (s->kind) {
    case S_TEXT: write_string(run, s->text); break;
    case S_OUTPUT: write_value(run, s->output->place, eval(run, s->output)); break;
    case S_IF: return exec_if(run, s);
    case S_FOR: return exec_for(run, s->loop);
    case S_SET: exec_set(run, s); break;
    case S_SET_BLOCK:
    case S_FILTER: return exec_captured(run, s);
    case S_MACRO: exec_macro(run, s); break;
    case S_CALL: exec_call(run, s); break;
    case S_WITH: return exec_with(run, s);
    case S_BREAK: return FLOW_BREAK;
    case S_CONTINUE: return FLOW_CONTINUE;
    case S_GENERATION: exec_generation(run, s->macro.macro); break;
    }
    return FLOW_NEXT;
}

flow_t exec_body(run_t *run, const stmt_t *body) {
    flow_t flow = FLOW_NEXT;
    for (; body && flow == FLOW_NEXT; body = body->next) {
        run->r.place = body->place;
        enter_eval(run);
        flow = exec_stmt(run, body);
        leave_eval(run);
    }
    return flow;
}
