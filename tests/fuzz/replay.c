/* A fuzzer as an ordinary test, with any compiler: the inputs in which something was found once (found/NAME), the seeds,
 * and a bounded number of mutations of both, always the same ones. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "draws.h"
#include "testing.h"

enum { ROUNDS = 4000, LONGEST = 8192 };
/* On a slow machine the first so many rounds, of 2 seconds. */
enum { SECONDS = 2, LEAST = 400 };

typedef struct {
    char *data;
    size_t n;
} input_t;

static input_t *inputs;
static size_t n_inputs, cap_inputs;

/* Numbers that parsers trip over. */
static const uint64_t nasty[] = {
    0, 1, 127, 255, INT32_MAX, UINT32_MAX, (uint64_t)1 << 32, (uint64_t)1 << 61, INT64_MAX, UINT64_MAX};

/* Takes the bytes [from, from + k) of `source` to `at`, in place of `over` bytes. */
static size_t splice(uint8_t *data, size_t size, size_t max, size_t at, size_t over, const void *source, size_t k) {
    if (size - over + k > max) return size;
    memmove(data + at + k, data + at + over, size - at - over);
    memcpy(data + at, source, k);
    return size - over + k;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) {
    static const char letters[] = "0123456789-,[]{}\":eE \\%./";
    uint8_t piece[32];
    size_t at = below(size + 1), left = size - at, some = left ? 1 + below(left < 16 ? left : 16) : 0;
    uint64_t v = nasty[below(sizeof nasty / sizeof *nasty)];
    const input_t *other = &inputs[below(n_inputs)];
    size_t from = below(other->n + 1), k = other->n - from < sizeof piece ? other->n - from : below(sizeof piece);
    switch (below(7)) {
    case 0:
        if (left) data[at] ^= (uint8_t)(1 << below(8));
        return size;
    case 1: return splice(data, size, max, at, left ? 1 : 0, letters + below(sizeof letters - 1), 1);
    case 2: return splice(data, size, max, at, left < 8 ? left : 8, &v, 8);
    case 3: return splice(data, size, max, at, some, "", 0);
    case 4: return splice(data, size, max, at, below(some + 1), other->data + from, k);
    case 5: snprintf((char *)piece, sizeof piece, "%llu", (unsigned long long)v); break;
    default: memcpy(piece, data + at, some); piece[some] = 0;
    }
    return splice(data, size, max, at, below(some + 1), piece, strlen((char *)piece));
}

/* Those that have one replace this. */
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned number) {
    (void)number;
    return LLVMFuzzerMutate(data, size, max);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void read_inputs(const char *dir) {
    char **names = NULL;
    size_t n = 0, cap = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        VEC_GROW(names, n, cap);
        names[n++] = path_join(dir, e->d_name);
    }
    if (d) closedir(d);
    if (n) qsort(names, n, sizeof *names, by_name); /* the same mutations on every machine */
    for (size_t i = 0; i < n; i++) {
        err_t err = {0};
        VEC_GROW(inputs, n_inputs, cap_inputs);
        input_t *in = &inputs[n_inputs++];
        assert_ok(file_read(names[i], &in->data, &in->n, &err), err);
        free(names[i]);
    }
    free(names);
}

static void run(const void *data, size_t n) {
    uint8_t *copy = xmalloc(n); /* of this size, so that a read behind it is seen */
    memcpy(copy, data, n);
    assert_int_equal(LLVMFuzzerTestOneInput(copy, n), 0);
    free(copy);
}

static void test_inputs(void **state) {
    (void)state;
    for (size_t i = 0; i < n_inputs; i++) run(inputs[i].data, inputs[i].n);
    assert_true(fuzz_read > 0); /* seeds are of files that are good */
}

static void test_mutated(void **state) {
    (void)state;
    static uint8_t data[LONGEST];
    time_t end = time(NULL) + SECONDS;
    size_t read = fuzz_read, refused = fuzz_refused;
    for (int round = 0; round < ROUNDS && (round < LEAST || time(NULL) < end); round++) {
        const input_t *in = &inputs[below(n_inputs)];
        size_t n = in->n < LONGEST ? in->n : LONGEST;
        memcpy(data, in->data, n);
        for (size_t i = 1 + below(3); i-- > 0;)
            n = LLVMFuzzerCustomMutator(data, n, LONGEST, (unsigned)below(1u << 30));
        run(data, n);
    }
    /* Both ways out are taken, or this tests nothing. */
    assert_true(fuzz_read > read && fuzz_refused > refused);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_inputs), cmocka_unit_test(test_mutated)};
    read_inputs(test_path("fuzz/found/" FUZZ_NAME));
    read_inputs(FUZZ_SEEDS "/" FUZZ_NAME);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < n_inputs; i++) free(inputs[i].data);
    free(inputs);
    return failed;
}
