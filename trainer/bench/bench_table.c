/* Tables for people: columns as wide as what stands in them, text to the left, numbers to the right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/bench/bench.h"
#include "trainer/run/progress.h"

enum { CELL = 64 };

/* Three or four digits that count. */
static void format_number(double v, char out[CELL]) {
    int decimals = v >= 1000 ? 0 : v >= 100 ? 1 : v >= 1 ? 2 : 3;
    snprintf(out, CELL, "%.*f", decimals, v);
}

static void format_cell(const json_t *row, const bench_column_t *c, char out[CELL]) {
    const json_t *v = json_object_get(row, c->key);
    out[0] = 0;
    if (json_is_string(v)) {
        snprintf(out, CELL, "%s", json_string_value(v));
        return;
    }
    if (!json_is_number(v)) return;
    double x = json_number_value(v);
    char bytes[16];
    switch (c->kind) {
    case COLUMN_PERCENT: snprintf(out, CELL, "%.0f%%", 100 * x); break;
    case COLUMN_MS: format_number(1e3 * x, out); break;
    case COLUMN_BYTES:
        format_bytes((size_t)x, bytes);
        snprintf(out, CELL, "%s", bytes);
        break;
    default:
        if (json_is_integer(v)) snprintf(out, CELL, "%lld", (long long)json_integer_value(v));
        else format_number(x, out);
    }
}

static void add_cell(strbuf_t *line, const char *text, size_t width, bool left) {
    strbuf_addf(line, left ? "  %-*s" : "  %*s", (int)width, text);
}

void bench_table(const char *title, const json_t *rows, const bench_column_t *columns, size_t n_columns) {
    enum { MAX_COLUMNS = 12 };
    size_t width[MAX_COLUMNS];
    char cell[CELL];
    CHECK(n_columns <= MAX_COLUMNS);
    for (size_t c = 0; c < n_columns; c++) {
        width[c] = strlen(columns[c].heading);
        for (size_t r = 0; r < json_array_size(rows); r++) {
            format_cell(json_array_get(rows, r), &columns[c], cell);
            if (strlen(cell) > width[c]) width[c] = strlen(cell);
        }
    }
    log_info("%s", title);
    for (size_t r = 0; r <= json_array_size(rows); r++) {
        strbuf_t line = {0};
        for (size_t c = 0; c < n_columns; c++) {
            if (r > 0) format_cell(json_array_get(rows, r - 1), &columns[c], cell);
            add_cell(&line, r == 0 ? columns[c].heading : cell, width[c], columns[c].kind == COLUMN_TEXT);
        }
        log_info("%s", line.p);
        free(line.p);
    }
}
