/* Rows of data files, one at a time, so that memory holds few of them: .jsonl, a .json array, .txt (one row: the whole
 * file). What a file holds is told by its first byte: an array starts with '['. */
#ifndef DATA_ROWS_H
#define DATA_ROWS_H

#include "base/file.h"
#include "base/json.h"

typedef struct {
    const char *path; /* the caller's */
    mapping_t map;
    size_t at, line; /* where the next row is looked for; lines count from 1 */
    size_t released; /* the bytes before it were given back */
    bool array, plain, done;
} rows_t;

typedef struct {
    json_t *json;     /* owned by the row: json_decref; NULL for plain text */
    bool unparsed;    /* a line of JSON that row_parse() has yet to read */
    const char *text; /* plain text, or the line; in the mapping */
    size_t len;
    size_t line; /* where the row starts */
} file_row_t;

int rows_open(const char *path, rows_t *r, err_t *err);
/* *more false: there are no more rows, and *row is untouched. ERR_USAGE with file:line for invalid JSON or UTF-8. */
int rows_next(rows_t *r, file_row_t *row, bool *more, err_t *err);
/* The same for several threads: what can be read later and elsewhere, a line of a .jsonl, is left to row_parse(). */
int rows_next_unparsed(rows_t *r, file_row_t *row, bool *more, err_t *err);
int row_parse(const char *path, file_row_t *row, err_t *err);
/* Gives the memory of the rows so far back; their texts are read again from the file if they are touched. */
void rows_release(rows_t *r);
void rows_close(rows_t *r);

/* A string member of a row as text; absent or null: empty if optional, else an error that names it. */
int row_text(const json_t *row, const char *key, bool optional, const char **s, size_t *n, err_t *err);

#endif
