#include "data/dataset_formats.h"

#include <stdlib.h>
#include <string.h>

#include "data/conversation_formats.h"
#include "data/dataset_chat.h"
#include "data/dataset_tokens.h"

void row_writer_free(row_writer_t *w) {
    free(w->text.p);
    free(w->ids.ids);
    free(w->labels.ids);
    free(w->starts.at);
    *w = (row_writer_t){0};
}

/* ---- text ---- */

/* Whether the text has a special token spelled out at its start or end; then it is taken off. */
static bool take_off(const tokenizer_t *tok, int32_t id, bool at_end, const char **s, size_t *n) {
    size_t k = 0;
    const char *piece = id >= 0 ? tokenizer_piece(tok, id, true, &k) : "";
    if (k == 0 || k > *n || memcmp(*s + (at_end ? *n - k : 0), piece, k) != 0) return false;
    if (!at_end) *s += k;
    *n -= k;
    return true;
}

static void add_token(row_writer_t *w, int32_t id, bool trained) {
    size_t n = 0;
    ids_add(&w->ids, id);
    ids_add(&w->labels, trained ? id : LABEL_NONE);
    const char *piece = tokenizer_piece(w->spec->tok, id, true, &n);
    if (w->wants_text) strbuf_add(&w->text, piece, n);
}

/* Labels for the ids from `first` on, whose places are w->starts: those that have bytes from `from` on are trained, also
 * if they have some before. */
static void label_from(row_writer_t *w, size_t first, size_t from, size_t len) {
    size_t end = len, n = w->ids.len - first;
    for (size_t i = 0; i < n; i++) ids_add(&w->labels, LABEL_NONE);
    for (size_t i = n; i-- > 0;) {
        /* Several ids may be of one character, and end with it. */
        if (i + 1 < n && w->starts.at[i + 1] > w->starts.at[i]) end = w->starts.at[i + 1];
        if (end > from) w->labels.ids[first + i] = w->ids.ids[first + i];
    }
}

/* [BOS] prompt completion EOS; all of it or what follows the prompt is trained. */
static int write_text(row_writer_t *w, const char *prompt, size_t np, const char *text, size_t n, bool train_all,
                      err_t *err) {
    const tokenizer_t *tok = w->spec->tok;
    int32_t bos = tokenizer_bos(tok), eos = tokenizer_eos(tok);
    bool spelled = np > 0 ? take_off(tok, bos, false, &prompt, &np) : take_off(tok, bos, false, &text, &n);
    take_off(tok, eos, true, &text, &n);
    if ((spelled || tokenizer_add_bos(tok)) && bos >= 0) add_token(w, bos, false);
    strbuf_t joined = {0};
    strbuf_add(&joined, prompt, np);
    strbuf_add(&joined, text, n);
    size_t first = w->ids.len;
    w->starts.len = 0;
    int rc = tokenizer_encode_starts(tok, joined.p ? joined.p : "", joined.len, true, spelled, &w->ids, &w->starts,
                                     err);
    if (rc == 0) label_from(w, first, train_all ? 0 : np, joined.len);
    if (w->wants_text && joined.p) strbuf_add(&w->text, joined.p, joined.len);
    if (rc == 0 && eos >= 0) add_token(w, eos, true);
    free(joined.p);
    return rc;
}

static int convert_prompt(row_writer_t *w, const file_row_t *row, err_t *err) {
    const char *prompt, *completion;
    size_t np, n;
    if (prompt_is_conversation(row->json)) return convert_prompt_messages(w, row, err);
    if (row_text(row->json, "prompt", false, &prompt, &np, err) ||
        row_text(row->json, "completion", false, &completion, &n, err))
        return err->code;
    return write_text(w, prompt, np, completion, n, w->spec->train_on == TRAIN_ON_ALL, err);
}

static int convert_text(row_writer_t *w, const file_row_t *row, err_t *err) {
    const char *s = row->text;
    size_t n = row->len;
    if (row->json && row_text(row->json, "text", false, &s, &n, err)) return err->code;
    return n == 0 ? 0 : write_text(w, "", 0, s, n, true, err);
}

/* ---- formats ---- */

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
    [DATA_ALPACA] = {"alpaca", {"instruction", "output"}, true, TEMPLATE_USED, convert_alpaca},
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

bool row_uses_template(data_format_t f, const file_row_t *row) {
    return formats[f].chat != TEMPLATE_UNUSED || (f == DATA_PROMPT_COMPLETION && prompt_is_conversation(row->json));
}

int row_writer_prepare(const dataset_spec_t *spec, data_format_t f, const file_row_t *first, chat_template_t **alpaca,
                       err_t *err) {
    if (formats[f].text && !spec->tok)
        return err_set(err, ERR_USAGE,
                       "rows of the format %s need a tokenizer; expected one with the model, or rows of "
                       "the format tokens",
                       formats[f].name);
    if (spec->chat || !row_uses_template(f, first)) return 0;
    if (f == DATA_ALPACA)
        return *alpaca ? 0 : chat_template_open(spec->tok, &(chat_spec_t){.choice = "alpaca"}, alpaca, err);
    return err_set(err, ERR_USAGE,
                   "rows of the format %s need a chat template; expected data.chat_template other "
                   "than none",
                   formats[f].name);
}

/* Two answers of which one is better, or one that is good or bad: data of another kind of training, in which learning
 * every answer is the opposite of what is wanted. */
static int refuse_preferences(const json_t *row, err_t *err) {
    static const char *const keys[] = {"chosen", "rejected", "label", "kto_tag"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = row_member(row, keys[i]);
        bool verdict = json_is_boolean(v) || (json_is_integer(v) && (size_t)json_integer_value(v) <= 1);
        if (i < 2 ? v != NULL : verdict)
            return err_set(err, ERR_USAGE,
                           "%s: this is preference data (chosen, rejected, label), which is not trained on; expected "
                           "rows with one answer that is to be learnt",
                           keys[i]);
    }
    return 0;
}

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
    if (refuse_preferences(row->json, err)) return err->code;
    return err_set(err, ERR_USAGE,
                   "the row's keys are of no known format; expected messages, conversations, instruction "
                   "and output, prompt and completion, text, or input_ids");
}

int row_convert(row_writer_t *w, data_format_t format, const file_row_t *row, err_t *err) {
    w->ids.len = w->labels.len = w->text.len = 0;
    if (!row->json && format != DATA_TEXT)
        return err_set(err, ERR_USAGE, "a .txt file has rows of the format text, not %s", formats[format].name);
    if (row->json && !json_is_object(row->json)) return err_set(err, ERR_USAGE, "expected an object {...} as a row");
    const char *missing = row->json ? missing_key(row->json, format) : NULL;
    if (missing)
        return err_set(err, ERR_USAGE,
                       "%s is missing; expected a row of the format %s, like the file's first or as "
                       "data.format says",
                       missing, formats[format].name);
    /* In a text or ids a label is a column like others. */
    bool answers = row->json && format != DATA_TEXT && format != DATA_TOKENS;
    return answers && refuse_preferences(row->json, err) ? err->code : formats[format].convert(w, row, err);
}
