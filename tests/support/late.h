/* A device with three lanes that does nothing before it must: copies of paging wait in queues and run at random times,
 * in any order that the tickets allow, at the latest when somebody waits for them. A wait that is missing shows as a
 * wrong byte. One device at a time. */
#ifndef TESTS_LATE_H
#define TESTS_LATE_H

#include "model/backend/backend.h"

/* Takes the copies and the lanes of a CPU backend over, until it is closed. late_compute: LANE_COMPUTE is a queue as
 * well, for tests whose ops go through late_op(); else ops run at once, and a copy that does not wait for the last use
 * of its place by an op before it fails the test. */
void late_take_over(backend_t *be, bool late_compute, uint64_t seed);

/* Queues run(p, n, data) on LANE_COMPUTE; the n bytes at `data` are copied. */
void late_op(void (*run)(unsigned char *p, size_t n, const unsigned char *data), unsigned char *p, size_t n,
             const unsigned char *data);
/* What is queued and has not run. */
size_t late_pending(void);

#endif
