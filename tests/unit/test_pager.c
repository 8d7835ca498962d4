/* Pages on a device that runs three lanes as late, and in as odd an order, as tickets allow: whatever is asked of a
 * pager, in whatever order, ops see the bytes that were last written, and nothing else changes. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "late.h"
#include "model/backend/pager.h"

enum { ROUNDS = 400, ACTIONS = 40, MAX_PAGES = 9, MAX_PAGE = 1500, FIXED = 1024 };

/* A pager, and what is to be in its pages by now. */
typedef struct {
    uint64_t key, drawn;
    backend_t *be;
    pool_t pool;
    pager_t pager;
    size_t n, bytes[MAX_PAGES];
    unsigned char *want[MAX_PAGES];
    size_t first, top; /* activations lie between */
} rig_t;

static size_t draw(rig_t *r, size_t below) { return below ? (size_t)(rng_fold(r->key, r->drawn++) % below) : 0; }

static void fill_random(rig_t *r, unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)draw(r, 256);
}

/* ---- ops ------------------------------------------------------------------------------------------------ */

static void op_write(unsigned char *p, size_t n, const unsigned char *data) { memcpy(p, data, n); }

static void op_expect(unsigned char *p, size_t n, const unsigned char *data) { assert_memory_equal(p, data, n); }

/* ---- a rig ---------------------------------------------------------------------------------------------- */

static void lay_out(rig_t *r, pool_t *pool, bool written, size_t n_homes) {
    pool_take(pool, POOL_WEIGHTS, FIXED);
    pager_init(&r->pager, r->be, written, r->bytes, r->n, n_homes, pool, POOL_OPTIMIZER);
    pool_mark_t mark = pool_mark(pool);
    pager_place_slots(&r->pager, pool, POOL_OPTIMIZER);
    /* The slots of pages that are only read are their own; those of written ones lie among the activations. */
    if (written) pool_reset(pool, &mark);
    r->first = pool->used;
}

static void rig_open(rig_t *r, bool written, uint64_t seed) {
    err_t err = {0};
    *r = (rig_t){.key = rng_mix(seed)};
    assert_ok(backend_open_cpu(DT_F32, 1, false, &r->be, &err), err);
    late_take_over(r->be, true, seed);
    r->n = 1 + draw(r, MAX_PAGES);
    for (size_t i = 0; i < r->n; i++) r->bytes[i] = 1 + draw(r, MAX_PAGE);
    size_t n_homes = written ? draw(r, r->n + 2) : 0;
    pool_t count = pool_counting(r->be);
    lay_out(r, &count, written, n_homes);
    pager_close(&r->pager);
    size_t size = count.peak + draw(r, 8) * POOL_ALIGN;
    assert_ok(pool_open(&r->pool, r->be, size, &err), err);
    lay_out(r, &r->pool, written, n_homes);
    r->top = r->first + draw(r, size - r->first + 1);
    assert_ok(pager_open(&r->pager, &r->pool, r->top, NULL, &err), err);
    for (size_t i = 0; i < r->n; i++) r->want[i] = xcalloc(1, r->bytes[i]);
}

static void rig_close(rig_t *r) {
    pager_close(&r->pager);
    pool_close(&r->pool);
    for (size_t i = 0; i < r->n; i++) free(r->want[i]);
    r->be->close(r->be);
}

/* ---- what may be asked ------------------------------------------------------------------------------------ */

/* Ops write to all the space of activations and read it again. */
static void activations(rig_t *r) {
    size_t n = draw(r, r->top - r->first + 1);
    unsigned char *junk = xmalloc(n + 1);
    pager_make_room(&r->pager, r->first + n);
    for (int i = 0; i < 2; i++) {
        fill_random(r, junk, n);
        late_op(op_write, r->pool.base + r->first, n, junk);
        late_op(op_expect, r->pool.base + r->first, n, junk);
    }
    free(junk);
}

static void update(rig_t *r) {
    size_t next = draw(r, 3) ? r->first + draw(r, r->top - r->first + 1) : 0;
    pager_space_is_free(&r->pager);
    for (size_t i = 0; i < r->n; i++) {
        unsigned char *place = pager_acquire(&r->pager, i, 1);
        late_op(op_expect, place, r->bytes[i], r->want[i]);
        fill_random(r, r->want[i], r->bytes[i]);
        late_op(op_write, place, r->bytes[i], r->want[i]);
        pager_release(&r->pager, i, next);
    }
}

/* A pass over all pages; dir -1: backward. */
static void pass(rig_t *r, int dir) {
    for (size_t k = 0; k < r->n; k++) {
        size_t i = dir > 0 ? k : r->n - 1 - k;
        late_op(op_expect, pager_acquire(&r->pager, i, dir), r->bytes[i], r->want[i]);
        pager_release(&r->pager, i, 0);
    }
}

static void from_host(rig_t *r) {
    size_t i = draw(r, r->n), at = draw(r, r->bytes[i]), n = draw(r, r->bytes[i] - at + 1);
    fill_random(r, r->want[i] + at, n);
    unsigned char *once = xmalloc(n + 1);
    memcpy(once, r->want[i] + at, n);
    pager_write(&r->pager, i, at, once, n);
    memset(once, 0, n);
    free(once);
}

static void to_host(rig_t *r) {
    size_t i = draw(r, r->n), at = draw(r, r->bytes[i]), n = draw(r, r->bytes[i] - at + 1);
    unsigned char *got = xmalloc(n + 1);
    pager_read(&r->pager, i, at, got, n);
    assert_memory_equal(got, r->want[i] + at, n);
    free(got);
}

static void ask(rig_t *r, bool written) {
    switch (draw(r, 7)) {
    case 0:
    case 1: written ? activations(r) : pass(r, 1); break;
    case 2:
    case 3: written ? update(r) : pass(r, -1); break;
    case 4: pager_settle(&r->pager); break;
    case 5: from_host(r); break;
    default: to_host(r);
    }
}

static void check(bool written) {
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        rig_t r;
        rig_open(&r, written, seed);
        for (size_t i = 0; i < ACTIONS; i++) ask(&r, written);
        rig_close(&r);
        if (seed % 100 == 99) print_message("%d rigs\n", (int)seed + 1);
    }
}

static void test_written(void **state) {
    (void)state;
    check(true);
}

static void test_read_only(void **state) {
    (void)state;
    check(false);
}

/* All that was asked for has happened when the memory behind it goes. */
static void test_closing_waits(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        rig_t r;
        rig_open(&r, true, seed);
        update(&r);
        activations(&r);
        bool has_memory = r.pager.spill.bytes > 0;
        pager_close(&r.pager);
        if (has_memory) assert_int_equal(late_pending(), 0);
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_written), cmocka_unit_test(test_read_only),
                                       cmocka_unit_test(test_closing_waits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
