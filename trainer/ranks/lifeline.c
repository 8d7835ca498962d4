#include "trainer/ranks/lifeline.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "trainer/ranks/lifeline_join.h"
#include "trainer/ranks/ranks.h"

#define TICK_MS 1000
#define BEAT_TICKS 3
#define FAREWELL_SECONDS 1
#define READ_MS 300 /* what mpirun has not read when all have ended it does not print */

/* The other end of a connection. Rank 0 has all others, the others have rank 0 alone; nobody has itself. */
typedef struct {
    atomic_int fd; /* -1: not there yet */
    int silent;    /* ticks since it was heard of */
    bool left;     /* in order: what becomes of it is no matter */
    int32_t process;
    line_message_t message; /* of which `have` bytes have come */
    size_t have;
} peer_t;

static peer_t *peers;       /* by rank */
static atomic_int n_peers;  /* 0: closed */
static atomic_int n_joined; /* those that rank 0 has */
static contact_t contact;
static strangers_t *strangers; /* NULL on all but rank 0, and there when all have joined */
static struct pollfd *polls;
static pthread_t thread;
static bool runs; /* the thread */
static int wake;
static atomic_bool closing;
static bool speaks; /* of the end of rank 0, for its host */

/* ---- what is said to the others: any thread, any moment ------------------------------------------------------ */

/* A message is small and goes out as a whole, or not at all where the other end no longer reads. */
static void tell(int rank, int kind, int value) {
    int fd = atomic_load(&peers[rank].fd);
    line_message_t message = {kind, value};
    if (fd >= 0) (void)!send(fd, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_all(int kind, int value, int but) {
    int n = atomic_load(&n_peers);
    for (int k = 0; k < n; k++)
        if (k != but) tell(k, kind, value);
}

static atomic_bool stop_is_known;
static atomic_int stop_untaken; /* a signal */
static _Atomic(void (*)(int)) stop_taker;

void lifeline_tell_stop(int sig) {
    int error = errno;
    if (!atomic_exchange(&stop_is_known, true)) tell_all(LINE_STOP, sig, -1);
    errno = error;
}

/* The first who are told may have ended when the last are not told yet. */
static atomic_bool ending;

void lifeline_tell_end(int status) {
    int error = errno;
    atomic_store(&ending, true);
    tell_all(LINE_END, status, -1);
    errno = error;
}

static void take_stop(void) {
    void (*take)(int) = atomic_load(&stop_taker);
    int sig = take ? atomic_exchange(&stop_untaken, 0) : 0;
    if (sig) take(sig);
}

void lifeline_on_stop(void (*take)(int sig)) {
    atomic_store(&stop_taker, take);
    take_stop();
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Not by the functions of log.h: the main thread may hold their lock for ever, in front of a pipe that nobody reads. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...) {
    char line[512];
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    va_list ap;
    int head = snprintf(line, sizeof line, "%s", log_before_line ? "\n" : ""); /* below a progress bar */
    va_start(ap, fmt);
    vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, ap);
    va_end(ap);
    strcat(line, "\n");
    if (poll(&out, 1, TICK_MS) == 1 && (out.revents & POLLOUT)) (void)!write(STDERR_FILENO, line, strlen(line));
}

/* Waits until the others have read what they were told last, which they answer by ending. Where a process ends with
 * something unread its connections are reset, and what was under way with them. */
static _Noreturn void leave(int status) {
    double until = clock_seconds() + FAREWELL_SECONDS;
    int n = atomic_load(&n_peers);
    for (int k = 0; k < n; k++)
        if (atomic_load(&peers[k].fd) >= 0) shutdown(atomic_load(&peers[k].fd), SHUT_WR);
    for (int k = 0; k < n; k++) {
        struct pollfd p = {.fd = atomic_load(&peers[k].fd), .events = POLLIN};
        char rest[64];
        double left;
        while (p.fd >= 0 && (left = until - clock_seconds()) > 0 && poll(&p, 1, (int)(left * 1000) + 1) == 1)
            if (recv(p.fd, rest, sizeof rest, MSG_DONTWAIT) <= 0) break;
    }
    _exit(status);
}

/* how: "has ended before its time". The lost rank is told too: it may only have hung. */
static _Noreturn void lost(int rank, const char *how) {
    while (atomic_load(&ending)) pause(); /* this process ends in order, at any moment */
    tell_all(LINE_GONE, rank, -1);
    if (rank != 0 || speaks) {
        say("rank %d (%s, process %d) %s; the run ends, its newest checkpoint is good", rank, ranks_host(rank),
            (int)peers[rank].process, how);
        nanosleep(&(struct timespec){0, READ_MS * 1000000}, NULL);
    }
    leave(ERR_FAILED);
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void take_message(int rank, line_message_t m) {
    if (m.kind == LINE_LEAVE) {
        peers[rank].left = true;
    } else if (atomic_load(&ending)) {
        return;
    } else if (m.kind == LINE_GONE) {
        _exit(ERR_FAILED); /* rank 0 says why */
    } else if (m.kind == LINE_END) {
        tell_all(LINE_END, m.value, rank);
        leave(m.value);
    } else if (m.kind == LINE_STOP && !atomic_exchange(&stop_is_known, true)) {
        tell_all(LINE_STOP, m.value, rank);
        atomic_store(&stop_untaken, m.value);
        take_stop();
    }
}

static bool is_heard(int rank) { return atomic_load(&peers[rank].fd) >= 0 && !peers[rank].left; }

static void hear(int rank) {
    peer_t *p = &peers[rank];
    while (is_heard(rank)) {
        ssize_t n = recv(atomic_load(&p->fd), (char *)&p->message + p->have, sizeof p->message - p->have, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n == 0 || (n < 0 && errno == ECONNRESET)) lost(rank, "has ended before its time");
        if (n < 0) {
            char how[128];
            snprintf(how, sizeof how, "is cut off (%s)", strerror(errno));
            lost(rank, how);
        }
        p->silent = 0;
        p->have += (size_t)n;
        if (p->have < sizeof p->message) continue;
        p->have = 0;
        take_message(rank, p->message);
    }
}

static void joined(guest_t guest) {
    peer_t *p = &peers[guest.rank];
    if (atomic_load(&p->fd) >= 0) { /* said twice, by whoever has the word */
        close(guest.fd);
        return;
    }
    p->process = guest.process;
    p->silent = 0;
    atomic_store(&p->fd, guest.fd);
    atomic_fetch_add(&n_joined, 1);
}

static int wait_for_news(void) {
    int n = 0, ranks = atomic_load(&n_peers);
    polls[n++] = (struct pollfd){.fd = wake, .events = POLLIN};
    for (int k = 0; k < ranks; k++)
        if (is_heard(k)) polls[n++] = (struct pollfd){.fd = peers[k].fd, .events = POLLIN};
    n = strangers_poll(strangers, polls, n);
    return poll(polls, (nfds_t)n, TICK_MS);
}

static bool expected(int rank) { return rank != ranks_rank() && !peers[rank].left && (ranks_first() || rank == 0); }

static void tick(long ticks) {
    int n = atomic_load(&n_peers);
    char how[64];
    snprintf(how, sizeof how, "was not heard of for %d s", LIFELINE_SECONDS);
    for (int k = 0; k < n; k++)
        if (expected(k) && ++peers[k].silent > LIFELINE_SECONDS) lost(k, how);
    if (ticks % BEAT_TICKS == 0) tell_all(LINE_BEAT, 0, -1);
    strangers_tick(strangers);
}

/* What has come is taken before a tick is counted, and a tick is a turn of this loop: of hours that a job was suspended
 * each counts one. */
static void *serve(void *unused) {
    double last = clock_seconds();
    for (long ticks = 0; !atomic_load(&closing);) {
        wait_for_news();
        strangers_serve(strangers, joined);
        int n = atomic_load(&n_peers);
        if (strangers && atomic_load(&n_joined) == n - 1) {
            strangers_free(strangers);
            strangers = NULL;
        }
        for (int k = 0; k < n; k++) hear(k);
        double now = clock_seconds();
        if (now - last < TICK_MS * 1e-3) continue;
        last = now;
        tick(++ticks);
    }
    return unused;
}

/* Signals are for the main thread, but those by which the processor tells of a fault. */
static int start(err_t *err) {
    sigset_t all, before;
    sigfillset(&all);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    polls = xcalloc((size_t)(1 + atomic_load(&n_peers) + strangers_most(strangers)), sizeof *polls);
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) return err_set(err, ERR_FAILED, "eventfd: %s", strerror(errno));
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&thread, NULL, serve, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    runs = code == 0;
    return code ? err_set(err, ERR_FAILED, "a thread more: %s", strerror(code)) : 0;
}

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static void add_peers(void) {
    int ranks = ranks_size();
    peers = xcalloc((size_t)ranks, sizeof *peers);
    for (int k = 0; k < ranks; k++) atomic_init(&peers[k].fd, -1);
    atomic_store(&n_peers, ranks);
}

static int serve_others(err_t *err) {
    int listening;
    if (contact_listen(&contact, &listening, err)) return err->code;
    strangers = strangers_new(&contact, listening, ranks_size());
    return start(err);
}

static int join_first(bool here, err_t *err) {
    int fd;
    if (contact_connect(&contact, ranks_rank(), here, &fd, err)) return err->code;
    peers[0].process = contact.process;
    atomic_store(&peers[0].fd, fd);
    return start(err);
}

int lifeline_open(bool beside_first, err_t *err) {
    speaks = ranks_share().index == (beside_first ? 1 : 0);
    add_peers();
    if (ranks_first()) serve_others(err);
    if (ranks_agree(err) == 0) {
        ranks_broadcast(&contact, sizeof contact);
        if (!ranks_first()) join_first(beside_first, err);
    }
    if (ranks_agree(err)) {
        lifeline_close();
        return err->code;
    }
    /* The last of them may still be a stranger to the thread of rank 0, and would miss what all are told. */
    while (ranks_first() && atomic_load(&n_joined) < ranks_size() - 1) nanosleep(&(struct timespec){0, 1000000}, NULL);
    return ranks_agree(err);
}

/* The sockets stay: a signal's handler may be about to write to one. */
void lifeline_close(void) {
    char one = 1, *all = xmalloc((size_t)ranks_size());
    ranks_gather(&one, 1, all); /* until here the end of any of them is an event for the others */
    free(all);
    tell_all(LINE_LEAVE, 0, -1);
    atomic_store(&closing, true);
    if (runs && eventfd_write(wake, 1) == 0) pthread_join(thread, NULL);
    runs = false;
    atomic_store(&n_peers, 0);
    strangers_free(strangers);
    strangers = NULL;
}
