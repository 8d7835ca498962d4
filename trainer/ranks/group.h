/* The processes that one launcher has started: joined by MPI, and who is who. What they do together, ranks_broadcast() and
 * the like of ranks.h, is in group.c too. */
#ifndef TRAINER_RANKS_GROUP_H
#define TRAINER_RANKS_GROUP_H

#include <stdbool.h>

#include "base/error.h"

/* (all) See ranks_open(); no one watches yet whether the others live. */
int group_join(err_t *err);
/* (all) Also where there is nothing to leave. */
void group_leave(void);

bool group_joined(void);       /* false: this process is alone, or has left */
bool group_beside_first(void); /* on the host of rank 0 */

#endif
