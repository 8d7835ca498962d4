#include "trainer/export/gguf_lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/formats/gguf_write.h"
#include "model/gguf_config_write.h"

/* llama.cpp takes an alpha of 0 for "no alpha", which is a scale of 1. */
static float file_alpha(const lora_t *lora) {
    double alpha = lora->spec.rslora ? lora->spec.alpha * sqrt((double)lora->spec.r) : lora->spec.alpha;
    return alpha != 0 ? (float)alpha : 1;
}

/* What B is multiplied by, so that the file's alpha over the rank gives the scale of the tensor. */
static float factor_of(const lora_t *lora, const lora_tensor_t *b) {
    float factor = lora_scale(lora, b->layer, b->slot) / (file_alpha(lora) / (float)b->cols);
    return fabsf(factor - 1) < 1e-6f ? 1 : factor; /* rsLoRA: what rounding the root left */
}

static void tensor_name(const lora_t *lora, const lora_tensor_t *t, char *buf, size_t size) {
    bool head = t->slot == LIN_HEAD;
    model_tensor_t weight = {.role = head ? TENSOR_HEAD : TENSOR_LINEAR, .layer = t->layer};
    char name[96];
    if (!head) weight.spec = arch_linear(lora->config->arch, t->slot);
    model_tensor_gguf_name(&weight, name, sizeof name);
    snprintf(buf, size, "%s.lora_%c", name, t->is_b ? 'b' : 'a');
}

/* Rows of a head of B where GGUF has them in another order, else 0. */
static size_t permuted_head(const lora_t *lora, const lora_tensor_t *t) {
    bool permuted = t->is_b && lora->config->arch->gguf_permuted_qk && (t->slot == LIN_Q || t->slot == LIN_K);
    return permuted ? lora->config->head_dim : 0;
}

static int write_tensor(gguf_writer_t *w, const lora_t *lora, const lora_tensor_t *t, const float *master, err_t *err) {
    size_t d = permuted_head(lora, t);
    float factor = t->is_b ? factor_of(lora, t) : 1;
    float *row = xmalloc(t->cols * sizeof *row);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->rows; i++) {
        /* Rows 2j and 2j + 1 of a head are j and j + d/2 of Hugging Face's. */
        size_t from = d ? i - i % d + i % d / 2 + i % 2 * (d / 2) : i;
        for (size_t k = 0; k < t->cols; k++) row[k] = master[t->offset + from * t->cols + k] * factor;
        rc = gguf_writer_data(w, row, t->cols * sizeof *row, err);
    }
    free(row);
    return rc;
}

int gguf_lora_refuse(const lora_t *lora, const char *where, err_t *err) {
    if (gguf_family_check(lora->config, where, err)) return err->code;
    if (!lora->head.n || !lora->config->tied) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: llama.cpp cannot adapt a head that is the embedding without adapting that; expected --gguf or "
                   "--merged, in which the two are apart",
                   where);
}

int gguf_lora_write(const char *path, const lora_t *lora, const float *master, err_t *err) {
    gguf_writer_t *w = gguf_writer_new();
    char name[128];
    gguf_put_str(w, "general.architecture", lora->config->arch->gguf_name);
    gguf_put_str(w, "general.type", "adapter");
    gguf_put_str(w, "adapter.type", "lora");
    gguf_put_f32(w, "adapter.lora.alpha", file_alpha(lora));
    for (size_t i = 0; i < lora->n_tensors; i++) {
        tensor_name(lora, &lora->tensors[i], name, sizeof name);
        gguf_writer_declare(w, name, GGML_F32, lora->tensors[i].rows, lora->tensors[i].cols);
    }
    int rc = gguf_writer_begin(w, path, err);
    for (size_t i = 0; rc == 0 && i < lora->n_tensors; i++) rc = write_tensor(w, lora, &lora->tensors[i], master, err);
    if (rc == 0) return gguf_writer_finish(w, err);
    gguf_writer_abort(w);
    return rc;
}

/* ---- check -------------------------------------------------------------------------------------------------- */

static int check_tensor(const gguf_t *g, const lora_t *lora, const lora_tensor_t *t, const float *master, err_t *err) {
    char name[128];
    tensor_name(lora, t, name, sizeof name);
    const gguf_tensor_t *got = gguf_find(g, name);
    if (!got || got->type != GGML_F32 || got->rows != t->rows || got->cols != t->cols)
        return err_set(err, ERR_FAILED, "%s: tensor %s is not what was written", gguf_path(g), name);
    size_t d = permuted_head(lora, t);
    float factor = t->is_b ? factor_of(lora, t) : 1, *row = xmalloc(t->cols * sizeof *row);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->rows; i++) {
        size_t in_head = d ? i % d : 0, half = d / 2;
        size_t at = d ? i - in_head + in_head % half * 2 + in_head / half : i;
        gguf_dequant(got, at * t->cols, t->cols, row);
        for (size_t k = 0; rc == 0 && k < t->cols; k++)
            if (row[k] != master[t->offset + i * t->cols + k] * factor)
                rc = err_set(err, ERR_FAILED, "%s: tensor %s[%zu,%zu] is %.9g; expected %.9g", gguf_path(g), name, i, k,
                             row[k], master[t->offset + i * t->cols + k] * factor);
    }
    free(row);
    return rc;
}

int gguf_lora_check(const char *path, const lora_t *lora, const float *master, err_t *err) {
    gguf_t *g = NULL;
    double alpha = 0;
    if (gguf_open(path, &g, err)) return err->code;
    int rc = 0;
    if (gguf_tensor_count(g) != lora->n_tensors || !gguf_get_float(g, "adapter.lora.alpha", &alpha) ||
        alpha != (double)file_alpha(lora))
        rc = err_set(err, ERR_FAILED, "%s: what was read back is not what was written", path);
    for (size_t i = 0; rc == 0 && i < lora->n_tensors; i++) rc = check_tensor(g, lora, &lora->tensors[i], master, err);
    gguf_close(g);
    return rc;
}
