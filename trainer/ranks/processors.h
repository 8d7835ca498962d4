/* Which of a host's processors a process may use, and how many of them it should. */
#ifndef TRAINER_RANKS_PROCESSORS_H
#define TRAINER_RANKS_PROCESSORS_H

#include <stdint.h>

#define PROCESSORS_MAX 8192 /* of Linux */

typedef struct {
    uint64_t bits[PROCESSORS_MAX / 64];
} processors_t;

/* That this process may use; those of OpenMP's places where it binds threads to them. */
void processors_of_process(processors_t *mine);

/* Of n processes of one host, how many processors number `index` should use: all that it may, divided by the processes
 * that may use some of the same; at least 1. */
int processors_share(const processors_t *all, int n, int index);

#endif
