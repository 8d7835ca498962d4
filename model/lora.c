#include "model/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

/* ---- which layers, of which rank -------------------------------------------------------------------------- */

static size_t rank_count(const lora_spec_t *spec) { return spec->layers * LINEAR_SLOTS + 1; }

void lora_spec_init(lora_spec_t *spec, const model_config_t *c) {
    spec->layers = c->layers;
    spec->ranks = xcalloc(rank_count(spec), sizeof *spec->ranks);
}

void lora_spec_free(lora_spec_t *spec) {
    free(spec->ranks);
    json_decref(spec->choice);
    spec->ranks = NULL;
    spec->choice = NULL;
}

void lora_spec_fill(lora_spec_t *spec, const model_config_t *c, unsigned slots) {
    lora_spec_init(spec, c);
    for (size_t l = 0; l < c->layers; l++)
        for (unsigned s = 0; s < LINEAR_SLOTS; s++)
            if (slots >> s & 1 && arch_linear(c->arch, (linear_slot_t)s))
                *lora_rank(spec, l, (linear_slot_t)s) = (lora_rank_t){spec->r, spec->alpha};
}

bool lora_spec_equal(const lora_spec_t *a, const lora_spec_t *b) {
    if (a->layers != b->layers || a->rslora != b->rslora) return false;
    for (size_t i = 0; i < rank_count(a); i++) {
        const lora_rank_t *x = &a->ranks[i], *y = &b->ranks[i];
        if (x->r != y->r || (x->r && x->alpha != y->alpha)) return false;
    }
    return true;
}

char *lora_spec_text(const lora_spec_t *spec) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    strbuf_t b = {0};
    for (size_t i = 0; i < rank_count(spec); i++) {
        const double v[2] = {(double)spec->ranks[i].r, spec->ranks[i].alpha};
        for (int k = 0; k < 2 && v[0] > 0; k++) low[k] = fmin(low[k], v[k]), high[k] = fmax(high[k], v[k]);
    }
    for (int k = 0; k < 2; k++) {
        strbuf_addf(&b, "%s %g", k ? ", alpha" : "r", low[k]);
        if (high[k] > low[k]) strbuf_addf(&b, " to %g", high[k]);
    }
    strbuf_addf(&b, ", dropout %g%s", spec->dropout, spec->rslora ? ", rank-stabilised" : "");
    return b.p;
}

static float scale_of(const lora_spec_t *spec, const lora_rank_t *k) {
    return (float)(k->alpha / (spec->rslora ? sqrt((double)k->r) : (double)k->r));
}

float lora_scale(const lora_t *lora, size_t layer, linear_slot_t slot) {
    return scale_of(&lora->spec, lora_rank(&lora->spec, layer, slot));
}

/* ---- where they lie --------------------------------------------------------------------------------------- */

static size_t add_tensor(lora_t *lora, size_t layer, linear_slot_t slot, bool is_b, size_t rows, size_t cols) {
    size_t offset = lora->count;
    lora->tensors[lora->n_tensors++] = (lora_tensor_t){layer, slot, is_b, offset, rows, cols};
    lora->count += rows * cols;
    return offset;
}

/* Those of n linear layers that share an input; gives the columns of u. */
static size_t lay_out_site(lora_t *lora, size_t layer, const linear_slot_t *slots, size_t n, lora_site_t *site) {
    const model_config_t *c = lora->config;
    size_t width = 0;
    for (size_t i = 0; i < n; i++) {
        const lora_rank_t *k = lora_rank(&lora->spec, layer, slots[i]);
        if (k->r == 0) continue;
        site->member[site->n] = i;
        site->r[site->n] = k->r;
        site->scale[site->n++] = scale_of(&lora->spec, k);
        width += k->r;
    }
    site->a = lora->count;
    for (size_t i = 0; i < site->n; i++) {
        linear_slot_t slot = slots[site->member[i]];
        add_tensor(lora, layer, slot, false, site->r[i], linear_cols(c, slot));
    }
    for (size_t i = 0; i < site->n; i++) {
        linear_slot_t slot = slots[site->member[i]];
        site->b[i] = add_tensor(lora, layer, slot, true, linear_rows(c, slot), site->r[i]);
    }
    return width;
}

void lora_init(lora_t *lora, const model_config_t *c, const lora_spec_t *spec) {
    static const linear_slot_t head[] = {LIN_HEAD};
    CHECK(spec->layers == c->layers);
    *lora = (lora_t){.spec = *spec, .config = c, .layers = c->layers};
    lora->sites = xcalloc(c->layers * SITE_COUNT, sizeof *lora->sites);
    lora->tensors = xcalloc((c->layers * LINEAR_SLOTS + 1) * 2, sizeof *lora->tensors);
    for (size_t l = 0; l < c->layers; l++)
        for (int s = 0; s < SITE_COUNT; s++) {
            linear_slot_t slots[LINEAR_MAX];
            size_t n = arch_site(c->arch, (site_t)s, slots);
            size_t width = lay_out_site(lora, l, slots, n, &lora->sites[l * SITE_COUNT + (size_t)s]);
            if (width > lora->width[s]) lora->width[s] = width;
        }
    lay_out_site(lora, c->layers, head, 1, &lora->head);
}

void lora_free(lora_t *lora) {
    lora_spec_free(&lora->spec);
    free(lora->sites);
    free(lora->tensors);
    lora->sites = NULL;
    lora->tensors = NULL;
}

void lora_place(lora_t *lora, pool_t *pool, bool training) {
    lora->master = pool_take(pool, POOL_ADAPTERS, lora->count * sizeof(float));
    /* A bf16 backend multiplies bf16 matrices whatever the masters are. */
    lora->compute_type = lora->spec.f32 && pool->be->act == DT_F32 ? DT_F32 : DT_BF16;
    lora->compute = lora->compute_type == DT_F32 ? (void *)lora->master
                                                 : pool_take(pool, POOL_ADAPTERS, lora->count * sizeof(bf16_t));
    lora->grad = training ? pool_take(pool, POOL_GRADIENTS, lora->count * sizeof(float)) : NULL;
}

void lora_upload(lora_t *lora, backend_t *be, const float *master) {
    be->upload(be, lora->master, master, lora->count * sizeof(float));
    lora_refresh(lora, be);
}

void lora_fill(lora_t *lora, backend_t *be, uint64_t seed) {
    float *host = xcalloc(lora->count, sizeof(float));
    uint64_t key = rng_mix(seed ^ 0x6c6f7261u); /* "lora" */
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        if (t->is_b) continue;
        uint64_t tensor_key = rng_fold(key, t->layer * LINEAR_SLOTS + t->slot);
        float bound = 1.0f / sqrtf((float)t->cols);
        for (size_t j = 0; j < t->rows * t->cols; j++)
            host[t->offset + j] = (2.0f * rng_uniform(tensor_key, j) - 1.0f) * bound;
    }
    lora_upload(lora, be, host);
    free(host);
}

void lora_refresh(lora_t *lora, backend_t *be) {
    if (lora->compute != lora->master)
        be->cast(be, lora->compute, lora->compute_type, lora->master, DT_F32, lora->count);
    lora->changes++;
}

const lora_site_t *lora_site(const lora_t *lora, size_t layer, site_t site) {
    return &lora->sites[layer * SITE_COUNT + (size_t)site];
}

void lora_tensor_name(const lora_t *lora, const lora_tensor_t *t, char *buf, size_t size) {
    char module[128];
    model_module_name(lora->config, t->layer, t->slot, module, sizeof module);
    snprintf(buf, size, "base_model.model.%s.lora_%c.weight", module, t->is_b ? 'B' : 'A');
}
