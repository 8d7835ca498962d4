#define _XOPEN_SOURCE 700 /* realpath */
#include "trainer/config/config.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "model/known_models.h"
#include "model/outline.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_schema.h"
#include "trainer/config/config_suggest.h"

typedef struct {
    config_t *c;
    err_t *err;
    char *cwd;
    place_t *set_at;     /* by schema row: where it was set; file NULL: the default holds */
    place_t *section_at; /* by section: where it stands in the file; line 0: nowhere */
    bool alone;          /* overrides without a file */
} loader_t;

/* ---- unknown names ---- */

static char *names_of_section(const char *section) {
    strbuf_t b = {0};
    for (size_t i = 0; i < config_n_keys; i++)
        if (strcmp(config_keys[i].section, section) == 0)
            strbuf_addf(&b, "%s%s", b.len ? ", " : "", config_keys[i].name);
    return b.p;
}

/* What others know by a name of their own, or what is not done here, and what to do. */
static const struct {
    const char *section, *name, *message;
} elsewhere[] = {
    {"lora", "use_dora", "DoRA is not supported; expected the key left out, or use_rslora"},
    {"lora", "init_lora_weights",
     "PiSSA, OLoRA, LoftQ and the like change the base model and are not supported; expected the key left out (A is "
     "random, B zero)"},
    {"lora", "bias", "training biases is not supported; expected the key left out"},
    {"lora", "modules_to_save", "training whole modules is not supported; expected target_modules, of linear layers"},
    {"lora", "target_parameters", "adapters of parameters are not supported; expected target_modules"},
    {"lora", "trainable_token_indices", "training embeddings is not supported; expected the key left out"},
    {"lora", "layers_pattern", "not needed; expected layers_to_transform alone"},
};

static int unknown_key(const yaml_entry_t *e, err_t *err) {
    char near[128];
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(e->section, elsewhere[i].section) == 0 && strcmp(e->key, elsewhere[i].name) == 0)
            return place_error(&e->key_at, err, "%s.%s: %s", e->section, e->key, elsewhere[i].message);
    if (config_suggest_key(e->section, e->key, near))
        return place_error(&e->key_at, err, "%s.%.60s: unknown key; did you mean %s?", e->section, e->key, near);
    char *names = names_of_section(e->section);
    int rc = place_error(&e->key_at, err, "%s.%.60s: unknown key; expected one of %s", e->section, e->key, names);
    free(names);
    return rc;
}

static int unknown_section(const yaml_entry_t *e, err_t *err) {
    const char *near = closest_name(e->section, config_sections, config_n_sections);
    char key[128];
    if (!near && !e->key && config_suggest_key(NULL, e->section, key))
        return place_error(&e->section_at, err, "%.60s: a key outside of its section; did you mean %s?", e->section,
                           key);
    char *expected = name_list(config_sections, config_n_sections);
    int rc = place_error(&e->section_at, err, "%.60s: unknown section; expected %s%s%s%s", e->section, expected,
                         near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    free(expected);
    return rc;
}

/* ---- entries to fields ---- */

static int find_section(const char *name) {
    for (size_t i = 0; i < config_n_sections; i++)
        if (strcmp(config_sections[i], name) == 0) return (int)i;
    return -1;
}

static bool same_place(const place_t *a, const place_t *b) { return a->line == b->line && a->column == b->column; }

/* Checks the section an entry is in: known, a mapping, and not opened twice. */
static int check_section(loader_t *l, const yaml_entry_t *e) {
    int i = find_section(e->section);
    if (i < 0) return unknown_section(e, l->err);
    place_t *first = &l->section_at[i];
    if (e->section_at.line && first->line && !same_place(first, &e->section_at))
        return place_error(&e->section_at, l->err, "%s: the section is there twice, first in line %zu; expected once",
                           e->section, first->line);
    if (e->section_at.line) *first = e->section_at;
    bool empty = e->kind == YAML_ITEM_MAPPING ||
                 (e->kind == YAML_ITEM_SCALAR && !e->items[0].quoted && !e->items[0].text[0]);
    if (e->key || empty) return 0;
    char *names = names_of_section(e->section);
    place_error(&e->value_at, l->err, "%s: not a mapping; expected keys (%s)", e->section, names);
    free(names);
    return l->err->code;
}

static int apply(loader_t *l, const yaml_entry_t *e, const char *base) {
    if (check_section(l, e)) return l->err->code;
    if (!e->key) return 0;
    const config_key_t *key = config_key_find(e->section, e->key);
    if (!key) return unknown_key(e, l->err);
    place_t *first = &l->set_at[key - config_keys];
    if (e->key_at.line && first->file)
        return place_error(&e->key_at, l->err, "%s.%s: the key is there twice, first in line %zu; expected once",
                           e->section, e->key, first->line);
    if (config_value_set(key, e, base, l->c, l->err)) return l->err->code;
    *first = e->value_at;
    if (key == config_key_find("quantization", "quant_type")) l->c->quantization.quant_type_given = true;
    return 0;
}

static int load_defaults(loader_t *l) {
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        bool zero = k->kind == KEY_JSON || k->kind == KEY_NAMES || k->kind == KEY_INDICES ||
                    k->kind == KEY_ALSO; /* zeroed, it has its default */
        if (!k->default_text || zero) continue;
        yaml_item_t item = {.text = (char *)(uintptr_t)k->default_text};
        yaml_entry_t e = {.items = &item, .n_items = 1};
        if (config_value_set(k, &e, "/", l->c, l->err)) CHECK(!"a default fits its own key");
    }
    return 0;
}

static int load_file(loader_t *l) {
    char *text;
    size_t len;
    yaml_doc_t doc;
    const char *path = l->c->path;
    if (file_read_small(path, CONFIG_MAX_BYTES, "a YAML config of at most 256 KiB", &text, &len, l->err))
        return l->err->code;
    int rc = yaml_doc_parse(path, text, len, &doc, l->err);
    free(text);
    if (rc) return rc;
    for (size_t i = 0; rc == 0 && i < doc.n; i++) rc = apply(l, &doc.entries[i], l->c->dir);
    yaml_doc_free(&doc);
    return rc;
}

static int no_override(const char *arg, err_t *err) {
    size_t n = strcspn(arg, "=");
    char near[128], *name = xstrndup(arg, n);
    bool meant = arg[n] && !strchr(name, '.') && config_suggest_key(NULL, name, near);
    free(name);
    if (meant)
        return err_set(err, ERR_USAGE, "command line: \"%.200s\": a key without its section; did you mean %s?", arg,
                       near);
    return err_set(err, ERR_USAGE, "command line: \"%.200s\" is no override; expected section.key=value", arg);
}

static int load_override(loader_t *l, const char *arg) {
    size_t name = strcspn(arg, "="), section = strcspn(arg, ".=");
    if (!arg[name] || section >= name || section == 0 || name - section == 1) return no_override(arg, l->err);
    char *s = xstrndup(arg, section), *k = xstrndup(arg + section + 1, name - section - 1);
    yaml_doc_t doc;
    int rc = yaml_doc_parse_override(s, k, arg + name + 1, &doc, l->err);
    if (rc == 0) {
        rc = apply(l, &doc.entries[0], l->cwd);
        yaml_doc_free(&doc);
    }
    free(s);
    free(k);
    return rc;
}

/* ---- checks of the whole ---- */

/* "file:line:column: section.key: ...", where the key was set; if it was not, its section; else the file's start. */
static int key_error(const loader_t *l, const char *section, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int key_error(const loader_t *l, const char *section, const char *name, const char *fmt, ...) {
    char msg[sizeof l->err->msg];
    const config_key_t *key = config_key_find(section, name);
    CHECK(key != NULL);
    place_t at = l->set_at[key - config_keys];
    if (!at.file) at = l->section_at[find_section(section)];
    if (!at.file) at = (place_t){l->c->path, 1, 1};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return place_error(&at, l->err, "%s.%s: %s", section, name, msg);
}

static int need(const loader_t *l, const char *section, const char *name, const char *value, const char *expected) {
    return value ? 0 : key_error(l, section, name, "missing; expected %s", expected);
}

static int need_existing(const loader_t *l, const char *section, const char *name, const char *path) {
    if (!path || access(path, R_OK) == 0) return 0;
    return key_error(l, section, name, "%.600s: %s; expected an existing path", path, strerror(errno));
}

static int need_file(const loader_t *l, const char *section, const char *name, const char *path) {
    if (need_existing(l, section, name, path)) return l->err->code;
    if (!path || !path_is_dir(path)) return 0;
    return key_error(l, section, name, "%.600s: a directory; expected a file", path);
}

static int need_dir(const loader_t *l, const char *section, const char *name, const char *path) {
    if (need_existing(l, section, name, path)) return l->err->code;
    if (!path || path_is_dir(path)) return 0;
    return key_error(l, section, name, "%.600s: not a directory; expected a directory", path);
}

static int check_split(const loader_t *l) {
    double split = l->c->data.eval_split;
    if (split > 1 && split != floor(split))
        return key_error(l, "data", "eval_split", "got %g; expected a share below 1, or a whole number of rows", split);
    if (split > 0 && l->c->data.eval)
        return key_error(l, "data", "eval_split", "data.eval is given too; expected one of them");
    return 0;
}

/* What goes by evaluations has none to go by. */
static int check_evaluations(const loader_t *l) {
    const config_t *c = l->c;
    bool data = c->data.eval || c->data.eval_split > 0, prompts = c->training.sample_prompts;
    if (c->training.eval_steps && !data && !prompts)
        return key_error(l, "training", "eval_steps", "evaluation without data; expected a file in data.eval, or 0");
    if (prompts && !c->training.eval_steps)
        return key_error(l, "training", "sample_prompts",
                         "nothing would be answered; expected training.eval_steps above 0 too, or none");
    const char *key = c->training.early_stopping_patience ? "early_stopping_patience"
                      : c->training.load_best             ? "load_best_model_at_end"
                                                          : NULL;
    if (!key || (data && c->training.eval_steps)) return 0;
    return key_error(l, "training", key, "there are no evaluations to go by; expected %s",
                     data ? "training.eval_steps above 0"
                          : "rows in data.eval, or data.eval_split, and training.eval_steps above 0");
}

/* What the command cannot do without. */
static int check_needed(const loader_t *l, config_use_t use) {
    const config_t *c = l->c;
    const char *train = c->data.n_train ? c->data.train[0] : NULL;
    if (need(l, "model", "path", c->model.path, "a model directory or a GGUF file")) return l->err->code;
    if (check_split(l)) return l->err->code;
    bool split = c->data.eval_split > 0;
    if (use == CONFIG_EVAL && !split) return need(l, "data", "eval", c->data.eval, "a file");
    if (use == CONFIG_GENERATE) return 0;
    if (need(l, "data", "train", train, "a file or a list of files")) return l->err->code;
    if (use == CONFIG_EVAL) return 0;
    if (need(l, "training", "output_dir", c->training.output_dir, "a directory for the run")) return l->err->code;
    return check_evaluations(l);
}

static int check_train_files(const loader_t *l) {
    const config_t *c = l->c;
    for (size_t i = 0; i < c->data.n_train; i++)
        if (need_file(l, "data", "train", c->data.train[i])) return l->err->code;
    return 0;
}

/* Of what makes conversations a text. Who generates finds the file itself; an export needs none. */
static int check_template(const loader_t *l) {
    return config_template_is_file(l->c) ? need_file(l, "data", "chat_template", l->c->data.chat_template) : 0;
}

/* Whether both are there and are one, whatever names lead to it. */
static bool is_same(const char *a, const char *b) {
    char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
    bool same = real_a && real_b && !strcmp(real_a, real_b);
    free(real_a);
    free(real_b);
    return same;
}

static int check_training_paths(const loader_t *l) {
    const config_t *c = l->c;
    if (check_train_files(l) || need_file(l, "training", "sample_prompts", c->training.sample_prompts))
        return l->err->code;
    if (is_same(c->model.path, c->training.output_dir))
        return key_error(l, "training", "output_dir", "is the directory of the model; expected one for the run");
    if (path_exists(c->training.output_dir) && need_dir(l, "training", "output_dir", c->training.output_dir))
        return l->err->code;
    if (c->training.resume[0] != '/') return 0; /* auto, none */
    return need_dir(l, "training", "resume_from_checkpoint", c->training.resume);
}

/* A plan serves without weights too, of what it knows by name. */
static int unknown_model(const loader_t *l) {
    char *names = known_model_names(l->c->model.path);
    key_error(l, "model", "path", "%.300s: %s; expected an existing path, or for a plan one of %s", l->c->model.path,
              strerror(ENOENT), names);
    free(names);
    return l->err->code;
}

static int check_paths(const loader_t *l, config_use_t use) {
    const config_t *c = l->c;
    if (use == CONFIG_WRITTEN) return 0;
    if (use == CONFIG_PLAN && outline_only(c->model.path)) return 0;
    if (use == CONFIG_PLAN && !path_exists(c->model.path)) return unknown_model(l);
    if (need_existing(l, "model", "path", c->model.path)) return l->err->code;
    if (need_dir(l, "lora", "init", c->lora.init)) return l->err->code;
    if (use <= CONFIG_PLAN && check_training_paths(l)) return l->err->code;
    if (use == CONFIG_GENERATE) return 0;
    if (use == CONFIG_EVAL && c->data.eval_split > 0 && check_train_files(l)) return l->err->code;
    return check_template(l) ? l->err->code : need_file(l, "data", "eval", c->data.eval);
}

/* Expressions that are none, ranks out of range and the like, of whatever model. */
static int check_adapters(const loader_t *l) {
    const lora_choice_t choice = config_lora_choice(l->c);
    const char *member;
    err_t err = {0};
    if (lora_choice_check(&choice, LORA_MAX_RANK, &member, &err) == 0) return 0;
    return key_error(l, "lora", member, "%s", err.msg);
}

/* By default on where a type has it; asked for where it has not, it would be ignored in silence. */
static int check_double_quant(const loader_t *l) {
    if (l->c->quantization.quant_type != QUANT_INT8_ZEROPOINT || !l->c->quantization.double_quant) return 0;
    if (l->set_at[config_key_find("quantization", "double_quant") - config_keys].file)
        return key_error(l, "quantization", "double_quant",
                         "true, but int8-zeropoint has its constants in one level; expected false");
    l->c->quantization.double_quant = false;
    return 0;
}

static void keep_places(const loader_t *l) {
    l->c->places = xcalloc(config_n_keys, sizeof *l->c->places);
    for (size_t i = 0; i < config_n_keys; i++) {
        const place_t *at = &l->set_at[i];
        if (at->line) l->c->places[i] = xasprintf("%s:%zu:%zu", at->file, at->line, at->column);
        else if (at->file) l->c->places[i] = xstrdup(at->file);
    }
}

/* ---- public ---- */

const char *config_place(const config_t *c, const char *section, const char *name) {
    const char *place = c->places ? c->places[config_key_find(section, name) - config_keys] : NULL;
    return place ? place : c->path;
}

lora_choice_t config_lora_choice(const config_t *c) {
    return (lora_choice_t){.targets = c->lora.targets,
                           .exclude = c->lora.exclude,
                           .layers = c->lora.layers,
                           .ranks = c->lora.rank_pattern,
                           .alphas = c->lora.alpha_pattern};
}

/* A directory with one name: absolute, without symbolic links. */
static char *real_dir(const char *dir, err_t *err) {
    char *real = realpath(dir, NULL);
    if (!real && errno == ENOMEM) mem_checked(NULL, 0);
    if (!real) file_cannot_open(dir, err);
    return real;
}

static int load(loader_t *l, char *const *overrides, size_t n_overrides, config_use_t use) {
    char *dir = l->alone ? xstrdup(".") : path_dirname(l->c->path);
    /* Of a config that is not there, file_read() says so best. */
    l->c->dir = l->alone || path_exists(l->c->path) ? real_dir(dir, l->err) : xstrdup(dir);
    free(dir);
    if (!l->c->dir || !(l->cwd = real_dir(".", l->err))) return l->err->code;
    int rc = load_defaults(l);
    if (rc == 0 && !l->alone) rc = load_file(l);
    for (size_t i = 0; rc == 0 && i < n_overrides; i++) rc = load_override(l, overrides[i]);
    if (rc || check_needed(l, use) || check_adapters(l) || check_double_quant(l)) return l->err->code;
    return check_paths(l, use);
}

int config_load(const char *path, char *const *overrides, size_t n_overrides, config_use_t use, config_t *c,
                err_t *err) {
    loader_t l = {.c = c,
                  .err = err,
                  .set_at = xcalloc(config_n_keys, sizeof *l.set_at),
                  .section_at = xcalloc(config_n_sections, sizeof *l.section_at)};
    l.alone = !path;
    *c = (config_t){.path = xstrdup(path ? path : "command line")};
    int rc = load(&l, overrides, n_overrides, use);
    keep_places(&l);
    free(l.cwd);
    free(l.set_at);
    free(l.section_at);
    if (rc) config_free(c);
    return rc;
}

char *config_override(const char *key, const char *text) {
    strbuf_t b = {0};
    strbuf_addf(&b, "%s=", key);
    yaml_add_quoted(&b, text);
    return b.p;
}

void config_free(config_t *c) {
    for (size_t i = 0; i < config_n_keys; i++) {
        config_value_free(&config_keys[i], c);
        if (c->places) free(c->places[i]);
    }
    free(c->places);
    free(c->path);
    free(c->dir);
    *c = (config_t){0};
}

char *config_to_yaml(const config_t *c) {
    strbuf_t b = {0};
    const char *section = "";
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        char *text = config_value_text(k, c);
        if (!text) continue; /* not given, and not needed by this command */
        if (strcmp(section, k->section) != 0) strbuf_addf(&b, "%s:\n", section = k->section);
        /* What was not given must not read as if it had been: of a checkpoint in 4 bits it decides. */
        bool left_open = k == config_key_find("quantization", "quant_type") && !c->quantization.quant_type_given;
        strbuf_addf(&b, "  %s%s: %s\n", left_open ? "# " : "", k->name, text);
        free(text);
    }
    return b.p;
}

bool config_template_is_file(const config_t *c) { return c->data.chat_template[0] == '/'; }

bool config_pages_optimizer(const config_t *c) {
    return c->training.optim == OPTIM_PAGED_ADAMW_32BIT || c->training.optim == OPTIM_PAGED_ADAMW_8BIT;
}

char *config_run_text(const config_t *c) {
    strbuf_t b = {0};
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        if (!k->defines_run) continue;
        char *text = config_value_text(k, c);
        /* What a file of a template says shows in the data's tokens, which are compared too; where it lies may change. */
        bool file = k->kind == KEY_TEMPLATE && config_template_is_file(c);
        /* Earlier versions drew other masks: a run that they began is another. */
        bool masks = k == config_key_find("lora", "lora_dropout") && c->lora.dropout > 0;
        strbuf_addf(&b, "%s.%s=%s%s\n", k->section, k->name,
                    file   ? "a file"
                    : text ? text
                           : "",
                    masks ? " with masks of 16 bits" : "");
        free(text);
    }
    return b.p;
}

uint64_t config_run_id(const config_t *c) {
    char *text = config_run_text(c);
    uint64_t id = XXH3_64bits(text, strlen(text));
    free(text);
    return id;
}
