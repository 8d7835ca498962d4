/* What started this process as one of several, by the environment that it was given. */
#ifndef TRAINER_RANKS_LAUNCHER_H
#define TRAINER_RANKS_LAUNCHER_H

#include <stdbool.h>

typedef struct {
    const char *name; /* "mpirun", "srun", for messages */
    int processes;    /* that it started; 0: MPI knows */
    bool joins;       /* it gave them what MPI needs to find the others */
} launcher_t;

/* processes is 1 where there is no launcher. */
launcher_t launcher_find(void);

#endif
