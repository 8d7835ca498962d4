#include "model/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- families --------------------------------------------------------------------------------------------- */

static const char *name_of(const arch_t *a, bool gguf) { return gguf ? a->gguf_name : a->model_type; }

static const arch_t *find_arch(const char *name, bool gguf) {
    for (size_t i = 0; i < n_archs; i++)
        if (name_of(&archs[i], gguf) && !strcmp(name_of(&archs[i], gguf), name)) return &archs[i];
    return NULL;
}

static const arch_t *need_arch(const char *name, const char *where, bool gguf, err_t *err) {
    const arch_t *found = find_arch(name, gguf);
    if (found) return found;
    strbuf_t list = {0};
    for (size_t i = 0; i < n_archs; i++) {
        const char *known = name_of(&archs[i], gguf);
        if (known && find_arch(known, gguf) == &archs[i]) strbuf_addf(&list, "%s%s", list.len ? ", " : "", known);
    }
    err_set(err, ERR_USAGE, "%s: \"%.100s\" is not supported; expected one of: %s", where, name, list.p);
    free(list.p);
    return NULL;
}

const arch_t *arch_by_model_type(const char *model_type, const char *where, err_t *err) {
    return need_arch(model_type, where, false, err);
}

const arch_t *arch_by_gguf_name(const char *name, const char *where, err_t *err) {
    return need_arch(name, where, true, err);
}

static const tensor_spec_t *find_spec(const arch_t *arch, tensor_role_t role, unsigned slot) {
    for (size_t i = 0; i < arch->n_tensors; i++)
        if (arch->tensors[i].role == role && arch->tensors[i].slot == slot) return &arch->tensors[i];
    return NULL;
}

const tensor_spec_t *arch_linear(const arch_t *arch, linear_slot_t slot) {
    return find_spec(arch, TENSOR_LINEAR, slot);
}

const tensor_spec_t *arch_norm(const arch_t *arch, norm_slot_t slot) { return find_spec(arch, TENSOR_NORM, slot); }

size_t arch_site(const arch_t *arch, site_t site, linear_slot_t slots[LINEAR_MAX]) {
    size_t n = 0;
    for (unsigned s = 0; s < LINEAR_SLOTS; s++) {
        const tensor_spec_t *t = find_spec(arch, TENSOR_LINEAR, s);
        if (t && t->site == site) slots[n++] = (linear_slot_t)s;
    }
    return n;
}

const char *linear_name(const tensor_spec_t *t) {
    const char *dot = strrchr(t->hf, '.');
    return dot ? dot + 1 : t->hf;
}

/* ---- sizes ------------------------------------------------------------------------------------------------ */

static int check_sizes(const model_config_t *c, const char *where, err_t *err) {
    const struct {
        const char *key;
        size_t value, max;
    } sizes[] = {
        {"vocab_size", c->vocab, (size_t)1 << 24},
        {"hidden_size", c->hidden, (size_t)1 << 18},
        {"intermediate_size", c->ffn, (size_t)1 << 20},
        {"num_hidden_layers", c->layers, MODEL_MAX_LAYERS},
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

static int check_scales(const model_config_t *c, const char *where, err_t *err) {
    const struct {
        const char *what;
        double value;
        bool may_be_0;
    } scales[] = {
        {"scale of attention", c->attn_scale, false},      {"softcap of attention", c->attn_softcap, true},
        {"residual multiplier", c->residual_scale, false}, {"embedding multiplier", c->embed_scale, false},
        {"scale of the logits", c->logit_scale, false},    {"softcap of the logits", c->logit_softcap, true},
    };
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double v = scales[i].value;
        if (!(v < 1e6 && (v > 1e-6 || (v == 0 && scales[i].may_be_0))))
            return err_set(err, ERR_USAGE, "%s: the %s is %g; expected 1e-6 to 1e6", where, scales[i].what, v);
    }
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
    if (c->rotated < 2 || c->rotated > c->head_dim || c->rotated % 2)
        return err_set(err, ERR_USAGE, "%s: RoPE turns %zu channels of a head; expected an even number of 2 to %zu",
                       where, c->rotated, c->head_dim);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return err_set(err, ERR_USAGE, "%s: rms_norm_eps is %g; expected more than 0, less than 1", where, c->norm_eps);
    for (size_t i = 0; i < c->n_rope; i++)
        if (rope_check(&c->rope[i], c->rotated, where, err)) return err->code;
    if (check_scales(c, where, err)) return err->code;
    if (check_token(c, "bos_token_id", c->bos, where, err) || check_token(c, "pad_token_id", c->pad, where, err))
        return err->code;
    for (size_t i = 0; i < c->n_eos; i++)
        if (check_token(c, "eos_token_id", c->eos[i], where, err)) return err->code;
    return 0;
}

bool model_choose_rope(model_config_t *c, size_t longest) {
    bool choice = false;
    for (size_t i = 0; i < c->n_rope; i++) {
        const rope_spec_t *r = &c->rope[i];
        /* Both are above 0, so that equal ones are of equal bytes. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        if (r->type != ROPE_LONGROPE || memcmp(r->short_factor, r->long_factor, sizeof r->short_factor) == 0) continue;
        c->rope_long = (double)longest > r->original;
        choice = true;
    }
    return choice;
}

size_t model_dim(const model_config_t *c, dim_t d) {
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    switch (d) {
    case DIM_HIDDEN: return c->hidden;
    case DIM_FFN: return c->ffn;
    case DIM_2_FFN: return 2 * c->ffn;
    case DIM_Q: return q;
    case DIM_KV: return kv;
    case DIM_Q_2KV: return q + 2 * kv;
    case DIM_HEAD: return c->head_dim;
    }
    return 0;
}

size_t linear_rows(const model_config_t *c, linear_slot_t slot) {
    if (slot == LIN_HEAD) return c->vocab;
    const tensor_spec_t *t = arch_linear(c->arch, slot);
    return t ? model_dim(c, t->rows) : 0;
}

size_t linear_cols(const model_config_t *c, linear_slot_t slot) {
    if (slot == LIN_HEAD) return c->hidden;
    const tensor_spec_t *t = arch_linear(c->arch, slot);
    return t ? model_dim(c, t->cols) : 0;
}

/* ---- all tensors of a model --------------------------------------------------------------------------------- */

static int visit_block_tensor(const model_config_t *c, size_t layer, const tensor_spec_t *spec, model_visit_fn *visit,
                              void *ctx) {
    model_tensor_t t = {.role = spec->role, .spec = spec, .layer = layer, .rows = 1, .cols = model_dim(c, spec->cols)};
    if (spec->role == TENSOR_LINEAR) t.rows = model_dim(c, spec->rows);
    int rc = visit(ctx, &t);
    if (rc || spec->role != TENSOR_LINEAR || !linear_has_bias(c, (linear_slot_t)spec->slot)) return rc;
    t = (model_tensor_t){.role = TENSOR_BIAS, .spec = spec, .layer = layer, .rows = 1, .cols = t.rows};
    return visit(ctx, &t);
}

int model_each_tensor(const model_config_t *c, model_visit_fn *visit, void *ctx) {
    model_tensor_t embedding = {.role = TENSOR_EMBEDDING, .rows = c->vocab, .cols = c->hidden};
    model_tensor_t norm = {.role = TENSOR_NORM, .rows = 1, .cols = c->hidden};
    model_tensor_t head = {.role = TENSOR_HEAD, .rows = c->vocab, .cols = c->hidden};
    int rc = visit(ctx, &embedding);
    for (size_t l = 0; rc == 0 && l < c->layers; l++)
        for (size_t i = 0; rc == 0 && i < c->arch->n_tensors; i++)
            rc = visit_block_tensor(c, l, &c->arch->tensors[i], visit, ctx);
    if (rc == 0) rc = visit(ctx, &norm);
    if (rc == 0 && !c->tied) rc = visit(ctx, &head);
    return rc;
}

void model_tensor_name(const model_tensor_t *t, char *buf, size_t size) {
    const char *kind = t->role == TENSOR_BIAS ? "bias" : "weight";
    if (t->spec) snprintf(buf, size, "model.layers.%zu.%s.%s", t->layer, t->spec->hf, kind);
    else if (t->role == TENSOR_HEAD) snprintf(buf, size, "lm_head.weight");
    else snprintf(buf, size, "model.%s.weight", t->role == TENSOR_NORM ? "norm" : "embed_tokens");
}

void model_tensor_gguf_name(const model_tensor_t *t, char *buf, size_t size) {
    const char *kind = t->role == TENSOR_BIAS ? "bias" : "weight";
    if (t->spec) snprintf(buf, size, "blk.%zu.%s.%s", t->layer, t->spec->gguf, kind);
    else if (t->role == TENSOR_HEAD) snprintf(buf, size, "output.weight");
    else snprintf(buf, size, "%s.weight", t->role == TENSOR_NORM ? "output_norm" : "token_embd");
}

void model_module_name(const model_config_t *c, size_t layer, linear_slot_t slot, char *buf, size_t size) {
    const char *parent = c->wrapped ? "language_model." : "";
    if (slot == LIN_HEAD) snprintf(buf, size, "lm_head");
    else snprintf(buf, size, "model.%slayers.%zu.%s", parent, layer, arch_linear(c->arch, slot)->hf);
}

static int count_tensor(void *ctx, const model_tensor_t *t) {
    model_params_t *p = ctx;
    size_t *class = t->role == TENSOR_LINEAR      ? &p->linear
                    : t->role == TENSOR_EMBEDDING ? &p->embedding
                    : t->role == TENSOR_HEAD      ? &p->head
                                                  : &p->rest;
    *class += t->rows * t->cols;
    return 0;
}

model_params_t model_count_params(const model_config_t *c) {
    model_params_t p = {0};
    model_each_tensor(c, count_tensor, &p);
    return p;
}
