/* What each data type makes of a model's linear layers: size, errors, use of its codes, and of a text the perplexity. */
#ifndef TRAINER_QUANT_REPORT_QUANT_REPORT_H
#define TRAINER_QUANT_REPORT_QUANT_REPORT_H

#include "model/source.h"

typedef struct {
    const char *name;
    quant_type_t type;
    bool double_quant;
} quant_kind_t;

enum { QUANT_KINDS = 7 };
extern const quant_kind_t quant_kinds[QUANT_KINDS];

typedef struct {
    size_t n;             /* values */
    double signal, error; /* sums of squares, of the values and of their errors */
    float worst;          /* greatest error */
} quant_error_t;

static inline bool quant_is_exact(const quant_error_t *e) { return e->error == 0; }
double quant_rmse(const quant_error_t *e);
double quant_snr(const quant_error_t *e); /* dB; infinite where there is no error */

typedef struct {
    size_t bytes; /* codes and constants of all linear layers */
    quant_error_t whole, *layer;
    uint64_t codes[256]; /* how often each is used, in the order of its value; none of a plain type */
    double normal[256];  /* which share normal values give it */
    double loss;         /* with a text */
} quant_result_t;

typedef struct {
    const char *model, *text;
    size_t values, layers;
    size_t max_length;   /* of a row of the text: 1024, or what the model has positions for */
    size_t label_tokens; /* of the text; 0: there is none */
    quant_result_t of[QUANT_KINDS];
} quant_report_t;

/* Codes that a type may write: 16, 256, or 0 of a plain one. */
size_t quant_code_count(quant_type_t type);
/* Half of the sum of differences between the shares of the codes and those of normal values: 0 to 1. */
double quant_off_normal(const quant_report_t *r, int kind);

/* Sizes and errors, one tensor at a time, by all threads. What a run would quantize is what is taken for exact: a file's
 * values, those of a GGUF's blocks rounded to BF16. ERR_USAGE for a model that bitsandbytes has quantized. */
int quant_measure(const model_source_t *src, quant_report_t *r, err_t *err);
/* The mean loss on the text (a data file of format `text`, or .txt) under each type, the model loaded once for each. */
int quant_perplexity(quant_report_t *r, err_t *err);
void quant_report_free(quant_report_t *r);

/* One file of HTML that needs no other. */
int quant_page_write(const quant_report_t *r, const char *path, err_t *err);

#endif
