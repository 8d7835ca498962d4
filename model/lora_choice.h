/* Which linear layers of a model get an adapter, and of which rank: the terms of PEFT's adapter_config.json, with PEFT's
 * rules (peft/tuners/tuners_utils.py, check_target_module_exists(); peft/utils/other.py, get_pattern_key()), but that
 * nothing is ignored: what has no effect is an error.
 *
 *   target_modules, exclude_modules   a list of names, each of the modules that it is or that end in ".NAME"; or a string,
 *                                     a regular expression over the whole name (re.fullmatch)
 *   layers_to_transform               indices of the layers that the names of target_modules count in
 *   rank_pattern, alpha_pattern       regular expression -> r, lora_alpha. The first one, in the order of the mapping,
 *                                     that matches a module's name from its beginning or from a dot on to its end:
 *                                     re.match(r"(.*\.)?(KEY)$", name)
 *
 * Names are those of transformers: model_module_name(). */
#ifndef MODEL_LORA_CHOICE_H
#define MODEL_LORA_CHOICE_H

#include "base/name_pattern.h"
#include "model/lora.h"

typedef struct {
    const json_t *targets; /* array of strings, or a string; NULL: all linear layers but the head */
    const json_t *exclude; /* the same; NULL or []: none */
    const json_t *layers;  /* an integer or an array of them; NULL: all */
    const json_t *ranks;   /* object; NULL or {}: none */
    const json_t *alphas;
} lora_choice_t;

/* Whether the parts are what they have to be, whatever the model. *member: the one that is not. */
int lora_choice_check(const lora_choice_t *choice, size_t max_rank, const char **member, err_t *err);
/* Fills in the table, spec->r and spec->alpha being those of layers that no pattern names, and spec->choice. ERR_USAGE,
 * also with *member: a name, expression or index without effect, or that meets a module that is no linear layer. Nothing
 * is left to free then. The choice has been checked. */
int lora_choose(const lora_choice_t *choice, const model_config_t *c, lora_spec_t *spec, const char **member,
                err_t *err);

/* ---- rank_pattern and alpha_pattern, of adapters that are read ---- */

typedef struct {
    size_t n;
    name_pattern_t **pattern;
    double *value;
    const char **key; /* borrowed from the mapping */
    bool *used;       /* has matched something */
} lora_patterns_t;

/* Of a mapping that has been checked. */
int lora_patterns_open(const json_t *mapping, lora_patterns_t *p, err_t *err);
void lora_patterns_close(lora_patterns_t *p);
/* The value of the first that matches; *value stays where none does. */
int lora_patterns_find(const lora_patterns_t *p, const char *module, double *value, err_t *err);

#endif
