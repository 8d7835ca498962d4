#include "model/lora_choice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"

/* ---- what the parts have to be ---------------------------------------------------------------------------- */

static int check_pattern(const char *text, pattern_reach_t reach, err_t *err) {
    name_pattern_t *p;
    int rc = name_pattern_open(text, reach, &p, err);
    if (rc == 0) name_pattern_close(p);
    return rc;
}

static int check_names(const json_t *names, err_t *err) {
    if (json_is_string(names)) return check_pattern(json_string_value(names), PATTERN_WHOLE, err);
    for (size_t i = 0; i < json_array_size(names); i++)
        if (!json_is_string(json_array_get(names, i)))
            return err_set(err, ERR_USAGE, "not a string; expected names of modules");
    if (!names || json_is_null(names) || json_is_array(names)) return 0;
    return err_set(err, ERR_USAGE, "expected a list of names, or one regular expression");
}

static int check_layers(const json_t *layers, err_t *err) {
    bool ok = !layers || json_is_null(layers) || json_is_integer(layers) || json_is_array(layers);
    for (size_t i = 0; i < json_array_size(layers); i++) ok &= json_is_integer(json_array_get(layers, i));
    if (ok) return 0;
    return err_set(err, ERR_USAGE, "expected indices of layers");
}

static int check_mapping(const json_t *mapping, size_t max_rank, err_t *err) {
    const char *key;
    json_t *v;
    if (!mapping || json_is_null(mapping)) return 0;
    if (!json_is_object(mapping)) return err_set(err, ERR_USAGE, "expected a mapping");
    json_object_foreach((json_t *)(uintptr_t)mapping, key, v) {
        if (check_pattern(key, PATTERN_FROM_DOT, err)) return err->code;
        json_int_t r = json_integer_value(v);
        if (max_rank && (r < 1 || r > (json_int_t)max_rank))
            return err_set(err, ERR_USAGE, "%.100s: expected a whole number from 1 to %zu", key, max_rank);
        if (!max_rank && !(json_number_value(v) > 0 && json_number_value(v) <= 1e6))
            return err_set(err, ERR_USAGE, "%.100s: expected a number above 0 and at most 1000000", key);
    }
    return 0;
}

int lora_choice_check(const lora_choice_t *choice, size_t max_rank, const char **member, err_t *err) {
    *member = "target_modules";
    if (check_names(choice->targets, err)) return err->code;
    *member = "exclude_modules";
    if (check_names(choice->exclude, err)) return err->code;
    *member = "layers_to_transform";
    if (check_layers(choice->layers, err)) return err->code;
    if (choice->layers && json_is_string(choice->targets))
        return err_set(err, ERR_USAGE,
                       "target_modules is a regular expression, which has to say the layers itself; "
                       "expected all, or a list of names there");
    *member = "rank_pattern";
    if (check_mapping(choice->ranks, max_rank, err)) return err->code;
    *member = "alpha_pattern";
    return check_mapping(choice->alphas, 0, err);
}

/* ---- patterns for ranks ----------------------------------------------------------------------------------- */

int lora_patterns_open(const json_t *mapping, lora_patterns_t *p, err_t *err) {
    const char *key;
    json_t *v;
    size_t n = json_object_size(mapping);
    int rc = 0;
    *p = (lora_patterns_t){.pattern = xcalloc(n + 1, sizeof *p->pattern),
                           .value = xcalloc(n + 1, sizeof *p->value),
                           .key = xcalloc(n + 1, sizeof *p->key),
                           .used = xcalloc(n + 1, sizeof *p->used)};
    json_object_foreach((json_t *)(uintptr_t)mapping, key, v) {
        if ((rc = name_pattern_open(key, PATTERN_FROM_DOT, &p->pattern[p->n], err)) != 0) break;
        p->value[p->n] = json_number_value(v);
        p->key[p->n++] = key;
    }
    if (rc) lora_patterns_close(p);
    return rc;
}

void lora_patterns_close(lora_patterns_t *p) {
    for (size_t i = 0; i < p->n; i++) name_pattern_close(p->pattern[i]);
    free(p->pattern);
    free(p->value);
    free(p->key);
    free(p->used);
    *p = (lora_patterns_t){0};
}

int lora_patterns_find(const lora_patterns_t *p, const char *module, double *value, err_t *err) {
    bool found = false;
    for (size_t i = 0; i < p->n; i++) {
        bool matches;
        if (name_pattern_matches(p->pattern[i], module, &matches, err)) return err->code;
        if (matches && !found) *value = p->value[i];
        found |= matches;
        p->used[i] |= matches;
    }
    return 0;
}

/* ---- names of modules ------------------------------------------------------------------------------------- */

/* target_modules or exclude_modules. */
typedef struct {
    const char *member;
    name_pattern_t *pattern; /* NULL: names */
    size_t n;
    const char *const *name; /* borrowed */
    bool *used;              /* the pattern has one too */
} names_t;

static int names_open(const char *member, const json_t *json, names_t *s, err_t *err) {
    size_t n = json_is_array(json) ? json_array_size(json) : json_is_string(json) ? 1 : 0;
    const char **name = xcalloc(n + 1, sizeof *name);
    *s = (names_t){.member = member, .n = n, .name = name, .used = xcalloc(n + 1, sizeof *s->used)};
    for (size_t i = 0; i < n; i++) name[i] = json_string_value(json_is_array(json) ? json_array_get(json, i) : json);
    return json_is_string(json) ? name_pattern_open(name[0], PATTERN_WHOLE, &s->pattern, err) : 0;
}

static void names_close(names_t *s) {
    name_pattern_close(s->pattern);
    free((void *)(uintptr_t)s->name);
    free(s->used);
}

/* Whether a module is or ends in a name. */
static bool has_name(const char *module, const char *name) {
    size_t m = strlen(module), n = strlen(name);
    return n <= m && strcmp(module + m - n, name) == 0 && (n == m || module[m - n - 1] == '.');
}

/* Whether a module is one of them; `use` notes what named it. */
static int names_match(const names_t *s, const char *module, bool use, bool *matches, err_t *err) {
    *matches = false;
    if (s->pattern) {
        if (name_pattern_matches(s->pattern, module, matches, err)) return err->code;
        if (use) s->used[0] |= *matches;
        return 0;
    }
    for (size_t i = 0; i < s->n; i++) {
        bool is = has_name(module, s->name[i]);
        *matches |= is;
        if (use) s->used[i] |= is;
    }
    return 0;
}

/* ---- modules that are no linear layers -------------------------------------------------------------------- */

typedef int module_visit_fn(void *ctx, const char *module);

/* Those of a block: its norms, and what holds its linear layers. */
static int each_other_in_block(const model_config_t *c, const char *block, module_visit_fn *visit, void *ctx) {
    for (size_t i = 0; i < c->arch->n_tensors; i++) {
        const tensor_spec_t *t = &c->arch->tensors[i];
        const char *dot = strchr(t->hf, '.');
        int n = t->role == TENSOR_NORM ? (int)strlen(t->hf) : dot ? (int)(dot - t->hf) : 0;
        if (n == 0) continue;
        char *name = xasprintf("%s.%.*s", block, n, t->hf);
        int rc = visit(ctx, name);
        free(name);
        if (rc) return rc;
    }
    return visit(ctx, block);
}

/* Every module whose name a target could meet but that no adapter fits: embeddings, norms, and what holds others. */
static int each_other_module(const model_config_t *c, module_visit_fn *visit, void *ctx) {
    static const char *const others[] = {"embed_tokens", "norm", "rotary_emb", "layers"};
    const char *parent = c->wrapped ? "model.language_model" : "model";
    char name[192];
    if (visit(ctx, "model") || (c->wrapped && visit(ctx, parent))) return 1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(name, sizeof name, "%s.%s", parent, others[i]);
        if (visit(ctx, name)) return 1;
    }
    for (size_t l = 0; l < c->layers; l++) {
        snprintf(name, sizeof name, "%s.layers.%zu", parent, l);
        if (each_other_in_block(c, name, visit, ctx)) return 1;
    }
    return 0;
}

typedef struct {
    const names_t *names;
    const char *name; /* NULL: any of them */
    char found[192];  /* the first module that is meant */
    err_t *err;
} other_t;

static int visit_other(void *ctx, const char *module) {
    other_t *o = ctx;
    bool matches = o->name && has_name(module, o->name);
    if (!o->name && names_match(o->names, module, false, &matches, o->err)) return 1;
    if (matches) snprintf(o->found, sizeof o->found, "%s", module);
    return matches;
}

static bool is_other(const model_config_t *c, const char *name) {
    other_t o = {.name = name};
    return each_other_module(c, visit_other, &o) != 0;
}

/* ---- the choice ------------------------------------------------------------------------------------------- */

typedef struct {
    const lora_choice_t *choice;
    const model_config_t *c;
    const char *member; /* of an error */
    names_t targets, exclude;
    lora_patterns_t ranks, alphas;
    lora_spec_t *spec;
    size_t named, adapted; /* linear layers that targets name; that are left of them */
    err_t *err;
} chooser_t;

/* "q_proj, k_proj, ... and lm_head": what may be adapted. */
static char *linear_list(const arch_t *arch) {
    strbuf_t b = {0};
    for (unsigned s = 0; s < LINEAR_SLOTS; s++) {
        const tensor_spec_t *t = arch_linear(arch, (linear_slot_t)s);
        if (t) strbuf_addf(&b, "%s, ", linear_name(t));
    }
    strbuf_adds(&b, "lm_head");
    return b.p;
}

static const char *closest_linear(const arch_t *arch, const char *name) {
    const char *names[LINEAR_SLOTS + 2];
    size_t n = 0;
    for (unsigned s = 0; s < LINEAR_SLOTS; s++) {
        const tensor_spec_t *t = arch_linear(arch, (linear_slot_t)s);
        if (t) names[n++] = linear_name(t);
    }
    names[n++] = "lm_head";
    names[n++] = "all-linear";
    return closest_name(name, names, n);
}

static int fail(chooser_t *k, const char *member, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(chooser_t *k, const char *member, const char *fmt, ...) {
    char msg[sizeof k->err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    k->member = member;
    return err_set(k->err, ERR_USAGE, "%s", msg);
}

/* A name or an expression that no linear layer has. */
static int fail_unused(chooser_t *k, const names_t *s, size_t i) {
    const char *type = k->c->arch->model_type, *near = closest_linear(k->c->arch, s->name[i]);
    char *list = linear_list(k->c->arch);
    if (s->pattern && near)
        fail(k, s->member,
             "the regular expression \"%.100s\" matches no whole name of a module; expected all-linear, a list of "
             "names or an expression such as .*%.100s; did you mean %s%s%s?",
             s->name[i], s->name[i], strcmp(near, "all-linear") ? "[" : "", near,
             strcmp(near, "all-linear") ? "]" : "");
    else if (s->pattern)
        fail(k, s->member,
             "the regular expression \"%.100s\" matches no whole name of a linear layer, such as "
             "model.layers.0.self_attn.q_proj",
             s->name[i]);
    else
        fail(k, s->member, "%s models have no linear layer \"%.100s\"; expected some of %s%s%s%s%s", type, s->name[i],
             list, near ? "; did you mean " : "", near ? near : "",
             near && !strcmp(near, "all-linear") ? ", alone and without a list" : "", near ? "?" : "");
    free(list);
    return k->err->code;
}

/* Everything that was given has to name something, and, of targets, nothing but linear layers. */
static int check_names_used(chooser_t *k, const names_t *s, bool linear_only) {
    other_t o = {.names = s, .err = k->err};
    k->member = s->member;
    if (each_other_module(k->c, visit_other, &o) && !o.found[0]) return k->err->code;
    if (o.found[0] && linear_only)
        return fail(k, s->member, "%s is no linear layer and cannot be adapted; expected linear layers alone", o.found);
    for (size_t i = 0; i < (s->pattern ? 1 : s->n); i++)
        if (!s->used[i] && !(s->pattern ? o.found[0] : is_other(k->c, s->name[i]))) return fail_unused(k, s, i);
    return 0;
}

static int check_patterns_used(chooser_t *k, const char *member, const lora_patterns_t *p) {
    for (size_t i = 0; i < p->n; i++)
        if (!p->used[i])
            return fail(k, member, "\"%.100s\" matches no adapted layer, such as model.layers.0.self_attn.q_proj",
                        p->key[i]);
    return 0;
}

static bool in_layers(const json_t *layers, size_t layer) {
    if (!layers) return true;
    if (json_is_integer(layers)) return json_integer_value(layers) == (json_int_t)layer;
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (json_integer_value(json_array_get(layers, i)) == (json_int_t)layer) return true;
    return false;
}

static int check_layer_range(chooser_t *k) {
    const json_t *layers = k->choice->layers;
    size_t n = json_is_array(layers) ? json_array_size(layers) : layers ? 1 : 0;
    if (layers && n == 0) return fail(k, "layers_to_transform", "an empty list; expected all, or indices of layers");
    for (size_t i = 0; i < n; i++) {
        json_int_t l = json_integer_value(json_is_array(layers) ? json_array_get(layers, i) : layers);
        if (l < 0 || l >= (json_int_t)k->c->layers)
            return fail(k, "layers_to_transform", "got %lld; expected indices from 0 to %zu", (long long)l,
                        k->c->layers - 1);
    }
    return 0;
}

static int choose_module(chooser_t *k, size_t layer, linear_slot_t slot) {
    char module[128];
    bool named = slot != LIN_HEAD, excluded = false;
    model_module_name(k->c, layer, slot, module, sizeof module);
    k->member = "target_modules";
    if (k->choice->targets && names_match(&k->targets, module, true, &named, k->err)) return k->err->code;
    k->member = "exclude_modules";
    if (names_match(&k->exclude, module, true, &excluded, k->err)) return k->err->code;
    k->named += named;
    if (named && slot == LIN_HEAD && k->choice->layers)
        return fail(k, "layers_to_transform",
                    "target_modules names lm_head, which is in no layer; expected all, or it left out");
    if (!named || excluded || (k->choice->layers && !in_layers(k->choice->layers, layer))) return 0;
    double r = (double)k->spec->r, alpha = k->spec->alpha;
    k->member = "rank_pattern";
    if (lora_patterns_find(&k->ranks, module, &r, k->err)) return k->err->code;
    k->member = "alpha_pattern";
    if (lora_patterns_find(&k->alphas, module, &alpha, k->err)) return k->err->code;
    *lora_rank(k->spec, layer, slot) = (lora_rank_t){(size_t)r, alpha};
    k->adapted++;
    return 0;
}

static int choose_all(chooser_t *k) {
    for (size_t l = 0; l < k->c->layers; l++)
        for (unsigned s = 0; s < LINEAR_SLOTS; s++)
            if (arch_linear(k->c->arch, (linear_slot_t)s) && choose_module(k, l, (linear_slot_t)s)) return k->err->code;
    if (choose_module(k, k->c->layers, LIN_HEAD) || check_layer_range(k)) return k->err->code;
    if (k->choice->targets && k->targets.n == 0)
        return fail(k, "target_modules", "an empty list; expected all-linear, names or a regular expression");
    if (check_names_used(k, &k->targets, true) || check_names_used(k, &k->exclude, false)) return k->err->code;
    if (!k->adapted) return fail(k, "exclude_modules", "leaves nothing of target_modules");
    return check_patterns_used(k, "rank_pattern", &k->ranks) || check_patterns_used(k, "alpha_pattern", &k->alphas)
               ? k->err->code
               : 0;
}

static void set_member(json_t *choice, const char *key, const json_t *v) {
    if (v && !(json_is_array(v) && json_array_size(v) == 0)) json_object_set(choice, key, (json_t *)(uintptr_t)v);
}

/* As adapter_config.json has it. In a vision-language model names would meet layers of the other towers too, and so
 * would all-linear, whose names are written out: then the adapted layers are listed. */
static json_t *choice_json(const lora_choice_t *choice, const model_config_t *c) {
    json_t *j = json_object();
    if (choice->targets && !c->wrapped) {
        set_member(j, "target_modules", choice->targets);
        set_member(j, "exclude_modules", choice->exclude);
        set_member(j, "layers_to_transform", choice->layers);
    }
    set_member(j, "rank_pattern", choice->ranks);
    set_member(j, "alpha_pattern", choice->alphas);
    return j;
}

static int open_parts(chooser_t *k) {
    if (names_open("target_modules", k->choice->targets, &k->targets, k->err)) return k->err->code;
    if (names_open("exclude_modules", k->choice->exclude, &k->exclude, k->err)) return k->err->code;
    if (lora_patterns_open(k->choice->ranks, &k->ranks, k->err)) return k->err->code;
    return lora_patterns_open(k->choice->alphas, &k->alphas, k->err);
}

int lora_choose(const lora_choice_t *choice, const model_config_t *c, lora_spec_t *spec, const char **member,
                err_t *err) {
    chooser_t k = {.choice = choice, .c = c, .member = "target_modules", .spec = spec, .err = err};
    lora_spec_init(spec, c);
    int rc = open_parts(&k);
    CHECK(rc == 0);
    rc = choose_all(&k);
    names_close(&k.targets);
    names_close(&k.exclude);
    lora_patterns_close(&k.ranks);
    lora_patterns_close(&k.alphas);
    *member = k.member;
    if (rc) lora_spec_free(spec);
    else spec->choice = choice_json(choice, c);
    return rc;
}
