/* Loading streams: beside the pool, the process holds a piece of a tensor and not the model. */
#define _DEFAULT_SOURCE
#include "testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "made_model.h"
#include "model/model.h"

#define MIB ((size_t)1 << 20)

/* Resident bytes of the process: memory of its own, and mapped files. */
typedef struct {
    size_t anon, file;
} resident_t;

static size_t status_bytes(const char *status, const char *key) {
    const char *at = strstr(status, key);
    CHECK(at != NULL);
    return (size_t)strtoull(at + strlen(key), NULL, 10) * 1024;
}

/* Without a stream, whose buffer AddressSanitizer would keep each time. */
static resident_t resident(void) {
    char status[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, status, sizeof status - 1);
    CHECK(n > 0);
    close(fd);
    status[n] = 0;
    return (resident_t){status_bytes(status, "RssAnon:"),
                        status_bytes(status, "RssFile:") + status_bytes(status, "RssShmem:")}; /* files of a tmpfs */
}

typedef struct {
    atomic_bool stop;
    size_t samples;
    resident_t peak;
} sampler_t;

static void take_sample(sampler_t *s) {
    resident_t r = resident();
    if (r.anon > s->peak.anon) s->peak.anon = r.anon;
    if (r.file > s->peak.file) s->peak.file = r.file;
    s->samples++;
}

static void *sample(void *arg) {
    sampler_t *s = arg;
    while (!atomic_load(&s->stop)) {
        take_sample(s);
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000}, NULL);
    }
    return NULL;
}

typedef struct {
    size_t pool, anon, file;         /* the pool; the most over it while loading; of mapped files, the most */
    size_t stage;                    /* bytes of a piece */
    size_t file_bytes, largest_file; /* of the source's tensors */
} figures_t;

/* Quantizes the model at `path` into a pool that is resident before, so that what grows is not the pool. */
static figures_t load(const char *path) {
    err_t err = {0};
    model_source_t *src = NULL;
    backend_t *be = NULL;
    model_t m;
    pool_t pool;
    figures_t f = {0};
    assert_ok(model_source_open(path, &src, &err) || backend_open_cpu(DT_BF16, 2, false, &be, &err), err);
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        if (t->file_bytes > f.largest_file) f.largest_file = t->file_bytes;
        f.file_bytes += t->file_bytes;
    }
    model_init(&m, model_source_config(src), be, QUANT_NF4, true, 64);
    pool_t count = pool_counting(be);
    model_place(&m, 0, 0, &count);
    assert_ok(pool_open(&pool, be, count.used, &err), err);
    memset(pool.base, 1, pool.size);
    model_place(&m, 0, 0, &pool);
    f.pool = pool.size;
    f.stage = be->stage_bytes;

    sampler_t s = {0};
    pthread_t thread;
    resident_t before = resident();
    assert_int_equal(pthread_create(&thread, NULL, sample, &s), 0);
    int rc = model_load(&m, src, &err);
    atomic_store(&s.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    take_sample(&s);
    assert_ok(rc, err);
    assert_true(s.samples > 5);
    f.anon = s.peak.anon - before.anon;
    f.file = s.peak.file > before.file ? s.peak.file - before.file : 0;
    print_message("pool %.1f MiB; over it %.1f MiB, mapped %.1f MiB of %.1f MiB (%zu samples)\n", (double)f.pool / MIB,
                  (double)f.anon / MIB, (double)f.file / MIB, (double)f.file_bytes / MIB, s.samples);
    model_free(&m);
    pool_close(&pool);
    be->close(be);
    model_source_close(src);
    return f;
}

/* AddressSanitizer keeps a byte of its own for eight of the process's, and holds on to what was freed. */
static size_t shadow(const figures_t *f) {
#ifdef __SANITIZE_ADDRESS__
    return f->pool / 8 + 8 * MIB;
#else
    (void)f;
    return 0;
#endif
}

/* Two tensors that are larger than all that loading may take: the embedding and the head of 48 MiB each. */
static void test_made_model(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    made_model_write(
        dir, &(made_model_t){.vocab = 49152, .hidden = 512, .ffn = 16384, .layers = 1, .heads = 8, .kv_heads = 8});
    figures_t f = load(dir);
    assert_int_equal(f.largest_file, 48 * MIB);
    /* A piece, the constants of a tensor in fp32, and some for stacks of threads. */
    assert_true(f.anon <= f.stage + 16384 * 512 / 64 * sizeof(float) + 8 * MIB + shadow(&f));
    assert_true(f.file <= f.largest_file + 8 * MIB);
    assert_true(f.largest_file + 8 * MIB < f.file_bytes / 2);
}

static void test_smollm2_gguf(void **state) {
    (void)state;
    const char *path = getenv("QLORA_SMOLLM2_GGUF");
    if (!path) path = test_path("../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!path_exists(path)) {
        print_message("%s is not there (or set QLORA_SMOLLM2_GGUF): skipped\n", path);
        skip();
    }
    figures_t f = load(path);
    assert_true(f.anon <= f.stage + 8 * MIB + shadow(&f));
    assert_true(f.file <= f.largest_file + 16 * MIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_made_model), cmocka_unit_test(test_smollm2_gguf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
