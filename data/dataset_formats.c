#include "data/dataset_formats.h"

#include <string.h>

#include "data/chat/chat_text.h"
#include "data/dataset_chat.h"

/* Whether the text has a special token spelled out at its start or end; then it is taken off. */
static bool take_off(const tokenizer_t *tok, int32_t id, bool at_end, const char **s, size_t *n) {
    size_t k = 0;
    const char *piece = id >= 0 ? tokenizer_piece(tok, id, true, &k) : "";
    if (k == 0 || k > *n || memcmp(*s + (at_end ? *n - k : 0), piece, k) != 0) return false;
    if (!at_end) *s += k;
    *n -= k;
    return true;
}

/* [BOS] prompt completion EOS; all of it or what follows the prompt is trained. */
static int write_text(row_writer_t *w, const char *prompt, size_t np, const char *text, size_t n, bool train_all,
                      err_t *err) {
    const tokenizer_t *tok = w->spec->tok;
    int32_t bos = tokenizer_bos(tok), eos = tokenizer_eos(tok);
    bool spelled = np > 0 ? take_off(tok, bos, false, &prompt, &np) : take_off(tok, bos, false, &text, &n);
    take_off(tok, eos, true, &text, &n);
    if ((spelled || tokenizer_add_bos(tok)) && bos >= 0) {
        ids_add(&w->ids, bos);
        ids_add(&w->labels, LABEL_NONE);
    }
    text_out_t out = {.tok = tok,
                      .ids = &w->ids,
                      .labels = &w->labels,
                      .train_all = train_all,
                      .straddle = STRADDLE_TRAINED,
                      .specials = true,
                      .inside = spelled};
    text_plain(&out, prompt, np, false);
    text_plain(&out, text, n, true);
    int rc = eos >= 0 ? text_token(&out, eos, true, err) : text_flush(&out, err);
    text_free(&out);
    return rc;
}

static int convert_messages(row_writer_t *w, const file_row_t *row, err_t *err) {
    return convert_conversation(w, row->json, "messages", err);
}

static int convert_sharegpt(row_writer_t *w, const file_row_t *row, err_t *err) {
    return convert_conversation(w, row->json, "conversations", err);
}

static int convert_instruction(row_writer_t *w, const file_row_t *row, err_t *err) {
    return convert_alpaca(w, row->json, err);
}

static int convert_prompt(row_writer_t *w, const file_row_t *row, err_t *err) {
    const char *prompt, *completion;
    size_t np, n;
    if (row_text(row->json, "prompt", false, &prompt, &np, err) ||
        row_text(row->json, "completion", false, &completion, &n, err))
        return err->code;
    return write_text(w, prompt, np, completion, n, w->spec->train_all, err);
}

static int convert_text(row_writer_t *w, const file_row_t *row, err_t *err) {
    const char *s = row->text;
    size_t n = row->len;
    if (row->json && row_text(row->json, "text", false, &s, &n, err)) return err->code;
    return n == 0 ? 0 : write_text(w, "", 0, s, n, true, err);
}

static int tokens_array(const json_t *row, const char *key, const json_t **array, err_t *err) {
    *array = json_object_get(row, key);
    if (!*array) return err_set(err, ERR_USAGE, "%s is missing; expected a list of token ids", key);
    return json_is_array(*array) ? 0 : err_set(err, ERR_USAGE, "%s: expected a list of token ids", key);
}

static int token_at(const row_writer_t *w, const json_t *array, const char *key, size_t i, bool label, int32_t *id,
                    err_t *err) {
    const json_t *v = json_array_get(array, i);
    json_int_t x = json_integer_value(v), limit = w->spec->vocab ? (json_int_t)w->spec->vocab : INT32_MAX;
    if (!json_is_integer(v)) return err_set(err, ERR_USAGE, "%s[%zu]: expected a token id", key, i);
    if ((x < 0 || x >= limit) && !(label && x == LABEL_NONE))
        return err_set(err, ERR_USAGE, "%s[%zu]: %lld is no token id; expected 0 to %lld%s", key, i, (long long)x,
                       (long long)limit - 1, label ? ", or -100 where nothing is trained" : "");
    *id = (int32_t)x;
    return 0;
}

static int convert_tokens(row_writer_t *w, const file_row_t *row, err_t *err) {
    const json_t *ids, *labels = json_object_get(row->json, "labels");
    if (tokens_array(row->json, "input_ids", &ids, err)) return err->code;
    bool own = labels && !json_is_null(labels);
    if (!own) labels = ids;
    else if (tokens_array(row->json, "labels", &labels, err)) return err->code;
    size_t n = json_array_size(ids);
    if (json_array_size(labels) != n)
        return err_set(err, ERR_USAGE, "labels: has %zu values, input_ids %zu; expected one label a token",
                       json_array_size(labels), n);
    for (size_t i = 0; i < n; i++) {
        int32_t id = 0, label = 0;
        if (token_at(w, ids, "input_ids", i, false, &id, err)) return err->code;
        if (token_at(w, labels, "labels", i, own, &label, err)) return err->code;
        ids_add(&w->ids, id);
        ids_add(&w->labels, label);
    }
    return 0;
}

/* What a format does with a chat template. */
typedef enum { TEMPLATE_UNUSED, TEMPLATE_USED, TEMPLATE_NEEDED } template_use_t;

/* By data_format_t. A row is of the first format whose keys it has. */
static const struct {
    const char *name;
    const char *keys[2];
    bool text;
    template_use_t chat;
    int (*convert)(row_writer_t *w, const file_row_t *row, err_t *err);
} formats[] = {
    [DATA_MESSAGES] = {"messages", {"messages"}, true, TEMPLATE_NEEDED, convert_messages},
    [DATA_SHAREGPT] = {"sharegpt", {"conversations"}, true, TEMPLATE_NEEDED, convert_sharegpt},
    [DATA_ALPACA] = {"alpaca", {"instruction", "output"}, true, TEMPLATE_USED, convert_instruction},
    [DATA_PROMPT_COMPLETION] = {"prompt-completion", {"prompt", "completion"}, true, TEMPLATE_UNUSED, convert_prompt},
    [DATA_TEXT] = {"text", {"text"}, true, TEMPLATE_UNUSED, convert_text},
    [DATA_TOKENS] = {"tokens", {"input_ids"}, false, TEMPLATE_UNUSED, convert_tokens},
    [DATA_AUTO] = {"auto", {NULL}, false, TEMPLATE_UNUSED, NULL},
};

const char *data_format_name(data_format_t f) { return formats[f].name; }

bool data_format_from_name(const char *name, data_format_t *f) {
    for (size_t i = 0; i <= DATA_AUTO; i++) {
        if (strcmp(name, formats[i].name) != 0) continue;
        *f = (data_format_t)i;
        return true;
    }
    return false;
}

bool format_needs_tokenizer(data_format_t f) { return formats[f].text; }

bool data_format_uses_template(data_format_t f) { return formats[f].chat != TEMPLATE_UNUSED; }

bool format_needs_template(data_format_t f) { return formats[f].chat == TEMPLATE_NEEDED; }

/* The first of the format's keys that the row does not have; NULL: it has all. */
static const char *missing_key(const json_t *row, data_format_t f) {
    for (size_t i = 0; i < 2 && formats[f].keys[i]; i++)
        if (!json_object_get(row, formats[f].keys[i])) return formats[f].keys[i];
    return NULL;
}

int row_detect(const file_row_t *row, data_format_t *f, err_t *err) {
    if (row->json && !json_is_object(row->json)) return err_set(err, ERR_USAGE, "expected an object {...} as a row");
    for (size_t i = 0; i < DATA_AUTO; i++) {
        if (row->json ? missing_key(row->json, (data_format_t)i) != NULL : i != DATA_TEXT) continue;
        *f = (data_format_t)i;
        return 0;
    }
    return err_set(err, ERR_USAGE,
                   "the row's keys are of no known format; expected messages, conversations, instruction "
                   "and output, prompt and completion, text, or input_ids");
}

int row_convert(row_writer_t *w, data_format_t format, const file_row_t *row, err_t *err) {
    w->ids.len = w->labels.len = 0;
    if (!row->json && format != DATA_TEXT)
        return err_set(err, ERR_USAGE, "a .txt file has rows of the format text, not %s", formats[format].name);
    if (row->json && !json_is_object(row->json)) return err_set(err, ERR_USAGE, "expected an object {...} as a row");
    const char *missing = row->json ? missing_key(row->json, format) : NULL;
    if (missing)
        return err_set(err, ERR_USAGE,
                       "%s is missing; expected a row of the format %s, like the file's first or as "
                       "data.format says",
                       missing, formats[format].name);
    return formats[format].convert(w, row, err);
}
