/* Values that both dialects have, under one name or another. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/config/config_json.h"
#include "trainer/import/state.h"

int take_later(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    (void)im, (void)k, (void)v;
    return 0;
}

int take_model(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    return import_put_path(im, k->section, k->name, v, k->key,
                           "put the directory of the downloaded model, or a GGUF file");
}

int take_adapter(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (!import_is_something(v)) return 0;
    return import_put_path(im, k->section, k->name, v, k->key, "put the directory of a PEFT adapter");
}

/* It need not be there: relative to the working directory as an existing path would be. */
int take_output(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    bool there;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (!*text) return import_error(im, v, k->key, "no value; expected a directory");
    char *cwd = im->dir ? import_path(im, ".", &there) : NULL;
    char *path = cwd ? path_join(cwd, text) : xstrdup(text);
    strbuf_t b = {0};
    yaml_add_quoted(&b, path);
    import_put(im, k->section, k->name, b.p, v, k->key);
    free(path);
    free(cwd);
    return 0;
}

int take_nonzero(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    return import_is_something(v) ? import_copy(im, k->section, k->name, v, k->key) : 0;
}

/* AdamW under its many names: how wide its states are, and whether they page. */
int take_optimizer(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    static const char *const names[][2] = {{"adamw_torch", "adamw_32bit"},
                                           {"adamw_torch_fused", "adamw_32bit"},
                                           {"adamw_torch_xla", "adamw_32bit"},
                                           {"adamw_torch_npu_fused", "adamw_32bit"},
                                           {"adamw_apex_fused", "adamw_32bit"},
                                           {"adamw_hf", "adamw_32bit"},
                                           {"adamw", "adamw_32bit"},
                                           {"optimi_adamw", "adamw_32bit"},
                                           {"adamw_bnb_8bit", "adamw_8bit"},
                                           {"adamw_8bit", "adamw_8bit"},
                                           {"adamw_torch_8bit", "adamw_8bit"},
                                           {"ao_adamw_8bit", "adamw_8bit"},
                                           {"paged_adamw_32bit", "paged_adamw_32bit"},
                                           {"paged_adamw", "paged_adamw_32bit"},
                                           {"paged_adamw_8bit", "paged_adamw_8bit"}};
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i][0]) != 0) continue;
        import_put(im, k->section, k->name, xstrdup(names[i][1]), v, k->key);
        return 0;
    }
    return import_error(im, v, k->key,
                        "got \"%.60s\", another optimizer, for which its learning rate is meant; expected AdamW "
                        "(adamw_torch, adamw_bnb_8bit, paged_adamw_32bit, ...)",
                        text);
}

int take_schedule(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    static const char *const ours[] = {"constant", "linear", "cosine", "constant_with_warmup", NULL};
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    const char *name = text;
    if (!name_is_among(text, ours)) {
        name = strstr(text, "constant") ? "constant_with_warmup" : strstr(text, "linear") ? "linear" : "cosine";
        import_note(im, v, k->key, "the schedule %.60s is not there; %s is written in its place", text, name);
    }
    import_put(im, k->section, k->name, xstrdup(name), v, k->key);
    return 0;
}

/* Transformers reads what is below 1 as a share of the steps. */
int take_warmup_steps(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    double n;
    if (import_number(im, v, k->key, &n)) return im->err->code;
    if (n == 0) return 0;
    return import_copy(im, k->section, n > 0 && n < 1 ? "warmup_ratio" : k->name, v, k->key);
}

int take_steps(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    double n;
    if (import_number(im, v, k->key, &n)) return im->err->code;
    if (n <= 0 || n >= 1) return import_copy(im, k->section, k->name, v, k->key);
    import_note(im, v, k->key, "a share of all steps, whose number only a plan tells; put the steps in %s.%s",
                k->section, k->name);
    return 0;
}

int take_resume(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool flag;
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (import_is_bool(text, &flag) && !v->quoted) { /* auto is what `true` means; false would begin again */
        import_put(im, k->section, k->name, xstrdup("auto"), v, k->key);
        if (!flag)
            import_note(im, v, k->key, "a run goes on from its own checkpoints; another output_dir begins again");
        return 0;
    }
    import_note(im, v, k->key,
                "optimizer and place in the data are not read from its checkpoints; the adapter is, as lora.init");
    return 0;
}

int take_metric(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    static const char *const loss[] = {"eval_loss", "loss", NULL};
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (name_is_among(text, loss)) import_idle(im, k->key);
    else import_note(im, v, k->key, "%.60s; the best evaluation is that of the lowest eval_loss", text);
    return 0;
}
