#define _DEFAULT_SOURCE /* realpath */
#include "base/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first bytes of a file of the system, as text. No stdio, which would need memory of its own: where that has run out,
 * the machine would seem to have none at all. */
static bool read_text(const char *path, char *text, size_t size) {
    size_t len = 0;
    int fd;
    while ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR) continue;
    for (ssize_t n = fd < 0 ? 0 : 1; n != 0 && len < size - 1;) {
        n = read(fd, text + len, size - 1 - len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        len += (size_t)n;
    }
    if (fd >= 0) close(fd);
    text[len] = '\0';
    return len > 0;
}

/* The value of "key: value" in a file of such lines (/proc/meminfo, memory.stat), which are short: what is asked for is
 * in its first pages. */
static bool proc_value(const char *path, const char *key, char *value, size_t size) {
    char text[8192];
    if (!read_text(path, text, sizeof text)) return false;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t n = strlen(key);
        if (strncmp(line, key, n) != 0 || strspn(line + n, " \t:") == 0) continue;
        const char *v = line + n + strspn(line + n, " \t:");
        snprintf(value, size, "%.*s", (int)strcspn(v, "\n"), v);
        return true;
    }
    return false;
}

static size_t meminfo_bytes(const char *key) {
    char v[64];
    return proc_value("/proc/meminfo", key, v, sizeof v) ? (size_t)strtoull(v, NULL, 10) * 1024 : 0;
}

/* A number in a file of one line; false for "max" and for what is not there. */
static bool file_number(const char *path, size_t *n) {
    char text[64], *end;
    if (!read_text(path, text, sizeof text)) return false;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text) return false;
    *n = (size_t)v;
    return true;
}

/* Control groups of version 2 and 1, as a container sees its own. */
typedef struct {
    const char *limit, *used, *stat;
    const char *cached[2]; /* the keys in `stat` of file pages, which the kernel gives back when it has to */
} memory_group_t;

static const memory_group_t memory_groups[] = {
    {"/sys/fs/cgroup/memory.max",
     "/sys/fs/cgroup/memory.current",
     "/sys/fs/cgroup/memory.stat",
     {"inactive_file", "active_file"}},
    {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
     "/sys/fs/cgroup/memory/memory.usage_in_bytes",
     "/sys/fs/cgroup/memory/memory.stat",
     {"total_inactive_file", "total_active_file"}},
};

/* What is used counts the page cache: after a model was read that would be most of it, though it makes way. */
static size_t group_free(const memory_group_t *g, size_t limit, size_t used) {
    char v[64];
    for (int i = 0; i < 2; i++) {
        size_t cached = proc_value(g->stat, g->cached[i], v, sizeof v) ? (size_t)strtoull(v, NULL, 10) : 0;
        used -= cached < used ? cached : used;
    }
    return limit > used ? limit - used : 0;
}

void host_memory(size_t *free_bytes, size_t *total_bytes) {
    *free_bytes = meminfo_bytes("MemAvailable");
    *total_bytes = meminfo_bytes("MemTotal");
    struct sysinfo info;
    if (!*total_bytes && sysinfo(&info) == 0) { /* no /proc, as in a bare chroot; the page cache then counts as used */
        *free_bytes = ((size_t)info.freeram + info.bufferram) * info.mem_unit;
        *total_bytes = (size_t)info.totalram * info.mem_unit;
    }
    for (size_t i = 0; i < sizeof memory_groups / sizeof *memory_groups; i++) {
        const memory_group_t *g = &memory_groups[i];
        size_t limit, used;
        if (!file_number(g->limit, &limit) || !file_number(g->used, &used) || limit >= *total_bytes) continue;
        *total_bytes = limit;
        size_t left = group_free(g, limit, used);
        if (left < *free_bytes) *free_bytes = left;
    }
}

void host_cpu_name(char *out, size_t size, const char *isa) {
    char model[96] = "";
    struct utsname u;
    if (!proc_value("/proc/cpuinfo", "model name", model, sizeof model) && uname(&u) == 0)
        snprintf(model, sizeof model, "%.64s", u.machine);
    snprintf(out, size, "%s, %s", model, isa);
}

/* What /proc says holds wherever the program has gone by now; where there is no /proc, what it was started by. */
char *host_program(void) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n > 0 && n < PATH_MAX) return strndup(path, (size_t)n);
    return realpath((const char *)getauxval(AT_EXECFN), NULL);
}
