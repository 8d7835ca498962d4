#include "trainer/run/run_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* ---- loading -------------------------------------------------------------------------------------------- */

int run_find_template(run_t *run, err_t *err) {
    const config_t *c = &run->config;
    if (run->chat || strcmp(c->data.chat_template, "none") == 0) return 0;
    chat_spec_t spec = {
        .choice = c->data.chat_template, .kwargs = c->data.chat_template_kwargs, .date = c->data.chat_template_date};
    return chat_template_open(run->tok, &spec, &run->chat, err);
}

/* Opens the tokenizer, and finds the template, if a file's rows need them. */
static int prepare_for(run_t *run, const char *file, err_t *err) {
    data_format_t f = run->config.data.format;
    bool uses_template;
    if (dataset_detect(file, &f, &uses_template, err)) return err->code;
    if (f == DATA_TOKENS) return 0;
    if (!run->tok && tokenizer_open(run->config.model.path, &run->tok, err)) return err->code;
    return uses_template ? run_find_template(run, err) : 0;
}

static int load_dataset(run_t *run, const char *what, char *const *files, size_t n, dataset_t *ds, err_t *err) {
    const config_t *c = &run->config;
    for (size_t i = 0; i < n; i++)
        if (prepare_for(run, files[i], err)) return err->code;
    dataset_spec_t spec = {.files = (const char *const *)files,
                           .n_files = n,
                           .format = c->data.format,
                           .max_length = c->data.max_length,
                           .train_on = c->data.train_on,
                           .tok = run->tok,
                           .chat = run->chat,
                           .vocab = model_source_config(run->src)->vocab};
    if (dataset_load(&spec, ds, err)) return err->code;
    warn_of_rows(n == 1 ? files[0] : what, &ds->notes);
    return 0;
}

/* Training data, less the rows that are held out of it, which become the evaluation's. */
static int load_train(run_t *run, bool keep_train, bool keep_eval, err_t *err) {
    const config_t *c = &run->config;
    if (load_dataset(run, "data.train", c->data.train, c->data.n_train, &run->train, err)) return err->code;
    if (c->data.eval_split > 0) {
        dataset_t part;
        if (dataset_split(&run->train, c->data.eval_split, c->training.seed, &part, err))
            return err_prefix(err, "%s", config_place(c, "data", "eval_split"));
        if (keep_eval) run->eval = part;
        else dataset_free(&part);
    }
    if (!keep_train) dataset_free(&run->train);
    return 0;
}

int run_open_data(run_t *run, bool want_train, bool want_eval, err_t *err) {
    const config_t *c = &run->config;
    bool split = want_eval && c->data.eval_split > 0 && c->data.n_train > 0;
    if ((want_train || split) && load_train(run, want_train, want_eval, err)) return err->code;
    if (want_eval && c->data.eval) return load_dataset(run, "data.eval", &run->config.data.eval, 1, &run->eval, err);
    return 0;
}

/* ---- for people ----------------------------------------------------------------------------------------- */

static const char *s_of(size_t n) { return n == 1 ? "" : "s"; }

void warn_of_rows(const char *what, const row_notes_t *notes) {
    const struct {
        size_t n;
        const char *text;
    } said[] = {{notes->no_reasoning, "reasoning is not written by the chat template, so it is not trained"},
                {notes->open_ends, "no token ends an answer, so where it ends is not trained"},
                {notes->empty_turns, "an answer is empty, and only its end is trained"},
                {notes->headers,
                 "the chat template has no generation prompt, so what it writes before an answer is trained too"},
                {notes->spelled_tokens, "a text spells out a special token, which becomes that token"}};
    if (notes->unknown_keys)
        log_warn(
            "%s: in %zu row%s a message has a key that no chat template is known to read (\"%s\"); it is handed on "
            "to the template",
            what, notes->unknown_keys, s_of(notes->unknown_keys), notes->unknown_key);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (said[i].n) log_warn("%s: in %zu row%s %s", what, said[i].n, s_of(said[i].n), said[i].text);
}

static void summarise(const char *what, const dataset_t *ds, const char *from) {
    log_info("%-9s %zu rows (%s), %zu tokens, %zu trained; longest %zu%s", what, ds->n_samples,
             data_format_name(ds->format), ds->n_tokens, ds->label_tokens, ds->longest, from);
    if (ds->truncated_rows)
        log_info("          %zu rows cut at max_length (%zu tokens dropped)", ds->truncated_rows, ds->truncated_tokens);
    if (ds->unlabelled_rows) log_info("          %zu rows left out: no trained token", ds->unlabelled_rows);
}

void run_summarise_data(const run_t *run) {
    if (run->train.n_samples) summarise("train", &run->train, "");
    if (run->eval.n_samples)
        summarise("eval", &run->eval, run->config.data.eval_split > 0 ? "; held out of data.train by eval_split" : "");
    if (run->chat) log_info("template  %s", chat_template_origin(run->chat));
    if (run->prompts.n)
        log_info("samples   %zu prompt%s of up to %zu tokens, %s, answered at every evaluation", run->prompts.n,
                 s_of(run->prompts.n), run->prompts.longest,
                 run->prompts.in_template ? "in the chat template" : "without a chat template");
}

/* A text of more bytes is shown by its beginning and its end. */
enum { SHOWN = 1200 };

/* Where a character begins, at `i` or before it. */
static size_t character(const char *s, size_t i) {
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80) i--;
    return i;
}

void run_show_first_row(const run_t *run) {
    if (!run->train.n_samples) return;
    char *text = dataset_sample_text(&run->train, 0, run->tok, "[[", "]]");
    size_t len = strlen(text), head = len, tail = len;
    if (len > SHOWN) {
        head = character(text, SHOWN / 2);
        tail = character(text, len - SHOWN / 2);
    }
    log_info("row %-5zu (trained between [[ and ]])\n%.*s%s%s", run->train.samples[0].row, (int)head, text,
             head < len ? "\n[...]\n" : "", text + tail);
    free(text);
}
