#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/formats/safetensors.h"
#include "model/lora_choice.h"

#define CONFIG_FILE "adapter_config.json"
#define MAX_RANK ((size_t)1 << 14)
#define TENSOR_FILE "adapter_model.safetensors"

/* ---- adapter_config.json -------------------------------------------------------------------------------------- */

/* Members that say nothing about what an adapter computes beyond what its tensors do, or are read below. */
static const char *const known[] = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
};

static bool is_off(const json_t *v) {
    if (!v || json_is_null(v) || json_is_false(v)) return true;
    if (json_is_string(v)) return json_string_length(v) == 0;
    return (json_is_object(v) && json_object_size(v) == 0) || (json_is_array(v) && json_array_size(v) == 0);
}

/* Anything else may change what is computed, unless it is off. */
static int refuse_unknown(const json_t *cfg, const char *where, err_t *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)cfg, key, value) {
        bool found = is_off(value);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= !strcmp(key, known[i]);
        if (!found)
            return err_set(err, ERR_USAGE, "%s: %.60s is set, which is not supported and may change what is computed",
                           where, key);
    }
    return 0;
}

/* Other initialisations change the base model, of which the adapter is then only a part. */
static int check_init(const json_t *cfg, const char *where, err_t *err) {
    const json_t *init = json_object_get(cfg, "init_lora_weights");
    if (!init || json_is_null(init) || json_is_boolean(init)) return 0;
    const char *name = json_string_value(init);
    if (name && !strcmp(name, "gaussian")) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: init_lora_weights: \"%.40s\" is not supported, since it changes the base model; "
                   "expected true, false or \"gaussian\"",
                   where, name ? name : "?");
}

static int read_config(const json_t *cfg, const char *where, lora_spec_t *spec, err_t *err) {
    const char *type = NULL, *bias = "none";
    if (json_need_string(cfg, "peft_type", where, &type, err)) return err->code;
    if (strcmp(type, "LORA") != 0)
        return err_set(err, ERR_USAGE, "%s: peft_type: %s is not supported; expected LORA", where, type);
    if (json_opt_string(cfg, "bias", where, &bias, err)) return err->code;
    if (strcmp(bias, "none") != 0)
        return err_set(err, ERR_USAGE, "%s: bias: %s is not supported; expected none", where, bias);
    if (refuse_unknown(cfg, where, err) || check_init(cfg, where, err)) return err->code;
    spec->r = 8; /* PEFT's defaults, which its older versions leave out */
    spec->alpha = 8;
    if (json_opt_size(cfg, "r", where, &spec->r, err) || json_opt_number(cfg, "lora_alpha", where, &spec->alpha, err) ||
        json_opt_number(cfg, "lora_dropout", where, &spec->dropout, err) ||
        json_opt_bool(cfg, "use_rslora", where, &spec->rslora, err))
        return err->code;
    if (!(fabs(spec->alpha) <= 1e6)) return err_set(err, ERR_USAGE, "%s: lora_alpha: expected -1e6 to 1e6", where);
    if (spec->r < 1 || spec->r > MAX_RANK) return err_set(err, ERR_USAGE, "%s: r: expected 1 to 16384", where);
    const lora_choice_t patterns = {.ranks = json_object_get(cfg, "rank_pattern"),
                                    .alphas = json_object_get(cfg, "alpha_pattern")};
    const char *member;
    if (lora_choice_check(&patterns, MAX_RANK, &member, err) == 0) return 0;
    return err_prefix(err, "%s: %s", where, member);
}

static int open_config(const char *dir, json_t **cfg, char **path, err_t *err) {
    *path = path_join(dir, CONFIG_FILE);
    return json_file(*path, cfg, err);
}

static int open_tensors(const char *dir, safetensors_t **st, err_t *err) {
    char *path = path_join(dir, TENSOR_FILE), *pickled = path_join(dir, "adapter_model.bin");
    int rc;
    if (!path_exists(path) && path_exists(pickled))
        rc = err_set(err, ERR_USAGE, "%s: a .bin holds pickled Python objects, which are not read; expected %s",
                     pickled, TENSOR_FILE);
    else rc = safetensors_open(path, st, err);
    free(path);
    free(pickled);
    return rc;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* What a tensor of a file is. */
typedef struct {
    size_t layer;
    linear_slot_t slot;
    bool is_b;
} place_t;

static bool has_prefix(const char **name, const char *prefix) {
    size_t n = strlen(prefix);
    if (strncmp(*name, prefix, n) != 0) return false;
    *name += n;
    return true;
}

/* What follows the name of a module: ".lora_A.weight", also with the name of an adapter before ".weight". */
static bool parse_end(const char *rest, bool *is_b) {
    *is_b = !has_prefix(&rest, ".lora_A");
    if (*is_b && !has_prefix(&rest, ".lora_B")) return false;
    has_prefix(&rest, ".default");
    return strcmp(rest, ".weight") == 0;
}

/* "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight", also under the names that the language model has in
 * vision-language models, or "base_model.model.lm_head.lora_A.weight". */
static bool parse_name(const model_config_t *c, const char *name, place_t *p) {
    static const char *const prefixes[] = {"model.language_model.layers.", "language_model.model.layers.",
                                           "language_model.layers.", "model.layers.", "layers."};
    bool found = false;
    if (!has_prefix(&name, "base_model.model.")) return false;
    const char *head = name;
    has_prefix(&head, "language_model.");
    *p = (place_t){.layer = c->layers, .slot = LIN_HEAD};
    if (has_prefix(&head, "lm_head") && parse_end(head, &p->is_b)) return true;
    for (size_t i = 0; !found && i < sizeof prefixes / sizeof *prefixes; i++) found = has_prefix(&name, prefixes[i]);
    char *end;
    if (!found || *name < '0' || *name > '9') return false;
    p->layer = strtoul(name, &end, 10);
    if (*end != '.' || p->layer >= c->layers) return false;
    for (unsigned slot = 0; slot < LINEAR_SLOTS; slot++) {
        const tensor_spec_t *t = arch_linear(c->arch, (linear_slot_t)slot);
        const char *rest = end + 1;
        p->slot = (linear_slot_t)slot;
        if (t && has_prefix(&rest, t->hf) && parse_end(rest, &p->is_b)) return true;
    }
    return false;
}

static bool is_head(const char *name) {
    return path_has_suffix(name, "lm_head.weight") || path_has_suffix(name, "lm_head.base_layer.weight");
}

/* An embedding or a head that was saved along; PEFT does so where the head has an adapter. */
static bool is_embedding(const char *name) {
    return strstr(name, "lora_") == NULL && (path_has_suffix(name, "embed_tokens.weight") || is_head(name));
}

static int unknown_tensor(const safetensors_t *st, const char *name, const model_config_t *c, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: tensor %.200s is of no linear layer in the %zu blocks of this %s model: an adapter "
                   "for another model, or of modules that are not supported",
                   st->path, name, c->layers, c->arch->model_type);
}

/* "base_model.model.NAME.lora_A.weight" -> NAME. */
static void module_of(const char *tensor, char *module, size_t size) {
    const char *begin = tensor + strlen("base_model.model."), *end = strstr(begin, ".lora_");
    snprintf(module, size, "%.*s", (int)(end - begin), begin);
}

/* The table's entry of an adapted layer. */
static int read_rank(const char *tensor, const lora_patterns_t patterns[2], const lora_spec_t *spec, lora_rank_t *rank,
                     err_t *err) {
    char module[256];
    double r = (double)spec->r;
    *rank = (lora_rank_t){.alpha = spec->alpha};
    module_of(tensor, module, sizeof module);
    if (lora_patterns_find(&patterns[0], module, &r, err)) return err->code;
    rank->r = (size_t)r;
    return lora_patterns_find(&patterns[1], module, &rank->alpha, err);
}

static int shape_error(const safetensors_t *st, const st_tensor_t *t, size_t rows, size_t cols, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: tensor %s has shape [%zu, %zu]; expected [%zu, %zu]: this adapter is for another model or rank",
                   st->path, t->name, t->n_dims > 0 ? t->shape[0] : 0, t->n_dims > 1 ? t->shape[1] : 0, rows, cols);
}

/* Before anything is made room for: what the config says the rank is, the tensors must have. */
static int check_shape(const safetensors_t *st, const st_tensor_t *t, const model_config_t *c, const place_t *p,
                       size_t r, err_t *err) {
    size_t rows = p->is_b ? linear_rows(c, p->slot) : r, cols = p->is_b ? r : linear_cols(c, p->slot);
    if (t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols) return 0;
    return shape_error(st, t, rows, cols, err);
}

static int find_targets(const safetensors_t *st, const model_config_t *c, const lora_patterns_t patterns[2],
                        lora_spec_t *spec, err_t *err) {
    size_t n = 0;
    lora_spec_init(spec, c);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const char *name = st->tensors[i].name;
        place_t p;
        if (parse_name(c, name, &p)) {
            lora_rank_t *rank = lora_rank(spec, p.layer, p.slot);
            if (read_rank(name, patterns, spec, rank, err) || check_shape(st, &st->tensors[i], c, &p, rank->r, err))
                return err->code;
            n++;
        } else if (!is_embedding(name)) return unknown_tensor(st, name, c, err);
    }
    return n ? 0 : err_set(err, ERR_USAGE, "%s: no tensors of an adapter", st->path);
}

/* What the tensors say, and the patterns of the names that they have. */
static int read_tensors(const char *dir, const json_t *cfg, const model_config_t *c, lora_spec_t *spec, err_t *err) {
    safetensors_t *st = NULL;
    lora_patterns_t patterns[2] = {{0}};
    int rc = open_tensors(dir, &st, err);
    if (rc == 0) spec->f32 = st->n_tensors > 0 && st->tensors[0].dtype != DT_BF16;
    if (rc == 0 && c) {
        rc = lora_patterns_open(json_object_get(cfg, "rank_pattern"), &patterns[0], err);
        if (rc == 0) rc = lora_patterns_open(json_object_get(cfg, "alpha_pattern"), &patterns[1], err);
        if (rc == 0) rc = find_targets(st, c, patterns, spec, err);
        for (int i = 0; i < 2; i++) lora_patterns_close(&patterns[i]);
    }
    safetensors_close(st);
    return rc;
}

int adapter_read_spec(const char *dir, const model_config_t *c, lora_spec_t *spec, err_t *err) {
    *spec = (lora_spec_t){0};
    char *path;
    json_t *cfg = NULL;
    int rc = open_config(dir, &cfg, &path, err);
    if (rc == 0) rc = read_config(cfg, path, spec, err);
    if (rc == 0) rc = read_tensors(dir, cfg, c, spec, err);
    if (rc) lora_spec_free(spec);
    json_decref(cfg);
    free(path);
    return rc;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void add_targets(strbuf_t *b, const json_t *targets) {
    size_t n = json_array_size(targets);
    const char **names = xcalloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        names[i] = name ? name : "?";
    }
    qsort(names, n, sizeof *names, by_text); /* PEFT writes them in no order */
    for (size_t i = 0; i < n; i++) strbuf_addf(b, "%s%s", i ? ", " : "", names[i]);
    strbuf_adds(b, json_is_string(targets) ? json_string_value(targets) : "");
    free(names);
}

int adapter_target_text(const char *dir, char **text, err_t *err) {
    static const char *const more[] = {"exclude_modules", "layers_to_transform", "rank_pattern", "alpha_pattern"};
    char *path;
    json_t *cfg = NULL;
    strbuf_t b = {0};
    int rc = open_config(dir, &cfg, &path, err);
    if (rc == 0) add_targets(&b, json_object_get(cfg, "target_modules"));
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        const json_t *v = json_object_get(cfg, more[i]);
        char *dump = is_off(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
        if (dump) strbuf_addf(&b, "; %s %s", more[i], dump);
        free(dump);
    }
    *text = b.p;
    json_decref(cfg);
    free(path);
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int not_finite(const safetensors_t *st, const st_tensor_t *t, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: tensor %s has a value that is not a finite number", st->path, t->name);
}

static int read_tensor(const safetensors_t *st, const st_tensor_t *t, const lora_tensor_t *want, float *master,
                       err_t *err) {
    if (t->n_dims != 2 || t->shape[0] != want->rows || t->shape[1] != want->cols)
        return shape_error(st, t, want->rows, want->cols, err);
    for (size_t i = 0; i < want->rows * want->cols; i++) {
        float *x = &master[want->offset + i];
        if (!st_value(t, i, x))
            return err_set(err, ERR_USAGE, "%s: tensor %s: expected F32, F16 or BF16", st->path, t->name);
        if (!isfinite(*x)) return not_finite(st, t, err);
    }
    return 0;
}

/* PEFT saves embeddings along when a tokenizer has grown; where they are the base's, they change nothing. */
static int check_embedding(const safetensors_t *st, const st_tensor_t *t, const model_source_t *base, err_t *err) {
    bool head = is_head(t->name) && !model_source_config(base)->tied;
    const source_tensor_t *want = NULL;
    for (size_t i = 0; i < model_source_count(base); i++)
        if (model_source_at(base, i)->role == (head ? TENSOR_HEAD : TENSOR_EMBEDDING)) want = model_source_at(base, i);
    CHECK(want != NULL);
    bool same = t->n_dims == 2 && t->shape[0] == want->rows && t->shape[1] == want->cols;
    float *row = xmalloc_array(want->cols, sizeof *row);
    for (size_t r = 0; same && r < want->rows; r++) {
        if (source_read(base, want, r * want->cols, want->cols, DT_F32, row, err)) {
            free(row);
            return err->code;
        }
        for (size_t i = 0; same && i < want->cols; i++) {
            float x, y = t->dtype == DT_BF16  ? bf16_round(row[i])
                         : t->dtype == DT_F16 ? f16_to_f32(f16_from_f32(row[i]))
                                              : row[i];
            same = st_value(t, r * want->cols + i, &x) && x == y;
        }
    }
    free(row);
    if (same) return 0;
    return err_set(err, ERR_USAGE, "%s: tensor %s is not the base model's: trained embeddings are not supported",
                   st->path, t->name);
}

/* The lora tensor of a place; NULL: the layout has none. */
static const lora_tensor_t *find_tensor(const lora_t *lora, const place_t *p) {
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        if (t->layer == p->layer && t->slot == p->slot && t->is_b == p->is_b) return t;
    }
    return NULL;
}

static int read_all(const safetensors_t *st, const lora_t *lora, const model_source_t *base, bool *seen, float *master,
                    err_t *err) {
    for (size_t i = 0; i < st->n_tensors; i++) {
        const st_tensor_t *t = &st->tensors[i];
        place_t p;
        if (!parse_name(lora->config, t->name, &p)) {
            if (!is_embedding(t->name)) return unknown_tensor(st, t->name, lora->config, err);
            if (base && check_embedding(st, t, base, err)) return err->code;
            continue;
        }
        const lora_tensor_t *want = find_tensor(lora, &p);
        if (!want)
            return err_set(err, ERR_USAGE, "%s: tensor %s: a layer that these target_modules leave out", st->path,
                           t->name);
        if (seen[want - lora->tensors])
            return err_set(err, ERR_USAGE, "%s: tensor %s: its layer is there twice, under two names", st->path,
                           t->name);
        if (read_tensor(st, t, want, master, err)) return err->code;
        seen[want - lora->tensors] = true;
    }
    for (size_t i = 0; i < lora->n_tensors; i++) {
        char name[160];
        lora_tensor_name(lora, &lora->tensors[i], name, sizeof name);
        if (!seen[i])
            return err_set(err, ERR_USAGE,
                           "%s: tensor %s is missing: this adapter is for another model or other "
                           "target_modules",
                           st->path, name);
    }
    return 0;
}

int adapter_read(const char *dir, const lora_t *lora, const model_source_t *base, float *master, err_t *err) {
    safetensors_t *st = NULL;
    bool *seen = xcalloc(lora->n_tensors, sizeof *seen);
    int rc = open_tensors(dir, &st, err);
    if (rc == 0) rc = read_all(st, lora, base, seen, master, err);
    safetensors_close(st);
    free(seen);
    return rc;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static const lora_rank_t *rank_at(const lora_t *lora, size_t layer, unsigned slot) {
    return lora_rank(&lora->spec, layer, (linear_slot_t)slot);
}

/* Names of linear layers where all blocks have the same, else whole module names. In a vision-language model these too:
 * PEFT would find the others in its towers. */
static json_t *targets_json(const lora_t *lora) {
    const model_config_t *c = lora->config;
    bool same = !c->wrapped;
    char module[128];
    json_t *list = json_array();
    for (size_t l = 1; same && l < c->layers; l++)
        for (unsigned s = 0; s < LINEAR_SLOTS; s++)
            same &= (rank_at(lora, l, s)->r > 0) == (rank_at(lora, 0, s)->r > 0);
    for (size_t l = 0; l < (same ? 1 : c->layers); l++)
        for (unsigned s = 0; s < LINEAR_SLOTS; s++) {
            if (rank_at(lora, l, s)->r == 0) continue;
            model_module_name(c, l, (linear_slot_t)s, module, sizeof module);
            json_array_append_new(list,
                                  json_string(same ? linear_name(arch_linear(c->arch, (linear_slot_t)s)) : module));
        }
    if (rank_at(lora, c->layers, LIN_HEAD)->r) json_array_append_new(list, json_string("lm_head"));
    return list;
}

static json_t *number(double v) { return v == (double)(json_int_t)v ? json_integer((json_int_t)v) : json_real(v); }

/* A module's name as a regular expression. */
static json_t *add_pattern(json_t *mapping, const char *module, double value) {
    strbuf_t b = {0};
    for (const char *s = module; *s; s++) strbuf_addf(&b, "%s%c", *s == '.' ? "\\" : "", *s);
    json_object_set_new(mapping, b.p, number(value));
    free(b.p);
    return mapping;
}

/* The patterns of adapters that were not chosen by any: each layer that differs, by its name. */
static void set_patterns(json_t *cfg, const lora_t *lora) {
    const lora_spec_t *spec = &lora->spec;
    json_t *ranks = json_object(), *alphas = json_object();
    char module[128];
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        const lora_rank_t *k = lora_rank(spec, t->layer, t->slot);
        if (t->is_b) continue;
        model_module_name(lora->config, t->layer, t->slot, module, sizeof module);
        if (k->r != spec->r) add_pattern(ranks, module, (double)k->r);
        if (k->alpha != spec->alpha) add_pattern(alphas, module, k->alpha);
    }
    json_object_set_new(cfg, "rank_pattern", ranks);
    json_object_set_new(cfg, "alpha_pattern", alphas);
}

static json_t *config_json(const lora_t *lora, const char *base) {
    const lora_spec_t *s = &lora->spec;
    json_t *cfg = json_pack("{s:s, s:s, s:s, s:I, s:o, s:f, s:s, s:b, s:b}", "peft_type", "LORA", "task_type",
                            "CAUSAL_LM", "base_model_name_or_path", base, "r", (json_int_t)s->r, "lora_alpha",
                            number(s->alpha), "lora_dropout", s->dropout, "bias", "none", "inference_mode", 1,
                            "use_rslora", s->rslora);
    CHECK(cfg != NULL);
    json_object_set_new(cfg, "target_modules", targets_json(lora));
    if (s->choice) json_object_update(cfg, s->choice);
    else set_patterns(cfg, lora);
    return cfg;
}

static int write_tensors(const char *path, const lora_t *lora, const float *master, err_t *err) {
    st_writer_t *w = st_writer_new();
    dtype_t dtype = lora->spec.f32 ? DT_F32 : DT_BF16;
    char name[160];
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        lora_tensor_name(lora, t, name, sizeof name);
        st_writer_declare(w, name, dtype, 2, (size_t[]){t->rows, t->cols});
    }
    int rc = st_writer_begin(w, path, err);
    bf16_t *narrow = xmalloc_array(lora->count, sizeof *narrow);
    for (size_t i = 0; i < lora->count; i++) narrow[i] = bf16_from_f32(master[i]);
    for (size_t i = 0; rc == 0 && i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[st_writer_order(w, i)];
        const void *data = lora->spec.f32 ? (const void *)(master + t->offset) : (const void *)(narrow + t->offset);
        rc = st_writer_data(w, data, t->rows * t->cols * dtype_size(dtype), err);
    }
    free(narrow);
    return st_writer_finish(w, err);
}

int adapter_write(const char *dir, const lora_t *lora, const float *master, const char *base, err_t *err) {
    char *path = path_join(dir, TENSOR_FILE);
    int rc = write_tensors(path, lora, master, err);
    free(path);
    if (rc) return rc;
    path = path_join(dir, CONFIG_FILE);
    json_t *cfg = config_json(lora, base);
    rc = json_write(path, cfg, err);
    json_decref(cfg);
    free(path);
    return rc;
}
