#include "late.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "testing.h"

/* ---- queues --------------------------------------------------------------------------------------------- */

typedef struct {
    void (*run)(unsigned char *dst, size_t n, const unsigned char *src); /* NULL: a wait */
    unsigned char *dst;
    const unsigned char *src;
    unsigned char *own; /* src, if it is the job's */
    size_t n;
    ticket_t until;
    uint64_t knows; /* ops of LANE_COMPUTE that are done when this job runs */
} job_t;

typedef struct {
    job_t *jobs;
    size_t n, cap, done;
    uint64_t knows;
} queue_t;

/* A place that an op used, and the number of that op. */
typedef struct {
    const unsigned char *p;
    size_t n;
    uint64_t op;
} use_t;

static struct {
    backend_t real;
    bool late_compute;
    uint64_t key, drawn;
    queue_t lanes[LANES];
    uint64_t ops; /* of LANE_COMPUTE, when it is no queue */
    use_t *uses;
    size_t n_uses, cap_uses;
} late;

static uint64_t draw(uint64_t below) { return rng_fold(late.key, late.drawn++) % below; }

static bool ticket_done(ticket_t t) {
    return t.n <= late.lanes[t.lane].done || (t.lane == LANE_COMPUTE && !late.late_compute);
}

static bool run_next(lane_t lane) {
    queue_t *q = &late.lanes[lane];
    if (q->done == q->n) return false;
    job_t *j = &q->jobs[q->done];
    if (!j->run && !ticket_done(j->until)) return false;
    if (j->run) j->run(j->dst, j->n, j->src);
    free(j->own);
    j->own = NULL;
    q->done++;
    return true;
}

/* Tickets are of work that was queued before: some lane can always go on. */
static void finish(ticket_t t) {
    while (!ticket_done(t)) {
        size_t first = draw(LANES), tried = 0;
        while (tried < LANES && !run_next((lane_t)((first + tried) % LANES))) tried++;
        CHECK(tried < LANES);
    }
}

/* Now and then something gets done by itself. */
static void pass_time(void) {
    for (uint64_t n = draw(4) ? 0 : draw(12); n > 0; n--) run_next((lane_t)draw(LANES));
}

static ticket_t queue(lane_t lane, job_t job) {
    queue_t *q = &late.lanes[lane];
    job.knows = q->knows;
    VEC_GROW(q->jobs, q->n, q->cap);
    q->jobs[q->n++] = job;
    pass_time();
    return (ticket_t){lane, q->n};
}

size_t late_pending(void) {
    size_t n = 0;
    for (int l = 0; l < LANES; l++) n += late.lanes[l].n - late.lanes[l].done;
    return n;
}

/* ---- what ops that ran at once have used ------------------------------------------------------------------ */

static void note_use(const void *p, size_t n) {
    if (late.late_compute) return;
    VEC_GROW(late.uses, late.n_uses, late.cap_uses);
    late.uses[late.n_uses++] = (use_t){p, n, late.ops + 1};
}

static void expect_waited(lane_t lane, const unsigned char *p, size_t n) {
    for (size_t i = 0; i < late.n_uses; i++) {
        const use_t *u = &late.uses[i];
        if (u->p < p + n && p < u->p + u->n && u->op > late.lanes[lane].knows)
            fail_msg("a copy of lane %d does not wait for an op that uses its place", lane);
    }
}

/* The host has waited for all of LANE_COMPUTE: what is queued from now on comes after it. */
static void forget_uses(void) {
    late.ops++;
    for (int l = 0; l < LANES; l++) late.lanes[l].knows = late.ops;
    late.n_uses = 0;
}

/* ---- the backend's side ----------------------------------------------------------------------------------- */

static void run_copy(unsigned char *dst, size_t n, const unsigned char *src) { memcpy(dst, src, n); }

static void run_zero(unsigned char *dst, size_t n, const unsigned char *src) {
    (void)src;
    memset(dst, 0, n);
}

static void late_copy_in(backend_t *be, void *dst, const void *src, size_t bytes) {
    (void)be;
    expect_waited(LANE_IN, dst, bytes);
    queue(LANE_IN, (job_t){.run = run_copy, .dst = dst, .src = src, .n = bytes});
}

static void late_copy_out(backend_t *be, void *dst, const void *src, size_t bytes) {
    (void)be;
    expect_waited(LANE_OUT, src, bytes);
    queue(LANE_OUT, (job_t){.run = run_copy, .dst = dst, .src = src, .n = bytes});
}

static ticket_t late_mark(backend_t *be, lane_t lane) {
    (void)be;
    if (lane == LANE_COMPUTE && !late.late_compute) return (ticket_t){lane, ++late.ops};
    return (ticket_t){lane, late.lanes[lane].n};
}

static void late_wait(backend_t *be, lane_t lane, ticket_t t) {
    (void)be;
    if (t.n == 0) return;
    bool of_op = t.lane == LANE_COMPUTE && !late.late_compute;
    uint64_t knows = of_op ? t.n : late.lanes[t.lane].jobs[t.n - 1].knows;
    if (knows > late.lanes[lane].knows) late.lanes[lane].knows = knows;
    if (lane == LANE_COMPUTE && !late.late_compute) finish(t);
    else queue(lane, (job_t){.until = t});
}

static void late_sync(backend_t *be) {
    (void)be;
    for (int l = 0; l < LANES; l++) finish((ticket_t){(lane_t)l, late.lanes[l].n});
    forget_uses();
}

static void late_upload(backend_t *be, void *dst, const void *src, size_t bytes) {
    note_use(dst, bytes);
    if (late.late_compute) late_op(run_copy, dst, bytes, src);
    else late.real.upload(be, dst, src, bytes);
}

static void late_download(backend_t *be, void *dst, const void *src, size_t bytes) {
    if (late.late_compute) finish(queue(LANE_COMPUTE, (job_t){.run = run_copy, .dst = dst, .src = src, .n = bytes}));
    else late.real.download(be, dst, src, bytes);
    forget_uses();
}

static void late_zero(backend_t *be, void *dst, size_t bytes) {
    note_use(dst, bytes);
    if (late.late_compute) queue(LANE_COMPUTE, (job_t){.run = run_zero, .dst = dst, .n = bytes});
    else late.real.zero(be, dst, bytes);
}

/* Rows of act values: from the first to the last element. */
static void note_rows(const backend_t *be, mat_t m, size_t rows, size_t cols) {
    if (rows) note_use(m.p, ((rows - 1) * m.ld + cols) * dtype_size(be->act));
}

static void note_codes(const linear_t *l) {
    for (size_t i = 0; i < l->n; i++) {
        const qweight_t *w = l->part[i].w;
        note_use(w->codes, quant_code_bytes(w->type, qweight_count(w)));
    }
}

static void late_linear_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    note_codes(l);
    note_rows(be, x, T, linear_cols_of(l) + linear_width(l));
    note_rows(be, y, T, linear_rows_of(l));
    late.real.linear_fwd(be, T, x, l, y);
}

static void late_linear_bwd(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx) {
    note_codes(l);
    note_rows(be, dy, T, linear_rows_of(l) + linear_width(l));
    note_rows(be, dx, T, linear_cols_of(l));
    late.real.linear_bwd(be, T, dy, l, drop, dx);
}

static void late_adapter_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u) {
    note_rows(be, x, T, linear_cols_of(l));
    note_rows(be, u, T, linear_width(l));
    late.real.adapter_fwd(be, T, x, l, drop, u);
}

static void late_adapter_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                             float *const dB[LINEAR_MAX]) {
    note_rows(be, dy, T, linear_rows_of(l));
    note_rows(be, u, T, linear_width(l));
    note_rows(be, du, T, linear_width(l));
    late.real.adapter_bwd(be, T, dy, u, l, du, dB);
}

static void late_adapter_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                              float *dA) {
    note_rows(be, du, T, linear_width(l));
    note_rows(be, x, T, linear_cols_of(l));
    late.real.adapter_grad(be, T, du, x, l, drop, dA);
}

static void late_linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    if (frozen) note_codes(l);
    late.real.linear_cache(be, l, frozen);
}

static void late_adamw(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    note_use(m, n * sizeof *m);
    note_use(v, n * sizeof *v);
    late.real.adamw(be, p, g, m, v, n, h);
}

static void late_adamw_8bit(backend_t *be, float *p, const float *g, const adamw_8bit_state_t *s, size_t n_blocks,
                            const adamw_t *h) {
    note_use(s->m, s->start[n_blocks] - s->start[0]);
    note_use(s->v, s->start[n_blocks] - s->start[0]);
    note_use(s->m_absmax, n_blocks * sizeof *s->m_absmax);
    note_use(s->v_absmax, n_blocks * sizeof *s->v_absmax);
    late.real.adamw_8bit(be, p, g, s, n_blocks, h);
}

static double late_stalled(backend_t *be) {
    (void)be;
    return 0;
}

static void late_close(backend_t *be) {
    for (int l = 0; l < LANES; l++) {
        for (size_t i = late.lanes[l].done; i < late.lanes[l].n; i++) free(late.lanes[l].jobs[i].own);
        free(late.lanes[l].jobs);
    }
    free(late.uses);
    late.real.close(be);
}

void late_op(void (*run)(unsigned char *p, size_t n, const unsigned char *data), unsigned char *p, size_t n,
             const unsigned char *data) {
    unsigned char *own = xmalloc(n);
    memcpy(own, data, n);
    queue(LANE_COMPUTE, (job_t){.run = run, .dst = p, .src = own, .own = own, .n = n});
}

void late_take_over(backend_t *be, bool late_compute, uint64_t seed) {
    memset(&late, 0, sizeof late);
    late.real = *be;
    late.late_compute = late_compute;
    late.key = rng_mix(seed);
    be->copy_in = late_copy_in;
    be->copy_out = late_copy_out;
    be->mark = late_mark;
    be->wait = late_wait;
    be->sync = late_sync;
    be->upload = late_upload;
    be->download = late_download;
    be->zero = late_zero;
    be->linear_fwd = late_linear_fwd;
    be->linear_bwd = late_linear_bwd;
    be->adapter_fwd = late_adapter_fwd;
    be->adapter_bwd = late_adapter_bwd;
    be->adapter_grad = late_adapter_grad;
    be->linear_cache = late_linear_cache;
    be->adamw = late_adamw;
    be->adamw_8bit = late_adamw_8bit;
    be->stalled = late_stalled;
    be->close = late_close;
}
