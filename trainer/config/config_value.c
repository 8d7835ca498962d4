/* One value of a config: YAML text to its field in config_t, and back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "data/tokenizer/utf8.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_schema.h"

_Static_assert(sizeof(quant_type_t) == sizeof(int) && sizeof(data_format_t) == sizeof(int) &&
                   sizeof(train_on_t) == sizeof(int) && sizeof(schedule_t) == sizeof(int) &&
                   sizeof(optim_t) == sizeof(int) && sizeof(tristate_t) == sizeof(int) &&
                   sizeof(compute_t) == sizeof(int),
               "a KEY_CHOICE field is written as an int");

static void *field(const config_key_t *k, config_t *c) { return (char *)c + k->offset; }

static const void *const_field(const config_key_t *k, const config_t *c) { return (const char *)c + k->offset; }

/* ---- errors ---- */

/* A value for a message: short, on one line, without control characters. */
static void printable(const char *text, char out[72]) {
    size_t n = 0;
    for (; n < 60 && text[n]; n++) out[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
    if (text[n]) {
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--; /* not in the middle of a character */
        memcpy(out + n, "...", 3);
        n += 3;
    }
    out[n] = 0;
}

static int fail(const config_key_t *k, const place_t *at, const char *problem, const char *near, err_t *err) {
    char *expected = config_key_expected(k);
    int rc = near ? place_error(at, err, "%s.%s: %s; expected %s; did you mean %s?", k->section, k->name, problem,
                                expected, near)
                  : place_error(at, err, "%s.%s: %s; expected %s", k->section, k->name, problem, expected);
    free(expected);
    return rc;
}

static int fail_item(const config_key_t *k, const yaml_item_t *item, const char *near, err_t *err) {
    char value[72], problem[96];
    if (item->kind != YAML_ITEM_SCALAR) return fail(k, &item->at, "not a single value", near, err);
    printable(item->text, value);
    snprintf(problem, sizeof problem, "got %s\"%s\"", item->quoted ? "the string " : "", value);
    return fail(k, &item->at, problem, near, err);
}

/* ---- text ---- */

static bool is_null(const yaml_item_t *item) { return !item->quoted && yaml_is_null(item->text); }

static bool in_range(const config_key_t *k, double v) {
    bool above = k->open & OPEN_MIN ? v > k->min : v >= k->min;
    return above && (k->open & OPEN_MAX ? v < k->max : v <= k->max);
}

/* Whole numbers too are read as doubles: the schema has no bound beyond 2^53, up to which they are exact. */
static bool read_number(const config_key_t *k, const yaml_item_t *item, bool real, double *v) {
    size_t n = yaml_number_length(item->text, real);
    if (item->quoted || n == 0 || item->text[n]) return false;
    *v = strtod(item->text, NULL);
    return in_range(k, *v);
}

static bool read_bool(const yaml_item_t *item, bool *v) { return !item->quoted && yaml_is_bool(item->text, v); }

/* The index of the item's text among the words, -1: not there. */
static int find_word(const yaml_item_t *item, const char *const *words) {
    bool b = false;
    const char *text = !read_bool(item, &b) ? item->text : b ? "true" : "false"; /* True is a word "true" */
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) return i;
    return -1;
}

/* For "did you mean". A GPU is no misspelt CPU. */
static const char *near_word(const char *text, const char *const *words, size_t n) {
    for (size_t i = 0; strcmp(text, "gpu") == 0 && i < n; i++)
        if (strcmp(words[i], "cuda") == 0) return words[i];
    return closest_name(text, words, n);
}

/* A size in bytes: "4GiB", "1.5 GiB", "4096". On failure *near may be set to what was probably meant. */
static bool read_bytes(const config_key_t *k, const yaml_item_t *item, double *v, char near[40]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t n = yaml_number_length(item->text, true);
    near[0] = 0;
    if (n == 0) return false;
    *v = strtod(item->text, NULL);
    const char *unit = item->text + n + strspn(item->text + n, " ");
    if (!*unit) return !item->quoted && *v == floor(*v) && in_range(k, *v);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double bytes = floor(ldexp(*v, (int)(10 * i)));
        if (strcmp(unit, units[i]) == 0) {
            *v = bytes;
            return in_range(k, bytes);
        }
        /* "4G", "4GB", "4gib": powers of 1000 or 1024? Ask rather than guess. */
        bool alike = i > 0 && (*unit | 32) == (units[i][0] | 32) && strlen(unit) <= 3 && n < 16;
        if (alike && in_range(k, bytes)) snprintf(near, 40, "%.*s%s", (int)n, item->text, units[i]);
    }
    return false;
}

/* `base` is an absolute path without symbolic links, so that "./" and "../" in front can be taken off it: one file
 * has one name whatever the working directory, and so one run has one identity. */
static char *resolve(const char *base, const char *path) {
    char *dir = xstrdup(base);
    while (path[0] == '.' && (path[1] == '/' || !path[1] || (path[1] == '.' && (path[2] == '/' || !path[2])))) {
        if (path[1] == '.') {
            char *up = path_dirname(dir);
            free(dir);
            dir = up;
        }
        path += strcspn(path, "/");
        path += strspn(path, "/");
    }
    char *full = *path ? path_join(dir, path) : xstrdup(dir);
    free(dir);
    size_t n = strlen(full);
    while (n > 1 && full[n - 1] == '/') full[--n] = 0;
    return full;
}

static int read_path(const config_key_t *k, const yaml_item_t *item, const char *base, char **path, err_t *err) {
    if (item->kind != YAML_ITEM_SCALAR) return fail(k, &item->at, "not a single value", NULL, err);
    if (is_null(item) || !*item->text) return fail(k, &item->at, "no value", NULL, err);
    char *full = resolve(base, item->text);
    /* It is written into JSON files later (run.json, adapter_config.json), which hold nothing else. */
    if (utf8_valid(full, strlen(full)) == strlen(full)) {
        *path = full;
        return 0;
    }
    place_error(&item->at, err, "%s.%s: %s; expected a path in UTF-8", k->section, k->name, full);
    free(full);
    return err->code;
}

/* ---- setting ---- */

static void set_string(char **slot, char *value) {
    free(*slot);
    *slot = value;
}

static int set_number(const config_key_t *k, const yaml_item_t *item, void *slot, err_t *err) {
    double v;
    bool minus_one = k->kind == KEY_STEPS && !item->quoted && strcmp(item->text, "-1") == 0;
    bool automatic = k->kind == KEY_AUTO_WHOLE && strcmp(item->text, "auto") == 0;
    if (minus_one) v = -1;
    else if (automatic) v = 0;
    else if (!read_number(k, item, k->kind == KEY_REAL, &v)) return fail_item(k, item, NULL, err);
    switch (k->kind) {
    case KEY_WHOLE: *(size_t *)slot = (size_t)v; break;
    case KEY_SEED: *(uint64_t *)slot = (uint64_t)v; break;
    case KEY_STEPS: *(long *)slot = (long)v; break;
    case KEY_AUTO_WHOLE: *(int *)slot = (int)v; break;
    default: *(double *)slot = v + 0.0; break; /* no negative zero */
    }
    return 0;
}

static int set_bytes(const config_key_t *k, const yaml_item_t *item, void *slot, err_t *err) {
    char near[40];
    double v = 0;
    if (strcmp(item->text, "auto") != 0 && !read_bytes(k, item, &v, near))
        return fail_item(k, item, near[0] ? near : NULL, err);
    *(size_t *)slot = (size_t)v;
    return 0;
}

static int set_bool(const config_key_t *k, const yaml_item_t *item, void *slot, err_t *err) {
    return read_bool(item, slot) ? 0 : fail_item(k, item, NULL, err);
}

static int set_word(const config_key_t *k, const yaml_item_t *item, void *slot, err_t *err) {
    int i = find_word(item, k->words);
    if (i < 0) return fail_item(k, item, near_word(item->text, k->words, name_count(k->words)), err);
    if (k->kind == KEY_CHOICE) memcpy(slot, &i, sizeof i);
    else if (k->kind == KEY_FLAG) *(bool *)slot = i == 1;
    else set_string(slot, xstrdup(k->words[i]));
    return 0;
}

static int set_path(const config_key_t *k, const yaml_item_t *item, const char *base, void *slot, err_t *err) {
    char *path = NULL;
    bool null_word = k->kind == KEY_NONE_PATH && strcmp(k->words[0], "null") == 0;
    int word = k->kind == KEY_PATH ? -1 : null_word ? (is_null(item) ? 0 : -1) : find_word(item, k->words);
    if (word >= 0 && k->kind == KEY_WORD_PATH) path = xstrdup(k->words[word]);
    else if (word < 0 && read_path(k, item, base, &path, err)) return err->code;
    set_string(slot, path);
    return 0;
}

/* What is neither a name nor looks like a path is more likely a name misspelt. */
static int set_template(const config_key_t *k, const yaml_item_t *item, const char *base, void *slot, err_t *err) {
    const char *const *words = config_template_words();
    int word = find_word(item, words);
    char *path = NULL;
    if (word >= 0) path = xstrdup(words[word]);
    else if (read_path(k, item, base, &path, err)) return err->code;
    bool like_a_path = strchr(item->text, '/') || path_has_suffix(item->text, ".jinja");
    if (word < 0 && !like_a_path && !path_exists(path)) {
        free(path);
        return fail_item(k, item, closest_name(item->text, words, name_count(words)), err);
    }
    set_string(slot, path);
    return 0;
}

bool config_is_date(const char *s) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (strlen(s) != 10 || strspn(s, "0123456789-") != 10 || s[4] != '-' || s[7] != '-') return false;
    if (sscanf(s, "%4d-%2d-%2d", &year, &month, &day) != 3 || year < 1 || month < 1 || month > 12) return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day >= 1 && day <= days[month - 1] + (month == 2 && leap);
}

static int set_date(const config_key_t *k, const yaml_item_t *item, void *slot, err_t *err) {
    bool none = is_null(item);
    if (!none && !config_is_date(item->text)) return fail_item(k, item, NULL, err);
    set_string(slot, none ? NULL : xstrdup(item->text));
    return 0;
}

/* The number of a KEY_FILES field's files lies right behind the pointer. */
_Static_assert(offsetof(config_t, data.n_train) == offsetof(config_t, data.train) + sizeof(char **),
               "n_train follows train");

static size_t *files_count(void *slot) { return (size_t *)((char ***)slot + 1); }

static void free_files(char **files, size_t n) {
    for (size_t i = 0; i < n; i++) free(files[i]);
    free(files);
}

static int set_files(const config_key_t *k, const yaml_entry_t *e, const char *base, void *slot, err_t *err) {
    if (e->n_items == 0) return fail(k, &e->value_at, "an empty list", NULL, err);
    char **files = xcalloc(e->n_items, sizeof *files);
    for (size_t i = 0; i < e->n_items; i++) {
        if (read_path(k, &e->items[i], base, &files[i], err)) {
            free_files(files, i);
            return err->code;
        }
    }
    free_files(*(char ***)slot, *files_count(slot));
    *(char ***)slot = files;
    *files_count(slot) = e->n_items;
    return 0;
}

static void set_json(json_t **slot, json_t *value) {
    json_decref(*slot);
    *slot = value;
}

/* A name, or NULL with an error. */
static json_t *read_name(const config_key_t *k, const yaml_item_t *item, err_t *err) {
    if (item->kind != YAML_ITEM_SCALAR || is_null(item) || !*item->text) {
        fail_item(k, item, NULL, err);
        return NULL;
    }
    return json_string(item->text);
}

/* Names and indices are sets: sorted, each once, so that a run has one identity. */
static int by_value(const void *a, const void *b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    if (json_is_string(x)) return strcmp(json_string_value(x), json_string_value(y));
    return (json_integer_value(x) > json_integer_value(y)) - (json_integer_value(x) < json_integer_value(y));
}

static json_t *set_of(json_t **items, size_t n) {
    json_t *set = json_array();
    qsort(items, n, sizeof *items, by_value);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_value(&items[i - 1], &items[i]) != 0) json_array_append(set, items[i]);
    return set;
}

static json_t *read_index(const config_key_t *k, const yaml_item_t *item, err_t *err) {
    double v;
    if (item->kind == YAML_ITEM_SCALAR && read_number(k, item, false, &v)) return json_integer((json_int_t)v);
    fail_item(k, item, NULL, err);
    return NULL;
}

/* Names or indices: one, or a list of them; the word, where the key has one, stands for NULL. */
static int set_list(const config_key_t *k, const yaml_entry_t *e, json_t **slot, err_t *err) {
    json_t *(*read)(const config_key_t *k, const yaml_item_t *item, err_t *err) = k->kind == KEY_NAMES ? read_name
                                                                                                       : read_index;
    json_t *value = NULL;
    if (e->kind == YAML_ITEM_SCALAR && find_word(e->items, k->words) == 0) {
        set_json(slot, NULL);
        return 0;
    }
    if (e->kind == YAML_ITEM_SCALAR) {
        if (!(value = read(k, e->items, err))) return err->code;
        set_json(slot, value);
        return 0;
    }
    if (e->n_items == 0 && k->words[0]) return fail(k, &e->value_at, "an empty list", NULL, err);
    json_t **items = xcalloc(e->n_items + 1, sizeof *items);
    size_t n = 0;
    while (n < e->n_items && (items[n] = read(k, &e->items[n], err))) n++;
    if (n == e->n_items) set_json(slot, n ? set_of(items, n) : NULL);
    for (size_t i = 0; i < n; i++) json_decref(items[i]);
    free(items);
    return n == e->n_items ? 0 : err->code;
}

/* The first word alone or both, in any order; a word alone is a list of it. */
static int set_also(const config_key_t *k, const yaml_entry_t *e, bool *slot, err_t *err) {
    bool has[2] = {false, false};
    char problem[64];
    for (size_t i = 0; i < e->n_items; i++) {
        const yaml_item_t *item = &e->items[i];
        int word = item->kind == YAML_ITEM_SCALAR ? find_word(item, k->words) : -1;
        if (word < 0) return fail_item(k, item, closest_name(item->text, k->words, 2), err);
        has[word] = true;
    }
    snprintf(problem, sizeof problem, "%s is always written and cannot be left out", k->words[0]);
    if (!has[0]) return fail(k, &e->value_at, problem, NULL, err);
    *slot = has[1];
    return 0;
}

/* Without members it is NULL: the key has one value however it came by it. */
static int set_mapping(const yaml_entry_t *e, json_t **mapping) {
    set_json(mapping, json_object_size(e->mapping) ? json_incref(e->mapping) : NULL);
    return 0;
}

int config_value_set(const config_key_t *k, const yaml_entry_t *e, const char *base, config_t *c, err_t *err) {
    void *slot = field(k, c);
    bool takes_list = k->kind == KEY_FILES || k->kind == KEY_NAMES || k->kind == KEY_INDICES || k->kind == KEY_ALSO;
    if (k->kind == KEY_JSON && e->kind == YAML_ITEM_MAPPING) return set_mapping(e, slot);
    if (e->kind == YAML_ITEM_MAPPING) return fail(k, &e->value_at, "a mapping", NULL, err);
    if (e->kind == YAML_ITEM_LIST && !takes_list) return fail(k, &e->value_at, "a list", NULL, err);
    bool null_allowed = k->default_text && strcmp(k->default_text, "null") == 0;
    if (e->kind == YAML_ITEM_SCALAR && is_null(&e->items[0]) && !null_allowed)
        return fail(k, &e->value_at, "no value", NULL, err);
    switch (k->kind) {
    case KEY_WHOLE:
    case KEY_SEED:
    case KEY_STEPS:
    case KEY_AUTO_WHOLE:
    case KEY_REAL: return set_number(k, e->items, slot, err);
    case KEY_AUTO_BYTES: return set_bytes(k, e->items, slot, err);
    case KEY_BOOL: return set_bool(k, e->items, slot, err);
    case KEY_CHOICE:
    case KEY_FLAG:
    case KEY_WORD: return set_word(k, e->items, slot, err);
    case KEY_PATH:
    case KEY_WORD_PATH:
    case KEY_NONE_PATH: return set_path(k, e->items, base, slot, err);
    case KEY_TEMPLATE: return set_template(k, e->items, base, slot, err);
    case KEY_DATE: return set_date(k, e->items, slot, err);
    case KEY_FILES: return set_files(k, e, base, slot, err);
    case KEY_NAMES:
    case KEY_INDICES: return set_list(k, e, slot, err);
    case KEY_ALSO: return set_also(k, e, slot, err);
    case KEY_JSON: return fail_item(k, e->items, NULL, err);
    }
    return 0;
}

void config_value_free(const config_key_t *k, config_t *c) {
    void *slot = field(k, c);
    bool string = k->kind == KEY_WORD || k->kind == KEY_PATH || k->kind == KEY_WORD_PATH || k->kind == KEY_NONE_PATH ||
                  k->kind == KEY_TEMPLATE || k->kind == KEY_DATE;
    if (string) set_string(slot, NULL);
    if (k->kind == KEY_FILES) free_files(*(char ***)slot, *files_count(slot));
    if (k->kind == KEY_JSON || k->kind == KEY_NAMES || k->kind == KEY_INDICES) set_json(slot, NULL);
}

/* ---- printing ---- */

static void add_list(strbuf_t *b, char *const *files, size_t n) {
    for (size_t i = 0; i < n; i++) {
        strbuf_adds(b, i ? ", " : "[");
        yaml_add_quoted(b, files[i]);
    }
    strbuf_adds(b, "]");
}

static void add_string(strbuf_t *b, const config_key_t *k, const char *s) {
    if (!s) strbuf_adds(b, k->words[0]);
    else if (s[0] == '/') yaml_add_quoted(b, s);
    else strbuf_adds(b, s); /* one of the words */
}

static void add_choice(strbuf_t *b, const config_key_t *k, const void *slot) {
    int i;
    memcpy(&i, slot, sizeof i);
    strbuf_adds(b, k->words[i]);
}

static void add_auto(strbuf_t *b, size_t v) {
    if (v) strbuf_addf(b, "%zu", v);
    else strbuf_adds(b, "auto");
}

char *config_value_text(const config_key_t *k, const config_t *c) {
    const void *slot = const_field(k, c);
    strbuf_t b = {0};
    switch (k->kind) {
    case KEY_WHOLE: strbuf_addf(&b, "%zu", *(const size_t *)slot); break;
    case KEY_SEED: strbuf_addf(&b, "%llu", (unsigned long long)*(const uint64_t *)slot); break;
    case KEY_STEPS: strbuf_addf(&b, "%ld", *(const long *)slot); break;
    case KEY_REAL: yaml_add_real(&b, *(const double *)slot); break;
    case KEY_BOOL: strbuf_adds(&b, *(const bool *)slot ? "true" : "false"); break;
    case KEY_CHOICE: add_choice(&b, k, slot); break;
    case KEY_FLAG: strbuf_adds(&b, k->words[*(const bool *)slot]); break;
    case KEY_AUTO_BYTES: add_auto(&b, *(const size_t *)slot); break;
    case KEY_AUTO_WHOLE: add_auto(&b, (size_t) * (const int *)slot); break;
    case KEY_NAMES:
    case KEY_INDICES:
        if (*(json_t *const *)slot) yaml_add_value(&b, *(json_t *const *)slot);
        else strbuf_adds(&b, k->default_text);
        break;
    case KEY_ALSO:
        if (*(const bool *)slot) strbuf_addf(&b, "[%s, %s]", k->words[0], k->words[1]);
        else strbuf_adds(&b, k->default_text);
        break;
    case KEY_JSON: yaml_add_value(&b, *(json_t *const *)slot); break;
    case KEY_FILES:
        if (*(char **const *)slot) add_list(&b, *(char **const *)slot, *files_count((void *)(uintptr_t)slot));
        break;
    case KEY_PATH:
        if (*(char *const *)slot) yaml_add_quoted(&b, *(char *const *)slot);
        break;
    case KEY_DATE: strbuf_adds(&b, *(char *const *)slot ? *(char *const *)slot : "null"); break;
    case KEY_TEMPLATE:
    case KEY_WORD:
    case KEY_WORD_PATH:
    case KEY_NONE_PATH: add_string(&b, k, *(char *const *)slot); break;
    }
    return b.p;
}
