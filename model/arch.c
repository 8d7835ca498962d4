#include "model/arch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const arch_t archs[] = {
    {.model_type = "llama", .hf_class = "LlamaForCausalLM", .gguf_name = "llama", .gguf_permuted_qk = true},
};
#define N_ARCHS (sizeof archs / sizeof *archs)

static const arch_t *not_supported(const char *name, const char *where, err_t *err) {
    strbuf_t list = {0};
    for (size_t i = 0; i < N_ARCHS; i++) strbuf_addf(&list, "%s%s", i ? ", " : "", archs[i].model_type);
    err_set(err, ERR_USAGE, "%s: \"%.100s\" is not supported; expected one of: %s", where, name, list.p);
    free(list.p);
    return NULL;
}

const arch_t *arch_by_model_type(const char *model_type, const char *where, err_t *err) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (!strcmp(archs[i].model_type, model_type)) return &archs[i];
    return not_supported(model_type, where, err);
}

const arch_t *arch_by_gguf_name(const char *name, const char *where, err_t *err) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (!strcmp(archs[i].gguf_name, name)) return &archs[i];
    return not_supported(name, where, err);
}

static int check_sizes(const model_config_t *c, const char *where, err_t *err) {
    const struct {
        const char *key;
        size_t value, max;
    } sizes[] = {
        {"vocab_size", c->vocab, (size_t)1 << 24},
        {"hidden_size", c->hidden, (size_t)1 << 18},
        {"intermediate_size", c->ffn, (size_t)1 << 20},
        {"num_hidden_layers", c->layers, (size_t)1 << 12},
        {"num_attention_heads", c->heads, (size_t)1 << 12},
        {"num_key_value_heads", c->kv_heads, (size_t)1 << 12},
        {"head_dim", c->head_dim, (size_t)1 << 12},
        {"max_position_embeddings", c->max_positions, (size_t)1 << 28},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return err_set(err, ERR_USAGE, "%s: %s is %zu; expected 1 to %zu", where, sizes[i].key, sizes[i].value,
                           sizes[i].max);
    return 0;
}

static int check_token(const model_config_t *c, const char *key, long id, const char *where, err_t *err) {
    if (id < (long)c->vocab) return 0;
    return err_set(err, ERR_USAGE, "%s: %s is %ld; expected less than vocab_size (%zu)", where, key, id, c->vocab);
}

int model_config_check(const model_config_t *c, const char *where, err_t *err) {
    if (check_sizes(c, where, err)) return err->code;
    if (c->heads % c->kv_heads)
        return err_set(err, ERR_USAGE, "%s: num_attention_heads (%zu) must be a multiple of num_key_value_heads (%zu)",
                       where, c->heads, c->kv_heads);
    if (c->head_dim % 2)
        return err_set(err, ERR_USAGE, "%s: head_dim is %zu; expected an even number", where, c->head_dim);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return err_set(err, ERR_USAGE, "%s: rms_norm_eps is %g; expected more than 0, less than 1", where, c->norm_eps);
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return err_set(err, ERR_USAGE, "%s: rope_theta is %g; expected 1 to 1e12", where, c->rope_theta);
    if (check_token(c, "bos_token_id", c->bos, where, err) || check_token(c, "pad_token_id", c->pad, where, err))
        return err->code;
    for (size_t i = 0; i < c->n_eos; i++)
        if (check_token(c, "eos_token_id", c->eos[i], where, err)) return err->code;
    return 0;
}

void rope_table(const model_config_t *c, size_t positions, float *table) {
    size_t half = c->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        double freq = pow(c->rope_theta, -2.0 * (double)i / (double)c->head_dim);
        for (size_t p = 0; p < positions; p++) {
            float *t = table + (p * half + i) * 2;
            t[0] = (float)cos((double)p * freq);
            t[1] = (float)sin((double)p * freq);
        }
    }
}

const linear_info_t linear_info[LIN_COUNT] = {
    [LIN_Q] = {"q_proj", "self_attn.q_proj", "attn_q"},      [LIN_K] = {"k_proj", "self_attn.k_proj", "attn_k"},
    [LIN_V] = {"v_proj", "self_attn.v_proj", "attn_v"},      [LIN_O] = {"o_proj", "self_attn.o_proj", "attn_output"},
    [LIN_GATE] = {"gate_proj", "mlp.gate_proj", "ffn_gate"}, [LIN_UP] = {"up_proj", "mlp.up_proj", "ffn_up"},
    [LIN_DOWN] = {"down_proj", "mlp.down_proj", "ffn_down"},
};

size_t linear_rows(const model_config_t *c, linear_kind_t k) {
    switch (k) {
    case LIN_Q: return c->heads * c->head_dim;
    case LIN_K:
    case LIN_V: return c->kv_heads * c->head_dim;
    case LIN_GATE:
    case LIN_UP: return c->ffn;
    default: return c->hidden;
    }
}

size_t linear_cols(const model_config_t *c, linear_kind_t k) {
    switch (k) {
    case LIN_O: return c->heads * c->head_dim;
    case LIN_DOWN: return c->ffn;
    default: return c->hidden;
    }
}

model_params_t model_count_params(const model_config_t *c) {
    size_t block = 0;
    for (int k = 0; k < LIN_COUNT; k++) block += linear_rows(c, k) * linear_cols(c, k);
    return (model_params_t){
        .linear = c->layers * block,
        .embedding = c->vocab * c->hidden,
        .head = c->tied ? 0 : c->vocab * c->hidden,
        .norm = (2 * c->layers + 1) * c->hidden,
    };
}
