/* Pages: pieces of what a run keeps that may be away from the device, in host memory, and come back when they are
 * needed. The optimizer's moments (written) and the layers' frozen weights (only read) go through this one policy.
 *
 * A page with a home has a place of its own at the far end of the pool and stays there until activations need that
 * space. A page without one passes through the slots, PAGER_SLOTS places that take turns: while one page is used, the
 * next PAGER_SLOTS - 1 are on their way, and, where pages are written, those before are on their way back.
 *
 * What moves is the least that the places allow: only the homes that activations reach are left, the lowest first; a
 * page that was fetched stays until its place is needed; what was not written is not copied back. */
#ifndef MODEL_BACKEND_PAGER_H
#define MODEL_BACKEND_PAGER_H

#include <stdbool.h>

#include "model/backend/pool.h"
#include "model/backend/spill.h"

#define PAGER_SLOTS ((size_t)3)

typedef struct {
    size_t bytes;                   /* on the device */
    size_t home;                    /* distance of its first byte from the end of the pool; 0: it has no home */
    unsigned char *host;            /* its copy in host memory; NULL: it never leaves */
    unsigned char *place;           /* where it is on the device; NULL: away */
    bool dirty;                     /* the device has it newer than the host */
    ticket_t used, fetched, stored; /* its last use, copy in, copy out */
} page_t;

typedef struct {
    unsigned char *place;
    page_t *page; /* that it holds; NULL: none */
} slot_t;

typedef struct {
    backend_t *be;
    bool written; /* whether using a page changes it */
    page_t *pages;
    size_t n;
    slot_t slots[PAGER_SLOTS]; /* place NULL: every page has a home */
    unsigned char *base;       /* of the pool */
    size_t size;
    spill_t spill;
    ticket_t space_free; /* the last use of homes and slots by others than pages */
    size_t moved;        /* bytes fetched and written back; the owner sets it to 0 */
} pager_t;

/* n pages of the given sizes, which are rounded up to POOL_ALIGN. The first n_homes get a home each from the pool, page
 * 0 at the very end. */
void pager_init(pager_t *p, backend_t *be, bool written, const size_t *bytes, size_t n, size_t n_homes, pool_t *pool,
                pool_class_t c);
void pager_close(pager_t *p); /* a zeroed one is fine */
/* Takes the slots from the pool; nothing when every page has a home. */
void pager_place_slots(pager_t *p, pool_t *pool, pool_class_t c);
/* Bytes that leave a pool of `size` bytes when activations end at `top`, and of the pages without a home. */
size_t pager_away_bytes(const pager_t *p, size_t size, size_t top);
/* Once the pool has its memory: pages are at home, those without one in host memory. Takes that memory (a file under
 * spill_dir if not NULL) for every page that activations up to `top` can push out. All bytes of all pages are 0. */
int pager_open(pager_t *p, const pool_t *pool, size_t top, const char *spill_dir, err_t *err);

/* Page i on the device, for ops queued from now on, until pager_release(). Pages are asked for in the order of their
 * numbers, dir 1, or against it, -1; the next ones are fetched ahead. */
unsigned char *pager_acquire(pager_t *p, size_t i, int dir);
/* The ops that use page i are queued. top: where the next activations are expected to end (0: not known); a page in
 * their way is copied out at once, beside the ops that follow. */
void pager_release(pager_t *p, size_t i, size_t top);

/* Makes homes and slots below `top` free for what ops do from now on. Only for a pager whose slots lie among the
 * activations. */
void pager_make_room(pager_t *p, size_t top);
/* All that was queued is the last use of that space: pages may come back to it. */
void pager_space_is_free(pager_t *p);
/* Brings pages to where they are between two steps: home, or the first ones into the slots if pages are only read. */
void pager_settle(pager_t *p);

/* Bytes [at, at + n) of page i, to and from the host, wherever the page is. Blocks. */
void pager_read(pager_t *p, size_t i, size_t at, void *host, size_t n);
void pager_write(pager_t *p, size_t i, size_t at, const void *host, size_t n);

#endif
