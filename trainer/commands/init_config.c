#include "trainer/commands/init_config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/rows.h"
#include "model/source.h"
#include "trainer/commands/new_config.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_schema.h"

enum { ENOUGH_TO_SPLIT = 200, ENOUGH_TO_PACK = 1000, USUAL_LENGTH = 1024 };

/* ---- looking -------------------------------------------------------------------------------------------- */

int init_see_model(const char *path, init_sight_t *s, err_t *err) {
    model_source_t *src = NULL;
    err_t later = {0}; /* rows that are text will need a tokenizer, and init_see_data() says so */
    tokenizer_close(s->tok);
    s->tok = NULL;
    s->has_template = false;
    if (model_source_open(path, &src, err)) return err->code;
    s->positions = model_source_config(src)->max_positions;
    model_source_close(src);
    if (tokenizer_open(path, &s->tok, &later)) s->tok = NULL;
    s->has_template = s->tok && tokenizer_templates_from(s->tok);
    return 0;
}

static int count_rows(const char *path, size_t *n, err_t *err) {
    rows_t rows;
    bool more = true;
    *n = 0;
    if (rows_open(path, &rows, err)) return err->code;
    int rc = 0;
    while (rc == 0 && more && *n < INIT_ROWS_LOOKED_AT) {
        file_row_t row = {0};
        rc = rows_next_unparsed(&rows, &row, &more, err);
        row_free(&row);
        *n += rc == 0 && more;
        rows_release(&rows);
    }
    rows_close(&rows);
    return rc;
}

int init_see_data(const char *path, init_sight_t *s, err_t *err) {
    s->format = DATA_AUTO;
    if (dataset_detect(path, &s->format, &s->uses_template, err)) return err->code;
    if (s->format != DATA_TOKENS && !s->tok)
        return err_set(err, ERR_USAGE, "%s: rows of text, but the model has no tokenizer; expected one beside it",
                       path);
    return count_rows(path, &s->rows, err);
}

void init_sight_free(init_sight_t *s) {
    tokenizer_close(s->tok);
    *s = (init_sight_t){0};
}

/* ---- choosing ------------------------------------------------------------------------------------------- */

typedef struct {
    char **values; /* by row of the table: as YAML; NULL: not written */
    char *dir;     /* of the file, NULL: the working directory */
} draft_t;

static char **slot(draft_t *d, const char *section, const char *name) {
    const config_key_t *key = config_key_find(section, name);
    CHECK(key != NULL);
    return &d->values[key - config_keys];
}

static void set(draft_t *d, const char *section, const char *name, char *value) {
    char **v = slot(d, section, name);
    free(*v);
    *v = value;
}

/* Paths in a file are taken from its directory: one that was given elsewhere is written in full. */
static void set_path(draft_t *d, const char *section, const char *name, const char *path) {
    strbuf_t b = {0};
    char cwd[4096];
    char *full = d->dir && getcwd(cwd, sizeof cwd) ? path_join(cwd, path) : xstrdup(path);
    yaml_add_quoted(&b, full);
    set(d, section, name, b.p);
    free(full);
}

/* The first of the templates that come along which the vocabulary has the markers of. */
static const char *template_for(const init_sight_t *s) {
    static const char *const tried[] = {"chatml", "llama3", "zephyr", "mistral", "llama2", "alpaca"};
    if (s->format == DATA_ALPACA) return "alpaca";
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        chat_template_t *t = NULL;
        chat_spec_t spec = {.choice = tried[i]};
        err_t misfit = {0};
        if (chat_template_open(s->tok, &spec, &t, &misfit)) continue;
        chat_template_close(t);
        return tried[i];
    }
    return NULL;
}

static bool is_set(const init_choice_t *c, const char *key) {
    size_t n = strlen(key);
    for (size_t i = 0; i < c->n_overrides; i++)
        if (strncmp(c->overrides[i], key, n) == 0 && c->overrides[i][n] == '=') return true;
    return false;
}

static int choose_template(draft_t *d, const init_choice_t *c, const init_sight_t *s, err_t *err) {
    if (!s->uses_template || s->has_template || is_set(c, "data.chat_template")) return 0;
    const char *name = template_for(s);
    if (!name)
        return err_set(err, ERR_USAGE,
                       "%s: conversations, but the model has no chat template, nor the tokens of one that comes along; "
                       "expected data.chat_template=FILE.jinja",
                       c->train);
    set(d, "data", "chat_template", xstrdup(name));
    return 0;
}

/* Whether rows are so few that, packed 16 rows a step, they would make a handful of steps an epoch and teach next to
 * nothing. A row of `text` may be a whole book. */
static bool makes_few_steps(const init_sight_t *s) { return s->format != DATA_TEXT && s->rows < ENOUGH_TO_PACK; }

static int choose_data(draft_t *d, const init_choice_t *c, const init_sight_t *s, err_t *err) {
    size_t length = s->positions && s->positions < USUAL_LENGTH ? s->positions : USUAL_LENGTH;
    bool held_out = c->eval || is_set(c, "data.eval");
    set_path(d, "data", "train", c->train);
    if (c->eval) set_path(d, "data", "eval", c->eval);
    else if (!held_out && s->rows >= ENOUGH_TO_SPLIT) set(d, "data", "eval_split", xstrdup("0.05"));
    if (held_out || s->rows >= ENOUGH_TO_SPLIT) set(d, "training", "eval_steps", xstrdup("50"));
    set(d, "data", "max_length", xasprintf("%zu", length));
    if (makes_few_steps(s)) {
        set(d, "data", "packing", xstrdup("false"));
        set(d, "training", "gradient_accumulation_steps", xstrdup("1"));
    }
    return choose_template(d, c, s, err);
}

/* What is worth touching, as it is by default. */
static void choose_rest(draft_t *d) {
    static const char *const touched[][2] = {{"lora", "r"},
                                             {"lora", "lora_alpha"},
                                             {"lora", "lora_dropout"},
                                             {"training", "num_train_epochs"},
                                             {"training", "per_device_train_batch_size"},
                                             {"training", "gradient_accumulation_steps"},
                                             {"training", "learning_rate"},
                                             {"training", "lr_scheduler_type"},
                                             {"training", "save_steps"},
                                             {"device", "memory_limit"}};
    for (size_t i = 0; i < sizeof touched / sizeof *touched; i++)
        set(d, touched[i][0], touched[i][1], xstrdup(config_key_find(touched[i][0], touched[i][1])->default_text));
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static char *draft_text(const draft_t *d) {
    strbuf_t b = {0};
    const char *section = "";
    strbuf_adds(&b, "# A run of qlora-train. `qlora-train plan THIS-FILE` checks it and says what memory and time it\n"
                    "# takes; `qlora-train THIS-FILE` trains. docs/config.md has the keys that are not here.\n");
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        if (!d->values[i]) continue;
        if (strcmp(section, k->section) != 0) strbuf_addf(&b, "\n%s:\n", section = k->section);
        strbuf_addf(&b, "  # %s\n  %s: %s\n", k->help, k->name, d->values[i]);
    }
    return b.p;
}

static int write_and_load(const draft_t *d, const char *path, const init_choice_t *c, config_t *config, err_t *err) {
    char *text = draft_text(d);
    int rc = new_config_write(path, text, c->overrides, c->n_overrides, CONFIG_TRAIN, config, err);
    free(text);
    return rc;
}

/* What the command line sets is written too, as the config has it. */
static void take_overrides(draft_t *d, const init_choice_t *c, const config_t *config) {
    for (size_t i = 0; i < c->n_overrides; i++) {
        size_t dot = strcspn(c->overrides[i], "."), end = strcspn(c->overrides[i], "=");
        char *section = xstrndup(c->overrides[i], dot), *name = xstrndup(c->overrides[i] + dot + 1, end - dot - 1);
        set(d, section, name, config_value_text(config_key_find(section, name), config));
        free(section);
        free(name);
    }
}

static int write_draft(draft_t *d, const char *tmp, const init_choice_t *c, err_t *err) {
    config_t config;
    if (write_and_load(d, tmp, c, &config, err)) return err->code;
    take_overrides(d, c, &config);
    config_free(&config);
    if (write_and_load(d, tmp, c, &config, err)) return err->code;
    config_free(&config);
    return 0;
}

int init_write(const char *file, const init_choice_t *c, const init_sight_t *s, bool replace, err_t *err) {
    if (new_config_check(file, replace, err)) return err->code;
    char *dir = path_dirname(file), *tmp = new_config_temporary(file);
    draft_t d = {.values = xcalloc(config_n_keys, sizeof *d.values), .dir = strcmp(dir, ".") ? dir : NULL};
    set_path(&d, "model", "path", c->model);
    set_path(&d, "training", "output_dir", c->output_dir);
    choose_rest(&d);
    int rc = choose_data(&d, c, s, err);
    if (rc == 0) rc = file_replace(tmp, file, write_draft(&d, tmp, c, err), err);
    for (size_t i = 0; i < config_n_keys; i++) free(d.values[i]);
    free(d.values);
    free(dir);
    free(tmp);
    return rc;
}
