/* What the program needs of MPI: the table that the module qlora-mpi.so exports. The module is compiled against the MPI
 * of the cluster, the program against none. */
#ifndef TRAINER_RANKS_RANKS_MODULE_H
#define TRAINER_RANKS_RANKS_MODULE_H

#include <stddef.h>

#define RANKS_MODULE_NAME "qlora-mpi.so"
#define RANKS_MODULE_SYMBOL "ranks_module"
#define RANKS_MODULE_VERSION 1 /* of this table */

/* Every call but the first two is made by all ranks. Sizes in bytes or elements, of any length: the module cuts what is
 * longer than MPI's counts. */
typedef struct {
    int version;         /* RANKS_MODULE_VERSION */
    const char *library; /* "Open MPI 4.1.4", for messages */
    /* 0, or a message in `why`. */
    int (*open)(char *why, size_t size);
    void (*place)(int *rank, int *ranks, int *local, int *local_ranks);
    void (*broadcast)(void *p, size_t bytes);
    void (*gather)(const void *mine, size_t bytes, void *all);
    /* Of x[n], n a multiple of the ranks, piece k of all ranks goes to rank k: pieces[j] is what rank j had. */
    void (*exchange)(const void *x, size_t piece_bytes, void *pieces);
    void (*close)(void); /* returns when all ranks have called it */
} ranks_module_t;

#endif
