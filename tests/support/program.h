/* Runs the program itself as a user does, for the tests of whole commands. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

typedef struct {
    int status;      /* 128 + the signal, if one ended it */
    char *out, *err; /* what it wrote; err without the warning of what this processor lacks */
} ran_t;

/* Arguments up to NULL. */
ran_t program_run(const char *const *args);
ran_t program_run_other(const char *program, const char *const *args);
/* With standard output going to `out_path` (/dev/full, say); `out` is then empty. */
ran_t program_run_to(const char *out_path, const char *const *args);
void ran_free(ran_t *r);

/* Fails unless the program ends with `status`, with `text` in what it wrote (to standard error unless status is 0). */
#define EXPECT_RUN(status, text, ...) program_expect(status, text, (const char *const[]){__VA_ARGS__, NULL})
void program_expect(int status, const char *text, const char *const *args);

#endif
