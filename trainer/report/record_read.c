#include "trainer/report/record_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "trainer/config/config_schema.h"
#include "trainer/report/lines.h"
#include "trainer/run/checkpoint.h"

enum { LINE_MOST = 1 << 16, STARTS_MOST = 100 };

static const char *const columns[COLUMNS] = {
    "loss", "eval_loss", "grad_norm", "learning_rate", "tokens_per_second", "peak_device_bytes", "paged_bytes"};

/* ---- rows ---------------------------------------------------------------------------------------------------- */

static double number(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void take_row(void *ctx, json_t *row) {
    run_record_t *r = ctx;
    double step = number(row, "step"), eval = number(row, "eval_loss"), tokens = number(row, "tokens"),
           seconds = number(row, "elapsed_seconds");
    if (!(step >= 0 && step <= 1e15)) {
        r->unread++;
        return;
    }
    for (int i = 0; i < COLUMNS; i++)
        if (json_object_get(row, columns[i])) series_add(&r->column[i], (size_t)step, number(row, columns[i]));
    if ((size_t)step > r->steps) r->steps = (size_t)step;
    if (isfinite(tokens)) {
        r->tokens += tokens;
        r->n_tokens++;
    }
    if (isfinite(seconds)) r->seconds = seconds;
    if (isfinite(eval) && (r->best_step == 0 || eval < r->best_loss)) {
        r->best_loss = eval;
        r->best_step = (size_t)step;
    }
}

static void take_start(void *ctx, json_t *row) {
    run_record_t *r = ctx;
    double step = number(row, "step");
    bool first = json_array_size(r->starts) == 0;
    json_array_append(r->starts, row);
    if (first && step > 0 && step <= 1e15) r->begun_after = (size_t)step;
    if (json_array_size(r->starts) > STARTS_MOST) json_array_remove(r->starts, 0);
}

/* ---- the configuration --------------------------------------------------------------------------------------- */

/* The value as a resolved config writes it, so that two ways to write one are equal; NULL: it is none. */
static char *resolved(const config_key_t *key, const yaml_entry_t *entry) {
    config_t *c = xcalloc(1, sizeof *c);
    err_t err = {0};
    char *text = config_value_set(key, entry, "/", c, &err) == 0 ? config_value_text(key, c) : NULL;
    config_value_free(key, c);
    free(c);
    return text;
}

static char *resolved_default(const config_key_t *key) {
    yaml_doc_t doc;
    err_t err = {0};
    char *text = NULL;
    if (!key->default_text) return NULL;
    if (yaml_doc_parse_override(key->section, key->name, key->default_text, &doc, &err) == 0) {
        text = resolved(key, doc.entries);
        yaml_doc_free(&doc);
    }
    return text;
}

static const yaml_entry_t *entry_of(const yaml_doc_t *doc, const config_key_t *key) {
    for (size_t i = 0; i < doc->n; i++)
        if (doc->entries[i].key && !strcmp(doc->entries[i].section, key->section) &&
            !strcmp(doc->entries[i].key, key->name))
            return &doc->entries[i];
    return NULL;
}

/* Keys that this program knows; of another version some may be missing. */
static void take_config(run_record_t *r, const char *text) {
    yaml_doc_t doc;
    err_t err = {0};
    if (yaml_doc_parse("config", text, strlen(text), &doc, &err)) return;
    r->settings = xcalloc(config_n_keys, sizeof *r->settings);
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *key = &config_keys[i];
        const yaml_entry_t *entry = entry_of(&doc, key);
        char *value = entry ? resolved(key, entry) : NULL, *usual = resolved_default(key);
        if (!value && usual && !entry) value = xstrdup(usual);
        if (value) r->settings[r->n_settings++] = (setting_t){xstrdup(key->section), xstrdup(key->name), value, usual};
        else free(usual);
    }
    yaml_doc_free(&doc);
}

/* The last start has it, and so has a checkpoint, which older runs have alone. */
static void find_config(run_record_t *r) {
    const json_t *last = json_array_get(r->starts, json_array_size(r->starts) - 1);
    const char *text = json_string_value(json_object_get(last, "config"));
    char *dir = NULL, *path, *read = NULL;
    size_t n;
    err_t err = {0};
    if (text) {
        take_config(r, text);
        return;
    }
    if (checkpoint_newest(r->dir, &dir, &err) || !dir) return;
    path = path_join(dir, "config.yaml");
    if (file_read(path, &read, &n, &err) == 0) take_config(r, read);
    free(read);
    free(path);
    free(dir);
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static char *name_of(const char *dir) {
    char *text = xstrdup(dir);
    size_t n = strlen(text);
    while (n > 1 && text[n - 1] == '/') text[--n] = 0;
    char *slash = strrchr(text, '/'), *name = xstrdup(slash && slash[1] ? slash + 1 : text);
    free(text);
    return name;
}

int run_record_read(const char *dir, run_record_t *r, err_t *err) {
    char *metrics = path_join(dir, "metrics.jsonl"), *starts = path_join(dir, "starts.jsonl"),
         *samples = path_join(dir, "samples.jsonl");
    *r = (run_record_t){.dir = xstrdup(dir), .name = name_of(dir), .starts = json_array()};
    int rc = path_exists(metrics)
                 ? each_line(metrics, LINE_MOST, take_row, r, &r->unread, err)
                 : err_set(err, ERR_USAGE, "%s: there is no metrics.jsonl; expected the output_dir of a training", dir);
    if (rc == 0 && path_exists(starts)) rc = each_line(starts, LINE_MOST, take_start, r, &r->unread, err);
    if (rc == 0) rc = report_samples_read(samples, &r->samples, &r->unread, err);
    if (rc == 0) find_config(r);
    free(samples);
    free(starts);
    free(metrics);
    return rc;
}

void run_record_free(run_record_t *r) {
    for (size_t i = 0; i < r->n_settings; i++) {
        free(r->settings[i].section);
        free(r->settings[i].name);
        free(r->settings[i].value);
        free(r->settings[i].usual);
    }
    free(r->settings);
    report_samples_free(&r->samples);
    json_decref(r->starts);
    free(r->name);
    free(r->dir);
}
