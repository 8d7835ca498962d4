/* A file that is written from its beginning to its end, in many pieces: whole, or not there. Every failure removes it
 * and is ERR_FAILED with the system's reason; after one only out_close() may follow. */
#ifndef BASE_OUT_FILE_H
#define BASE_OUT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct {
    char *path; /* NULL: not opened */
    int fd;     /* -1: not open, or failed */
    char *buffer;
    size_t held; /* bytes in the buffer */
} out_file_t;

int out_open(out_file_t *o, const char *path, err_t *err); /* creates or replaces */
int out_write(out_file_t *o, const void *data, size_t n, err_t *err);
int out_flush(out_file_t *o, err_t *err); /* for those who open the file before it is finished */
/* Gives the file its whole size, which reads as zeros where nothing was written; flushed before. */
int out_extend(out_file_t *o, size_t size, err_t *err);
static inline bool out_failed(const out_file_t *o) { return o->path && o->fd < 0; }
/* fsync and close, or, when rc is an error, close and remove. Returns rc or its own error; frees what o has. */
int out_close(out_file_t *o, int rc, err_t *err);

#endif
