/* Processes of one run, as far as one process goes: alone, what launchers leave in the environment, and the processors of
 * a host that is shared. Many of them: test_lifeline.c, cluster/ranks.sh. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/testing.h"
#include "trainer/ranks/launcher.h"
#include "trainer/ranks/processors.h"
#include "trainer/ranks/ranks.h"

/* ---- launchers ----------------------------------------------------------------------------------------------- */

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE",    "PMI_RANK", "PMIX_RANK",
                                        "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"};

/* An environment of these alone: "NAME=value NAME=value". */
static launcher_t found(const char *environment) {
    char *all = strdup(environment), *rest;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    for (char *pair = strtok_r(all, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');
        *value = '\0';
        setenv(pair, value + 1, 1);
    }
    free(all);
    return launcher_find();
}

static void launchers(void **state) {
    (void)state;
    static const struct {
        const char *environment, *name;
        int processes;
        bool joins;
    } cases[] = {
        {"", "", 1, true},
        {"OMPI_COMM_WORLD_SIZE=4 PMIX_RANK=2", "mpirun", 4, true},
        {"OMPI_COMM_WORLD_SIZE=1 PMIX_RANK=0", "mpirun", 1, true},
        {"PMI_SIZE=3 PMI_RANK=0", "mpiexec", 3, true},
        {"PMI_SIZE=3 PMI_RANK=1 SLURM_STEP_NUM_TASKS=3", "srun", 3, true},
        {"PMIX_RANK=1 SLURM_STEP_NUM_TASKS=8", "srun", 8, true},
        {"PMIX_RANK=0 SLURM_STEP_NUM_TASKS=1", "srun", 1, true},
        {"PMIX_RANK=0", "mpiexec", 0, true},
        {"SLURM_STEP_NUM_TASKS=2", "srun", 2, false},
        {"SLURM_STEP_NUM_TASKS=1 SLURM_NTASKS=4", "", 1, true},
        /* A job's script, and mpirun in it, whose processes are those of a step of Slurm's, one for each host. */
        {"SLURM_NTASKS=8", "", 1, true},
        {"SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=2 OMPI_COMM_WORLD_SIZE=8 PMIX_RANK=7", "mpirun", 8, true},
        {"SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=2 OMPI_COMM_WORLD_SIZE=1 PMIX_RANK=0", "mpirun", 1, true},
        {"OMPI_COMM_WORLD_SIZE= PMI_SIZE=x SLURM_STEP_NUM_TASKS=-3", "", 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        launcher_t l = found(cases[i].environment);
        if (strcmp(l.name, cases[i].name) != 0 || l.processes != cases[i].processes || l.joins != cases[i].joins)
            fail_msg("\"%s\": %d processes of \"%s\"", cases[i].environment, l.processes, l.name);
    }
}

static void not_joined(void **state) {
    (void)state;
    err_t err = {0};
    found("SLURM_STEP_NUM_TASKS=4");
    assert_error(ranks_open(&err), err, ERR_USAGE, "srun started 4 processes");
    assert_int_equal(ranks_size(), 1);
}

/* ---- alone --------------------------------------------------------------------------------------------------- */

static void take(int sig) { fail_msg("signal %d of another rank, but there is none", sig); }

static void alone(void **state) {
    (void)state;
    err_t err = {0};
    found("");
    assert_ok(ranks_open(&err), err);
    assert_true(ranks_rank() == 0 && ranks_size() == 1 && ranks_first());
    assert_true(ranks_share().index == 0 && ranks_share().count == 1 && ranks_share().processors == 0);
    assert_int_equal(strncmp(ranks_name(0), "rank 0 (", 8), 0);
    assert_true(strlen(ranks_host(0)) > 0);
    assert_string_equal(ranks_library(), "");
    double x[2] = {0.1, -0.0};
    float y[2] = {0.1f, NAN};
    int mine = 7, all = 0;
    ranks_sum(x, 2);
    ranks_sum_f32(y, 2);
    assert_true(x[0] == 0.1 && signbit(x[1]) && y[0] == 0.1f && isnan(y[1]));
    ranks_gather(&mine, sizeof mine, &all);
    ranks_broadcast(&mine, sizeof mine);
    assert_true(mine == 7 && all == 7);
    ranks_on_stop(take);
    ranks_tell_stop(15);
    ranks_tell_end(75);
    assert_int_equal(ranks_agree(&err), 0);
    err_set(&err, ERR_USAGE, "what");
    assert_int_equal(ranks_agree(&err), ERR_USAGE);
    assert_string_equal(err.msg, "what");
    ranks_close();
    assert_true(ranks_first());
}

/* ---- processors ---------------------------------------------------------------------------------------------- */

static processors_t from_to(int first, int last) {
    processors_t p = {{0}};
    for (int i = first; i <= last; i++) p.bits[i / 64] |= (uint64_t)1 << i % 64;
    return p;
}

static void shares(void **state) {
    (void)state;
    processors_t bound[3] = {from_to(0, 31), from_to(32, 63), from_to(100, 8191)};
    assert_int_equal(processors_share(bound, 3, 0), 32);
    assert_int_equal(processors_share(bound, 3, 2), 8092);
    processors_t free_to_roam[4] = {from_to(0, 9), from_to(0, 9), from_to(0, 9), from_to(0, 9)};
    for (int i = 0; i < 4; i++) assert_int_equal(processors_share(free_to_roam, 4, i), 2);
    processors_t mixed[3] = {from_to(0, 63), from_to(0, 15), from_to(16, 31)};
    assert_int_equal(processors_share(mixed, 3, 0), 21);
    assert_int_equal(processors_share(mixed, 3, 1), 8);
    processors_t crowded[3] = {from_to(5, 5), from_to(5, 5), from_to(5, 5)};
    assert_int_equal(processors_share(crowded, 3, 1), 1);
    processors_t mine;
    processors_of_process(&mine);
    assert_true(processors_share(&mine, 1, 0) >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launchers),
        cmocka_unit_test(not_joined),
        cmocka_unit_test(alone),
        cmocka_unit_test(shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
