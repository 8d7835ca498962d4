/* The micro-batches of an epoch as the model takes them: no padding, rows one after another in one list of T tokens, and
 * segments that say where each sample begins (a padded batch would compute the same). */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include "data/epoch.h"
#include "model/batch.h"

/* Fills (and grows) b with micro-batch m of the epoch. Zero-initialise b; batch_free at the end. */
void batch_fill(const epoch_t *e, size_t m, batch_t *b);
void batch_free(batch_t *b);

#endif
