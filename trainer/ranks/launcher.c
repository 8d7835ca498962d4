#include "trainer/ranks/launcher.h"

#include <stdlib.h>

/* 0: not there, or no number. */
static int number(const char *name) {
    const char *value = getenv(name);
    char *end;
    long n = value ? strtol(value, &end, 10) : 0;
    return value && *value && *end == '\0' && n > 0 && n < 1 << 30 ? (int)n : 0;
}

/* SLURM_NTASKS is what a job asked for, and is there in its batch script too, which is one process; of a step, which srun
 * started, speaks SLURM_STEP_NUM_TASKS alone. mpirun within a step starts processes of its own, so it is asked first. */
launcher_t launcher_find(void) {
    int mpirun = number("OMPI_COMM_WORLD_SIZE"), pmi = number("PMI_SIZE"), step = number("SLURM_STEP_NUM_TASKS");
    const char *other = step ? "srun" : "mpiexec";
    if (mpirun) return (launcher_t){"mpirun", mpirun, true};
    if (pmi) return (launcher_t){other, pmi, true};
    if (getenv("PMIX_RANK")) return (launcher_t){other, step, true};
    if (step > 1) return (launcher_t){"srun", step, false};
    return (launcher_t){"", 1, true};
}
