#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trainer/quant_report/quant_report.h"
#include "trainer/run/run.h"

static int load_config(const quant_report_t *r, const quant_kind_t *kind, config_t *c, err_t *err) {
    char *overrides[] = {
        config_override("model.path", r->model),
        config_override("data.eval", r->text),
        xstrdup("data.format=text"),
        xasprintf("data.max_length=%zu", r->max_length),
        xasprintf("quantization.quant_type=%s", quant_type_name(kind->type)),
        xasprintf("quantization.double_quant=%s", kind->double_quant ? "true" : "false"),
        xstrdup("quantization.compute_dtype=f32"), /* no other rounding than that of the weights */
    };
    enum { N = sizeof overrides / sizeof *overrides };
    int rc = config_load(NULL, overrides, N, CONFIG_EVAL, c, err);
    for (int i = 0; i < N; i++) free(overrides[i]);
    return rc;
}

static int evaluate(run_t *run, quant_report_t *r, double *loss, err_t *err) {
    if (run_open(run, false, true, false, err)) return err->code;
    run_eval_extent(run, &run->eval, &run->need.eval_tokens, &run->need.eval_seg);
    if (run_plan(run, err) || run_load(run, NULL, err)) return err->code;
    run_evaluate(run, &run->eval, NULL, loss, &r->label_tokens);
    return r->label_tokens ? 0 : err_set(err, ERR_USAGE, "%s: nothing to predict; expected a longer text", r->text);
}

int quant_perplexity(quant_report_t *r, err_t *err) {
    for (int i = 0; i < QUANT_KINDS; i++) {
        run_t run = {0};
        int rc = load_config(r, &quant_kinds[i], &run.config, err);
        if (rc == 0) rc = evaluate(&run, r, &r->of[i].loss, err);
        run_close(&run);
        if (rc) return rc;
    }
    return 0;
}
