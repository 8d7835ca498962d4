#include "data/jinja/exec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/jinja/arena.h"

/* ---- memory --------------------------------------------------------------------------------------------- */

struct arena_block {
    arena_block_t *before;
    size_t used, size;
    max_align_t data[];
};

enum { FIRST_BLOCK = 32 << 10, LARGEST_BLOCK = 1 << 20 };

static void new_block(render_t *r, size_t n) {
    size_t size = r->arena ? 2 * r->arena->size : FIRST_BLOCK;
    if (size > LARGEST_BLOCK) size = LARGEST_BLOCK;
    if (size < n) size = n;
    arena_block_t *block = xmalloc(sizeof *block + size);
    *block = (arena_block_t){.before = r->arena, .size = size};
    r->arena = block;
}

void *jinja_alloc(render_t *r, size_t n) {
    const size_t align = _Alignof(max_align_t);
    if (n > JINJA_MAX_MEMORY || r->memory + n > JINJA_MAX_MEMORY) {
        jinja_fail(r, "the template takes more than %zu MiB of memory", JINJA_MAX_MEMORY >> 20);
    }
    n = (n + align - 1) / align * align;
    r->memory += n;
    if (!r->arena || r->arena->size - r->arena->used < n) new_block(r, n);
    void *p = (char *)r->arena->data + r->arena->used;
    r->arena->used += n;
    return memset(p, 0, n);
}

void arena_free(arena_block_t *last) {
    while (last) {
        arena_block_t *before = last->before;
        free(last);
        last = before;
    }
}

/* ---- limits and errors ---------------------------------------------------------------------------------- */

void jinja_steps(render_t *r, size_t n) {
    if (n > JINJA_MAX_STEPS || (r->steps += n) > JINJA_MAX_STEPS) {
        jinja_fail(r, "the template takes more than %d steps", JINJA_MAX_STEPS);
    }
}

_Noreturn void jinja_fail(render_t *r, const char *fmt, ...) {
    char what[900];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    err_set(r->err, ERR_USAGE, "%s:%u:%u: %s", r->name, r->place.line, r->place.column, what);
    longjmp(r->failed, 1);
}

/* ---- output --------------------------------------------------------------------------------------------- */

static void add_run(run_t *run, jinja_origin_t origin) {
    jinja_output_t *out = run->out;
    jinja_run_t *last = out->n_runs ? &out->runs[out->n_runs - 1] : NULL;
    if (last && last->origin == origin && last->writer == run->writer) {
        last->end = out->text.len;
        return;
    }
    VEC_GROW(out->runs, out->n_runs, out->cap_runs);
    out->runs[out->n_runs++] = (jinja_run_t){out->text.len, origin, run->writer};
}

static void write_bytes(run_t *run, const char *s, size_t n, jinja_origin_t origin) {
    if (run->generation) origin |= JINJA_GENERATION;
    if (run->capture) {
        build_bytes(&run->r, run->capture, s, n, origin);
        return;
    }
    if (run->out->text.len + n > JINJA_MAX_OUTPUT) {
        jinja_fail(&run->r, "the template writes more than %zu MiB", JINJA_MAX_OUTPUT >> 20);
    }
    strbuf_add(&run->out->text, s, n);
    add_run(run, origin);
}

void write_string(run_t *run, const string_t *s) {
    if (s->len == 0) return;
    if (!s->origins) {
        write_bytes(run, s->p, s->len, s->origin);
    } else if (run->capture && !run->generation) {
        build_string(&run->r, run->capture, s, 0, s->len);
    } else {
        for (size_t from = 0, to; from < s->len; from = to) {
            for (to = from + 1; to < s->len && s->origins[to] == s->origins[from];) to++;
            write_bytes(run, s->p + from, to - from, s->origins[from]);
        }
    }
}

void jinja_output_free(jinja_output_t *out) {
    free(out->text.p);
    free(out->runs);
    *out = (jinja_output_t){0};
}

/* ---- a render ------------------------------------------------------------------------------------------- */

/* On its own, so that what jinja_render() keeps across the longjmp is not in a register of this one. */
static int render_guarded(run_t *run) {
    if (setjmp(run->r.failed)) return run->r.err->code;
    const jinja_t *t = run->r.t;
    run->context = jinja_alloc(&run->r, (t->n_names + 1) * sizeof *run->context);
    run->known = jinja_alloc(&run->r, t->n_names + 1);
    run->vars = new_vars(run, &t->frame, NULL);
    enter_frame(run, &t->frame, run->vars);
    exec_body(run, t->body);
    return 0;
}

int jinja_render(const jinja_t *t, const jinja_input_t *in, jinja_output_t *out, err_t *err) {
    run_t run = {.in = in, .out = out, .writer = -1};
    run.r.t = t;
    run.r.name = t->name;
    run.r.place = (jinja_place_t){1, 1};
    run.r.date = in->date;
    run.r.err = err;
    out->text.len = 0;
    out->n_runs = 0;
    strbuf_add(&out->text, "", 0);
    int rc = render_guarded(&run);
    arena_free(run.r.arena);
    return rc;
}
