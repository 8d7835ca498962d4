/* Datasets: files of rows in any of the known formats, tokenized once into memory, where a token takes 33 bits.
 * Labels follow Hugging Face: labels[t] belongs to input_ids[t] and is predicted from t-1; -100 is untrained. */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include "data/chat/chat.h"

typedef enum {
    DATA_MESSAGES,
    DATA_SHAREGPT,
    DATA_ALPACA,
    DATA_PROMPT_COMPLETION,
    DATA_TEXT,
    DATA_TOKENS,
    DATA_AUTO
} data_format_t;
const char *data_format_name(data_format_t f);
bool data_format_from_name(const char *name, data_format_t *f);

#define LABEL_NONE (-100)

/* One row, or a piece of a `text` row: a slice of the dataset's token arrays. */
typedef struct {
    size_t start, len;
    size_t labels;       /* trained tokens: labels other than -100, the row's first position never counted */
    size_t row;          /* which row of the files, counted from 1 through all of them */
    uint32_t file, line; /* where it begins: of the files in their order, and the line */
} sample_t;

/* The tokens of all rows one after another, and their labels, which dataset_label() gives. */
typedef struct {
    int32_t *ids;     /* [n_tokens] */
    uint8_t *trained; /* a bit a token, the lowest of a byte first: whether its label is its id; else LABEL_NONE */
    int32_t *labels;  /* in place of `trained` where a row of `tokens` gives labels that are not the ids, else NULL */
    size_t n_tokens;
    sample_t *samples; /* in file order */
    size_t n_samples;
    data_format_t format; /* what the first file was detected as */
    /* For reports. */
    size_t rows_read;                        /* rows in the files */
    size_t truncated_rows, truncated_tokens; /* cut on the right at max_length (not `text`, which is split) */
    size_t unlabelled_rows;                  /* no trained token (after truncation; a `text` row's last piece of one
                                              * token is such a row too): left out, counted */
    size_t label_tokens;
    size_t longest; /* tokens of the longest sample */
    row_notes_t notes;
    uint64_t fingerprint; /* XXH3 of ids, labels and row lengths */
} dataset_t;

typedef struct {
    const char *const *files; /* .jsonl, .json (array), .txt; also compressed: rows.h */
    size_t n_files;
    data_format_t format;
    size_t max_length;
    train_on_t train_on;
    const tokenizer_t *tok;      /* may be NULL for `tokens` */
    const chat_template_t *chat; /* NULL: none, which rows that are conversations cannot do without */
    size_t vocab;                /* of the model: an id outside it is an error; 0: not known, not checked */
} dataset_spec_t;

/* Rows become tokens so:
 *   messages, sharegpt   the conversation in the chat template; "tools", "system" and more of the row are respected
 *   alpaca               earlier turns (history), a user's turn (instruction, a blank line, input) and the answer, in the
 *                        chat template; with the template `alpaca` or none: the Alpaca prompt's own text
 *   prompt-completion    BOS if the tokenizer adds it, prompt, completion, EOS; trained from the completion on. Of lists
 *                        of messages: the conversation in the chat template, in which the completion is trained
 *   text                 BOS likewise, text, EOS, all trained, split into samples of max_length
 *   tokens               as given, less what masks take out
 * Special tokens are recognised in texts. A text that starts with BOS or ends with EOS spelled out gets no second one. A
 * .txt file is one `text` row.
 *
 * ERR_USAGE with file, line and what was expected. A dataset without a trained token is an error. */
int dataset_load(const dataset_spec_t *spec, dataset_t *ds, err_t *err);
void dataset_free(dataset_t *ds);
/* Looks at the first row only: which format a file has (where *f is DATA_AUTO), and whether a chat template is used. */
int dataset_detect(const char *file, data_format_t *f, bool *uses_template, err_t *err);

/* Moves rows, all samples of each, from a dataset into one of their own: a share of them (below 1) or so many, drawn by
 * seed, in the order they had. ERR_USAGE if nothing would be left to train. */
int dataset_split(dataset_t *ds, double share_or_rows, uint64_t seed, dataset_t *part, err_t *err);
/* XXH3 of ids, labels and row lengths. */
uint64_t dataset_hash(const dataset_t *ds);

/* The label of token t; that of a row's first token is LABEL_NONE. */
static inline int32_t dataset_label(const dataset_t *ds, size_t t) {
    if (ds->labels) return ds->labels[t];
    return ds->trained[t / 8] >> t % 8 & 1 ? ds->ids[t] : LABEL_NONE;
}

/* A sample for people: its text, special tokens included, each trained stretch between `open` and `close` (brackets,
 * or a terminal's colours). Without a tokenizer: ids. The caller frees. */
char *dataset_sample_text(const dataset_t *ds, size_t sample, const tokenizer_t *tok, const char *open,
                          const char *close);

#endif
