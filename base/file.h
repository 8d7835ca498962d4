/* Files: read-only mappings, whole reads, and writes that survive a crash. Paths are plain C strings;
 * what returns a new string or buffer leaves it to the caller to free. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

char *path_join(const char *dir, const char *name); /* `name` alone when it is absolute or dir is empty */
char *path_dirname(const char *path);               /* "." when there is no slash */
bool path_exists(const char *path);                 /* also where it cannot be looked at: who opens it learns why */
bool path_is_dir(const char *path);
bool path_has_suffix(const char *path, const char *suffix);

/* The file as a NUL-terminated buffer (the NUL is not counted in *len). ERR_USAGE when there is no such file, ERR_FAILED
 * when it cannot be read. */
int file_read(const char *path, char **data, size_t *len, err_t *err);
/* The same of a file that somebody wrote, of at most so many bytes. A larger one was given by mistake, a model say: none of
 * it is read, and the error says what was `expected`. */
int file_read_small(const char *path, size_t most, const char *expected, char **data, size_t *len, err_t *err);

/* The error of an open that failed just now, by errno: ERR_USAGE where the name is wrong, ERR_FAILED where it is the
 * machine. */
int file_cannot_open(const char *path, err_t *err);

/* A read-only mapping. An empty file is an error; a page that cannot be read later ends the program (bus_error.h). */
typedef struct {
    const uint8_t *data;
    size_t size;
} mapping_t;
int file_map(const char *path, mapping_t *m, err_t *err);
void file_unmap(mapping_t *m);
/* Gives the pages of [data, data+len) back: they are read again from the file if touched later. Keeps the
 * resident size of a streamed load at one tensor instead of the whole file. */
void mapping_release(const void *data, size_t len);

/* The names in a directory but . and .., sorted; none if there is no such directory. A directory that cannot be read to
 * its end is an error, never an empty one. */
typedef struct {
    char **name;
    size_t n;
} dir_list_t;
int dir_list(const char *path, dir_list_t *list, err_t *err);
void dir_list_free(dir_list_t *list);

/* Write paths; ERR_FAILED with the system's reason (a full disk, say). */
int dir_make(const char *path, err_t *err);     /* with parents; fine if it exists */
int dir_sync(const char *path, err_t *err);     /* fsync of the directory: makes a rename in it durable */
int dir_make_new(const char *path, err_t *err); /* one that must not exist, without parents and their sync */
int dir_remove(const char *path, err_t *err);   /* recursively; fine if it does not exist, or is something else */
/* Removes what has a final name: it is called `aside` first, beside it, so that no half of it is ever seen under `dir`. */
int dir_discard(const char *dir, const char *aside, err_t *err);
int file_write(const char *path, const void *data, size_t len, err_t *err); /* create or replace, fsync */
int file_copy(const char *from, const char *to, err_t *err);                /* with fsync */
int file_rename(const char *from, const char *to, err_t *err);              /* and fsync of the parent of `to` */
/* Two names that exist change places at once, with a sync of the parent of `b`. False where the file system cannot do
 * that; both are there then as before. */
bool file_exchange(const char *a, const char *b);
/* Ends the writing of `tmp`: it becomes `path`, or, after an error in it or now, goes. */
int file_replace(const char *tmp, const char *path, int rc, err_t *err);
/* For who has a descriptor: whatever a signal interrupted is done to its end. */
int fd_open_append(const char *path, err_t *err); /* creates it if need be; -1 with an error */
int fd_write(int fd, const char *path, const void *data, size_t len, err_t *err);
int fd_sync(int fd);
int fd_close(int fd);
/* Removes a file that was not written to its end; leaves alone what is no regular file (a device, say). */
void file_discard(const char *path);
/* XXH3 64 of the contents. */
int file_hash(const char *path, uint64_t *hash, err_t *err);

#endif
