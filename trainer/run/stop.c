#include "trainer/run/stop.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "trainer/ranks/ranks.h"

static const int requests[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP};
#define N_REQUESTS (sizeof requests / sizeof *requests)

#define SAME_REQUEST_US 2000000
/* Slurm's KillWait is 30 s, as is the grace period of Kubernetes. */
#define GRACE_SECONDS 30
#define SLOW_SECONDS 20

/* ---- the handler: any thread, any moment -------------------------------------------------------------------- */

/* The first request: microseconds * 256 + signal, in one word, as two threads may take two signals at once. 0: none. */
static _Atomic int64_t request;
static atomic_int own_signal; /* 0: only other ranks were asked */
static atomic_bool waits_for_look;
static atomic_int status_of_stop;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char *name_of(int sig) {
    return sig == SIGINT    ? "SIGINT"
           : sig == SIGTERM ? "SIGTERM"
           : sig == SIGUSR1 ? "SIGUSR1"
           : sig == SIGUSR2 ? "SIGUSR2"
                            : "SIGHUP";
}

/* Where nobody takes the text (a pipe that is full) the process ends without it. */
static void say(const char *text) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT)) return;
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) return;
}

static _Noreturn void leave(int sig) {
    say("stopped by ");
    say(name_of(sig));
    say(" before a step was taken: there is nothing to save; run the same command again\n");
    ranks_tell_end(atomic_load(&status_of_stop));
    _exit(atomic_load(&status_of_stop));
}

/* Takes effect when the handler returns. The first process of a container is not ended by a signal that it does not
 * catch: it ends with the status that a shell would show. */
static void end_as_any_program(int sig) {
    if (getpid() == 1) _exit(128 + sig);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Whether it is the first arrival of the request. Before the first step the others wait for rank 0, which knows whether
 * there has been one. */
static bool take(int sig, int64_t now) {
    int64_t none = 0;
    if (!atomic_compare_exchange_strong(&request, &none, now * 256 + sig)) return false;
    if (!atomic_load(&waits_for_look) && ranks_first()) leave(sig);
    return true;
}

static void on_signal(int sig) {
    int error = errno, none = 0;
    int64_t now = now_us();
    atomic_compare_exchange_strong(&own_signal, &none, sig);
    if (take(sig, now)) ranks_tell_stop(sig);
    else if (now - atomic_load(&request) / 256 > SAME_REQUEST_US && (sig == SIGINT || sig == SIGTERM))
        end_as_any_program(sig);
    errno = error;
}

static void on_request_of_another(int sig) { take(sig, now_us()); }

/* ---- who takes the signals -------------------------------------------------------------------------------------- */

static void mask(int how) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < N_REQUESTS; i++) sigaddset(&set, requests[i]);
    sigprocmask(how, &set, NULL);
}

void stop_hold(void) { mask(SIG_BLOCK); }

void stop_release(void) { mask(SIG_UNBLOCK); }

void stop_catch(int status) {
    atomic_store(&status_of_stop, status);
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < N_REQUESTS; i++) sigaddset(&act.sa_mask, requests[i]);
    /* A terminal that hangs up stops the run like TERM, unless it was started to outlive it (nohup). */
    for (size_t i = 0; i < N_REQUESTS; i++)
        if (requests[i] != SIGHUP || (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN))
            sigaction(requests[i], &act, NULL);
    /* A reader of the log that dies (tee, head) is no reason to lose a run. */
    signal(SIGPIPE, SIG_IGN);
    ranks_on_stop(on_request_of_another);
    stop_release();
}

void stop_wait_for_look(void) { atomic_store(&waits_for_look, true); }

/* ---- the training ------------------------------------------------------------------------------------------- */

static struct {
    double last; /* 0: the time since is not counted */
    double longest;
} looks;

bool stop_wanted(void) {
    double now = clock_seconds();
    if (looks.last > 0 && now - looks.last > looks.longest) looks.longest = now - looks.last;
    looks.last = now;
    return atomic_load(&request) != 0;
}

/* What a rank knows of the request; it may have come to another and not have been told here yet. */
typedef struct {
    int own_signal; /* 0: none */
    double age;     /* -1: not told */
} known_t;

char *stop_name(double *age) {
    int64_t first = atomic_load(&request);
    int64_t since = now_us() - first / 256;
    known_t mine = {atomic_load(&own_signal), first ? fmax(0, (double)since * 1e-6) : -1};
    int n = ranks_size(), to = 0;
    known_t *all = xmalloc((size_t)n * sizeof *all);
    ranks_gather(&mine, sizeof mine, all);
    while (to + 1 < n && !all[to].own_signal) to++;
    *age = 0;
    for (int k = 0; k < n; k++) *age = fmax(*age, all[k].age);
    const char *name = name_of(all[to].own_signal);
    free(all);
    return to ? xasprintf("%s to %s", name, ranks_name(to)) : xstrdup(name);
}

double stop_longest_wait(void) { return looks.longest; }

void stop_look_away(void) { looks.last = 0; }

char *stop_advice(double wait, double save) {
    double all = wait + save;
    if (all <= SLOW_SECONDS) return NULL;
    return xasprintf("a request to stop may be met only after %.0f s (%.1f s until it is seen, %.1f s for the "
                     "checkpoint), and Slurm kills %d s after SIGTERM: let it ask earlier (#SBATCH "
                     "--signal=B:USR1@%.0f), raise its KillWait (on Kubernetes terminationGracePeriodSeconds), or "
                     "lower training.per_device_train_batch_size and raise gradient_accumulation_steps",
                     ceil(all), wait, save, GRACE_SECONDS, ceil(all / 30) * 60);
}
