#include "base/host.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* The value of "key: value" in a file of such lines (/proc/meminfo, /proc/cpuinfo). */
static bool proc_value(const char *path, const char *key, char *value, size_t size) {
    FILE *f = fopen(path, "r");
    char line[512];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        size_t n = strlen(key);
        if (strncmp(line, key, n) != 0 || strspn(line + n, " \t:") == 0) continue;
        const char *v = line + n + strspn(line + n, " \t:");
        snprintf(value, size, "%.*s", (int)strcspn(v, "\n"), v);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

static size_t meminfo_bytes(const char *key) {
    char v[64];
    return proc_value("/proc/meminfo", key, v, sizeof v) ? (size_t)strtoull(v, NULL, 10) * 1024 : 0;
}

/* A number in a file of one line; false for "max" and for what is not there. */
static bool file_number(const char *path, size_t *n) {
    FILE *f = fopen(path, "r");
    unsigned long long v;
    bool ok = f && fscanf(f, "%llu", &v) == 1;
    if (f) fclose(f);
    if (ok) *n = (size_t)v;
    return ok;
}

void host_memory(size_t *free_bytes, size_t *total_bytes) {
    /* Control groups of version 2 and 1, as a container sees its own. */
    static const char *const groups[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    *free_bytes = meminfo_bytes("MemAvailable");
    *total_bytes = meminfo_bytes("MemTotal");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        size_t limit, used;
        if (!file_number(groups[i][0], &limit) || !file_number(groups[i][1], &used) || limit >= *total_bytes) continue;
        *total_bytes = limit;
        size_t left = limit > used ? limit - used : 0;
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
