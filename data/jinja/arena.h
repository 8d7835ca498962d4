/* Memory that is freed all at once. Internal to data/jinja/. */
#ifndef DATA_JINJA_ARENA_H
#define DATA_JINJA_ARENA_H

#include "data/jinja/value.h"

void arena_free(arena_block_t *last); /* NULL is fine */

#endif
