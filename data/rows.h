/* Rows of data files, one at a time, so that memory holds few of them: .jsonl, a .json array, .txt (one row: the whole
 * file), each also compressed (.gz, .zst). What a file holds is told by its first byte: an array starts with '['. */
#ifndef DATA_ROWS_H
#define DATA_ROWS_H

#include "base/file.h"
#include "base/json.h"
#include "data/unpack.h"

typedef struct {
    const char *path; /* the caller's */
    mapping_t map;    /* of a file that is not compressed */
    unpack_t *packed; /* of one that is, unpacked into */
    char *window;     /* [cap], where rows are read behind those before */
    size_t cap;
    const uint8_t *data; /* the mapping or the window, of which `size` bytes are there */
    size_t size;
    bool ended;      /* there are no more behind */
    size_t at, line; /* where the next row is looked for; lines count from 1 */
    size_t passed;   /* bytes of the file before `data` */
    size_t released; /* the bytes of the mapping before it were given back */
    bool array, plain, done;
} rows_t;

typedef struct {
    json_t *json;     /* NULL for plain text */
    bool unparsed;    /* a line of JSON that row_parse() has yet to read */
    bool odd;         /* the JSON has values that were replaced (odd_json.h) */
    const char *text; /* plain text, or the line; in the mapping or in `owned` */
    char *owned;
    size_t len;
    size_t line; /* where the row starts */
} file_row_t;

/* Whether it is data by its name, and the names that are, for messages. */
bool rows_is_data(const char *path);
/* Whether it is data of a kind that is not read, for which rows_open() says what to do. */
bool rows_is_other(const char *path);
#define ROWS_SUFFIXES ".jsonl, .json (an array) or .txt, or one of them with .gz or .zst behind"

int rows_open(const char *path, rows_t *r, err_t *err);
/* *more false: there are no more rows, and *row is untouched. ERR_USAGE with file:line for invalid JSON or UTF-8. */
int rows_next(rows_t *r, file_row_t *row, bool *more, err_t *err);
/* The same for several threads: what can be read later and elsewhere, a line of a .jsonl, is left to row_parse(). */
int rows_next_unparsed(rows_t *r, file_row_t *row, bool *more, err_t *err);
int row_parse(const char *path, file_row_t *row, err_t *err);
void row_free(file_row_t *row);
/* The bytes before the next row, of the file or what it was unpacked to. */
size_t rows_position(const rows_t *r);
/* Gives the memory of the rows so far back; their texts are read again from the file if they are touched. */
void rows_release(rows_t *r);
void rows_close(rows_t *r);

/* A member of a row, or of an object in it, that is there and not null, else NULL. */
const json_t *row_member(const json_t *obj, const char *key);
/* Whether a member says nothing: it is absent, null, or an empty list or text. */
bool row_member_empty(const json_t *obj, const char *key);
/* A string member of a row as text; absent or null: empty if optional, else an error that names it. */
int row_text(const json_t *row, const char *key, bool optional, const char **s, size_t *n, err_t *err);

#endif
