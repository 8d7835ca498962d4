#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

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

bool path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_has_suffix(const char *path, const char *suffix) {
    size_t n = strlen(path), k = strlen(suffix);
    return n >= k && strcmp(path + n - k, suffix) == 0;
}

static int open_regular(const char *path, struct stat *st, int *fd, err_t *err) {
    /* O_NONBLOCK: a FIFO without a writer would be waited for; on a regular file it says nothing. */
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) {
        bool machine = errno == EIO || errno == ESTALE || errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return err_set(err, machine ? ERR_FAILED : ERR_USAGE, "%s: cannot open: %s", path, strerror(errno));
    }
    if (fstat(*fd, st) != 0 || !S_ISREG(st->st_mode)) {
        close(*fd);
        return err_set(err, ERR_USAGE, "%s: not a regular file", path);
    }
    return 0;
}

int file_read(const char *path, char **data, size_t *len, err_t *err) {
    struct stat st;
    int fd;
    if (open_regular(path, &st, &fd, err)) return err->code;
    size_t size = (size_t)st.st_size, have = 0;
    char *buf = xmalloc(size + 1);
    while (have < size) {
        ssize_t n = read(fd, buf + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += (size_t)n;
    }
    int why = errno;
    close(fd);
    if (have < size) {
        free(buf);
        return err_set(err, ERR_USAGE, "%s: cannot read: %s", path, strerror(why));
    }
    buf[size] = 0;
    *data = buf;
    *len = size;
    return 0;
}

int file_map(const char *path, mapping_t *m, err_t *err) {
    struct stat st;
    int fd;
    if (open_regular(path, &st, &fd, err)) return err->code;
    if (st.st_size == 0) {
        close(fd);
        return err_set(err, ERR_USAGE, "%s: the file is empty", path);
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int why = errno;
    close(fd);
    if (p == MAP_FAILED) return err_set(err, ERR_FAILED, "%s: cannot map: %s", path, strerror(why));
    m->data = p;
    m->size = (size_t)st.st_size;
    return 0;
}

void file_unmap(mapping_t *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    m->data = NULL;
    m->size = 0;
}

void mapping_release(const void *data, size_t len) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t a = ((uintptr_t)data + page - 1) / page * page, b = ((uintptr_t)data + len) / page * page;
    if (b > a) madvise((void *)a, b - a, MADV_DONTNEED);
}

int dir_make(const char *path, err_t *err) {
    char *p = xstrdup(path);
    int rc = 0;
    for (char *s = p + 1; rc == 0; s++) {
        if (*s != '/' && *s) continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0777) != 0 && !(errno == EEXIST && path_is_dir(p)))
            rc = err_set(err, ERR_FAILED, "%s: cannot make the directory: %s", p, strerror(errno));
        *s = c;
        if (!c) break;
    }
    free(p);
    return rc;
}

int dir_sync(const char *path, err_t *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems cannot sync a directory (EINVAL); they have nothing that could be lost by it. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) {
        int why = errno;
        if (fd >= 0) close(fd);
        return err_set(err, ERR_FAILED, "%s: cannot sync the directory: %s", path, strerror(why));
    }
    close(fd);
    return 0;
}

int dir_remove(const char *path, err_t *err) {
    DIR *d = opendir(path);
    if (!d && errno == ENOENT) return 0;
    if (!d) return err_set(err, ERR_FAILED, "%s: cannot open the directory: %s", path, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *child = path_join(path, e->d_name);
        struct stat st;
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode)) rc = dir_remove(child, err);
        else if (unlink(child) != 0) rc = err_set(err, ERR_FAILED, "%s: cannot remove: %s", child, strerror(errno));
        free(child);
    }
    closedir(d);
    if (rc == 0 && rmdir(path) != 0) rc = err_set(err, ERR_FAILED, "%s: cannot remove: %s", path, strerror(errno));
    return rc;
}

static int write_all(int fd, const char *path, const void *data, size_t len, err_t *err) {
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
    if (rc == 0 && fsync(fd) != 0) rc = err_set(err, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
    if (close(fd) != 0 && rc == 0) rc = err_set(err, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
    if (rc) file_discard(path);
    return rc;
}

static int create(const char *path, int *fd, err_t *err) {
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return *fd < 0 ? err_set(err, ERR_FAILED, "%s: cannot create: %s", path, strerror(errno)) : 0;
}

int file_write(const char *path, const void *data, size_t len, err_t *err) {
    int fd;
    if (create(path, &fd, err)) return err->code;
    return finish_write(fd, path, write_all(fd, path, data, len, err), err);
}

int file_copy(const char *from, const char *to, err_t *err) {
    struct stat st;
    int in, out;
    if (open_regular(from, &st, &in, err)) return err->code;
    if (create(to, &out, err)) {
        close(in);
        return err->code;
    }
    int rc = 0;
    char *buf = xmalloc(1 << 20);
    for (;;) {
        ssize_t n = read(in, buf, 1 << 20);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = err_set(err, ERR_FAILED, "%s: cannot read: %s", from, strerror(errno));
        if (n <= 0) break;
        rc = write_all(out, to, buf, (size_t)n, err);
        if (rc) break;
    }
    free(buf);
    close(in);
    return finish_write(out, to, rc, err);
}

int file_rename(const char *from, const char *to, err_t *err) {
    if (rename(from, to) != 0)
        return err_set(err, ERR_FAILED, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    char *dir = path_dirname(to);
    int rc = dir_sync(dir, err);
    free(dir);
    return rc;
}

int file_hash(const char *path, uint64_t *hash, err_t *err) {
    struct stat st;
    int fd, rc = 0;
    if (open_regular(path, &st, &fd, err)) return err->code;
    /* Read, not mapped: mapped pages would count as memory of the process. */
    XXH3_state_t *state = XXH3_createState();
    char *buf = xmalloc(1 << 20);
    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    for (;;) {
        ssize_t n = read(fd, buf, 1 << 20);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = err_set(err, ERR_FAILED, "%s: cannot read: %s", path, strerror(errno));
        if (n <= 0) break;
        XXH3_64bits_update(state, buf, (size_t)n);
    }
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    free(buf);
    close(fd);
    return rc;
}
