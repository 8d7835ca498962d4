/* Checkpoints and the output directory: what is saved comes back bit for bit, damage is found, and a directory
 * belongs to one run and one process. */
#define _DEFAULT_SOURCE
#include "testing.h"

#include <signal.h>
#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/adapter.h"
#include "tiny.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/output_dir.h"

static const char yaml[] = "model: {path: somewhere}\n";
static tiny_t tiny;

static int open_tiny(void **state) {
    (void)state;
    tiny_spec_t spec = {.arch = "llama-gqa-tied-odd",
                        .model_dir = "",
                        .quant = QUANT_NF4,
                        .double_quant = true,
                        .act = DT_F32,
                        .n_kept = SIZE_MAX};
    tiny_open(&tiny, &spec);
    return 0;
}

static int close_tiny(void **state) {
    (void)state;
    tiny_close(&tiny);
    return 0;
}

/* Masters and moments that differ from one another and from run to run: any bits but NaN. */
static void fill(float *v, uint64_t key) {
    for (size_t i = 0; i < tiny.lora.count; i++) v[i] = f32_from_bits((uint32_t)rng_fold(key, i) & 0xbf7fffffu);
}

static void fill_state(uint64_t key) {
    size_t n = tiny.lora.count;
    float *v = xmalloc(n * sizeof *v);
    fill(tiny.lora.master, rng_mix(key));
    for (int a = STATE_M; a <= STATE_V; a++) {
        fill(v, rng_mix(key + 1000 * (1 + (uint64_t)a)));
        optimizer_write(&tiny.opt, (state_array_t)a, 0, n, v);
    }
    free(v);
}

/* Masters and both moments, [3][n]. The caller frees. */
static float *all_state(void) {
    size_t n = tiny.lora.count;
    float *v = xmalloc(3 * n * sizeof *v);
    memcpy(v, tiny.lora.master, n * sizeof *v);
    optimizer_read(&tiny.opt, STATE_M, 0, n, v + n);
    optimizer_read(&tiny.opt, STATE_V, 0, n, v + 2 * n);
    return v;
}

static void save_best(const char *dir, size_t step, size_t keep, size_t best) {
    err_t err = {0};
    train_state_t s = {.step = step, .epoch = 0.1 * (double)step, .adam_t = step, .run_id = 1, .data_id = 2};
    assert_ok(checkpoint_save(dir, &s, &tiny.lora, &tiny.opt, tiny.be, &(checkpoint_about_t){yaml, "base", NULL, {0}},
                              (checkpoint_keep_t){keep, best}, &err),
              err);
}

static void save(const char *dir, size_t step, size_t keep) { save_best(dir, step, keep, 0); }

static bool has(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool there = path_exists(path);
    free(path);
    return there;
}

static void put(const char *dir, const char *name, const void *data, size_t len) {
    err_t err = {0};
    char *path = path_join(dir, name);
    assert_ok(file_write(path, data, len, &err), err);
    free(path);
}

static void make(const char *dir, const char *name) {
    err_t err = {0};
    char *path = path_join(dir, name);
    assert_ok(dir_make(path, &err), err);
    free(path);
}

static bool any(const char *dir) {
    err_t err = {0};
    bool found;
    assert_ok(checkpoint_any(dir, &found, &err), err);
    return found;
}

/* step 0: none is good. */
static void assert_newest(const char *dir, size_t step) {
    err_t err = {0};
    char *got, *want = checkpoint_path(dir, step);
    assert_ok(checkpoint_newest(dir, &got, &err), err);
    if (step == 0) assert_null(got);
    else if (!got) fail_msg("no good checkpoint; expected %s", want);
    else assert_string_equal(got, want);
    free(got);
    free(want);
}

static void test_round_trip(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    size_t n = tiny.lora.count, bytes = n * sizeof(float);
    strbuf_t history = {0};
    log_history_add(&history, &(log_row_t){.step = 1, .loss = 2.5, .grad_norm = NAN, .learning_rate = 1e-4});
    log_history_add(&history, &(log_row_t){.step = 1, .is_eval = true, .loss = 0.1});
    trainer_about_t about = {.max_steps = 9, .best_model = "out/checkpoint-5", .history = history.p};
    train_state_t s = {.step = 7,
                       .epoch = 1.0 / 3,
                       .adam_t = 5,
                       .skipped = 2,
                       .useless_in_row = 1,
                       .elapsed_seconds = 12.345678901234567,
                       .run_id = 0xfedcba9876543210u,
                       .data_id = 1,
                       .compute = "bf16",
                       .evals = {.last = 7, .best_step = 5, .best = 1.0 / 3, .since = 2, .bad = 1, .first_bad = 6}},
                  back;
    fill_state(7);
    assert_ok(checkpoint_save(dir, &s, &tiny.lora, &tiny.opt, tiny.be,
                              &(checkpoint_about_t){yaml, "the/base", "{{ x }}", about}, (checkpoint_keep_t){3, 0},
                              &err),
              err);
    float *want = all_state();

    char *path = checkpoint_path(dir, 7);
    fill_state(8);
    tiny.opt.t = 99;
    assert_ok(checkpoint_verify(path, &err), err);
    assert_ok(checkpoint_read_state(path, &back, &err), err);
    assert_ok(checkpoint_load(path, &back, &tiny.lora, &tiny.opt, tiny.be, &err), err);
    float *got = all_state();
    assert_memory_equal(got, want, 3 * bytes);
    free(got);
    assert_int_equal(tiny.opt.t, 5);
    assert_true(back.step == 7 && back.adam_t == 5 && back.skipped == 2 && back.useless_in_row == 1);
    assert_true(back.epoch == s.epoch && back.elapsed_seconds == s.elapsed_seconds);
    assert_true(back.run_id == s.run_id && back.data_id == s.data_id);
    assert_string_equal(back.compute, "bf16");

    assert_memory_equal(&back.evals, &s.evals, sizeof s.evals);
    float *masters = xmalloc(bytes);
    assert_ok(checkpoint_read_master(path, &tiny.lora, masters, &err), err);
    assert_memory_equal(masters, want, bytes);
    free(masters), free(history.p);

    /* The adapter of the checkpoint is the masters; config.yaml is what was given. */
    float *adapter = xmalloc(bytes);
    assert_ok(adapter_read(path, &tiny.lora, NULL, adapter, &err), err);
    assert_memory_equal(adapter, want, bytes);
    char *config = path_join(path, "config.yaml"), *text;
    size_t len;
    assert_ok(file_read(config, &text, &len, &err), err);
    assert_string_equal(text, yaml);
    free(text), free(config), free(adapter), free(want);

    /* So is the template, which counts as the other files do. */
    char *template = checkpoint_chat_template(path);
    assert_non_null(template);
    assert_ok(file_read(template, &text, &len, &err), err);
    assert_string_equal(text, "{{ x }}");
    assert_ok(file_write(template, "{{ y }}", 7, &err), err);
    assert_error(checkpoint_verify(path, &err), err, ERR_USAGE, "chat_template.jinja: the checksum does not hold");
    free(text), free(template), free(path);
}

/* A checkpoint for other adapters is refused; nothing is loaded in part without an error. */
static void test_other_shapes(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    fill_state(1);
    save(dir, 1, 0);
    char *path = checkpoint_path(dir, 1);
    train_state_t s;
    assert_ok(checkpoint_read_state(path, &s, &err), err);
    lora_t other = tiny.lora;
    other.count--;
    optimizer_t opt = tiny.opt;
    for (size_t i = 0; i < opt.n_arrays; i++) opt.arrays[i].count = other.count;
    assert_error(checkpoint_load(path, &s, &other, &opt, tiny.be, &err), err, ERR_USAGE,
                 "optimizer.safetensors: exp_avg is missing or not");
    free(path);
}

static const char *const files[] = {"adapter_config.json",   "adapter_model.safetensors",
                                    "optimizer.safetensors", "trainer_state.json",
                                    "config.yaml",           "checksums.json"};
typedef enum { TRUNCATED, FLIPPED, MISSING, EMPTY, LONGER, DAMAGES } damage_t;

static void damage(const char *dir, const char *name, damage_t how, const char *data, size_t len) {
    char *path = path_join(dir, name), *copy = xmalloc(len + 1);
    memcpy(copy, data, len);
    copy[len] = 'x';
    if (how == FLIPPED) copy[len / 2] ^= 1;
    if (how == MISSING) unlink(path);
    else put(dir, name, copy, how == TRUNCATED ? len - 1 : how == EMPTY ? 0 : how == LONGER ? len + 1 : len);
    free(copy);
    free(path);
}

/* Every file of the newest damaged in every way: the one before it is taken, and verification names the file. */
static void test_damage(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    fill_state(3);
    for (size_t step = 1; step <= 3; step++) save(dir, step, 0);
    assert_newest(dir, 3);
    char *newest = checkpoint_path(dir, 3);
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        err_t err = {0};
        char *path = path_join(newest, files[f]), *data;
        size_t len;
        assert_ok(file_read(path, &data, &len, &err), err);
        for (int how = 0; how < DAMAGES; how++) {
            /* One byte off the checksums' end is the newline, and a byte more than JSON is refused. */
            if (how == TRUNCATED && !strcmp(files[f], "checksums.json")) continue;
            damage(newest, files[f], (damage_t)how, data, len);
            assert_newest(dir, 2);
            assert_error(checkpoint_verify(newest, &err), err, ERR_USAGE,
                         how == FLIPPED && f == 5 ? "checkpoint-3" : files[f]);
        }
        put(newest, files[f], data, len);
        assert_newest(dir, 3);
        free(data);
        free(path);
    }
    /* All damaged but the first; then none left. */
    char *second = checkpoint_path(dir, 2), *first = checkpoint_path(dir, 1);
    put(newest, "optimizer.safetensors", "", 0);
    put(second, "trainer_state.json", "{}", 2);
    assert_newest(dir, 1);
    put(first, "checksums.json", "{}", 2);
    assert_newest(dir, 0);
    assert_true(any(dir));
    free(newest), free(second), free(first);
}

static void test_not_checkpoints(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    char *absent = path_join(dir, "absent");
    assert_newest(absent, 0);
    assert_false(any(absent));
    make(dir, "checkpoint-");
    make(dir, "checkpoint-12x");
    make(dir, "my-checkpoint-12");
    make(dir, ".tmp-checkpoint-9");
    make(dir, "checkpoint-012");
    make(dir, "checkpoint-+12");
    make(dir, "checkpoint-99999999999999999999");
    assert_newest(dir, 0);
    assert_false(any(dir));
    save(dir, 4, 0);
    make(dir, "checkpoint-6"); /* a directory without files */
    put(dir, "checkpoint-7", "a file", 6);
    assert_newest(dir, 4);
    free(absent);
}

/* The last `keep` by number, not by name; what is none of ours stays. */
static void test_limit(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    put(dir, "metrics.jsonl", "", 0);
    make(dir, "checkpoint-best");
    make(dir, "checkpoint-00000000000000000012"); /* no step, but more than all of them to who reads its digits */
    make(dir, "checkpoint-99999999999999999999");
    for (size_t step = 8; step <= 11; step++) save(dir, step, 2);
    assert_false(has(dir, "checkpoint-8") || has(dir, "checkpoint-9"));
    assert_true(has(dir, "checkpoint-10") && has(dir, "checkpoint-11"));
    for (size_t step = 100; step <= 104; step++) save(dir, step, 0);
    assert_true(has(dir, "checkpoint-10") && has(dir, "checkpoint-100") && has(dir, "checkpoint-104"));
    save(dir, 105, 1);
    assert_false(has(dir, "checkpoint-104") || has(dir, "checkpoint-10"));
    assert_true(has(dir, "metrics.jsonl") && has(dir, "checkpoint-best"));
    assert_true(has(dir, "checkpoint-00000000000000000012") && has(dir, "checkpoint-99999999999999999999"));
    assert_newest(dir, 105);
}

/* The best stays, and counts as one of those that do; so does the newest, whatever the limit. */
static void test_best_stays(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    for (size_t step = 1; step <= 5; step++) save_best(dir, step, 2, step < 2 ? step : 2);
    assert_true(has(dir, "checkpoint-2") && has(dir, "checkpoint-5"));
    assert_false(has(dir, "checkpoint-1") || has(dir, "checkpoint-3") || has(dir, "checkpoint-4"));
    save_best(dir, 6, 1, 2);
    assert_true(has(dir, "checkpoint-2") && has(dir, "checkpoint-6") && !has(dir, "checkpoint-5"));
    assert_ok(checkpoint_tidy(dir, 6, (checkpoint_keep_t){1, 6}, &err), err);
    assert_true(has(dir, "checkpoint-6") && !has(dir, "checkpoint-2"));
}

/* What a kill left: half of what was removed or written, and a checkpoint too many; no good one is written over. */
static void test_tidy(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    train_state_t s;
    for (size_t step = 1; step <= 4; step++) save(dir, step, 0);
    make(dir, ".tmp-checkpoint-1/half");
    make(dir, "checkpoint-007");
    make(dir, "checkpoint-99999999999999999999");
    assert_ok(checkpoint_tidy(dir, 4, (checkpoint_keep_t){2, 0}, &err), err);
    assert_false(has(dir, ".tmp-checkpoint-1") || has(dir, "checkpoint-1") || has(dir, "checkpoint-2"));
    assert_true(has(dir, "checkpoint-3") && has(dir, "checkpoint-4"));
    assert_true(has(dir, "checkpoint-007") && has(dir, "checkpoint-99999999999999999999")); /* not ours */
    assert_newest(dir, 4);
    /* Written again, with what its evaluation came to: the new one is there, and nothing of the old. */
    char *newest = checkpoint_path(dir, 4);
    assert_ok(checkpoint_read_state(newest, &s, &err), err);
    assert_int_equal(s.evals.last, 0);
    evals_note(&s.evals, 4, 1.5);
    assert_ok(checkpoint_save(dir, &s, &tiny.lora, &tiny.opt, tiny.be, &(checkpoint_about_t){yaml, "base", NULL, {0}},
                              (checkpoint_keep_t){0}, &err),
              err);
    assert_newest(dir, 4);
    assert_ok(checkpoint_read_state(newest, &s, &err), err);
    assert_true(s.evals.last == 4 && s.evals.best == 1.5);
    assert_false(has(dir, ".tmp-checkpoint-4"));
    free(newest);
}

static void test_set_aside(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    for (size_t step = 1; step <= 4; step++) save(dir, step, 0);
    make(dir, ".tmp-checkpoint-1/half");
    make(dir, ".tmp-checkpoint-5");
    put(dir, "notes.txt", "", 0);
    assert_ok(checkpoint_tidy(dir, 2, (checkpoint_keep_t){0, 0}, &err), err);
    assert_false(has(dir, ".tmp-checkpoint-1") || has(dir, ".tmp-checkpoint-5"));
    assert_true(has(dir, "checkpoint-1") && has(dir, "checkpoint-2") && has(dir, "notes.txt"));
    assert_false(has(dir, "checkpoint-3") || has(dir, "checkpoint-4"));
    assert_true(has(dir, "checkpoint-3.damaged/config.yaml") && has(dir, "checkpoint-4.damaged/config.yaml"));
    assert_ok(checkpoint_tidy(dir, 0, (checkpoint_keep_t){0, 0}, &err), err);
    assert_false(any(dir));
}

/* A save into a directory that a save before left half-written; and one that cannot be: nothing half-made stays. */
static void test_interrupted_save(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    make(dir, ".tmp-checkpoint-3");
    char *tmp = path_join(dir, ".tmp-checkpoint-3"), *file = path_join(dir, "a-file");
    put(tmp, "left-over", "x", 1);
    save(dir, 3, 0);
    assert_false(has(dir, ".tmp-checkpoint-3") || has(dir, "checkpoint-3/left-over"));
    assert_newest(dir, 3);
    put(dir, "a-file", "x", 1);
    train_state_t s = {.step = 1};
    assert_error(checkpoint_save(file, &s, &tiny.lora, &tiny.opt, tiny.be,
                                 &(checkpoint_about_t){yaml, "base", NULL, {0}}, (checkpoint_keep_t){0}, &err),
                 err, ERR_FAILED, "a-file");
    free(tmp);
    free(file);
}

/* ---- output_dir ----------------------------------------------------------------------------------------- */

static run_identity_t identity(uint64_t run, uint64_t data) {
    return (run_identity_t){.run_id = run,
                            .data_id = data,
                            .model_id = 3,
                            .compute = "f32",
                            .start = "auto",
                            .config = run & 1 ? "lora.r=8\nlora.alpha=16\n" : "lora.r=8\nlora.alpha=32\n"};
}

static void open_close(const char *dir, uint64_t run, uint64_t data, bool finished) {
    err_t err = {0};
    output_dir_t o = output_dir_at(dir);
    run_identity_t id = identity(run, data);
    assert_ok(output_dir_open(&o, &id, &err), err);
    assert_int_equal(o.finished, finished);
    output_dir_close(&o);
}

static void assert_dir_refused(const char *dir, uint64_t run, uint64_t data, const char *text) {
    err_t err = {0};
    output_dir_t o = output_dir_at(dir);
    run_identity_t id = identity(run, data);
    assert_error(output_dir_open(&o, &id, &err), err, ERR_USAGE, text);
    output_dir_close(&o);
}

static void test_one_run(void **state) {
    (void)state;
    err_t err = {0};
    const uint64_t run = 0xffffffffffffff01u, data = 0x8000000000000002u;
    char *dir = path_join(test_tmpdir(), "a/run");
    output_dir_t o = output_dir_at(dir);
    assert_ok(output_dir_lock(&o, &err), err);
    assert_false(path_exists(dir));
    output_dir_close(&o);
    /* Claimed, but nothing came of it: anyone may claim it. */
    open_close(dir, run + 1, data, false);
    open_close(dir, run, data, false);
    put(dir, "metrics.jsonl", "{}\n", 3);
    open_close(dir, run, data, false);
    assert_dir_refused(dir, run + 1, data,
                       "/a/run holds a run with another configuration: lora.alpha=32 (it was "
                       "lora.alpha=16)");
    assert_dir_refused(dir, run, data ^ (1ull << 63), "/a/run holds a run on other training data");
    run_identity_t id = identity(run, data);
    o = output_dir_at(dir);
    assert_ok(output_dir_check(&o, &id, &err), err);
    assert_true(o.begun && o.continued && !o.finished);
    assert_string_equal(o.compute, "f32");
    output_dir_close(&o);
    id.model_id++;
    o = output_dir_at(dir);
    assert_string_equal(o.compute, "");
    assert_ok(output_dir_check_config(&o, &id, &err), err);
    assert_string_equal(o.compute, "f32"); /* known before there is a backend */
    assert_error(output_dir_open(&o, &id, &err), err, ERR_USAGE, "other model weights");
    output_dir_close(&o);
    id.model_id--;
    o = output_dir_at(dir);
    assert_ok(output_dir_open(&o, &id, &err), err);
    assert_true(o.continued);
    assert_ok(output_dir_finish(&o, &id, &err), err);
    output_dir_close(&o);
    open_close(dir, run, data, true);
    assert_dir_refused(dir, run + 1, data, "another configuration");
    put(dir, "run.json", "{\"run_id\": \"1\"}", 15);
    assert_dir_refused(dir, run, data, "run.json: run_id: expected 16 hexadecimal digits");
    put(dir, "run.json", "{\"run_id\": \"ffffffffffffff01\"}", 30);
    assert_dir_refused(dir, run, data, "run.json: data_id is missing");
    free(dir);

    /* Remains of a run that does not say which. */
    const char *old = test_tmpdir(), *logged = test_tmpdir();
    save(old, 1, 0);
    assert_dir_refused(old, run, data, "holds another run (there is no run.json");
    put(logged, "metrics.jsonl", "{}\n", 3);
    assert_dir_refused(logged, run, data, "holds another run (there is no run.json");
    /* An adapter that this run did not write would be replaced at its end. */
    const char *foreign = test_tmpdir();
    char *adapter = path_join(foreign, "adapter");
    assert_int_equal(mkdir(adapter, 0777), 0);
    free(adapter);
    assert_dir_refused(foreign, run, data, "holds another run (there is no run.json");
    /* A directory that the user made, with files of theirs, is fine. */
    const char *users = test_tmpdir();
    put(users, "notes.txt", "", 0);
    open_close(users, run, data, false);
}

/* What the model computes beside its weights; a run from before that was written down goes on. */
static void test_description(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    model_config_t other = tiny.model.config;
    run_identity_t id = identity(1, 2);
    output_dir_t o = output_dir_at(dir);
    id.model = output_dir_describe(&other);
    assert_ok(output_dir_open(&o, &id, &err), err);
    output_dir_close(&o);
    put(dir, "metrics.jsonl", "{}\n", 3);
    json_decref(id.model);
    other.rope[0].theta *= 2;
    id.model = output_dir_describe(&other);
    o = output_dir_at(dir);
    assert_error(output_dir_open(&o, &id, &err), err, ERR_USAGE, "a model with another rope_parameters: it was {");
    output_dir_close(&o);
    json_decref(id.model);
    other = tiny.model.config;
    other.max_positions *= 2; /* nothing is computed with it */
    id.model = output_dir_describe(&other);
    id.eval_id = 5; /* other data for evaluations: a warning */
    o = output_dir_at(dir);
    assert_ok(output_dir_open(&o, &id, &err), err);
    assert_true(o.other_eval);
    output_dir_close(&o);
    json_decref(id.model);
    open_close(test_tmpdir(), 1, 2, false);
    put(dir, "run.json",
        "{\"run_id\": \"0000000000000001\", \"data_id\": \"0000000000000002\", \"model_id\": \"0000000000000003\","
        " \"start\": \"auto\"}",
        strlen("{\"run_id\": \"0000000000000001\", \"data_id\": \"0000000000000002\", \"model_id\": "
               "\"0000000000000003\", \"start\": \"auto\"}"));
    open_close(dir, 1, 2, false);
    put(dir, "run.json",
        "{\"run_id\": \"0000000000000001\", \"data_id\": \"0000000000000002\", \"model_id\": \"0000000000000003\","
        " \"start\": \"auto\", \"compute_dtype\": \"bg16\"}",
        strlen("{\"run_id\": \"0000000000000001\", \"data_id\": \"0000000000000002\", \"model_id\": "
               "\"0000000000000003\", \"start\": \"auto\", \"compute_dtype\": \"bg16\"}"));
    assert_dir_refused(dir, 1, 2, "run.json: compute_dtype: \"bg16\"; expected f32 or bf16");
}

/* A directory that has taken the name of the run's own is not written to. */
static void test_place(void **state) {
    (void)state;
    err_t err = {0};
    char *dir = path_join(test_tmpdir(), "run"), *aside = path_join(test_tmpdir(), "aside");
    run_identity_t id = identity(1, 2);
    output_dir_t o = output_dir_at(dir);
    assert_ok(output_dir_open(&o, &id, &err), err);
    assert_ok(output_dir_check_place(dir, &err), err);
    assert_int_equal(rename(dir, aside), 0);
    assert_error(output_dir_check_place(dir, &err), err, ERR_FAILED, "cannot be written to any more: No such file");
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_error(output_dir_finish(&o, &id, &err), err, ERR_FAILED, "another directory has the name now");
    assert_false(has(dir, "run.json"));
    output_dir_close(&o);
    free(dir), free(aside);
}

/* The lock dies with its process, however that ends. */
static void test_one_process(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    int fd[2];
    char ready = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        err_t err = {0};
        output_dir_t o = output_dir_at(dir);
        run_identity_t id = identity(1, 2);
        ready = output_dir_open(&o, &id, &err) == 0 ? 'y' : 'n';
        if (write(fd[1], &ready, 1) == 1) pause();
        _exit(0);
    }
    assert_int_equal(read(fd[0], &ready, 1), 1);
    assert_int_equal(ready, 'y');
    err_t err = {0};
    output_dir_t o = output_dir_at(dir);
    assert_error(output_dir_lock(&o, &err), err, ERR_USAGE, "another process is working on it");
    output_dir_close(&o);
    assert_dir_refused(dir, 1, 2, "another process is working on it");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    open_close(dir, 1, 2, false);
    close(fd[0]);
    close(fd[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_other_shapes),
        cmocka_unit_test(test_damage),      cmocka_unit_test(test_not_checkpoints),
        cmocka_unit_test(test_limit),       cmocka_unit_test(test_best_stays),
        cmocka_unit_test(test_set_aside),   cmocka_unit_test(test_tidy),
        cmocka_unit_test(test_description), cmocka_unit_test(test_place),
        cmocka_unit_test(test_tidy),        cmocka_unit_test(test_description),
        cmocka_unit_test(test_place),       cmocka_unit_test(test_interrupted_save),
        cmocka_unit_test(test_one_run),     cmocka_unit_test(test_one_process),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
