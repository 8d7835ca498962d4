#include "made_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/arch.h"
#include "model/formats/safetensors.h"
#include "testing.h"

typedef struct {
    char name[96];
    int n_dims;
    size_t shape[2];
} made_tensor_t;

static void add(made_tensor_t *list, size_t *n, int n_dims, size_t rows, size_t cols, char *name) {
    made_tensor_t *t = &list[(*n)++];
    *t = (made_tensor_t){.n_dims = n_dims, .shape = {rows, cols}};
    CHECK(strlen(name) < sizeof t->name);
    strcpy(t->name, name);
    free(name);
}

static size_t list_tensors(made_tensor_t *list, const model_config_t *c, bool tied) {
    size_t n = 0;
    add(list, &n, 2, c->vocab, c->hidden, xstrdup("model.embed_tokens.weight"));
    if (!tied) add(list, &n, 2, c->vocab, c->hidden, xstrdup("lm_head.weight"));
    add(list, &n, 1, c->hidden, 0, xstrdup("model.norm.weight"));
    for (size_t l = 0; l < c->layers; l++) {
        add(list, &n, 1, c->hidden, 0, xasprintf("model.layers.%zu.input_layernorm.weight", l));
        add(list, &n, 1, c->hidden, 0, xasprintf("model.layers.%zu.post_attention_layernorm.weight", l));
        for (int k = 0; k < LINEAR_SLOTS; k++)
            add(list, &n, 2, linear_rows(c, (linear_slot_t)k), linear_cols(c, (linear_slot_t)k),
                xasprintf("model.layers.%zu.%s.weight", l, arch_linear(&archs[0], k)->hf));
    }
    return n;
}

/* Values in +-1/16, a megabyte at a time: the file may be larger than a test wants to hold. */
static void write_values(st_writer_t *w, size_t count, uint64_t key) {
    enum { PIECE = 1 << 19 };
    err_t err = {0};
    bf16_t *piece = xmalloc(PIECE * sizeof *piece);
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = count - at < PIECE ? count - at : PIECE;
        for (size_t i = 0; i < n; i++) piece[i] = bf16_from_f32((rng_uniform(key, at + i) - 0.5f) / 8);
        assert_ok(st_writer_data(w, piece, n * sizeof *piece, &err), err);
    }
    free(piece);
}

void made_model_write(const char *dir, const made_model_t *s) {
    err_t err = {0};
    json_t *j = json_pack("{s:s, s:[s], s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:b, s:s}", "model_type",
                          "llama", "architectures", "LlamaForCausalLM", "vocab_size", (json_int_t)s->vocab,
                          "hidden_size", (json_int_t)s->hidden, "intermediate_size", (json_int_t)s->ffn,
                          "num_hidden_layers", (json_int_t)s->layers, "num_attention_heads", (json_int_t)s->heads,
                          "num_key_value_heads", (json_int_t)s->kv_heads, "max_position_embeddings", (json_int_t)2048,
                          "rms_norm_eps", 1e-5, "rope_theta", 10000.0, "hidden_act", "silu", "tie_word_embeddings",
                          s->tied, "torch_dtype", "bfloat16");
    assert_non_null(j);
    char *path = path_join(dir, "config.json");
    assert_ok(json_write(path, j, &err), err);
    model_config_t c;
    assert_ok(model_config_from_json(j, path, &c, &err), err);
    json_decref(j);
    free(path);

    made_tensor_t *list = xcalloc(3 + s->layers * (LINEAR_SLOTS + 2), sizeof *list);
    size_t n = list_tensors(list, &c, s->tied);
    st_writer_t *w = st_writer_new();
    for (size_t i = 0; i < n; i++) st_writer_declare(w, list[i].name, DT_BF16, list[i].n_dims, list[i].shape);
    path = path_join(dir, "model.safetensors");
    assert_ok(st_writer_begin(w, path, &err), err);
    for (size_t i = 0; i < n; i++) {
        const made_tensor_t *t = &list[st_writer_order(w, i)];
        write_values(w, t->shape[0] * (t->n_dims > 1 ? t->shape[1] : 1), rng_mix(i));
    }
    assert_ok(st_writer_finish(w, &err), err);
    free(path);
    free(list);
}
