/* Helpers over jansson: files with errors that say where, and typed members with errors that say which.
 * `where` in the getters names the file (and object) for messages. Optional getters leave *out alone when
 * the member is absent or null. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Once, at the start of a program: jansson's own answer to memory that is not to be had is a NULL in the middle of
 * building something, which then lacks a member. */
void json_use_checked_memory(void);

int json_file(const char *path, json_t **root, err_t *err); /* ERR_USAGE with line and column */
/* Strict UTF-8 JSON of exactly `len` bytes; `where` prefixes the message. */
int json_text(const char *text, size_t len, const char *where, json_t **root, err_t *err);

int json_opt_size(const json_t *obj, const char *key, const char *where, size_t *out, err_t *err);
int json_opt_number(const json_t *obj, const char *key, const char *where, double *out, err_t *err);
int json_opt_bool(const json_t *obj, const char *key, const char *where, bool *out, err_t *err);
/* Borrowed from the object. */
int json_opt_string(const json_t *obj, const char *key, const char *where, const char **out, err_t *err);
int json_need_size(const json_t *obj, const char *key, const char *where, size_t *out, err_t *err);
int json_need_string(const json_t *obj, const char *key, const char *where, const char **out, err_t *err);

/* 64-bit identities are strings of 16 hexadecimal digits: JSON's numbers are signed, and doubles to many readers. */
json_t *json_of_id(uint64_t id);
int json_need_id(const json_t *obj, const char *key, const char *where, uint64_t *out, err_t *err);

/* Writes with fsync; two-space indent, keys in insertion order, newline at the end. */
int json_write(const char *path, const json_t *root, err_t *err);

#endif
