/* The batches of a pass, shared out among the ranks: batch i is rank (i mod n)'s, and what all of them come to is
 * added up in the order in which one process would have. */
#ifndef TRAINER_RUN_SHARES_H
#define TRAINER_RUN_SHARES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t n;     /* batches of the pass */
    double *loss; /* [n] the sum of each; and behind them how many ranks have given up */
    size_t cap;
} shares_t;

/* Room for passes of up to so many batches. */
void shares_open(shares_t *s, size_t most);
void shares_close(shares_t *s);

/* A pass of n batches begins: this rank takes shares_first(), and from each goes to shares_next() while that is below
 * n, leaving the batch's sum of losses in loss[i]. */
void shares_begin(shares_t *s, size_t n);
size_t shares_first(void);
size_t shares_next(size_t i);
/* (all) Whether no rank has given up its share; then *sum is that of all batches, to the last bit whatever the number of
 * ranks. */
bool shares_sum(shares_t *s, bool gave_up, double *sum);

#endif
