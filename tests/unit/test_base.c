/* The base layer: paths and files, JSON with its places, messages, strings, 16-bit floats, random numbers. */
#include "testing.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"

/* ---- paths and files ------------------------------------------------------------------------------------ */

static void assert_owned_string(char *got, const char *want) {
    assert_string_equal(got, want);
    free(got);
}

static void test_paths(void **state) {
    (void)state;
    assert_owned_string(path_join("a", "b"), "a/b");
    assert_owned_string(path_join("a/", "b"), "a/b");
    assert_owned_string(path_join("/", "b"), "/b");
    assert_owned_string(path_join("a", "/b"), "/b");
    assert_owned_string(path_join("", "b"), "b");
    assert_owned_string(path_dirname("a/b/c"), "a/b");
    assert_owned_string(path_dirname("a/b/"), "a");
    assert_owned_string(path_dirname("a//b"), "a");
    assert_owned_string(path_dirname("a"), ".");
    assert_owned_string(path_dirname("/a"), "/");
    assert_owned_string(path_dirname("/"), "/");
    assert_true(path_has_suffix("m.gguf", ".gguf"));
    assert_true(path_has_suffix(".gguf", ".gguf"));
    assert_false(path_has_suffix("gguf", ".gguf"));
    assert_false(path_has_suffix("m.gguf.part", ".gguf"));
}

static void assert_content(const char *path, const void *want, size_t n) {
    err_t err = {0};
    char *data;
    size_t len;
    assert_ok(file_read(path, &data, &len, &err), err);
    assert_int_equal(len, n);
    assert_memory_equal(data, want, n);
    assert_int_equal(data[n], 0);
    free(data);
}

static void test_files(void **state) {
    (void)state;
    err_t err = {0};
    char *deep = path_join(test_tmpdir(), "x/y/z"), *a = path_join(deep, "a"), *b = path_join(deep, "b"), *data;
    size_t len;
    mapping_t m = {0};
    assert_false(path_exists(deep));
    assert_ok(dir_make(deep, &err), err);
    assert_ok(dir_make(deep, &err), err);
    assert_true(path_is_dir(deep));
    assert_ok(dir_sync(deep, &err), err);

    assert_ok(file_write(a, "one\0two", 7, &err), err);
    assert_content(a, "one\0two", 7);
    assert_true(path_exists(a) && !path_is_dir(a));
    assert_ok(file_copy(a, b, &err), err);
    assert_content(b, "one\0two", 7);
    assert_ok(file_write(a, "3", 1, &err), err);
    assert_content(a, "3", 1);
    assert_ok(file_rename(a, b, &err), err);
    assert_false(path_exists(a));
    assert_content(b, "3", 1);
    assert_ok(file_map(b, &m, &err), err);
    assert_int_equal(m.size, 1);
    assert_int_equal(m.data[0], '3');
    file_unmap(&m);
    assert_null(m.data);

    assert_ok(file_write(a, "", 0, &err), err);
    assert_content(a, "", 0);
    assert_error(file_map(a, &m, &err), err, ERR_USAGE, "/x/y/z/a: the file is empty");
    assert_error(file_read(deep, &data, &len, &err), err, ERR_USAGE, "/x/y/z: not a regular file");
    assert_ok(dir_remove(a, &err), err); /* whatever has the name */
    assert_false(path_exists(a));
    free(a);
    free(b);
    free(deep);
}

static void test_file_errors(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *absent = path_join(dir, "absent"), *within = path_join(absent, "file"), *there = path_join(dir, "there");
    char *below = path_join(there, "below"), *data;
    size_t len;
    uint64_t hash;
    assert_error(file_read(absent, &data, &len, &err), err, ERR_USAGE, "/absent: cannot open: No such file");
    assert_error(file_hash(absent, &hash, &err), err, ERR_USAGE, "/absent: cannot open: No such file");
    assert_error(file_copy(absent, there, &err), err, ERR_USAGE, "/absent: cannot open");
    assert_false(path_exists(there));
    assert_error(file_write(within, "x", 1, &err), err, ERR_FAILED, "/absent/file: cannot create: No such file");
    assert_error(file_rename(absent, there, &err), err, ERR_FAILED, "cannot rename");
    assert_ok(file_write(there, "x", 1, &err), err);
    assert_error(dir_make(below, &err), err, ERR_FAILED, "cannot make the directory");
    free(absent), free(within), free(there), free(below);
}

/* A FIFO is refused, where opening it would wait for a writer; the alarm ends a wait. */
static void test_fifo(void **state) {
    (void)state;
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "fifo"), *data;
    size_t len;
    mapping_t m;
    uint64_t hash;
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(10);
    assert_error(file_read(path, &data, &len, &err), err, ERR_USAGE, "fifo: not a regular file");
    assert_error(file_map(path, &m, &err), err, ERR_USAGE, "fifo: not a regular file");
    assert_error(file_hash(path, &hash, &err), err, ERR_USAGE, "fifo: not a regular file");
    alarm(0);
    free(path);
}

/* A write that fails half-way (here at the limit of a file's size) leaves no file. */
static void test_half_written(void **state) {
    (void)state;
    err_t err = {0};
    struct rlimit before, small;
    char *path = path_join(test_tmpdir(), "f"), *from = path_join(test_tmpdir(), "g"), *data = xcalloc(3, 4096);
    assert_ok(file_write(from, data, 3 * 4096, &err), err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){4096, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int wrote = file_write(path, data, 3 * 4096, &err);
    bool left = path_exists(path);
    err_t copy_err = {0};
    int copied = file_copy(from, path, &copy_err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_error(wrote, err, ERR_FAILED, "/f: cannot write: File too large");
    assert_error(copied, copy_err, ERR_FAILED, "/f: cannot write: File too large");
    assert_false(left || path_exists(path));
    assert_true(path_exists(from));
    free(path), free(from), free(data);
}

/* A failed write takes back a regular file only: not a device, to which the link here stands for a name. */
static void test_failed_device(void **state) {
    (void)state;
    err_t err = {0};
    struct stat st;
    char *path = path_join(test_tmpdir(), "device");
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_error(file_write(path, "x", 1, &err), err, ERR_FAILED, "/device: cannot write: No space left on device");
    assert_int_equal(lstat(path, &st), 0);
    free(path);
}

/* Removes what lies within, but a link only itself. */
static void test_dir_remove(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *tree = path_join(dir, "tree"), *sub = path_join(tree, "a/b"), *file = path_join(sub, "f");
    char *link_name = path_join(tree, "link"), *outside = path_join(dir, "outside"), *kept = path_join(outside, "k");
    assert_ok(dir_make(sub, &err), err);
    assert_ok(dir_make(outside, &err), err);
    assert_ok(file_write(file, "x", 1, &err), err);
    assert_ok(file_write(kept, "k", 1, &err), err);
    assert_int_equal(symlink(outside, link_name), 0);
    assert_ok(dir_remove(tree, &err), err);
    assert_false(path_exists(tree));
    assert_content(kept, "k", 1);
    assert_ok(dir_remove(tree, &err), err);
    free(tree), free(sub), free(file), free(link_name), free(outside), free(kept);
}

/* A link goes itself, also under the name that is asked for: what it points to is somebody else's. */
static void test_remove_link(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *outside = path_join(dir, "outside"), *kept = path_join(outside, "k"), *link_name = path_join(dir, "link");
    char *aside = path_join(dir, "aside"), *half = path_join(aside, "half");
    struct stat st;
    assert_ok(dir_make(outside, &err), err);
    assert_ok(file_write(kept, "k", 1, &err), err);
    assert_int_equal(symlink(outside, link_name), 0);
    assert_ok(dir_remove(link_name, &err), err);
    assert_int_equal(lstat(link_name, &st), -1);
    assert_content(kept, "k", 1);
    /* What is removed under another name first; something of an earlier time may have that. */
    assert_ok(dir_make(aside, &err), err);
    assert_ok(file_write(half, "h", 1, &err), err);
    assert_ok(dir_discard(outside, aside, &err), err);
    assert_false(path_exists(outside) || path_exists(aside));
    assert_ok(dir_discard(outside, aside, &err), err);
    free(outside), free(kept), free(link_name), free(aside), free(half);
}

/* Sorted, whole, and never empty for want of a look. */
static void test_dir_list(void **state) {
    (void)state;
    err_t err = {0};
    dir_list_t list;
    const char *dir = test_tmpdir();
    char *absent = path_join(dir, "absent"), *file = path_join(dir, "b"), *under = path_join(file, "x");
    char *first = path_join(dir, ".a");
    struct rlimit before, none;
    assert_ok(dir_list(absent, &list, &err), err);
    assert_int_equal(list.n, 0);
    assert_ok(file_write(file, "", 0, &err), err);
    assert_ok(dir_make(first, &err), err);
    assert_ok(dir_list(dir, &list, &err), err);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.name[0], ".a");
    assert_string_equal(list.name[1], "b");
    dir_list_free(&list);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    err_t read_err = {0};
    int listed = dir_list(dir, &list, &err), rc = file_read(file, &(char *){NULL}, &(size_t){0}, &read_err);
    bool there = path_is_dir(dir), exists = path_exists(file), gone = path_exists(under);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_error(listed, err, ERR_FAILED, "cannot open the directory: Too many open files");
    assert_error(rc, read_err, ERR_FAILED, "/b: cannot open: Too many open files");
    assert_true(there && exists && !gone);
    free(absent), free(file), free(under), free(first);
}

/* A mapped file that is cut short while it is used ends the program with its name, not with a crash. */
static void test_bus_error(void **state) {
    (void)state;
    err_t err = {0};
    int out[2], status;
    char said[1024] = "", *path = path_join(test_tmpdir(), "mapped"), *data = xcalloc(3, 4096);
    mapping_t m;
    assert_ok(file_write(path, data, 3 * 4096, &err), err);
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDERR_FILENO);
        if (file_map(path, &m, &err) || truncate(path, 4096) != 0) _exit(9);
        volatile const uint8_t *p = m.data;
        _exit(p[0] + p[2 * 4096] ? 8 : 7);
    }
    close(out[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(read(out[0], said, sizeof said - 1) > 0);
    close(out[0]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ERR_FAILED);
    assert_non_null(strstr(said, "/mapped: cannot read: it became shorter"));
    free(path), free(data);
}

/* Sizes around the pieces that a file is read in. */
static void test_file_hash(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 1 << 20, (1 << 20) + 1, (3 << 20) + 12345};
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "f"), *copy = path_join(test_tmpdir(), "g");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *data = xmalloc(sizes[i]);
        uint64_t hash = 0, again = 0;
        for (size_t k = 0; k < sizes[i]; k++) data[k] = (uint8_t)rng_fold(i, k);
        assert_ok(file_write(path, data, sizes[i], &err), err);
        assert_ok(file_hash(path, &hash, &err), err);
        assert_true(hash == XXH3_64bits(data, sizes[i]));
        assert_ok(file_copy(path, copy, &err), err);
        assert_ok(file_hash(copy, &again, &err), err);
        assert_true(hash == again);
        free(data);
    }
    free(path);
    free(copy);
}

/* ---- JSON ----------------------------------------------------------------------------------------------- */

static void test_json_places(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"a\": 1,\n \"b\": }", "w.json:2:7: not valid JSON"},
        {"{\n\n  \"a\" 1}", "w.json:3:7: not valid JSON"},
        {"{\"a\": 1, \"a\": 2}", "w.json:1:12: not valid JSON: duplicate"},
        {"[1, 2", "w.json:1:5: not valid JSON"},
        {"[1] x", "w.json:1:5: not valid JSON"},
        {"[\"\xff\"]", "w.json:1:"},
    };
    err_t err = {0};
    json_t *j;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_error(json_text(cases[i].text, strlen(cases[i].text), "w.json", &j, &err), err, ERR_USAGE,
                     cases[i].message);
    char *path = path_join(test_tmpdir(), "c.json");
    assert_ok(file_write(path, "{\n  \"x\": tru\n}\n", 15, &err), err);
    assert_error(json_file(path, &j, &err), err, ERR_USAGE, "/c.json:2:10: not valid JSON");
    assert_ok(file_write(path, "", 0, &err), err);
    assert_error(json_file(path, &j, &err), err, ERR_USAGE, "/c.json: the file is empty");
    free(path);
}

static void test_json_ids(void **state) {
    (void)state;
    static const char *const bad[] = {
        "7", "\"\"", "\"12\"", "\"0x23456789abcdef\"", "\"123456789abcdef01\"", "\"123456789ABCDEFg\""};
    static const uint64_t ids[] = {0, 1, 0xfedcba9876543210u, UINT64_MAX};
    err_t err = {0};
    uint64_t back = 5;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        json_t *j = json_pack("{s:o}", "id", json_of_id(ids[i]));
        assert_ok(json_need_id(j, "id", "w", &back, &err), err);
        assert_true(back == ids[i]);
        assert_error(json_need_id(j, "other", "w", &back, &err), err, ERR_USAGE, "w: other is missing");
        json_decref(j);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *j, *id = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        assert_non_null(j = json_pack("{s:o}", "id", id));
        assert_error(json_need_id(j, "id", "w", &back, &err), err, ERR_USAGE, "w: id: expected ");
        json_decref(j);
    }
}

static void test_json_members(void **state) {
    (void)state;
    err_t err = {0};
    json_t *j;
    static const char text[] = "{\"n\": 3, \"neg\": -1, \"x\": 2.5, \"t\": true, \"s\": \"text\", \"none\": null}";
    assert_ok(json_text(text, strlen(text), "w", &j, &err), err);
    size_t n = 77;
    double x = 7.5;
    bool t = false;
    const char *s = "kept";
    assert_ok(json_opt_size(j, "none", "w", &n, &err) || json_opt_size(j, "absent", "w", &n, &err), err);
    assert_int_equal(n, 77);
    assert_ok(json_opt_number(j, "none", "w", &x, &err), err);
    assert_true(x == 7.5);
    assert_ok(json_need_size(j, "n", "w", &n, &err) || json_opt_number(j, "x", "w", &x, &err), err);
    assert_ok(json_opt_bool(j, "t", "w", &t, &err) || json_opt_string(j, "absent", "w", &s, &err), err);
    assert_true(n == 3 && x == 2.5 && t);
    assert_string_equal(s, "kept");
    assert_ok(json_need_string(j, "s", "w", &s, &err), err);
    assert_string_equal(s, "text");
    assert_error(json_opt_size(j, "neg", "w", &n, &err), err, ERR_USAGE, "w: neg: expected a whole number");
    assert_error(json_opt_size(j, "x", "w", &n, &err), err, ERR_USAGE, "w: x: expected a whole number");
    assert_error(json_opt_number(j, "s", "w", &x, &err), err, ERR_USAGE, "w: s: expected a number");
    assert_error(json_opt_bool(j, "n", "w", &t, &err), err, ERR_USAGE, "w: n: expected true or false");
    assert_error(json_opt_string(j, "n", "w", &s, &err), err, ERR_USAGE, "w: n: expected a string");
    assert_error(json_need_size(j, "none", "w", &n, &err), err, ERR_USAGE, "w: none is missing");
    assert_error(json_need_string(j, "absent", "w", &s, &err), err, ERR_USAGE, "w: absent is missing");
    char *path = path_join(test_tmpdir(), "w.json");
    static const char written[] = "{\n  \"z\": 1,\n  \"a\": [\n    2\n  ]\n}\n";
    json_t *out = json_pack("{s:i, s:[i]}", "z", 1, "a", 2);
    assert_ok(json_write(path, out, &err), err);
    assert_content(path, written, strlen(written));
    json_decref(out);
    json_decref(j);
    free(path);
}

/* ---- messages and strings ------------------------------------------------------------------------------- */

static void test_messages(void **state) {
    (void)state;
    err_t err = {0};
    assert_int_equal(err_set(&err, ERR_USAGE, "%s %d", "inner", 7), ERR_USAGE);
    assert_int_equal(err_prefix(&err, "file:%d", 3), ERR_USAGE);
    assert_string_equal(err.msg, "file:3: inner 7");
    /* Too long: cut at the end, the place in front kept, never past the buffer. */
    char longest[2 * sizeof err.msg];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    err_set(&err, ERR_FAILED, "%s", longest);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_int_equal(err_prefix(&err, "here"), ERR_FAILED);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_memory_equal(err.msg, "here: xxx", 9);
    for (size_t n = sizeof err.msg - 5; n < sizeof err.msg + 5; n++) {
        err_set(&err, ERR_FAILED, "old");
        err_prefix(&err, "%.*s", (int)n, longest);
        assert_true(strlen(err.msg) <= sizeof err.msg - 1);
        assert_memory_equal(err.msg, longest, sizeof err.msg - 5);
    }
}

static void test_strbuf(void **state) {
    (void)state;
    strbuf_t b = {0};
    strbuf_add(&b, "a\0b", 3);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.p, "a\0b", 4);
    for (int i = 0; i < 1000; i++) strbuf_addf(&b, "%d,", i);
    strbuf_adds(&b, "end");
    assert_int_equal(b.len, 3 + 10 * 2 + 90 * 3 + 900 * 4 + 3);
    assert_int_equal(b.p[b.len], 0);
    assert_string_equal(b.p + b.len - 7, "999,end");
    assert_memory_equal(b.p + 3, "0,1,2,3,", 8);
    free(b.p);
    assert_owned_string(xstrndup("abcdef", 3), "abc");
    assert_owned_string(xasprintf("%05d|%s", 42, "x"), "00042|x");
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

static void test_bf16(void **state) {
    (void)state;
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } cases[] = {
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3f800000, 0x3f80},
        {0xc0490fdb, 0xc049}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80}, /* ties go to the even neighbour: down */
        {0x3f818000, 0x3f82},                                             /* and up */
        {0x3f808001, 0x3f81}, {0x3fff8000, 0x4000},                       /* into the exponent */
        {0x7f7fffff, 0x7f80}, {0x7f7f7fff, 0x7f7f},                       /* the largest become infinite */
        {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0},
        {0xffc12345, 0xffc1}, /* NaN stays NaN, whatever bits are cut off */
        {0x00000001, 0x0000}, {0x00008000, 0x0000}, {0x00008001, 0x0001},
        {0x00018000, 0x0002}, {0x807fffff, 0x8080}, /* subnormal to normal */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(bf16_from_f32(f32_from_bits(cases[i].f32)), cases[i].bf16);
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = bf16_to_f32((bf16_t)h);
        assert_int_equal(f32_to_bits(f), h << 16);
        if (!isnan(f)) assert_int_equal(bf16_from_f32(f), h);
        else assert_true(isnan(bf16_round(f)));
    }
}

/* All 65536 patterns against the definition of binary16. */
static void test_f16(void **state) {
    (void)state;
    assert_true(f16_to_f32(0x3c00) == 1.0f && f16_to_f32(0xc000) == -2.0f && f16_to_f32(0x7bff) == 65504.0f);
    assert_true(f16_to_f32(0x0001) == 0x1p-24f && f16_to_f32(0x03ff) == 1023 * 0x1p-24f);
    assert_int_equal(f32_to_bits(f16_to_f32(0x8000)), 0x80000000u);
    for (uint32_t h = 0; h < 0x10000; h++) {
        int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
        float got = f16_to_f32((uint16_t)h);
        double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        if (e < 31) assert_true(got == (float)(h & 0x8000 ? -want : want));
        else if (m) assert_true(isnan(got));
        else assert_true(isinf(got));
        assert_int_equal(f32_to_bits(got) >> 31, h >> 15);
    }
}

static void test_dtype_sizes(void **state) {
    (void)state;
    static const size_t sizes[DT_COUNT] = {
        [DT_F32] = 4, [DT_F16] = 2,     [DT_BF16] = 2,    [DT_F64] = 8,  [DT_U8] = 1,  [DT_I8] = 1,
        [DT_I16] = 2, [DT_I32] = 4,     [DT_I64] = 8,     [DT_BOOL] = 1, [DT_U16] = 2, [DT_U32] = 4,
        [DT_U64] = 8, [DT_F8_E4M3] = 1, [DT_F8_E5M2] = 1, [DT_OTHER] = 1};
    for (int t = 0; t < DT_COUNT; t++) assert_int_equal(dtype_size((dtype_t)t), sizes[t]);
}

/* Mean, variance and the counts of 64 bins, each within five standard deviations; keys and counters both count. */
static void test_rng(void **state) {
    (void)state;
    enum { N = 1 << 18, BINS = 64 };
    for (uint64_t key = 0; key < 3; key++) {
        double sum = 0, sum2 = 0;
        size_t bins[BINS] = {0}, same = 0;
        for (uint64_t i = 0; i < N; i++) {
            float u = rng_uniform(key, i);
            assert_true(u >= 0 && u < 1);
            sum += u;
            sum2 += (double)u * u;
            bins[(size_t)(u * BINS)]++;
            same += u == rng_uniform(key + 1, i) || u == rng_uniform(key, i + 1);
        }
        double mean = sum / N;
        assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / N));
        assert_true(fabs(sum2 / N - mean * mean - 1.0 / 12) < 5 * sqrt(1.0 / 180 / N));
        for (size_t b = 0; b < BINS; b++) assert_true(fabs((double)bins[b] - N / BINS) < 5 * sqrt(N / BINS));
        assert_true(same < 5);
    }
    /* SplitMix64's published first outputs for the seed 0. */
    assert_true(rng_mix(0) == 0xe220a8397b1dcdafu && rng_mix(0x9e3779b97f4a7c15u) == 0x6e789e6aa1b965f4u);
}

/* What a message shows of a text may end amid a character; what reads messages wants UTF-8. */
static void test_error_is_utf8(void **state) {
    (void)state;
    err_t err = {0};
    assert_error(err_set(&err, ERR_USAGE, "\"%.4s\" \xc3\xa9\xff\xf0\x9f\x98\x80.", "a\xc3\xa9\xc3\xa9"), err,
                 ERR_USAGE, "\"a\xc3\xa9?\" \xc3\xa9?\xf0\x9f\x98\x80.");
    char *text = xmalloc(2 * sizeof err.msg + 1);
    for (size_t i = 0; i < sizeof err.msg; i++) memcpy(text + 2 * i, "\xc3\xa9", 3);
    for (int odd = 0; odd < 2; odd++) {
        err_set(&err, ERR_USAGE, "%s%s", odd ? "x" : "", text);
        for (int k = 0; k < 3; k++) {
            json_t *v = json_string(err.msg);
            assert_non_null(v);
            json_decref(v);
            err_prefix(&err, "p");
        }
    }
    free(text);
}

/* The fewest pieces of a size that is allowed are none larger than that, none empty, and whole. */
static void test_pieces(void **state) {
    (void)state;
    for (size_t n = 1; n < 400; n++)
        for (size_t of = 1; of < 130; of += 43)
            for (size_t most = of; most < 300; most += of) {
                size_t pieces = (n + most - 1) / most;
                assert_int_equal(piece_begin(n, pieces, of, 0), 0);
                assert_int_equal(piece_begin(n, pieces, of, pieces), n);
                for (size_t i = 0; i < pieces; i++) {
                    size_t begin = piece_begin(n, pieces, of, i), end = piece_begin(n, pieces, of, i + 1);
                    assert_true(begin < end && end - begin <= most && begin % of == 0);
                    assert_true(end - begin + of > n / pieces);
                }
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),        cmocka_unit_test(test_files),        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_fifo),         cmocka_unit_test(test_half_written), cmocka_unit_test(test_failed_device),
        cmocka_unit_test(test_remove_link),  cmocka_unit_test(test_dir_list),     cmocka_unit_test(test_bus_error),
        cmocka_unit_test(test_dir_remove),   cmocka_unit_test(test_file_hash),    cmocka_unit_test(test_json_places),
        cmocka_unit_test(test_json_members), cmocka_unit_test(test_json_ids),     cmocka_unit_test(test_messages),
        cmocka_unit_test(test_strbuf),       cmocka_unit_test(test_bf16),         cmocka_unit_test(test_f16),
        cmocka_unit_test(test_dtype_sizes),  cmocka_unit_test(test_rng),          cmocka_unit_test(test_error_is_utf8),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
