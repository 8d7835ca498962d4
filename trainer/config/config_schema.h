/* The schema of a config: one row for every key. What is not in this table is no key; everything else (reading,
 * checking, printing, the run's identity) follows from it. Part of the config only. */
#ifndef TRAINER_CONFIG_CONFIG_SCHEMA_H
#define TRAINER_CONFIG_CONFIG_SCHEMA_H

#include "trainer/config/config.h"
#include "trainer/config/config_yaml.h"

/* What a key's value is, and what its field in config_t is. */
typedef enum {
    KEY_WHOLE,      /* whole number in [min, max]             -> size_t */
    KEY_SEED,       /* the same                               -> uint64_t */
    KEY_STEPS,      /* -1, or a whole number in [min, max]    -> long */
    KEY_REAL,       /* finite number in [min, max]; see open  -> double */
    KEY_BOOL,       /* true or false                          -> bool */
    KEY_CHOICE,     /* index in `words`                       -> an enum */
    KEY_FLAG,       /* index in `words`, of two               -> bool */
    KEY_WORD,       /* one of `words`                         -> char * */
    KEY_PATH,       /* a path                                 -> char * (absolute) */
    KEY_WORD_PATH,  /* one of `words` or a path               -> char * (the word as it is, or absolute) */
    KEY_NONE_PATH,  /* words[0], meaning NULL, or a path      -> char * (NULL or absolute) */
    KEY_TEMPLATE,   /* auto, none, a chat template's name or a path -> char * (the word as it is, or absolute) */
    KEY_DATE,       /* null or YYYY-MM-DD                     -> char *, NULL for null */
    KEY_FILES,      /* a path or a list of paths              -> char ** (absolute), its length beside it */
    KEY_NAMES,      /* names, or one regular expression; also `words`, of one -> json_t *: array, string; NULL: the
                     * word, or of an empty list */
    KEY_INDICES,    /* `words`, of one, or whole numbers      -> json_t *: array, integer; NULL: the word */
    KEY_ALSO,       /* a list of `words`, of two: the first always, the second if wanted -> bool */
    KEY_JSON,       /* any mapping                            -> json_t *, an object, NULL for {} */
    KEY_AUTO_BYTES, /* auto or a size in bytes in [min, max]  -> size_t, 0 for auto */
    KEY_AUTO_WHOLE, /* auto or a whole number in [min, max]   -> int, 0 for auto */
} key_kind_t;

typedef enum { OPEN_NONE = 0, OPEN_MIN = 1, OPEN_MAX = 2 } key_open_t;

typedef struct {
    const char *section, *name;
    key_kind_t kind;
    size_t offset;            /* of the field in config_t */
    const char *default_text; /* as it would stand in a file; NULL: none, the key is required by its commands */
    double min, max;
    key_open_t open;          /* ends of [min, max] that do not belong to it */
    const char *const *words; /* NULL-terminated */
    bool defines_run;         /* part of config_run_id() */
    const char *help;         /* one sentence, for people: comments of `init`, descriptions in editors, the manual */
} config_key_t;

extern const config_key_t config_keys[];
extern const size_t config_n_keys;
extern const char *const config_sections[];
extern const size_t config_n_sections;

/* The row of section.name, or NULL. */
const config_key_t *config_key_find(const char *section, const char *name);
/* The words of a KEY_TEMPLATE, NULL-terminated. */
const char *const *config_template_words(void);
/* Whether a text is a day, YYYY-MM-DD. */
bool config_is_date(const char *text);
/* What a value of this key may be: "a whole number from 1 to 1024". The caller frees. */
char *config_key_expected(const config_key_t *key);

/* Sets the key's field from an entry, replacing what it held; relative paths are taken from `base`. Errors have the
 * form of config_load(). */
int config_value_set(const config_key_t *key, const yaml_entry_t *entry, const char *base, config_t *c, err_t *err);
/* The field as YAML text on one line; NULL when a required key has no value. The caller frees. */
char *config_value_text(const config_key_t *key, const config_t *c);
void config_value_free(const config_key_t *key, config_t *c);

#endif
