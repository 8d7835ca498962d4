#include "trainer/commands/inspect_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/names.h"
#include "base/terminal.h"
#include "data/dataset_formats.h"
#include "model/source.h"
#include "trainer/commands/inspect_lengths.h"
#include "trainer/config/config_schema.h"
#include "trainer/run/run_data.h"

enum { USUAL_LENGTH = 1024 };
enum { BESIDE_BAR = 41 }; /* columns of a line of lengths beside its bar */

/* ---- what rows need ------------------------------------------------------------------------------------- */

typedef struct {
    data_format_t format;
    tokenizer_t *tok;
    chat_template_t *chat;
    size_t vocab; /* of the model; 0: --model names only a tokenizer */
} tools_t;

static void close_tools(tools_t *t) {
    chat_template_close(t->chat);
    tokenizer_close(t->tok);
}

static int open_template(const inspect_data_t *in, tools_t *t, err_t *err) {
    const char *const *words = config_template_words();
    size_t n = name_count(words);
    bool word = name_is_among(in->template.choice, words);
    if (strcmp(in->template.choice, "none") == 0) return 0;
    if (!word && !path_exists(in->template.choice)) {
        const char *near = closest_name(in->template.choice, words, n);
        char *list = name_list(words, n);
        err_set(err, ERR_USAGE, "--chat-template: %s; expected %s, or a .jinja file%s%s%s", in->template.choice, list,
                near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
        free(list);
        return err->code;
    }
    return chat_template_open(t->tok, &in->template, &t->chat, err);
}

static size_t vocab_of(const char *model) {
    model_source_t *src = NULL;
    err_t err = {0};
    size_t vocab = model_source_open(model, &src, &err) == 0 ? model_source_config(src)->vocab : 0;
    model_source_close(src);
    return vocab;
}

static int open_tools(const inspect_data_t *in, tools_t *t, err_t *err) {
    bool uses_template;
    *t = (tools_t){.format = DATA_AUTO};
    if (dataset_detect(in->path, &t->format, &uses_template, err)) return err->code;
    if (in->model) t->vocab = vocab_of(in->model);
    if (!in->model || !format_needs_tokenizer(t->format)) return 0;
    if (tokenizer_open(in->model, &t->tok, err)) return err->code;
    return uses_template ? open_template(in, t, err) : 0;
}

static dataset_spec_t spec_of(const inspect_data_t *in, const tools_t *t) {
    return (dataset_spec_t){.files = &in->path,
                            .n_files = 1,
                            .format = t->format,
                            .max_length = in->max_length ? in->max_length : USUAL_LENGTH,
                            .train_on = in->train_on,
                            .tok = t->tok,
                            .chat = t->chat,
                            .vocab = t->vocab};
}

static bool shown(const inspect_data_t *in, size_t row) {
    return in->rows == 0 || (row >= in->first && row - in->first < in->rows);
}

static int no_such_row(const inspect_data_t *in, size_t n, err_t *err) {
    return err_set(err, ERR_USAGE, "--row: %zu; %s has %zu row%s", in->first, in->path, n, n == 1 ? "" : "s");
}

/* ---- for programs: one object a row --------------------------------------------------------------------- */

static void print_text(const char *key, const char *s, size_t n) {
    json_t *text = json_stringn(s ? s : "", n);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    printf(", \"%s\": %s", key, quoted ? quoted : "null");
    free(quoted);
    json_decref(text);
}

static void print_numbers(const char *key, const int32_t *v, size_t n) {
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? ", " : "", (int)v[i]);
    putchar(']');
}

/* The whole row, unless --max-length cuts it. */
static void print_row(const inspect_data_t *in, size_t row, row_writer_t *w) {
    size_t n = in->max_length && w->ids.len > in->max_length ? in->max_length : w->ids.len;
    if (n) w->labels.ids[0] = LABEL_NONE;
    printf("{\"row\": %zu", row);
    if (w->spec->tok) print_text("text", w->text.p, w->text.len);
    print_numbers("input_ids", w->ids.ids, n);
    print_numbers("labels", w->labels.ids, n);
    puts("}");
}

static void print_error(size_t row, const err_t *e) {
    printf("{\"row\": %zu", row);
    print_text("error", e->msg, strlen(e->msg));
    puts("}");
}

/* Of the rows that are refused the first makes the command's error. */
static int print_rows(const inspect_data_t *in, rows_t *rows, row_writer_t *w, err_t *err) {
    bool more = true;
    size_t n = 1;
    for (; in->rows == 0 || n < in->first + in->rows; n++) {
        file_row_t row = {0};
        err_t e = {0};
        if (rows_next_unparsed(rows, &row, &more, err)) return err->code;
        if (!more) break;
        if (!shown(in, n)) {
            row_free(&row);
            continue;
        }
        if (row_parse(in->path, &row, &e) == 0 && row_convert(w, w->spec->format, &row, &e))
            err_prefix(&e, "%s:%zu", in->path, row.line);
        if (e.code) print_error(n, &e);
        else print_row(in, n, w);
        if (e.code && !err->code) *err = e;
        row_free(&row);
    }
    return in->rows && !more && in->first >= n ? no_such_row(in, n - 1, err) : err->code;
}

static int inspect_jsonl(const inspect_data_t *in, tools_t *t, err_t *err) {
    rows_t rows;
    file_row_t first = {0};
    chat_template_t *alpaca = NULL;
    bool more;
    dataset_spec_t spec = spec_of(in, t);
    row_writer_t w = {.spec = &spec, .wants_text = true};
    if (rows_open(in->path, &rows, err)) return err->code;
    int rc = rows_next(&rows, &first, &more, err);
    if (rc == 0) rc = row_writer_prepare(&spec, t->format, &first, &alpaca, err);
    row_free(&first);
    rows_close(&rows);
    if (rc || rows_open(in->path, &rows, err)) {
        chat_template_close(alpaca);
        return err->code;
    }
    w.alpaca = alpaca;
    rc = print_rows(in, &rows, &w, err);
    warn_of_rows(in->path, &w.notes);
    rows_close(&rows);
    row_writer_free(&w);
    chat_template_close(alpaca);
    return rc;
}

/* ---- for people ----------------------------------------------------------------------------------------- */

static void print_keys(const json_t *row) {
    strbuf_t b = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) strbuf_addf(&b, "%s%s", b.len ? ", " : "", key);
    log_info("first row   keys %s", b.p ? b.p : "none");
    free(b.p);
}

/* The roles of a conversation in the order of its turns. */
static void print_roles(const json_t *row) {
    const json_t *turns = json_object_get(row, "messages"), *turn;
    if (!turns) turns = json_object_get(row, "conversations");
    strbuf_t b = {0};
    size_t i;
    json_array_foreach(turns, i, turn) {
        const char *role = json_string_value(json_object_get(turn, "role"));
        if (!role) role = json_string_value(json_object_get(turn, "from"));
        strbuf_addf(&b, "%s%s", b.len ? ", " : "", role ? role : "?");
    }
    if (b.p) log_info("turns       %s", b.p);
    free(b.p);
}

static int describe_first_row(const inspect_data_t *in, err_t *err) {
    rows_t rows;
    file_row_t row = {0};
    bool more;
    if (rows_open(in->path, &rows, err)) return err->code;
    int rc = rows_next(&rows, &row, &more, err);
    if (rc == 0 && more && row.json) {
        print_keys(row.json);
        print_roles(row.json);
    }
    row_free(&row);
    rows_close(&rows);
    if (rc == 0) log_info("(--model MODEL shows the rows as they are trained)");
    return rc;
}

/* Reads every row, so that a broken one is found. */
static int count_rows(const inspect_data_t *in, data_format_t format, err_t *err) {
    rows_t rows;
    size_t n = 0;
    bool more = true;
    if (rows_open(in->path, &rows, err)) return err->code;
    int rc = 0;
    while (rc == 0 && more) {
        file_row_t row = {0};
        rc = rows_next(&rows, &row, &more, err);
        row_free(&row);
        n += rc == 0 && more;
        rows_release(&rows);
    }
    rows_close(&rows);
    if (rc) return rc;
    if (in->rows && in->first > n) return no_such_row(in, n, err);
    log_info("%s: data, %s, %zu row%s", in->path, data_format_name(format), n, n == 1 ? "" : "s");
    return 0;
}

/* What is trained is green on a terminal, else between brackets. */
static void print_sample(const dataset_t *ds, size_t i, const tokenizer_t *tok) {
    bool colour = terminal_has_colour(STDOUT_FILENO);
    char *text = dataset_sample_text(ds, i, tok, colour ? "\033[32m" : "[[", colour ? "\033[0m" : "]]");
    log_info("row %zu (trained %s):\n%s", ds->samples[i].row, colour ? "in \033[32mgreen\033[0m" : "between [[ and ]]",
             text);
    free(text);
}

/* Those that were asked for; if none were, the first that is trained. */
static void print_samples(const inspect_data_t *in, const dataset_t *ds, const tokenizer_t *tok) {
    if (in->rows == 0) {
        print_sample(ds, 0, tok);
        return;
    }
    size_t i = 0;
    for (size_t row = in->first; row <= ds->rows_read && shown(in, row); row++) {
        while (i < ds->n_samples && ds->samples[i].row < row) i++;
        if (i == ds->n_samples || ds->samples[i].row > row) log_info("row %zu: left out, no trained token", row);
        for (; i < ds->n_samples && ds->samples[i].row == row; i++) print_sample(ds, i, tok);
    }
}

static int show_rows(const inspect_data_t *in, const tools_t *t, err_t *err) {
    dataset_t ds;
    dataset_spec_t spec = spec_of(in, t);
    if (dataset_load(&spec, &ds, err)) return err->code;
    if (t->chat) log_info("template    %s", chat_template_origin(t->chat));
    log_info("samples     %zu from %zu rows, %zu tokens, %zu trained, longest %zu", ds.n_samples, ds.rows_read,
             ds.n_tokens, ds.label_tokens, ds.longest);
    if (ds.truncated_rows) log_info("cut         %zu rows, %zu tokens lost", ds.truncated_rows, ds.truncated_tokens);
    if (ds.unlabelled_rows) log_info("left out    %zu rows without a trained token", ds.unlabelled_rows);
    size_t columns = terminal_width(STDOUT_FILENO);
    lengths_print(&ds, columns > BESIDE_BAR + 10 ? columns - BESIDE_BAR : 10);
    warn_of_rows(in->path, &ds.notes);
    print_samples(in, &ds, t->tok);
    dataset_free(&ds);
    return 0;
}

int inspect_data(const inspect_data_t *in, err_t *err) {
    tools_t t;
    int rc = open_tools(in, &t, err);
    bool ready = in->model || !format_needs_tokenizer(t.format);
    if (rc == 0 && in->jsonl && !ready)
        rc = err_set(err, ERR_USAGE, "--jsonl: rows of the format %s need --model", data_format_name(t.format));
    if (rc == 0 && !in->jsonl) rc = count_rows(in, t.format, err);
    if (rc == 0)
        rc = in->jsonl ? inspect_jsonl(in, &t, err) : ready ? show_rows(in, &t, err) : describe_first_row(in, err);
    close_tools(&t);
    return rc;
}
