/* What the program needs of MPI: the table that the module qlora-mpi.so exports. The module is compiled against the MPI
 * of the cluster, the program against none. */
#ifndef TRAINER_RANKS_RANKS_MODULE_H
#define TRAINER_RANKS_RANKS_MODULE_H

#include <stddef.h>

#define RANKS_MODULE_NAME "qlora-mpi.so"
#define RANKS_MODULE_SYMBOL "ranks_module"
#define RANKS_MODULE_VERSION 1 /* of this table */

typedef struct {
    int rank, ranks;
    int local, locals; /* among those of this host */
    int host;          /* the lowest rank of this host */
} ranks_place_t;

/* Every call but place() is made by all ranks. `bytes` of gather and exchange fit MPI's counts, an int; broadcast cuts
 * what is longer. Those three return NULL, or what MPI says of a failure. */
typedef struct {
    int version;                         /* RANKS_MODULE_VERSION */
    const char *(*library)(void);        /* "Open MPI v4.1.4", for messages */
    int (*open)(char *why, size_t size); /* 0, or a message in `why` */
    void (*place)(ranks_place_t *place);
    const char *(*broadcast)(void *p, size_t bytes);
    const char *(*gather)(const void *mine, size_t bytes, void *all);
    /* Piece k of everybody's x, one piece for each rank, goes to rank k: pieces[j] is what rank j had for this one. */
    const char *(*exchange)(const void *x, size_t piece_bytes, void *pieces);
    void (*close)(void); /* returns when all ranks have called it */
} ranks_module_t;

#endif
