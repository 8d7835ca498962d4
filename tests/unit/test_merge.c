/* The check of a merge: it finds what was lost or misplaced, and passes what rounding explains. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "trained.h"
#include "trainer/export/merge.h"

/* What a merge that rounds to nearest would have written, in place of the adapted weights of layer 0: it loses small
 * changes, though each value is a neighbour of the one that it should be. */
static void round_to_nearest(const char *dir, const merge_t *m) {
    err_t err = {0};
    char *path = path_join(dir, "model.safetensors"), *data, name[96];
    size_t size, r = m->lora->spec.r, n;
    safetensors_t *st = NULL;
    assert_ok(file_read(path, &data, &size, &err) || safetensors_open(path, &st, &err), err);
    for (linear_slot_t k = 0; k < LINEAR_SLOTS; k++) {
        const float *A = NULL, *B = NULL;
        size_t cols = 0;
        for (size_t i = 0; i < m->lora->n_tensors; i++) {
            const lora_tensor_t *x = &m->lora->tensors[i];
            if (x->layer != 0 || x->slot != k) continue;
            *(x->is_b ? &B : &A) = m->master + x->offset;
            if (!x->is_b) cols = x->cols;
        }
        snprintf(name, sizeof name, "model.layers.0.%s.weight", arch_linear(&archs[0], k)->hf);
        bf16_t *w = read_bf16(m->src, name, &n);
        for (size_t e = 0; e < n; e++) {
            double d = 0;
            for (size_t i = 0; i < r; i++)
                d += (double)lora_scale(m->lora, 0, LIN_Q) * B[e / cols * r + i] * A[i * cols + e % cols];
            w[e] = bf16_from_f32((float)(bf16_to_f32(w[e]) + d));
        }
        memcpy(data + (safetensors_find(st, name)->data - st->map.data), w, n * sizeof *w);
        free(w);
    }
    safetensors_close(st);
    assert_ok(file_write(path, data, size, &err), err);
    free(data);
    free(path);
}

/* Merges with the adapters in `written`, checks against `master`; both of them on the original weights. */
static int merge_and_check(const trained_t *t, lora_t *lora, const float *written, const float *master, bool nearest,
                           merge_report_t *report, err_t *err) {
    char *dir = path_join(test_tmpdir(), "merged");
    model_source_t *src = open_source(t->model);
    merge_t m = {.src = src, .lora = lora, .master = written, .dtype = DT_COUNT};
    assert_ok(dir_make(dir, err), *err);
    assert_ok(backend_open_cpu(DT_F32, 2, false, &m.cpu, err), *err);
    assert_ok(merge_write(dir, &m, err), *err);
    m.master = master;
    if (nearest) round_to_nearest(dir, &m);
    int rc = merge_check(dir, &m, report, err);
    m.cpu->close(m.cpu);
    model_source_close(src);
    free(dir);
    return rc;
}

#define ALL_LAYERS SIZE_MAX

/* A copy of the masters, with B of (layer, kind) times `factor`; kind LINEAR_SLOTS: of each. */
static float *with_b(const lora_t *lora, const float *master, size_t layer, linear_slot_t kind, float factor) {
    float *copy = xmalloc(lora->count * sizeof *copy);
    memcpy(copy, master, lora->count * sizeof *copy);
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *x = &lora->tensors[i];
        if (!x->is_b || (layer != ALL_LAYERS && x->layer != layer) || (kind != LINEAR_SLOTS && x->slot != kind))
            continue;
        for (size_t k = 0; k < x->rows * x->cols; k++) copy[x->offset + k] *= factor;
    }
    return copy;
}

static void assert_found(const trained_t *t, lora_t *lora, const float *master, size_t layer, linear_slot_t kind,
                         float factor, const char *text) {
    err_t err = {0};
    merge_report_t report;
    float *wrong = with_b(lora, master, layer, kind, factor);
    assert_error(merge_and_check(t, lora, wrong, master, false, &report, &err), err, ERR_FAILED, text);
    free(wrong);
}

/* A merge is refused that lost the adapter of a layer or of one weight, or has it with a wrong sign or scale. */
static void test_lost_adapter(void **state) {
    (void)state;
    err_t err = {0};
    merge_report_t report;
    model_source_t *src = open_source(tied.model);
    lora_t lora;
    float *trained = read_adapter(tied.checkpoint, model_source_config(src), &lora);
    float *master = with_b(&lora, trained, ALL_LAYERS, LINEAR_SLOTS, 8);
    free(trained);
    assert_ok(merge_and_check(&tied, &lora, master, master, false, &report, &err), err);
    assert_int_equal(report.changed, lora.layers * LINEAR_SLOTS);
    assert_int_equal(report.judged, report.changed);
    print_message("all %.4f +- %.4f, worst %s %.4f +- %.4f\n", report.ratio, report.tolerance, report.worst_name,
                  report.worst, report.worst_tolerance);
    assert_true(fabs(report.ratio - 1) < 0.02 && fabs(report.worst - 1) < 0.2);
    assert_found(&tied, &lora, master, 1, LINEAR_SLOTS, 0, "model.layers.1.");
    for (linear_slot_t k = 0; k < LINEAR_SLOTS; k++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.0.%s.weight", arch_linear(&archs[0], k)->hf);
        assert_found(&tied, &lora, master, 0, k, 0, name);
        assert_found(&tied, &lora, master, 0, k, -1, name);
        assert_found(&tied, &lora, master, 0, k, 2, name);
    }
    lora_free(&lora);
    free(master);
    model_source_close(src);
}

/* Small changes, of which some weights' are lost in their rounding: it must be without bias. */
static void test_small_adapter(void **state) {
    (void)state;
    err_t err = {0};
    merge_report_t report;
    model_source_t *src = open_source(tied.model);
    lora_t lora;
    float *trained = read_adapter(tied.checkpoint, model_source_config(src), &lora);
    float *master = with_b(&lora, trained, ALL_LAYERS, LINEAR_SLOTS, 0.25f);
    free(trained);
    assert_ok(merge_and_check(&tied, &lora, master, master, false, &report, &err), err);
    print_message("%zu of %zu judged alone, all %.4f +- %.4f\n", report.judged, report.changed, report.ratio,
                  report.tolerance);
    assert_true(report.judged < report.changed && report.tolerance < 0.5);
    assert_error(merge_and_check(&tied, &lora, master, master, true, &report, &err), err, ERR_FAILED,
                 "of the adapter's change arrived");
    /* Nothing to merge is nothing to miss; but a change where none belongs is found. */
    float *none = xcalloc(lora.count, sizeof *none);
    err = (err_t){0};
    assert_ok(merge_and_check(&tied, &lora, none, none, false, &report, &err), err);
    assert_int_equal(report.changed, 0);
    assert_error(merge_and_check(&tied, &lora, master, none, false, &report, &err), err, ERR_FAILED, "a neighbour of");
    free(none);
    lora_free(&lora);
    free(master);
    model_source_close(src);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lost_adapter), cmocka_unit_test(test_small_adapter)};
    return cmocka_run_group_tests(tests, train_both, free_both);
}
