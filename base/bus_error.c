#define _GNU_SOURCE
#include "base/bus_error.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"

/* Files beyond these are read all the same; an error in one has no name. */
#define MAX_WATCHED 1024

/* `from` 0: free. The handler looks at it while others change it, so a place is filled from its end and freed from its
 * beginning. */
static struct {
    _Atomic uintptr_t from, to;
    _Atomic(char *) path;
} watched[MAX_WATCHED];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void end_with(const char *path) {
    static const char why[] = ": cannot read: it became shorter while it was in use, or its disk or network fails\n";
    struct iovec line[] = {{(void *)(uintptr_t)path, strlen(path)}, {(void *)(uintptr_t)why, sizeof why - 1}};
    if (writev(STDERR_FILENO, line, 2) < 0) _exit(ERR_FAILED); /* nobody listens */
    _exit(ERR_FAILED);
}

static void on_bus_error(int sig, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < MAX_WATCHED; i++) {
        uintptr_t from = atomic_load(&watched[i].from);
        if (!from || at < from || at >= atomic_load(&watched[i].to)) continue;
        end_with(atomic_load(&watched[i].path));
    }
    signal(sig, SIG_DFL); /* takes effect when the access is tried again */
}

static void catch_bus_errors(void) {
    struct sigaction act = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&act.sa_mask);
    sigaction(SIGBUS, &act, NULL);
}

void bus_error_watch(const void *data, size_t size, const char *path) {
    catch_bus_errors(); /* again: a library may have set its own meanwhile */
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < MAX_WATCHED && atomic_load(&watched[i].from)) i++;
    if (i < MAX_WATCHED) {
        atomic_store(&watched[i].path, xstrdup(path));
        atomic_store(&watched[i].to, (uintptr_t)data + size);
        atomic_store(&watched[i].from, (uintptr_t)data);
    }
    pthread_mutex_unlock(&lock);
}

void bus_error_forget(const void *data) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAX_WATCHED; i++) {
        if (atomic_load(&watched[i].from) != (uintptr_t)data) continue;
        atomic_store(&watched[i].from, 0);
        free(atomic_exchange(&watched[i].path, NULL));
        break;
    }
    pthread_mutex_unlock(&lock);
}
