/* Runs the program itself as a user does, for the tests of whole commands. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

typedef struct {
    int status;       /* 128 + the signal, if one ended it */
    char *out, *err;  /* what it wrote */
} ran_t;

/* Arguments up to NULL. */
ran_t program_run(const char *const *args);
ran_t program_run_other(const char *program, const char *const *args);
void ran_free(ran_t *r);

#endif
