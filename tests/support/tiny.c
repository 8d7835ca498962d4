#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "testing.h"
#include "trainer/run/backend_open.h"

static const int32_t *expected_ints(const tiny_t *t, const char *name, size_t *rows, size_t *cols) {
    const st_tensor_t *x = safetensors_find(t->expected, name);
    CHECK(x && x->dtype == DT_I32 && x->n_dims == 2);
    *rows = x->shape[0];
    *cols = x->shape[1];
    int32_t *copy = xmalloc(x->bytes);
    memcpy(copy, x->data, x->bytes);
    return copy;
}

float *tiny_expected(const tiny_t *t, const char *name, size_t *n) {
    const st_tensor_t *x = safetensors_find(t->expected, name);
    if (!x) fail_msg("expected.safetensors has no %s", name);
    CHECK(x->dtype == DT_F32);
    *n = x->bytes / sizeof(float);
    float *copy = xmalloc(x->bytes);
    memcpy(copy, x->data, x->bytes);
    return copy;
}

void tiny_batch(const tiny_t *t, size_t first, size_t n, batch_t *b) {
    size_t rows, S;
    int32_t *ids = (int32_t *)expected_ints(t, "input_ids", &rows, &S);
    int32_t *labels = (int32_t *)expected_ints(t, "labels", &rows, &S);
    CHECK(first + n <= rows);
    size_t T = n * S;
    *b = (batch_t){.T = T, .n_rows = n, .n_seg = n, .max_seg = S, .cap = T};
    b->ids = xmalloc(T * sizeof(int32_t));
    b->pos = xmalloc(T * sizeof(int32_t));
    b->row = xmalloc(T * sizeof(int32_t));
    b->row_pos = xmalloc(T * sizeof(int32_t));
    b->target_idx = xmalloc(T * sizeof(int32_t));
    b->target = xmalloc(T * sizeof(int32_t));
    b->seg_off = xmalloc((n + 1) * sizeof(int32_t));
    for (size_t i = 0; i < n; i++) {
        b->seg_off[i] = (int32_t)(i * S);
        for (size_t s = 0; s < S; s++) {
            size_t at = i * S + s, from = (first + i) * S + s;
            b->ids[at] = ids[from];
            b->pos[at] = b->row_pos[at] = (int32_t)s;
            b->row[at] = (int32_t)(first + i);
            if (s + 1 == S || labels[from + 1] < 0) continue;
            b->target_idx[b->n_labels] = (int32_t)at;
            b->target[b->n_labels++] = labels[from + 1];
        }
    }
    b->seg_off[n] = (int32_t)T;
    free(ids);
    free(labels);
}

static void place(tiny_t *t, const tiny_spec_t *spec, pool_t *pool) {
    acts_t *a = &t->acts;
    size_t T = t->batch.T, L = t->model.config.layers, chunk = spec->chunk ? spec->chunk : T;
    model_place(&t->model, spec->n_paged, spec->n_cached, pool);
    lora_place(&t->lora, pool, true);
    optimizer_place(&t->opt, spec->optimizer, &t->lora, SIZE_MAX, pool);
    workspace_need_t need = model_workspace_need(&t->model, T, t->batch.max_seg);
    t->be->workspace_size = t->be->workspace_bytes(t->be, &need);
    t->be->workspace = pool_take(pool, POOL_WORKSPACE, t->be->workspace_size);
    acts_place(a, &t->model, &(acts_spec_t){PASS_TRAIN, T, spec->n_kept < L ? spec->n_kept : L, chunk, spec->tile},
               pool);
}

static int open_backend(const tiny_spec_t *spec, backend_t **be, err_t *err) {
    if (spec->backend) return backend_open(spec->backend, spec->act, spec->threads, HOST_ALONE, be, err);
    return backend_open_cpu(spec->act, spec->threads ? spec->threads : 1, spec->reference, be, err);
}

static const char *golden_file(const tiny_spec_t *spec, const char *name) {
    char path[512];
    bool whole = spec->arch[0] == '/';
    snprintf(path, sizeof path, "%s%s/%s", whole ? "" : "golden/tiny/", spec->arch, name);
    return whole ? test_keep(xstrdup(path)) : test_path(path);
}

void tiny_open(tiny_t *t, const tiny_spec_t *spec) {
    err_t err = {0};
    *t = (tiny_t){0};
    assert_ok(safetensors_open(golden_file(spec, "expected.safetensors"), &t->expected, &err), err);
    tiny_batch(t, 0, 2, &t->batch);
    const char *model = golden_file(spec, spec->model_dir ? spec->model_dir : "");
    assert_ok(model_source_open(model, &t->src, &err), err);
    assert_ok(open_backend(spec, &t->be, &err), err);

    lora_spec_t lora;
    const char *adapter = golden_file(spec, "adapter");
    assert_ok(adapter_read_spec(adapter, model_source_config(t->src), &lora, &err), err);
    assert_true(lora.f32);
    lora.dropout = spec->dropout;
    lora_init(&t->lora, model_source_config(t->src), &lora);
    model_init(&t->model, model_source_config(t->src), t->be, spec->quant, spec->double_quant, t->batch.max_seg);
    model_choose_rope(&t->model.config, t->batch.max_seg);
    model_take_types(&t->model, t->src, true);
    t->model.lora = &t->lora;

    t->acts.blocks = xcalloc(t->model.config.layers, sizeof(block_acts_t));
    pool_t count = pool_counting(t->be);
    place(t, spec, &count);
    assert_ok(pool_open(&t->pool, t->be, count.used + count.back, &err), err);
    optimizer_free(&t->opt);
    place(t, spec, &t->pool);
    assert_int_equal(t->pool.used, count.used);
    assert_ok(model_open_pages(&t->model, &t->pool, NULL, &err), err);
    assert_ok(model_load(&t->model, t->src, &err), err);
    float *master = xmalloc(t->lora.count * sizeof *master);
    assert_ok(adapter_read(adapter, &t->lora, t->src, master, &err), err);
    lora_upload(&t->lora, t->be, master);
    free(master);
    t->be->zero(t->be, t->lora.grad, t->lora.count * sizeof(float));
    assert_ok(optimizer_open(&t->opt, &t->lora, &t->pool, t->pool.used, NULL, &err), err);
}

void tiny_close(tiny_t *t) {
    batch_t *b = &t->batch;
    free(b->ids), free(b->pos), free(b->row), free(b->row_pos), free(b->target_idx), free(b->target), free(b->seg_off);
    free(t->acts.blocks);
    optimizer_free(&t->opt);
    model_free(&t->model);
    pool_close(&t->pool);
    lora_free(&t->lora);
    t->be->close(t->be);
    model_source_close(t->src);
    safetensors_close(t->expected);
}
