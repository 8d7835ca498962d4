/* Host memory that pages leave the device for: pinned where the backend has it, else ordinary memory (with a warning:
 * copies are slower), or a file. All of it is there before the first step, so that a host that is too small says so at
 * the start and nothing can be lost later. */
#ifndef MODEL_BACKEND_SPILL_H
#define MODEL_BACKEND_SPILL_H

#include "model/backend/backend.h"

typedef struct {
    backend_t *be;
    unsigned char *base; /* zeros at first; NULL when there are no bytes */
    size_t bytes;
    enum { SPILL_PINNED, SPILL_PAGEABLE, SPILL_FILE } kind;
} spill_t;

/* dir: the file is made there, nameless, and goes with the process however that ends; NULL: memory. ERR_FAILED with the
 * figures when the memory or the disk has not got so many bytes. */
int spill_open(spill_t *s, backend_t *be, const char *dir, size_t bytes, err_t *err);
/* Whether files can be made in the directory: before anything else is begun. */
int spill_check(const char *dir, err_t *err);
void spill_close(spill_t *s); /* a zeroed one is fine */

#endif
