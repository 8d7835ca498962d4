#include "model/backend/pager.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- layout --------------------------------------------------------------------------------------------- */

void pager_init(pager_t *p, backend_t *be, bool written, const size_t *bytes, size_t n, size_t n_homes, pool_t *pool,
                pool_class_t c) {
    *p = (pager_t){.be = be, .written = written, .n = n, .pages = xcalloc(n, sizeof *p->pages)};
    for (size_t i = 0; i < n; i++) {
        page_t *g = &p->pages[i];
        g->bytes = pool_round(bytes[i]);
        if (i < n_homes) g->home = pool_take_back(pool, c, g->bytes);
    }
}

void pager_close(pager_t *p) {
    free(p->pages);
    spill_close(&p->spill);
    *p = (pager_t){0};
}

void pager_place_slots(pager_t *p, pool_t *pool, pool_class_t c) {
    size_t largest = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!p->pages[i].home && p->pages[i].bytes > largest) largest = p->pages[i].bytes;
    for (size_t s = 0; largest && s < PAGER_SLOTS; s++) p->slots[s] = (slot_t){.place = pool_take(pool, c, largest)};
}

/* Whether activations that end at `top` reach the page's home. */
static bool in_the_way(const page_t *g, size_t size, size_t top) { return g->home && size - g->home < top; }

size_t pager_away_bytes(const pager_t *p, size_t size, size_t top) {
    size_t bytes = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!p->pages[i].home || in_the_way(&p->pages[i], size, top)) bytes += p->pages[i].bytes;
    return bytes;
}

static void zero_at_home(pager_t *p, page_t *g) {
    g->place = p->base + p->size - g->home;
    p->be->zero(p->be, g->place, g->bytes);
    g->used = p->be->mark(p->be, LANE_COMPUTE);
    g->dirty = true;
}

int pager_open(pager_t *p, const pool_t *pool, size_t top, const char *spill_dir, err_t *err) {
    p->base = pool->base;
    p->size = pool->size;
    if (spill_open(&p->spill, p->be, spill_dir, pager_away_bytes(p, p->size, top), err)) return err->code;
    unsigned char *host = p->spill.base;
    for (size_t i = 0; i < p->n; i++) {
        page_t *g = &p->pages[i];
        if (g->home) zero_at_home(p, g);
        if (g->home && !in_the_way(g, p->size, top)) continue;
        g->host = host;
        host += g->bytes;
    }
    return 0;
}

/* ---- copies --------------------------------------------------------------------------------------------- */

/* Copies a page out that the host has not got as it is. */
static void store(pager_t *p, page_t *g) {
    if (!g->dirty) return;
    CHECK(g->host != NULL);
    p->be->wait(p->be, LANE_OUT, g->used);
    p->be->copy_out(p->be, g->host, g->place, g->bytes);
    g->stored = p->be->mark(p->be, LANE_OUT);
    g->dirty = false;
}

/* What `lane` is given from now on may use the page's place for something else. */
static void leave(pager_t *p, page_t *g, lane_t lane) {
    store(p, g);
    p->be->wait(p->be, lane, g->used);
    p->be->wait(p->be, lane, g->fetched);
    p->be->wait(p->be, lane, g->stored);
    g->place = NULL;
}

/* A slot that holds none of the pages from `first` on in direction dir that are on their way together. */
static slot_t *spare_slot(pager_t *p, size_t first, int dir) {
    for (size_t s = 0; s < PAGER_SLOTS; s++) {
        if (!p->slots[s].page) return &p->slots[s];
        ptrdiff_t ahead = ((p->slots[s].page - p->pages) - (ptrdiff_t)first) * dir;
        if (ahead < 0 || ahead >= (ptrdiff_t)PAGER_SLOTS) return &p->slots[s];
    }
    CHECK(!"a slot is spare"); /* the page to fetch is one of those PAGER_SLOTS and in none of the slots */
    return NULL;
}

static void vacate(pager_t *p, slot_t *slot, lane_t lane) {
    if (slot->page) leave(p, slot->page, lane);
    slot->page = NULL;
}

static void fetch(pager_t *p, size_t i, size_t first, int dir) {
    page_t *g = &p->pages[i];
    if (g->place) return;
    p->be->wait(p->be, LANE_IN, p->space_free);
    if (g->home) {
        g->place = p->base + p->size - g->home;
    } else {
        slot_t *slot = spare_slot(p, first, dir);
        vacate(p, slot, LANE_IN);
        slot->page = g;
        g->place = slot->place;
    }
    p->be->wait(p->be, LANE_IN, g->stored);
    p->be->copy_in(p->be, g->place, g->host, g->bytes);
    g->fetched = p->be->mark(p->be, LANE_IN);
    g->dirty = false;
    /* A page that is written leaves once for each time that it comes: both are counted here, whenever it left. */
    p->moved += p->written ? 2 * g->bytes : g->bytes;
}

/* Page `first` and those after it that may be on their way together. */
static void fetch_ahead(pager_t *p, size_t first, int dir) {
    for (size_t k = 0, i = first; k < PAGER_SLOTS && i < p->n; k++, i += (size_t)dir) fetch(p, i, first, dir);
}

/* ---- use ------------------------------------------------------------------------------------------------ */

unsigned char *pager_acquire(pager_t *p, size_t i, int dir) {
    CHECK(i < p->n);
    fetch_ahead(p, i, dir);
    p->be->wait(p->be, LANE_COMPUTE, p->pages[i].fetched);
    return p->pages[i].place;
}

void pager_release(pager_t *p, size_t i, size_t top) {
    page_t *g = &p->pages[i];
    g->used = p->be->mark(p->be, LANE_COMPUTE);
    g->dirty = g->dirty || p->written;
    if (!g->home || in_the_way(g, p->size, top)) store(p, g);
}

void pager_make_room(pager_t *p, size_t top) {
    for (size_t i = 0; i < p->n; i++) {
        page_t *g = &p->pages[i];
        if (g->place && in_the_way(g, p->size, top)) leave(p, g, LANE_COMPUTE);
    }
    for (size_t s = 0; s < PAGER_SLOTS; s++) vacate(p, &p->slots[s], LANE_COMPUTE);
}

void pager_space_is_free(pager_t *p) { p->space_free = p->be->mark(p->be, LANE_COMPUTE); }

void pager_settle(pager_t *p) {
    if (!p->n) return;
    if (p->written) pager_space_is_free(p);
    else fetch_ahead(p, 0, 1);
    for (size_t i = 0; i < p->n; i++)
        if (p->pages[i].home) fetch(p, i, i, 1);
}

/* ---- from and to the host -------------------------------------------------------------------------------- */

void pager_read(pager_t *p, size_t i, size_t at, void *host, size_t n) {
    const page_t *g = &p->pages[i];
    if (g->place) {
        p->be->wait(p->be, LANE_COMPUTE, g->fetched);
        p->be->download(p->be, host, g->place + at, n);
    } else {
        p->be->sync(p->be);
        memcpy(host, g->host + at, n);
    }
}

void pager_write(pager_t *p, size_t i, size_t at, const void *host, size_t n) {
    page_t *g = &p->pages[i];
    if (g->place) {
        p->be->wait(p->be, LANE_COMPUTE, g->fetched);
        p->be->upload(p->be, g->place + at, host, n);
        g->used = p->be->mark(p->be, LANE_COMPUTE);
        g->dirty = true;
    } else {
        p->be->sync(p->be);
        memcpy(g->host + at, host, n);
    }
}
