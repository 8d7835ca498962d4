#include "trainer/report/samples_read.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "trainer/report/lines.h"

/* A prompt of PROMPTS_MOST_BYTES, all of it escaped, and an answer. */
#define LONGEST ((size_t)8 << 20)

/* An evaluation's rows stand together: each change of the step begins another one. */
typedef struct {
    report_samples_t *samples;
    size_t *unread; /* NULL: counted before */
    size_t found;   /* evaluations begun */
    size_t step;    /* of the last of them */
    size_t column;  /* its column, if it is chosen */
    bool chosen;
} reader_t;

/* The evaluation that is shown in a column. */
static size_t choice(const report_samples_t *s, size_t column) {
    size_t n = s->evaluations;
    return n <= SAMPLED_STEPS ? column : column * (n - 1) / (SAMPLED_STEPS - 1);
}

static void begin(reader_t *r, size_t step) {
    report_samples_t *s = r->samples;
    size_t evaluation = r->found++;
    r->step = step;
    r->chosen = false;
    for (size_t c = 0; c < s->n_steps && !r->chosen; c++) {
        r->chosen = choice(s, c) == evaluation;
        r->column = c;
    }
    if (r->chosen) s->steps[r->column] = step;
}

static char *beginning(const char *text) {
    size_t n = strlen(text);
    if (n <= SAMPLED_BYTES) return xstrdup(text);
    for (n = SAMPLED_BYTES; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80; n--) continue;
    return xasprintf("%.*s …", (int)n, text);
}

/* NULL: there are too many. */
static sampled_t *row_of(report_samples_t *s, const char *prompt) {
    uint64_t id = XXH3_64bits(prompt, strlen(prompt));
    for (size_t i = 0; i < s->n_rows; i++)
        if (s->rows[i].id == id) return &s->rows[i];
    if (s->n_rows == SAMPLED_PROMPTS) return NULL;
    s->rows[s->n_rows] = (sampled_t){.prompt = beginning(prompt), .id = id};
    return &s->rows[s->n_rows++];
}

static void take(void *ctx, json_t *row) {
    reader_t *r = ctx;
    const json_t *step = json_object_get(row, "step");
    const char *prompt = json_string_value(json_object_get(row, "prompt")),
               *completion = json_string_value(json_object_get(row, "completion"));
    if (!json_is_integer(step) || json_integer_value(step) < 0 || !prompt || !completion) {
        if (r->unread) ++*r->unread;
        return;
    }
    size_t at = (size_t)json_integer_value(step);
    if (r->found == 0 || at != r->step) begin(r, at);
    if (!r->chosen) return;
    sampled_t *to = row_of(r->samples, prompt);
    if (to && !to->completion[r->column]) to->completion[r->column] = beginning(completion);
    else r->samples->left_out++;
}

int report_samples_read(const char *path, report_samples_t *s, size_t *unread, err_t *err) {
    *s = (report_samples_t){0};
    if (!path_exists(path)) return 0;
    reader_t count = {.samples = s, .unread = unread}, fill = {.samples = s};
    size_t seen_before = 0;
    if (each_line(path, LONGEST, take, &count, unread, err)) return err->code;
    s->evaluations = count.found;
    s->n_steps = min_size(count.found, SAMPLED_STEPS);
    return each_line(path, LONGEST, take, &fill, &seen_before, err);
}

void report_samples_free(report_samples_t *s) {
    for (size_t i = 0; i < s->n_rows; i++) {
        free(s->rows[i].prompt);
        for (size_t c = 0; c < SAMPLED_STEPS; c++) free(s->rows[i].completion[c]);
    }
    *s = (report_samples_t){0};
}
