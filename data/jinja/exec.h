/* A render while it goes on. Internal to data/jinja/. */
#ifndef DATA_JINJA_EXEC_H
#define DATA_JINJA_EXEC_H

#include "data/jinja/ast.h"

/* Statements and expressions within each other, through macros too: 2 MiB of stack hold them. */
enum { MAX_NESTING = 1500 };

/* A frame while it is run. */
typedef struct vars {
    struct vars *outer;
    value_t v[];
} vars_t;

typedef struct {
    render_t r; /* first: run_of() */
    const jinja_input_t *in;
    jinja_output_t *out;
    vars_t *vars;
    builder_t *capture; /* what is written goes here; NULL: to the output */
    bool generation;    /* in a {% generation %} block that what is written now belongs to */
    int32_t writer;
    size_t nesting;
    value_t captured; /* what E_CAPTURED is */
    value_t *context; /* by name id, where known */
    bool *known;
} run_t;
static inline run_t *run_of(render_t *r) { return (run_t *)r; }

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } flow_t;

/* ---- render.c ------------------------------------------------------------------------------------------- */
void write_string(run_t *run, const string_t *s);

/* ---- exec.c --------------------------------------------------------------------------------------------- */
flow_t exec_body(run_t *run, const stmt_t *body);
/* A frame's variables; enter_frame() gives them what they begin with. */
vars_t *new_vars(run_t *run, const frame_t *frame, vars_t *outer);
void enter_frame(run_t *run, const frame_t *frame, vars_t *vars);
void assign(run_t *run, const target_t *target, vars_t *vars, value_t v);

/* Where writing goes, to be put back behind a capture. */
typedef struct {
    builder_t b;
    builder_t *capture;
    bool generation;
} capture_t;
void capture_begin(run_t *run, capture_t *c);
value_t capture_end(run_t *run, capture_t *c);

/* ---- loops.c -------------------------------------------------------------------------------------------- */
flow_t exec_for(run_t *run, const for_t *f);
/* The `loop` of a loop has attributes of its own; false: `v` is no such thing. */
bool loop_attribute(run_t *run, value_t v, const char *name, value_t *found);

/* ---- calls.c -------------------------------------------------------------------------------------------- */
value_t new_macro(run_t *run, const macro_t *m);
/* A macro has attributes of its own; false: `v` is none, or has not that one. */
bool macro_attribute(run_t *run, value_t v, const char *name, value_t *found);
void exec_generation(run_t *run, const macro_t *m);
/* The arguments of a call, with `caller` (NULL: none) as one more. */
call_args_t eval_args(run_t *run, const args_t *args, const value_t *caller);

/* ---- eval.c --------------------------------------------------------------------------------------------- */
value_t eval(run_t *run, const expr_t *e);
value_t eval_call(run_t *run, const expr_t *e, const value_t *caller);
void enter_eval(run_t *run);
static inline void leave_eval(run_t *run) { run->nesting--; }

#endif
