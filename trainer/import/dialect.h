/* What the two dialects are made of: their tables of keys, and what takes a value over. Part of the import only. */
#ifndef TRAINER_IMPORT_DIALECT_H
#define TRAINER_IMPORT_DIALECT_H

#include "trainer/config/config_schema.h"
#include "trainer/config/yaml_tree.h"
#include "trainer/import/import.h"

typedef enum {
    FATE_CARRIED, /* becomes section.name */
    FATE_IDLE,    /* changes nothing here */
    FATE_LOST,    /* cannot be carried over: said, if it is set */
    FATE_REFUSED  /* makes another training: an error, if it is set */
} fate_t;

typedef struct import_key {
    const char *key;
    fate_t fate;
    const char *section, *name; /* CARRIED */
    const char *missing;        /* CARRIED: their default as text of ours, written where the key is not given */
    /* Takes the value over, which is not null; NULL: a CARRIED one means the same as ours, of others fate says all. */
    int (*take)(import_t *im, const struct import_key *k, const yaml_tree_t *v);
    const char *says; /* LOST, REFUSED: what that means; CARRIED: a remark for the documentation, or NULL */
} import_key_t;

/* Rows of a table. */
#define OURS(section, name) FATE_CARRIED, section, name
#define IDLE(key) \
    { key, FATE_IDLE, NULL, NULL, NULL, NULL, NULL }
#define LOST(key, says) \
    { key, FATE_LOST, NULL, NULL, NULL, NULL, says }
#define REFUSED(key, says) \
    { key, FATE_REFUSED, NULL, NULL, NULL, NULL, says }
#define LATER(key, section, name, says) \
    { key, OURS(section, name), NULL, take_later, says }

typedef struct {
    const char *name, *model_key; /* the key that tells which dialect it is */
    const import_key_t *keys;
    size_t n_keys;
    int (*finish)(import_t *im); /* what follows from several keys, after all of them */
} dialect_t;

extern const dialect_t dialect_axolotl, dialect_llama_factory;

/* ---- values: each error names file, line, column and key; returns 0 or the code ---- */

/* A member of the file, NULL where there is none or it is null. */
const yaml_tree_t *import_get(const import_t *im, const char *key);
/* Whether a member is there and says more than false, 0 or nothing. */
bool import_set_there(const import_t *im, const char *key);
bool import_is_something(const yaml_tree_t *v);
/* A strategy of evaluations or checkpoints that is none: "no", which YAML 1.1 reads as false without quotes. */
bool import_is_no(const yaml_tree_t *v);
/* Whether a text without quotes is true or false, by YAML 1.1, which both programs read: it has more words for them. */
bool import_is_bool(const char *text, bool *flag);

int import_error(import_t *im, const yaml_tree_t *at, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int import_scalar(import_t *im, const yaml_tree_t *v, const char *key, const char **text);
int import_bool(import_t *im, const yaml_tree_t *v, const char *key, bool *flag);
int import_number(import_t *im, const yaml_tree_t *v, const char *key, double *number);

/* ---- results ---- */

/* Says, in the config and to the user, what of this value is not carried over. */
void import_note(import_t *im, const yaml_tree_t *at, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Notes of a key that it changes nothing here. */
void import_idle(import_t *im, const char *key);
/* Gives section.name the text, which is YAML, and takes it; `from`, if it is not NULL, is named in a comment, with `key`. */
void import_put(import_t *im, const char *section, const char *name, char *text, const yaml_tree_t *from,
                const char *key);
/* The same, with a comment of its own. */
void import_put_said(import_t *im, const char *section, const char *name, char *text, const char *why);
bool import_has(const import_t *im, const char *section, const char *name);
/* A value that ours has too: checked by the row of the schema, and written. */
int import_copy(import_t *im, const char *section, const char *name, const yaml_tree_t *v, const char *key);
/* A path as it is to be written, and whether something is there; the caller frees. */
char *import_path(const import_t *im, const char *path, bool *there);
/* Names a directory or a file, which may have to be fetched first; `what` says what to put there. */
int import_put_path(import_t *im, const char *section, const char *name, const yaml_tree_t *v, const char *key,
                    const char *what);

/* ---- takes of both dialects ---- */

/* Nothing: the key waits for others (dialect_t.finish). */
int take_later(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_model(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_adapter(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_output(import_t *im, const import_key_t *k, const yaml_tree_t *v);
/* 0 and false are the same as no key. */
int take_nonzero(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_optimizer(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_schedule(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_warmup_steps(import_t *im, const import_key_t *k, const yaml_tree_t *v);
/* Every how many steps; a share of all steps is not known before the run. */
int take_steps(import_t *im, const import_key_t *k, const yaml_tree_t *v);
/* The best evaluation is that of the lowest loss. */
int take_metric(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int take_resume(import_t *im, const import_key_t *k, const yaml_tree_t *v);

/* ---- data ---- */

/* Files and formats of the data sets, gathered. */
typedef struct {
    strbuf_t files; /* a YAML list without its brackets */
    size_t n;
    const char *format; /* of all so far; NULL: none yet */
    bool mixed;
    bool missing; /* one of them is not there */
    bool one;     /* the first file only, others are noted */
} import_data_t;

/* `path` names a file that is there, or what is to be put there. */
void import_data_file(import_t *im, import_data_t *d, const yaml_tree_t *at, const char *key, const char *path);
void import_data_format(import_data_t *d, const char *format);
/* data.train or data.eval, and data.format; d is free afterwards. */
void import_data_put(import_t *im, import_data_t *d, const char *name, const yaml_tree_t *from, const char *key);
/* With evaluations by the epoch, whose length in steps is not known before the run. */
void import_evaluate_often(import_t *im, const yaml_tree_t *at, const char *key);
/* What goes by evaluations, where there are some: load_best_model_at_end, and the key that is patience. */
int import_by_evaluations(import_t *im, const char *patience);

#endif
