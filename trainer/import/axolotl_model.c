/* What an Axolotl config says of the model and its adapters. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/import/axolotl.h"
#include "trainer/import/state.h"

int axolotl_take_adapter_kind(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (!*text || strcmp(text, "lora") == 0 || strcmp(text, "qlora") == 0) return 0;
    return import_error(im, v, k->key, "got \"%.60s\", another kind of adapter; expected qlora or lora", text);
}

/* What the linear layers are held in follows from several keys, here `adapter`, load_in_* and `peft`. */
int axolotl_take_quantization(import_t *im) {
    const yaml_tree_t *adapter = import_get(im, "adapter"), *peft = import_get(im, "peft"), *bits;
    const yaml_tree_t *dtype = peft ? yaml_tree_member(peft, "weight_dtype") : NULL;
    const char *type = NULL;
    bool in_4bit = false;
    if (!adapter || !import_is_something(adapter))
        return err_set(im->err, ERR_USAGE,
                       "%s: no adapter: full fine-tuning, which is another training; expected adapter: qlora or lora",
                       im->file);
    if ((bits = import_get(im, "load_in_4bit")) && import_bool(im, bits, "load_in_4bit", &in_4bit))
        return im->err->code;
    if (dtype && import_scalar(im, dtype, "peft.weight_dtype", &type)) return im->err->code;
    if (type && strcmp(type, "nf4") != 0)
        return import_error(im, dtype, "peft.weight_dtype", "got \"%.60s\"; expected nf4, or no quantization", type);
    bool qlora = strcmp(adapter->text, "qlora") == 0;
    if (qlora && !in_4bit && !type)
        import_note(im, adapter, "adapter", "qlora without load_in_4bit, which Axolotl refuses; nf4 is written");
    if (in_4bit || type || qlora) {
        if (!import_has(im, "quantization", "quant_type"))
            import_put(im, "quantization", "quant_type", xstrdup("nf4"), adapter, "adapter");
    } else import_put(im, "quantization", "quant_type", xstrdup("none"), adapter, "adapter: lora without load_in_4bit");
    return 0;
}

int axolotl_take_bnb(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, k->key, "expected a mapping");
    for (size_t i = 0; i < v->n; i++) {
        const yaml_tree_t *m = &v->items[i];
        int rc = 0;
        if (yaml_tree_is_null(m)) continue;
        if (strcmp(m->key, "bnb_4bit_use_double_quant") == 0)
            rc = take_bool(im, &(import_key_t){.key = m->key, .section = "quantization", .name = "double_quant"}, m);
        else if (strcmp(m->key, "bnb_4bit_quant_type") == 0) {
            rc = import_copy(im, "quantization", "quant_type", m, m->key);
        } else import_note(im, m, k->key, "%.60s is not carried over", m->key);
        if (rc) return rc;
    }
    return 0;
}

int axolotl_take_peft(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, k->key, "expected a mapping");
    for (size_t i = 0; i < v->n; i++) {
        const yaml_tree_t *m = &v->items[i];
        if (yaml_tree_is_null(m) || strcmp(m->key, "weight_dtype") == 0) continue; /* see axolotl_take_quantization() */
        const char *text = m->text ? m->text : "";
        if (strcmp(m->key, "backend") == 0 && strcmp(text, "bnb") == 0) continue;
        import_note(im, m, k->key, "%.60s is not carried over: bitsandbytes' blocks of 64, adapters begun with B zero",
                    m->key);
    }
    return 0;
}

/* Both may be given, and both count: of all linear layers and some of them that is all. */
int axolotl_take_targets(import_t *im) {
    const yaml_tree_t *names = import_get(im, "lora_target_modules"), *all = import_get(im, "lora_target_linear");
    bool linear = false;
    if (all && import_bool(im, all, "lora_target_linear", &linear)) return im->err->code;
    if (linear) {
        import_put(im, "lora", "target_modules", xstrdup("all-linear"), all, "lora_target_linear");
        for (size_t i = 0; names && i < names->n; i++)
            if (names->items[i].text && strstr(names->items[i].text, "head"))
                import_note(im, names, "lora_target_modules", "all linear layers, but not %.60s", names->items[i].text);
        return 0;
    }
    if (names && import_is_something(names))
        return import_copy(im, "lora", "target_modules", names, "lora_target_modules");
    import_put_said(im, "lora", "target_modules", xstrdup("all-linear"), "no lora_target_* is given");
    return 0;
}

int axolotl_take_tokens(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, k->key, "expected a mapping");
    for (size_t i = 0; i < v->n; i++) {
        const yaml_tree_t *m = &v->items[i];
        if (yaml_tree_is_null(m)) continue;
        if (strcmp(m->key, "pad_token") == 0) import_idle(im, "special_tokens.pad_token"); /* never trained */
        else import_note(im, m, k->key, "%.60s is the model's own; set it in its tokenizer_config.json", m->key);
    }
    return 0;
}

/* Faster kernels are no other training; what else a plugin does is not known. */
int axolotl_take_plugins(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    static const char *const kernels[] = {"liger", "cut_cross_entropy", "kernels"};
    if (v->kind != YAML_ITEM_LIST) return import_error(im, v, k->key, "expected a list");
    for (size_t i = 0; i < v->n; i++) {
        const char *name;
        bool known = false;
        if (import_scalar(im, &v->items[i], k->key, &name)) return im->err->code;
        for (size_t j = 0; j < sizeof kernels / sizeof *kernels; j++) known = known || strstr(name, kernels[j]);
        if (!known) import_note(im, &v->items[i], k->key, "%.100s: its keys and what it does are not there", name);
    }
    import_idle(im, k->key);
    return 0;
}

/* What types of numbers are computed with: auto, unless both short ones are refused. */
int axolotl_take_dtypes(import_t *im) {
    const yaml_tree_t *bf16 = import_get(im, "bf16"), *fp16 = import_get(im, "fp16");
    bool flag;
    if (bf16 && bf16->kind != YAML_ITEM_SCALAR) return import_error(im, bf16, "bf16", "expected auto, true or false");
    if (import_set_there(im, "fp16") || import_set_there(im, "float16")) {
        if (import_set_there(im, "bf16") && strcmp(bf16->text, "auto") != 0) return 0;
        const yaml_tree_t *at = fp16 ? fp16 : import_get(im, "float16");
        import_note(im, at, fp16 ? "fp16" : "float16", "computed in bf16, or f32 on a CPU without it");
        return 0;
    }
    if (import_set_there(im, "float32")) {
        import_put(im, "quantization", "compute_dtype", xstrdup("f32"), import_get(im, "float32"), "float32");
        return 0;
    }
    if (!bf16 || import_is_something(bf16) || import_set_there(im, "bfloat16")) return 0;
    if (import_bool(im, bf16, "bf16", &flag)) return im->err->code;
    import_put(im, "quantization", "compute_dtype", xstrdup("f32"), bf16, "bf16: false");
    return 0;
}
