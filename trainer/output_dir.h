/* output_dir: which run it belongs to, that only one process works on it, and whether the run is finished. */
#ifndef TRAINER_OUTPUT_DIR_H
#define TRAINER_OUTPUT_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct {
    char *dir;
    int lock;      /* file descriptor that holds the flock */
    bool finished; /* the run in it reached its end */
} output_dir_t;

/* Makes the directory if need be, takes its lock, and writes run.json with the identities of the run (config and
 * data). ERR_USAGE when another process works on it, or when it holds another run. */
int output_dir_open(output_dir_t *o, const char *dir, uint64_t run_id, uint64_t data_id, err_t *err);
int output_dir_finish(output_dir_t *o, uint64_t run_id, uint64_t data_id, err_t *err);
void output_dir_close(output_dir_t *o);

#endif
