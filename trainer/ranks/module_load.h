/* Finds and loads qlora-mpi.so. */
#ifndef TRAINER_RANKS_MODULE_LOAD_H
#define TRAINER_RANKS_MODULE_LOAD_H

#include "base/error.h"
#include "trainer/ranks/ranks_module.h"

/* Never unloaded: MPI does not bear it. ERR_USAGE, with what to install, where module or library are missing. */
int module_load(const ranks_module_t **module, err_t *err);

#endif
