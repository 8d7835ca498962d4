/* The same model from other files: each config of golden/arch in the form of Transformers 4, each GGUF of
 * golden/arch-gguf, and the config.json that is written for a model from a GGUF. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/source.h"
#include "model_files.h"
#include "program.h"
#include "testing.h"
#include "variant.h"

/* Calls with each name in the directory that ends so, without the end; how many there are. */
static size_t each_entry(const char *dir, const char *end, void (*visit)(const char *name)) {
    size_t n = 0;
    DIR *d = opendir(test_path(dir));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || !path_has_suffix(e->d_name, end)) continue;
        char *name = xstrndup(e->d_name, strlen(e->d_name) - strlen(end));
        visit(name);
        free(name);
        n++;
    }
    closedir(d);
    return n;
}

static const char *golden(const char *format, const char *name) {
    char path[256];
    snprintf(path, sizeof path, format, name);
    return test_path(path);
}

static model_config_t description_of(const char *path) {
    err_t err = {0};
    model_config_t c;
    json_t *json;
    assert_ok(json_file(path, &json, &err), err);
    assert_ok(model_config_from_json(json, path, &c, &err), err);
    json_decref(json);
    return c;
}

static model_config_t written_again(const model_config_t *c) {
    err_t err = {0};
    model_config_t again;
    json_t *json = model_config_to_json(c), *scalar = json_object_get(json, "query_pre_attn_scalar");
    assert_true(!scalar || json_is_integer(scalar)); /* Transformers refuses 256.0 */
    assert_ok(model_config_from_json(json, "written", &again, &err), err);
    json_decref(json);
    return again;
}

static bool near(double a, double b) { return a == b || (a - b < 1e-6 * a && b - a < 1e-6 * a); }

/* What is computed, whatever the words. Positions of RoPE's first training count only where a type uses them. */
static void assert_same(const char *name, const model_config_t *a, const model_config_t *b) {
    double ia[ROPE_MAX_PAIRS], ib[ROPE_MAX_PAIRS];
    bool same = a->arch == b->arch && a->vocab == b->vocab && a->hidden == b->hidden && a->ffn == b->ffn &&
                a->layers == b->layers && a->heads == b->heads && a->kv_heads == b->kv_heads &&
                a->head_dim == b->head_dim && a->norm_eps == b->norm_eps && a->tied == b->tied && a->act == b->act;
    same &= a->rotated == b->rotated && a->rope_interleaved == b->rope_interleaved && a->n_rope == b->n_rope;
    same &= near(a->attn_scale, b->attn_scale) && near(a->attn_softcap, b->attn_softcap) &&
            near(a->residual_scale, b->residual_scale) && near(a->embed_scale, b->embed_scale) &&
            near(a->logit_scale, b->logit_scale) && near(a->logit_softcap, b->logit_softcap);
    for (size_t l = 0; l < a->layers; l++) {
        const layer_kind_t *x = layer_kind(a, l), *y = layer_kind(b, l);
        same &= x->window == y->window && (x->rope < 0) == (y->rope < 0);
        if (x->rope < 0 || y->rope < 0) continue;
        const rope_spec_t *r = &a->rope[x->rope], *s = &b->rope[y->rope];
        same &= near(rope_attention_factor(r), rope_attention_factor(s)) && near(r->query_beta, s->query_beta);
        for (int is_long = 0; is_long < 2; is_long++) {
            rope_frequencies(r, a->rotated, is_long, ia);
            rope_frequencies(s, b->rotated, is_long, ib);
            for (size_t i = 0; i < a->rotated / 2; i++) same &= near(ia[i], ib[i]);
        }
    }
    if (!same) fail_msg("%s: another description", name);
}

static void check_v4(const char *name) {
    model_config_t a = description_of(golden("golden/arch/%s/config.json", name));
    model_config_t b = description_of(golden("golden/arch/%s/config_v4.json", name));
    assert_same(name, &a, &b);
    assert_int_equal(a.biases, b.biases);
}

static void test_transformers_4(void **state) {
    (void)state;
    assert_true(each_entry("golden/arch", "", check_v4) > 20);
}

/* Every tensor has the values of the Hugging Face directory, to the bit. */
static void assert_same_values(const char *name, const model_source_t *a, const model_source_t *b) {
    err_t err = {0};
    assert_int_equal(model_source_count(a), model_source_count(b));
    for (size_t i = 0; i < model_source_count(a); i++) {
        const source_tensor_t *x = model_source_at(a, i), *y = model_source_at(b, i);
        size_t n = x->rows * x->cols;
        assert_string_equal(x->name, y->name);
        assert_int_equal(n, y->rows * y->cols);
        float *p = xmalloc(n * sizeof *p), *q = xmalloc(n * sizeof *q);
        assert_ok(source_read(a, x, 0, n, DT_F32, p, &err), err);
        assert_ok(source_read(b, y, 0, n, DT_F32, q, &err), err);
        if (memcmp(p, q, n * sizeof *p) != 0) fail_msg("%s: %s has other values", name, x->name);
        free(p);
        free(q);
    }
}

static void check_gguf(const char *name) {
    err_t err = {0};
    model_source_t *gguf, *dir;
    assert_ok(model_source_open(golden("golden/arch-gguf/%s.gguf", name), &gguf, &err), err);
    assert_ok(model_source_open(golden("golden/arch/%s", name), &dir, &err), err);
    const model_config_t *c = model_source_config(gguf);
    assert_same(name, c, model_source_config(dir));
    assert_int_equal(c->biases, model_source_config(dir)->biases);
    assert_same_values(name, gguf, dir);
    model_config_t again = written_again(c);
    assert_same(name, c, &again);
    model_source_close(gguf);
    model_source_close(dir);
}

static void test_gguf(void **state) {
    (void)state;
    assert_true(each_entry("golden/arch-gguf", ".gguf", check_gguf) >= 20);
}

/* ---- biases that the config does not name --------------------------------------------------------------- */

/* Quantizes the model: its new config.json. What it says on standard error goes to *said. The caller frees both. */
static json_t *config_written(const char *model, char **said) {
    const char *out = test_keep(path_join(test_tmpdir(), "out"));
    ran_t r = program_run((const char *const[]){"quantize", model, out, NULL});
    if (r.status) fail_msg("%s: %s", model, r.err);
    *said = r.err;
    free(r.out);
    return config_of(out);
}

static void test_unnamed_biases(void **state) {
    (void)state;
    static const char *const keys[] = {"attention_bias", "mlp_bias"};
    static const char *const projections[] = {"q_proj", "k_proj", "v_proj"};
    char *said;
    /* Both keys are gone, the tensors are there: the keys come back. */
    variant_t v = variant_of(golden("golden/arch/%s", "llama-all-bias"));
    for (size_t i = 0; i < 2; i++) variant_set(&v, keys[i], NULL);
    json_t *config = config_written(variant_write(&v), &said);
    for (size_t i = 0; i < 2; i++) assert_true(json_is_true(json_object_get(config, keys[i])));
    assert_string_equal(said, "");
    json_decref(config);
    free(said);
    /* Of llamas no key means only queries, keys and values: it is said, and none is set that would ask for more. */
    v = variant_of(golden("golden/arch/%s", "llama-attention-bias"));
    size_t layers = (size_t)json_integer_value(json_object_get(v.config, "num_hidden_layers"));
    for (size_t l = 0; l < layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%zu.self_attn.o_proj.bias", l);
        variant_remove(&v, name);
    }
    variant_set(&v, "attention_bias", "false");
    config = config_written(variant_write(&v), &said);
    assert_true(json_is_false(json_object_get(config, "attention_bias")));
    assert_null(json_object_get(config, "use_bias"));
    for (size_t i = 0; i < 3; i++) assert_non_null(strstr(said, projections[i]));
    assert_non_null(strstr(said, "Transformers will compute without them"));
    json_decref(config);
    free(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_transformers_4), cmocka_unit_test(test_gguf),
                                       cmocka_unit_test(test_unnamed_biases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
