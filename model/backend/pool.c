#include "model/backend/pool.h"

#include <stdint.h>
#include <string.h>

const char *pool_class_name(pool_class_t c) {
    static const char *const names[POOL_CLASSES] = {"quantized weights",
                                                    "quantization constants",
                                                    "dequantized weights",
                                                    "embeddings, head, norms",
                                                    "adapters",
                                                    "gradients",
                                                    "optimizer state",
                                                    "workspace",
                                                    "activations"};
    return names[c];
}

pool_t pool_counting(backend_t *be) { return (pool_t){.be = be, .size = SIZE_MAX}; }

int pool_open(pool_t *p, backend_t *be, size_t size, err_t *err) {
    *p = (pool_t){.be = be, .size = size};
    p->base = be->alloc(be, size, MEM_DEVICE);
    if (p->base) return 0;
    return err_set(err, ERR_FAILED, "%s: cannot allocate %.2f GiB of memory", be->device, (double)size / (1 << 30));
}

void pool_close(pool_t *p) {
    if (p->base) p->be->free(p->be, p->base, MEM_DEVICE);
    p->base = NULL;
}

size_t pool_round(size_t bytes) {
    size_t n = (bytes + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    CHECK(n >= bytes);
    return n;
}

static void count(pool_t *p, pool_class_t c, size_t n) {
    p->bytes[c] += n;
    size_t both = p->back < p->size - p->used ? p->used + p->back : p->size;
    if (both > p->peak) p->peak = both;
    if (p->bytes[POOL_ACTIVATIONS] > p->peak_activations) p->peak_activations = p->bytes[POOL_ACTIVATIONS];
}

void *pool_take(pool_t *p, pool_class_t c, size_t bytes) {
    size_t n = pool_round(bytes);
    CHECK(n <= p->size - p->used);
    void *place = p->base ? p->base + p->used : NULL;
    p->used += n;
    count(p, c, n);
    return place;
}

size_t pool_take_back(pool_t *p, pool_class_t c, size_t bytes) {
    size_t n = pool_round(bytes);
    CHECK(n <= p->size - p->back);
    p->back += n;
    count(p, c, n);
    return p->back;
}

pool_mark_t pool_mark(const pool_t *p) {
    pool_mark_t m = {.used = p->used};
    memcpy(m.bytes, p->bytes, sizeof m.bytes);
    return m;
}

void pool_reset(pool_t *p, const pool_mark_t *m) {
    p->used = m->used;
    memcpy(p->bytes, m->bytes, sizeof m->bytes);
}
