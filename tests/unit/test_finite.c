/* Runs whose losses are not finite: what they end with, what they leave, and what they say is the cause. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "program.h"
#include "trainer/run/checkpoint.h"
#include "variant.h"

/* ---- a model and its data --------------------------------------------------------------------------------- */

enum { BAD_TOKEN = 7, FIRST_TOKEN = 10, TOKENS = 50 };

/* A copy with one value of a token's row replaced. */
static st_tensor_t with_value(const st_tensor_t *t, size_t token, float value) {
    st_tensor_t other = *t;
    assert_int_equal(t->dtype, DT_BF16);
    assert_true(t->shape[0] > FIRST_TOKEN + TOKENS);
    uint16_t *values = xmalloc(t->bytes);
    memcpy(values, t->data, t->bytes);
    values[token * t->shape[1] + 3] = bf16_from_f32(value);
    other.data = (const uint8_t *)test_keep((char *)values);
    return other;
}

/* Where `embedding` overflows when it is scaled, a row with the token has a loss that is not a number; `head` large
 * makes gradients of all rows overflow whose losses do not. 0: as they are. */
static const char *bad_model(float embedding, float head) {
    variant_t v = variant_of(test_path("golden/arch/gemma-scaled"));
    st_tensor_t *t = variant_tensor(&v, "model.embed_tokens.weight"), embed = *t, out = *t;
    if (embedding != 0) embed = with_value(t, BAD_TOKEN, embedding);
    if (head != 0) out = with_value(t, BAD_TOKEN, head);
    variant_add(&v, &out, "lm_head.weight");
    *variant_tensor(&v, "model.embed_tokens.weight") = embed;
    variant_set(&v, "tie_word_embeddings", "false");
    return variant_write(&v);
}

/* The values of a BF16 tensor, to be changed. */
static uint16_t *values_of(variant_t *v, const char *name, size_t *cols) {
    st_tensor_t *t = variant_tensor(v, name);
    uint16_t *values = xmalloc(t->bytes);
    assert_int_equal(t->dtype, DT_BF16);
    memcpy(values, t->data, t->bytes);
    t->data = (const uint8_t *)test_keep((char *)values);
    *cols = t->shape[1];
    return values;
}

/* Rows with the token are finite by the base, and not with any adapter of down_proj: a value of the first FFN is close to
 * the largest there is where the token is, and nowhere else, and the base multiplies it by zero. */
static const char *fragile_model(void) {
    enum { CHANNEL = 3, UNIT = 5 };
    variant_t v = variant_of(test_path("golden/arch/gemma-scaled"));
    size_t hidden, ffn, q, vocab = variant_tensor(&v, "model.embed_tokens.weight")->shape[0];
    uint16_t *embed = values_of(&v, "model.embed_tokens.weight", &hidden);
    for (size_t id = 0; id < vocab; id++) embed[id * hidden + CHANNEL] = bf16_from_f32(id == BAD_TOKEN ? 1 : 0);
    uint16_t *o = values_of(&v, "model.layers.0.self_attn.o_proj.weight", &q);
    memset(o + CHANNEL * q, 0, q * sizeof *o);
    uint16_t *gate = values_of(&v, "model.layers.0.mlp.gate_proj.weight", &hidden);
    uint16_t *up = values_of(&v, "model.layers.0.mlp.up_proj.weight", &hidden);
    memset(gate + UNIT * hidden, 0, hidden * sizeof *gate);
    memset(up + UNIT * hidden, 0, hidden * sizeof *up);
    gate[UNIT * hidden + CHANNEL] = bf16_from_f32(5);
    up[UNIT * hidden + CHANNEL] = bf16_from_f32(1e36f);
    uint16_t *down = values_of(&v, "model.layers.0.mlp.down_proj.weight", &ffn);
    for (size_t i = 0; i < hidden; i++) down[i * ffn + UNIT] = 0;
    return variant_write(&v);
}

static const char *model_with_a_bad_token(void) { return bad_model(3e38f, 0); }

/* A row a line; those of the list have the bad token, and line 3 trains nothing. */
static void write_rows(const char *dir, const char *name, size_t lines, const size_t *bad, size_t n_bad) {
    err_t err = {0};
    strbuf_t s = {0};
    for (size_t line = 1; line <= lines; line++) {
        strbuf_adds(&s, "{\"input_ids\": [");
        for (size_t t = 0; t < 8; t++) {
            size_t id = FIRST_TOKEN + rng_fold(line, t) % TOKENS;
            for (size_t i = 0; i < n_bad; i++)
                if (bad[i] == line && t == 2) id = BAD_TOKEN;
            strbuf_addf(&s, "%s%zu", t ? ", " : "", id);
        }
        strbuf_adds(&s, line == 3 ? "], \"labels\": [-100, -100, -100, -100, -100, -100, -100, -100]}\n" : "]}\n");
    }
    char *path = path_join(dir, name);
    assert_ok(file_write(path, s.p, s.len, &err), err);
    free(path);
    free(s.p);
}

#define ROWS(dir, name, lines, ...) \
    write_rows(dir, name, lines, (const size_t[]){__VA_ARGS__}, sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t))

#define USUAL "lora_alpha: 8"
/* In the directory, rows in the order of the file; `training` begins with the number of rows a step. */
static const char *write_config(const char *dir, const char *model, const char *lora, const char *data,
                                const char *training) {
    err_t err = {0};
    char *yaml = xasprintf("model: {path: %s}\nquantization: {quant_type: none, compute_dtype: f32}\n"
                           "lora: {r: 4, %s}\n"
                           "data: {train: train.jsonl, format: tokens, packing: false, shuffle: false%s}\n"
                           "training: {output_dir: out, per_device_train_batch_size: 1, "
                           "num_train_epochs: 1, gradient_accumulation_steps: %s}\n"
                           "device: {backend: cpu, threads: 1}\n",
                           model, lora, data, training);
    const char *path = test_keep(path_join(dir, "c.yaml"));
    assert_ok(file_write(path, yaml, strlen(yaml), &err), err);
    free(yaml);
    return path;
}

/* Ends with `status` and has each of the texts in what it says on standard error. */
#define EXPECT_SAID(status, config, ...) expect_said(status, config, (const char *const[]){__VA_ARGS__, NULL})
static char *expect_said(int status, const char *config, const char *const *texts) {
    ran_t r = program_run((const char *const[]){config, NULL});
    if (r.status != status) fail_msg("status %d, expected %d: %s%s", r.status, status, r.out, r.err);
    for (size_t i = 0; texts[i]; i++)
        if (!strstr(r.err, texts[i])) fail_msg("not said: %s\n%s", texts[i], r.err);
    char *said = r.err;
    free(r.out);
    return said;
}

static bool is_there(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool there = path_exists(path);
    free(path);
    return there;
}

/* ---- rows ------------------------------------------------------------------------------------------------- */

/* A row without a finite loss is named by its line, though another before it was left out, and its step is skipped.
 * One in twenty is no reason to fail. */
static void test_bad_row(void **state) {
    (void)state;
    const char *dir = test_tmpdir(), *model = model_with_a_bad_token();
    ROWS(dir, "train.jsonl", 21, 7);
    free(EXPECT_SAID(0, write_config(dir, model, USUAL, "", "1"),
                     "step 6: the loss is not finite; the step is skipped (1 so far)",
                     "step 6: 1 of 1 rows of the step have by themselves no finite loss: ", "/train.jsonl:7\n"));
    assert_true(is_there(dir, "out/adapter/adapter_model.safetensors"));
}

/* Three steps in ten are; what was learnt from the others is not thrown away. */
static void test_many_bad_rows(void **state) {
    (void)state;
    const char *dir = test_tmpdir(), *model = model_with_a_bad_token();
    ROWS(dir, "train.jsonl", 21, 4, 8, 9, 16, 17);
    const char *config = write_config(dir, model, USUAL, "", "2");
    free(EXPECT_SAID(1, config, "step 2: 1 of 2 rows of the step", "step 4: 2 of 2 rows of the step",
                     "/train.jsonl:8, ", "/train.jsonl:9\n",
                     "3 of 10 steps were skipped, as their loss or gradient was not finite; lower "));
    assert_true(is_there(dir, "out/adapter/adapter_model.safetensors"));
    /* The same command again finds nothing to train, and the same run. */
    free(EXPECT_SAID(1, config, "3 of 10 steps were skipped"));
}

static void test_bad_evaluation(void **state) {
    (void)state;
    const char *dir = test_tmpdir(), *model = model_with_a_bad_token();
    ROWS(dir, "train.jsonl", 11, 0);
    ROWS(dir, "eval.jsonl", 6, 5);
    const char *config = write_config(dir, model, USUAL, ", eval: eval.jsonl", "1, eval_steps: 4");
    free(EXPECT_SAID(
        1, config, "step 4: 1 of 5 rows of the evaluation have by themselves no finite loss: ", "/eval.jsonl:5\n",
        "0 of 10 steps were skipped", "; the evaluation after step 4 was not finite, nor were 2 others; lower"));
    assert_true(is_there(dir, "out/adapter/adapter_model.safetensors"));
    free(EXPECT_SAID(1, config, "the evaluation after step 4 was not finite, nor were 2 others"));
}

/* A run whose evaluations come to nothing has no best one, and nothing to wait for. */
static void test_no_good_evaluation(void **state) {
    (void)state;
    const char *dir = test_tmpdir(), *model = model_with_a_bad_token();
    ROWS(dir, "train.jsonl", 11, 0);
    ROWS(dir, "eval.jsonl", 6, 5);
    const char *config = write_config(dir, model, USUAL, ", eval: eval.jsonl",
                                      "1, eval_steps: 2, early_stopping_patience: 2, load_best_model_at_end: true");
    ran_t r = program_run((const char *const[]){config, NULL});
    assert_int_equal(r.status, 1);
    const char *said =
        "stopped early after step 6 of 10: 2 evaluations in a row without improvement; none had a finite "
        "loss\n";
    if (!strstr(r.out, said)) fail_msg("not said: %s\n%s", said, r.out);
    if (!strstr(r.err, "the evaluation after step 2 was not finite, nor were 2 others")) fail_msg("%s", r.err);
    free(r.out);
    free(r.err);
}

/* Losses may be finite where their gradient is not: here for an adapter whose scale is out of all bounds. */
static void test_bad_gradient(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    ROWS(dir, "train.jsonl", 21, 0);
    free(EXPECT_SAID(1, write_config(dir, bad_model(0, 1e38f), "lora_alpha: 1e6", "", "2"),
                     "step 1: the gradient is not finite; the step is skipped (1 so far)",
                     " of 2 rows of the step have by themselves no finite gradient: ", "/train.jsonl:1"));
}

/* ---- the adapter -------------------------------------------------------------------------------------------- */

static train_state_t state_of(const char *dir, const char *name) {
    err_t err = {0};
    train_state_t state;
    char *path = path_join(dir, name);
    assert_ok(checkpoint_read_state(path, &state, &err), err);
    free(path);
    return state;
}

/* An adapter that makes most rows overflow: they are not to blame, and it is not written. What was good before stays,
 * though no more than two are to be kept; a run that goes on from there ends the same. */
static void test_diverged(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir(), *model = fragile_model();
    ROWS(dir, "train.jsonl", 11, 5, 6, 7, 8, 9, 10, 11);
    const char *config = write_config(dir, model, "lora_alpha: 1e6, target_modules: [down_proj]", "",
                                      "1, learning_rate: 1e-2, save_steps: 1, save_total_limit: 2");
    char *said = EXPECT_SAID(
        1, config, "step 4: the loss is not finite; the step is skipped (1 so far)",
        "step 4: 5 of 8 rows tried have no finite loss, and 0 by the base model alone: the adapter "
        "has diverged since step 3 (its largest value is ",
        "7 of 10 steps were skipped", "; no adapter is written",
        "/out/checkpoint-2 is the newest checkpoint from before");
    assert_null(strstr(said, "train.jsonl:"));
    assert_false(is_there(dir, "out/adapter"));
    assert_true(is_there(dir, "out/checkpoint-2"));
    assert_false(is_there(dir, "out/checkpoint-1"));
    train_state_t end = state_of(dir, "out/checkpoint-10");
    assert_true(end.step == 10 && end.skipped == 7 && end.useless_in_row == 7);
    /* From the checkpoint that it names, and in the middle of what was skipped. */
    for (size_t from = 2; from <= 6; from += 4) {
        for (size_t step = from + 1; step <= 10; step++) {
            char *later = xasprintf("%s/out/checkpoint-%zu", dir, step);
            assert_ok(dir_remove(later, &err), err);
            free(later);
        }
        char *again = EXPECT_SAID(1, config, "7 of 10 steps were skipped");
        assert_string_equal(strstr(again, "7 of 10 steps"), strstr(said, "7 of 10 steps"));
        train_state_t resumed = state_of(dir, "out/checkpoint-10");
        resumed.elapsed_seconds = end.elapsed_seconds;
        assert_memory_equal(&resumed, &end, sizeof end);
        free(again);
    }
    free(said);
}

/* With a model that computes nothing finite the adapter is not to blame. */
static void test_bad_from_the_start(void **state) {
    (void)state;
    const char *dir = test_tmpdir(), *model = model_with_a_bad_token();
    ROWS(dir, "train.jsonl", 21, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21);
    free(
        EXPECT_SAID(1, write_config(dir, model, USUAL, "", "1"),
                    "8 of 8 rows tried have no finite loss, and 8 have none by the base model alone: look at the model",
                    "step 10: 10 steps in a row had a gradient that is zero or not finite (loss nan; 10 of 10 steps "
                    "were skipped)"));
    assert_false(is_there(dir, "out/adapter"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_row),
        cmocka_unit_test(test_many_bad_rows),
        cmocka_unit_test(test_bad_evaluation),
        cmocka_unit_test(test_bad_gradient),
        cmocka_unit_test(test_no_good_evaluation),
        cmocka_unit_test(test_bad_gradient),
        cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_bad_from_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
