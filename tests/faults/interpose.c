/* Loaded before the program (LD_PRELOAD): makes one call of the system fail, or the process die at it, and tells which
 * calls there were. See README.md. Counted is from main() on; file calls only of paths below FAULTS_DIR.
 *
 *   FAULTS_CALL   open, read, write, sync, truncate, rename, unlink, rmdir, mkdir, mmap, close, flock, opendir, readdir,
 *                 stat, alloc; any: all of them but alloc
 *   FAULTS_AT     the how-manieth, from 1
 *   FAULTS_DO     a number: that errno; short: half of a read or write; before, after, torn: SIGKILL before the call,
 *                 after it, or after half of a write; stop: SIGSTOP before it
 *   FAULTS_ALWAYS set: this call and all that follow
 *   FAULTS_LOG    file to which a line goes for each counted call of a file: what, path[, second path]
 *   FAULTS_COUNTS file that gets the number of calls of each kind when the program exits
 *   FAULTS_CLOCK  "AT JUMP": seconds by which all clocks jump at their AT-th reading (0 for JUMP: they stand still from
 *                 there on); "random SEED": by up to an hour either way at every tenth reading */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- what is to happen ---------------------------------------------------------------------------------- */

enum {
    OPEN,
    READ,
    WRITE,
    SYNC,
    TRUNCATE,
    RENAME,
    UNLINK,
    RMDIR,
    MKDIR,
    MMAP,
    CLOSE,
    FLOCK,
    OPENDIR,
    READDIR,
    STAT,
    ALLOC,
    KINDS
};
static const char *const names[KINDS] = {"open",  "read", "write", "sync",  "truncate", "rename",  "unlink", "rmdir",
                                         "mkdir", "mmap", "close", "flock", "opendir",  "readdir", "stat",   "alloc"};

enum { PASS = 0, SHORT = -1, BEFORE = -2, AFTER = -3, TORN = -4, STOP = -5 }; /* positive: an errno */

static struct {
    bool on; /* main() has begun */
    const char *dir, *log, *counts;
    int kind; /* KINDS: any */
    long at;
    int what;
    bool always;
} plan = {.kind = -1};
static atomic_long counted[KINDS], matched;

/* The function that the program would have called without this library. */
#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name)

static int action_named(const char *s) {
    static const char *const words[] = {"short", "before", "after", "torn", "stop"};
    for (int i = 0; i < 5; i++)
        if (strcmp(s, words[i]) == 0) return -1 - i;
    return atoi(s);
}

static void read_plan(void) {
    const char *call = getenv("FAULTS_CALL"), *at = getenv("FAULTS_AT"), *what = getenv("FAULTS_DO");
    plan.dir = getenv("FAULTS_DIR");
    plan.log = getenv("FAULTS_LOG");
    plan.counts = getenv("FAULTS_COUNTS");
    plan.always = getenv("FAULTS_ALWAYS") != NULL;
    plan.at = at ? atol(at) : 0;
    plan.what = what ? action_named(what) : PASS;
    for (int i = 0; call && i < KINDS; i++)
        if (strcmp(call, names[i]) == 0) plan.kind = i;
    if (call && strcmp(call, "any") == 0) plan.kind = KINDS;
}

static void put(const char *file, const char *text) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || syscall(SYS_write, fd, text, strlen(text)) < 0) abort();
    syscall(SYS_close, fd);
}

__attribute__((destructor)) static void say_counts(void) {
    char text[1024];
    size_t n = 0;
    if (!plan.on || !plan.counts) return;
    for (int i = 0; i < KINDS; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s %ld\n", names[i], atomic_load(&counted[i]));
    put(plan.counts, text);
}

static int (*program)(int, char **, char **);

static int begin(int argc, char **argv, char **env) {
    read_plan();
    plan.on = true;
    return program(argc, argv, env);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack) {
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    program = main;
    return next(begin, argc, argv, init, fini, rtld_fini, stack);
}

/* ---- one call ------------------------------------------------------------------------------------------- */

static void raise_at_once(int sig) { syscall(SYS_kill, syscall(SYS_getpid), sig); }
static void die(void) { raise_at_once(SIGKILL); }

/* Absolute; false for what is no file. */
static bool full_path(const char *path, char out[PATH_MAX]) {
    long n = 0;
    if (path[0] != '/') {
        n = syscall(SYS_getcwd, out, PATH_MAX);
        if (n <= 0) return false;
        out[n - 1] = '/';
    }
    return (size_t)snprintf(out + n, PATH_MAX - (size_t)n, "%s", path) < PATH_MAX - (size_t)n;
}

static bool fd_path(int fd, char out[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = 0;
    return out[0] == '/';
}

static bool watched(const char *path) {
    size_t n = plan.dir ? strlen(plan.dir) : 0;
    return !plan.dir || (strncmp(path, plan.dir, n) == 0 && (path[n] == '/' || !path[n]));
}

/* What happens at this call; SIGKILL before it has happened by then. */
static int event(int kind, const char *what, const char *path, const char *to) {
    atomic_fetch_add(&counted[kind], 1);
    if (plan.log && kind != ALLOC) {
        char line[2 * PATH_MAX + 64];
        snprintf(line, sizeof line, "%s\t%s%s%s\n", what, path, to ? "\t" : "", to ? to : "");
        put(plan.log, line);
    }
    if (plan.kind != kind && (plan.kind != KINDS || kind == ALLOC)) return PASS;
    long n = atomic_fetch_add(&matched, 1) + 1;
    if (plan.always ? n < plan.at : n != plan.at) return PASS;
    if (plan.what == BEFORE) die();
    if (plan.what == STOP) raise_at_once(SIGSTOP);
    return plan.what == STOP ? PASS : plan.what;
}

static int on_path(int kind, const char *what, const char *path, const char *to) {
    char full[PATH_MAX], full_to[PATH_MAX];
    int error = errno;
    if (!plan.on || !path || !full_path(path, full) || !watched(full)) return PASS;
    if (to && !full_path(to, full_to)) return PASS;
    int a = event(kind, what, full, to ? full_to : NULL);
    errno = error;
    return a;
}

static int on_fd(int kind, const char *what, int fd) {
    char full[PATH_MAX];
    int error = errno;
    if (!plan.on || !fd_path(fd, full) || !watched(full)) return PASS;
    int a = event(kind, what, full, NULL);
    errno = error;
    return a;
}

/* A call that fails with an errno, or is made. */
#define MADE(type, a, failed, call) \
    do { \
        int what_ = (a); \
        if (what_ > 0) { \
            errno = what_; \
            return failed; \
        } \
        type result_ = (call); \
        if (what_ == AFTER || what_ == TORN) die(); \
        return result_; \
    } while (0)

/* A size of which half is taken. */
#define HALVED(a, n) ((((a) == SHORT || (a) == TORN) && (n) > 1) ? (n) / 2 : (n))

/* ---- files ---------------------------------------------------------------------------------------------- */

static const char *open_word(int flags) { return flags & O_CREAT ? "create" : "open"; }

static int do_open(int dir, const char *path, int flags, unsigned mode) {
    MADE(int, on_path(OPEN, open_word(flags), path, NULL), -1, (int)syscall(SYS_openat, dir, path, flags, mode));
}

#define OPENS(name, params, dir) \
    int name params { \
        unsigned mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list ap; \
            va_start(ap, flags); \
            mode = va_arg(ap, unsigned); \
            va_end(ap); \
        } \
        return do_open(dir, path, flags, mode); \
    }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int dir, const char *path, int flags, ...), dir)
OPENS(openat64, (int dir, const char *path, int flags, ...), dir)
int __open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

int mkstemp(char *template) {
    NEXT(mkstemp);
    MADE(int, on_path(OPEN, "create", template, NULL), -1, next(template));
}

ssize_t read(int fd, void *p, size_t n) {
    int a = on_fd(READ, "read", fd);
    MADE(ssize_t, a, -1, syscall(SYS_read, fd, p, HALVED(a, n)));
}
ssize_t __read_chk(int fd, void *p, size_t n, size_t size) { return n > size ? (abort(), -1) : read(fd, p, n); }

ssize_t pread(int fd, void *p, size_t n, off_t at) {
    int a = on_fd(READ, "read", fd);
    MADE(ssize_t, a, -1, syscall(SYS_pread64, fd, p, HALVED(a, n), at));
}
ssize_t pread64(int fd, void *p, size_t n, off64_t at) { return pread(fd, p, n, at); }

ssize_t write(int fd, const void *p, size_t n) {
    int a = on_fd(WRITE, "write", fd);
    MADE(ssize_t, a, -1, syscall(SYS_write, fd, p, HALVED(a, n)));
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    int a = on_fd(WRITE, "write", fd);
    MADE(ssize_t, a, -1, syscall(SYS_pwrite64, fd, p, HALVED(a, n), at));
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) { return pwrite(fd, p, n, at); }

ssize_t writev(int fd, const struct iovec *v, int n) {
    int a = on_fd(WRITE, "write", fd);
    MADE(ssize_t, a, -1, syscall(SYS_writev, fd, v, HALVED(a, n)));
}

ssize_t readv(int fd, const struct iovec *v, int n) {
    int a = on_fd(READ, "read", fd);
    MADE(ssize_t, a, -1, syscall(SYS_readv, fd, v, HALVED(a, n)));
}

int fsync(int fd) { MADE(int, on_fd(SYNC, "sync", fd), -1, (int)syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { MADE(int, on_fd(SYNC, "sync", fd), -1, (int)syscall(SYS_fdatasync, fd)); }
int ftruncate(int fd, off_t n) { MADE(int, on_fd(TRUNCATE, "truncate", fd), -1, (int)syscall(SYS_ftruncate, fd, n)); }
int ftruncate64(int fd, off64_t n) { return ftruncate(fd, n); }

int posix_fallocate(int fd, off_t at, off_t n) {
    NEXT(posix_fallocate);
    int a = on_fd(TRUNCATE, "truncate", fd);
    MADE(int, a, a, next(fd, at, n));
}

/* Closed it is in any case, as on Linux. */
int close(int fd) {
    int a = on_fd(CLOSE, "close", fd);
    if (a > 0) syscall(SYS_close, fd);
    MADE(int, a, -1, (int)syscall(SYS_close, fd));
}

int flock(int fd, int how) { MADE(int, on_fd(FLOCK, "flock", fd), -1, (int)syscall(SYS_flock, fd, how)); }

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
    NEXT(mmap);
    MADE(void *, fd >= 0 ? on_fd(MMAP, "mmap", fd) : PASS, MAP_FAILED, next(at, n, prot, flags, fd, offset));
}

int rename(const char *from, const char *to) {
    MADE(int, on_path(RENAME, "rename", from, to), -1, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path) {
    MADE(int, on_path(UNLINK, "unlink", path, NULL), -1, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int rmdir(const char *path) {
    MADE(int, on_path(RMDIR, "rmdir", path, NULL), -1, (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}

int mkdir(const char *path, mode_t mode) {
    MADE(int, on_path(MKDIR, "mkdir", path, NULL), -1, (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

DIR *opendir(const char *path) {
    NEXT(opendir);
    MADE(DIR *, on_path(OPENDIR, "opendir", path, NULL), NULL, next(path));
}

struct dirent *readdir(DIR *d) {
    NEXT(readdir);
    MADE(struct dirent *, on_fd(READDIR, "readdir", dirfd(d)), NULL, next(d));
}

int stat(const char *restrict path, struct stat *restrict st) {
    NEXT(stat);
    MADE(int, on_path(STAT, "stat", path, NULL), -1, next(path, st));
}

int lstat(const char *restrict path, struct stat *restrict st) {
    NEXT(lstat);
    MADE(int, on_path(STAT, "stat", path, NULL), -1, next(path, st));
}

int fstat(int fd, struct stat *st) {
    NEXT(fstat);
    MADE(int, on_fd(STAT, "stat", fd), -1, next(fd, st));
}

/* ---- streams: what stdio does inside of the C library does not come by here, so their reads and writes are ours --------- */

static struct {
    FILE *file;
    int fd;
} streams[64];

static ssize_t stream_read(void *fd, char *p, size_t n) { return read((int)(intptr_t)fd, p, n); }

static ssize_t stream_write(void *fd, const char *p, size_t n) {
    ssize_t done = write((int)(intptr_t)fd, p, n);
    return done < 0 ? 0 : done;
}

static int stream_seek(void *fd, off64_t *at, int whence) {
    *at = lseek((int)(intptr_t)fd, *at, whence);
    return *at < 0 ? -1 : 0;
}

static int stream_close(void *fd) {
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (streams[i].file && streams[i].fd == (int)(intptr_t)fd) streams[i].file = NULL;
    return close((int)(intptr_t)fd);
}

FILE *fopen(const char *restrict path, const char *restrict mode) {
    int flags = *mode == 'r' ? O_RDONLY : *mode == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : O_WRONLY | O_CREAT | O_APPEND;
    if (strchr(mode, '+')) flags = (flags & ~(O_RDONLY | O_WRONLY)) | O_RDWR;
    int fd = do_open(AT_FDCWD, path, flags | (strchr(mode, 'e') ? O_CLOEXEC : 0), 0666);
    if (fd < 0) return NULL;
    cookie_io_functions_t calls = {stream_read, stream_write, stream_seek, stream_close};
    FILE *f = fopencookie((void *)(intptr_t)fd, mode, calls);
    if (!f) {
        syscall(SYS_close, fd);
        return NULL;
    }
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (!streams[i].file) {
            streams[i].file = f;
            streams[i].fd = fd;
            break;
        }
    return f;
}
FILE *fopen64(const char *restrict path, const char *restrict mode) { return fopen(path, mode); }

int fileno(FILE *f) {
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (streams[i].file == f) return streams[i].fd;
    NEXT(fileno);
    return next(f);
}

/* ---- memory --------------------------------------------------------------------------------------------- */

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static int on_alloc(void) { return plan.on ? event(ALLOC, "alloc", NULL, NULL) : PASS; }

void *malloc(size_t n) { MADE(void *, on_alloc(), NULL, __libc_malloc(n)); }
void *calloc(size_t n, size_t size) { MADE(void *, on_alloc(), NULL, __libc_calloc(n, size)); }
void *realloc(void *p, size_t n) { MADE(void *, on_alloc(), NULL, __libc_realloc(p, n)); }
void *memalign(size_t align, size_t n) { MADE(void *, on_alloc(), NULL, __libc_memalign(align, n)); }
void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }

int posix_memalign(void **p, size_t align, size_t n) {
    int a = on_alloc();
    if (a > 0) return a;
    if (a != PASS) die();
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

/* ---- clocks --------------------------------------------------------------------------------------------- */

/* Seconds by which a clock is wrong now; *stands: it does not move any more. */
static double clock_error(bool *stands) {
    static atomic_long readings;
    static double error;
    static uint64_t state;
    const char *clock = plan.on ? getenv("FAULTS_CLOCK") : NULL;
    double jump;
    long at, n;
    if (!clock) return 0;
    n = atomic_fetch_add(&readings, 1) + 1;
    if (sscanf(clock, "random %ld", &at) == 1) {
        if (!state) state = (uint64_t)at * 2654435761u + 1;
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (n % 10 == 0) error += (double)(state >> 33) / (double)(1u << 30) * 3600 - 3600;
        return error;
    }
    if (sscanf(clock, "%ld %lf", &at, &jump) != 2 || n < at) return 0;
    *stands = jump == 0;
    return jump;
}

static int real_clock(clockid_t id, struct timespec *t) { return (int)syscall(SYS_clock_gettime, id, t); }

int clock_gettime(clockid_t id, struct timespec *t) {
    static struct timespec stood[16];
    bool stands = false;
    int rc = real_clock(id, t);
    if (!plan.on || (id != CLOCK_REALTIME && id != CLOCK_MONOTONIC)) return rc;
    double jump = clock_error(&stands);
    if (stands && !stood[id].tv_sec) stood[id] = *t;
    if (stands) *t = stood[id];
    t->tv_sec += (time_t)jump;
    return rc;
}

time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *tv = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}
