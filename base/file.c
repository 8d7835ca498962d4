#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bus_error.h"
#include "base/mem.h"

char *path_join(const char *dir, const char *name) {
    if (name[0] == '/' || !dir[0]) return xstrdup(name);
    size_t n = strlen(dir);
    return xasprintf(dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

/* The length of `path` without trailing slashes (but "/" keeps its one). */
static size_t trimmed(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return n;
}

char *path_dirname(const char *path) {
    size_t n = trimmed(path);
    while (n > 0 && path[n - 1] != '/') n--;
    if (n == 0) return xstrdup(".");
    while (n > 1 && path[n - 1] == '/') n--;
    return xstrndup(path, n);
}

/* Whether the last call says that there is nothing of the name, and not that the system could not look. */
static bool is_absent(void) { return errno == ENOENT || errno == ENOTDIR; }

/* Where the first question fails another is asked, here and below, or there would be a wrong answer without its reason. */
bool path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 || (!is_absent() && (access(path, F_OK) == 0 || !is_absent()));
}

/* What a signal interrupts is done again, here and below: on a network disk nearly any call may be. */
static int open_again(const char *path, int flags, mode_t mode) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int fd_sync(int fd) {
    int rc;
    do rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

/* Interrupted or not, it is closed. */
int fd_close(int fd) { return close(fd) == 0 || errno == EINTR ? 0 : -1; }

bool path_is_dir(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) return S_ISDIR(st.st_mode);
    int fd = is_absent() ? -1 : open_again(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) fd_close(fd);
    return fd >= 0;
}

bool path_has_suffix(const char *path, const char *suffix) {
    size_t n = strlen(path), k = strlen(suffix);
    return n >= k && strcmp(path + n - k, suffix) == 0;
}

/* Whether it is the name that is wrong; else it is the machine. */
static int blame(void) {
    bool name = is_absent() || errno == ELOOP || errno == ENAMETOOLONG || errno == ENXIO;
    return name ? ERR_USAGE : ERR_FAILED;
}

int file_cannot_open(const char *path, err_t *err) {
    return err_set(err, blame(), "%s: cannot open: %s", path, strerror(errno));
}

static int open_regular(const char *path, struct stat *st, int *fd, err_t *err) {
    /* O_NONBLOCK: a FIFO without a writer would be waited for; on a regular file it says nothing. */
    *fd = open_again(path, O_RDONLY | O_NONBLOCK, 0);
    if (*fd < 0) return file_cannot_open(path, err);
    int rc = 0;
    if (fstat(*fd, st) != 0) rc = err_set(err, ERR_FAILED, "%s: cannot read: %s", path, strerror(errno));
    else if (!S_ISREG(st->st_mode)) rc = err_set(err, ERR_USAGE, "%s: not a regular file", path);
    if (rc) fd_close(*fd);
    return rc;
}

/* Up to n bytes; 0: the end, -1 with an error. */
static ssize_t read_some(int fd, const char *path, void *p, size_t n, err_t *err) {
    ssize_t got;
    do got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    if (got < 0) err_set(err, ERR_FAILED, "%s: cannot read: %s", path, strerror(errno));
    return got;
}

static int read_whole(int fd, const char *path, char *buf, size_t size, err_t *err) {
    for (size_t have = 0; have < size;) {
        ssize_t n = read_some(fd, path, buf + have, size - have, err);
        if (n < 0) return err->code;
        if (n == 0) return err_set(err, ERR_FAILED, "%s: it became shorter while it was read", path);
        have += (size_t)n;
    }
    return 0;
}

int file_read_small(const char *path, size_t most, const char *expected, char **data, size_t *len, err_t *err) {
    struct stat st;
    int fd;
    if (open_regular(path, &st, &fd, err)) return err->code;
    size_t size = (size_t)st.st_size;
    if (size > most) {
        fd_close(fd);
        return err_set(err, ERR_USAGE, "%s: %zu bytes; expected %s", path, size, expected);
    }
    char *buf = xmalloc(size + 1);
    int rc = read_whole(fd, path, buf, size, err);
    fd_close(fd);
    if (rc) {
        free(buf);
        return rc;
    }
    buf[size] = 0;
    *data = buf;
    *len = size;
    return 0;
}

int file_read(const char *path, char **data, size_t *len, err_t *err) {
    return file_read_small(path, SIZE_MAX, "", data, len, err);
}

int file_map(const char *path, mapping_t *m, err_t *err) {
    struct stat st;
    int fd;
    if (open_regular(path, &st, &fd, err)) return err->code;
    if (st.st_size == 0) {
        fd_close(fd);
        return err_set(err, ERR_USAGE, "%s: the file is empty", path);
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int why = errno;
    fd_close(fd);
    if (p == MAP_FAILED) return err_set(err, ERR_FAILED, "%s: cannot map: %s", path, strerror(why));
    m->data = p;
    m->size = (size_t)st.st_size;
    bus_error_watch(p, m->size, path);
    return 0;
}

void file_unmap(mapping_t *m) {
    if (m->data) bus_error_forget(m->data);
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    m->data = NULL;
    m->size = 0;
}

void mapping_release(const void *data, size_t len) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t a = ((uintptr_t)data + page - 1) / page * page, b = ((uintptr_t)data + len) / page * page;
    if (b > a) madvise((void *)a, b - a, MADV_DONTNEED);
}

static int sync_parent(const char *path, err_t *err) {
    char *dir = path_dirname(path);
    int rc = dir_sync(dir, err);
    free(dir);
    return rc;
}

/* One directory; its name is as durable as what will be in it. */
static int make_one(const char *path, err_t *err) {
    if (path_is_dir(path)) return 0;
    if (mkdir(path, 0777) == 0) return sync_parent(path, err);
    int why = errno;
    if (why == EEXIST && path_is_dir(path)) return 0;
    return err_set(err, ERR_FAILED, "%s: cannot make the directory: %s", path, strerror(why));
}

int dir_make(const char *path, err_t *err) {
    char *p = xstrdup(path);
    int rc = 0;
    for (char *s = p + 1; rc == 0; s++) {
        if (*s != '/' && *s) continue;
        char c = *s;
        *s = 0;
        rc = make_one(p, err);
        *s = c;
        if (!c) break;
    }
    free(p);
    return rc;
}

int dir_make_new(const char *path, err_t *err) {
    if (mkdir(path, 0777) == 0) return 0;
    return err_set(err, ERR_FAILED, "%s: cannot make the directory: %s", path, strerror(errno));
}

int dir_sync(const char *path, err_t *err) {
    int fd = open_again(path, O_RDONLY | O_DIRECTORY, 0);
    /* In a directory that may be written to and not be read (a shared one, say) nothing more can be done. */
    if (fd < 0 && errno == EACCES) return 0;
    /* Some file systems cannot sync a directory (EINVAL); they have nothing that could be lost by it. */
    if (fd < 0 || (fd_sync(fd) != 0 && errno != EINVAL)) {
        int why = errno;
        if (fd >= 0) fd_close(fd);
        return err_set(err, ERR_FAILED, "%s: cannot sync the directory: %s", path, strerror(why));
    }
    fd_close(fd);
    return 0;
}

/* ---- directories ---------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int dir_list(const char *path, dir_list_t *list, err_t *err) {
    size_t cap = 0;
    *list = (dir_list_t){0};
    DIR *d;
    do d = opendir(path);
    while (!d && errno == EINTR);
    if (!d && is_absent()) return 0;
    if (!d) return err_set(err, ERR_FAILED, "%s: cannot open the directory: %s", path, strerror(errno));
    struct dirent *e;
    for (errno = 0; (e = readdir(d)); errno = 0) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        VEC_GROW(list->name, list->n, cap);
        list->name[list->n++] = xstrdup(e->d_name);
    }
    int rc = errno ? err_set(err, ERR_FAILED, "%s: cannot read the directory: %s", path, strerror(errno)) : 0;
    closedir(d);
    if (rc) dir_list_free(list);
    else if (list->n) qsort(list->name, list->n, sizeof *list->name, by_name);
    return rc;
}

void dir_list_free(dir_list_t *list) {
    for (size_t i = 0; i < list->n; i++) free(list->name[i]);
    free(list->name);
    *list = (dir_list_t){0};
}

static int cannot_remove(const char *path, err_t *err) {
    return err_set(err, ERR_FAILED, "%s: cannot remove: %s", path, strerror(errno));
}

int dir_remove(const char *path, err_t *err) {
    struct stat st;
    dir_list_t list;
    if (lstat(path, &st) != 0) return is_absent() ? 0 : cannot_remove(path, err);
    /* What a symbolic link points to is somebody else's. */
    if (!S_ISDIR(st.st_mode)) return unlink(path) == 0 ? 0 : cannot_remove(path, err);
    int rc = dir_list(path, &list, err);
    for (size_t i = 0; rc == 0 && i < list.n; i++) {
        char *child = path_join(path, list.name[i]);
        rc = dir_remove(child, err);
        free(child);
    }
    dir_list_free(&list);
    return rc == 0 && rmdir(path) != 0 ? cannot_remove(path, err) : rc;
}

int dir_discard(const char *dir, const char *aside, err_t *err) {
    struct stat st;
    if (lstat(dir, &st) != 0) return is_absent() ? 0 : cannot_remove(dir, err);
    if (rename(dir, aside) != 0) {
        err_t kept = {0}; /* something of an earlier time has the name */
        dir_remove(aside, &kept);
        if (rename(dir, aside) != 0) return cannot_remove(dir, err);
    }
    err_t unsynced = {0}; /* then it goes all the same, and only a loss of power could show half of it */
    sync_parent(aside, &unsynced);
    return dir_remove(aside, err);
}

/* ---- writing -------------------------------------------------------------------------------------------- */

int fd_write(int fd, const char *path, const void *data, size_t len, err_t *err) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return err_set(err, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

void file_discard(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) unlink(path);
}

/* Ends a write: fsync, close, and on an earlier or present failure remove the half-written file. */
static int finish_write(int fd, const char *path, int rc, err_t *err) {
    if (rc == 0 && fd_sync(fd) != 0) rc = err_set(err, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
    if (fd_close(fd) != 0 && rc == 0) rc = err_set(err, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
    if (rc) file_discard(path);
    return rc;
}

static int create(const char *path, int *fd, err_t *err) {
    *fd = open_again(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return *fd < 0 ? err_set(err, ERR_FAILED, "%s: cannot create: %s", path, strerror(errno)) : 0;
}

int fd_open_append(const char *path, err_t *err) {
    int fd = open_again(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0) err_set(err, ERR_FAILED, "%s: cannot open: %s", path, strerror(errno));
    return fd;
}

int file_write(const char *path, const void *data, size_t len, err_t *err) {
    int fd;
    if (create(path, &fd, err)) return err->code;
    return finish_write(fd, path, fd_write(fd, path, data, len, err), err);
}

int file_copy(const char *from, const char *to, err_t *err) {
    struct stat st;
    int in, out;
    if (open_regular(from, &st, &in, err)) return err->code;
    if (create(to, &out, err)) {
        fd_close(in);
        return err->code;
    }
    int rc = 0;
    char *buf = xmalloc(1 << 20);
    ssize_t n;
    while (rc == 0 && (n = read_some(in, from, buf, 1 << 20, err)) != 0)
        rc = n < 0 ? err->code : fd_write(out, to, buf, (size_t)n, err);
    free(buf);
    fd_close(in);
    return finish_write(out, to, rc, err);
}

int file_rename(const char *from, const char *to, err_t *err) {
    if (rename(from, to) != 0)
        return err_set(err, ERR_FAILED, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    return sync_parent(to, err);
}

bool file_exchange(const char *a, const char *b) {
    err_t unsynced = {0};
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0 && sync_parent(b, &unsynced) == 0;
}

int file_replace(const char *tmp, const char *path, int rc, err_t *err) {
    if (rc == 0) rc = file_rename(tmp, path, err);
    if (rc) file_discard(tmp);
    return rc;
}

int file_hash(const char *path, uint64_t *hash, err_t *err) {
    struct stat st;
    int fd, rc = 0;
    if (open_regular(path, &st, &fd, err)) return err->code;
    /* Read, not mapped: mapped pages would count as memory of the process. */
    XXH3_state_t *state = mem_checked(XXH3_createState(), 0);
    char *buf = xmalloc(1 << 20);
    ssize_t n;
    XXH3_64bits_reset(state);
    while ((n = read_some(fd, path, buf, 1 << 20, err)) > 0) XXH3_64bits_update(state, buf, (size_t)n);
    if (n < 0) rc = err->code;
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    free(buf);
    fd_close(fd);
    return rc;
}
