#define _GNU_SOURCE /* accept4 */
#include "trainer/ranks/lifeline_join.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* What a stranger has to say. */
typedef struct {
    unsigned char word[CONTACT_WORD];
    int32_t rank, process;
} hello_t;

/* ---- rank 0's addresses -------------------------------------------------------------------------------------- */

static void add_address(contact_t *contact, const struct ifaddrs *of) {
    contact_address_t a = {.family = of->ifa_addr->sa_family, .loopback = (of->ifa_flags & IFF_LOOPBACK) != 0};
    if (contact->n_addresses == CONTACT_ADDRESSES) return;
    if (a.family == AF_INET) {
        memcpy(a.bytes, &((const struct sockaddr_in *)of->ifa_addr)->sin_addr, 4);
    } else {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)of->ifa_addr)->sin6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(six)) return; /* means nothing without the name of an interface */
        memcpy(a.bytes, six, 16);
    }
    contact->addresses[contact->n_addresses++] = a;
}

static int list_addresses(contact_t *contact, err_t *err) {
    static const sa_family_t families[] = {AF_INET, AF_INET6};
    struct ifaddrs *list;
    if (getifaddrs(&list) != 0) return err_set(err, ERR_FAILED, "the addresses of this host: %s", strerror(errno));
    for (int f = 0; f < 2; f++)
        for (struct ifaddrs *i = list; i; i = i->ifa_next)
            if (i->ifa_addr && i->ifa_addr->sa_family == families[f] && (i->ifa_flags & IFF_UP))
                add_address(contact, i);
    freeifaddrs(list);
    return 0;
}

/* A socket of either protocol, that of IPv6 where the machine has it. */
static int listening_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), off = 0;
    struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
    socklen_t length = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (fd < 0) return -1;
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (struct sockaddr *)&any, length) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
    close(fd);
    return -1;
}

int contact_listen(contact_t *contact, int *out, err_t *err) {
    struct sockaddr_storage at;
    socklen_t length = sizeof at;
    int fd = listening_socket(AF_INET6);
    if (fd < 0) fd = listening_socket(AF_INET);
    memset(contact, 0, sizeof *contact);
    contact->process = (int32_t)getpid();
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&at, &length) != 0)
        err_set(err, ERR_FAILED, "a port for the other ranks: %s", strerror(errno));
    else if (getrandom(contact->word, sizeof contact->word, 0) < 0 ||
             getrandom(contact->answer, sizeof contact->answer, 0) < 0)
        err_set(err, ERR_FAILED, "random numbers: %s", strerror(errno));
    else if (list_addresses(contact, err) == 0)
        contact->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                                       : ((struct sockaddr_in *)&at)->sin_port);
    if (err->code && fd >= 0) close(fd);
    else *out = fd;
    return err->code;
}

/* ---- connecting to them -------------------------------------------------------------------------------------- */

#define CONNECT_SECONDS 2
#define ANSWER_SECONDS 5
#define ATTEMPTS_SECONDS 20 /* all of them: less than after which rank 0 takes a rank for lost */

/* Waits for the socket; false, with errno, when it is not ready in time. */
static bool ready(int fd, short events, double until) {
    struct pollfd p = {.fd = fd, .events = events};
    for (double left; (left = until - clock_seconds()) > 0;) {
        int n = poll(&p, 1, (int)(left * 1000) + 1);
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
    errno = ETIMEDOUT;
    return false;
}

static bool connected(int fd, const contact_address_t *a, int port) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_four = a->family == AF_INET;
    memcpy(&four.sin_addr, a->bytes, 4);
    memcpy(&six.sin6_addr, a->bytes, 16);
    if (connect(fd, is_four ? (void *)&four : (void *)&six, is_four ? sizeof four : sizeof six) == 0) return true;
    if (errno != EINPROGRESS || !ready(fd, POLLOUT, clock_seconds() + CONNECT_SECONDS)) return false;
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    errno = error;
    return error == 0;
}

/* Says the word and looks at the answer. */
static bool known(int fd, const contact_t *contact, int rank) {
    hello_t hello = {.rank = rank, .process = (int32_t)getpid()};
    line_message_t beat = {LINE_BEAT, 0};
    unsigned char answer[CONTACT_WORD];
    size_t have = 0;
    double until = clock_seconds() + ANSWER_SECONDS;
    memcpy(hello.word, contact->word, sizeof hello.word);
    if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) return false;
    while (have < sizeof answer && ready(fd, POLLIN, until)) {
        ssize_t n = recv(fd, answer + have, sizeof answer - have, 0);
        if (n == 0) errno = ECONNRESET;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
        if (n > 0) have += (size_t)n;
    }
    if (have < sizeof answer) return false;
    errno = ECONNREFUSED; /* it is somebody else's port */
    return memcmp(answer, contact->answer, sizeof answer) == 0 &&
           send(fd, &beat, sizeof beat, MSG_NOSIGNAL) == sizeof beat;
}

static int connect_once(const contact_t *contact, const contact_address_t *a, int rank) {
    int fd = socket(a->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connected(fd, a, contact->port) && known(fd, contact, rank)) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int no_way(const contact_t *contact, bool here, const int *errors, err_t *err) {
    strbuf_t tried = {0};
    for (int i = 0; i < contact->n_addresses; i++) {
        char text[INET6_ADDRSTRLEN] = "?";
        if (contact->addresses[i].loopback && !here) continue;
        inet_ntop(contact->addresses[i].family, contact->addresses[i].bytes, text, sizeof text);
        strbuf_addf(&tried, "%s%s (%s)", tried.len ? ", " : "", text, strerror(errors[i]));
    }
    err_set(err, ERR_FAILED,
            "no connection to rank 0 by TCP, port %d of %s; expected hosts whose firewalls let the processes of a job "
            "connect to each other at any port",
            contact->port, tried.len ? tried.p : "no address");
    free(tried.p);
    return err->code;
}

/* Three rounds: on a host with hundreds of ranks the first may come when all others do. */
int contact_connect(const contact_t *contact, int rank, bool here, int *fd, err_t *err) {
    int errors[CONTACT_ADDRESSES] = {0};
    double until = clock_seconds() + ATTEMPTS_SECONDS;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < contact->n_addresses; i++) {
            const contact_address_t *a = &contact->addresses[i];
            if ((a->loopback && !here) || (errors[i] && clock_seconds() > until)) continue;
            if ((*fd = connect_once(contact, a, rank)) >= 0) return 0;
            errors[i] = errno;
        }
        nanosleep(&(struct timespec){0, 300000000}, NULL);
    }
    return no_way(contact, here, errors, err);
}

/* ---- who connects to rank 0 ---------------------------------------------------------------------------------- */

#define STRANGER_SECONDS 8
#define SPARE_STRANGERS 16 /* at the same time, beside as many as there are ranks */

typedef struct {
    int fd, ticks;
    size_t have;
    struct {
        hello_t hello;
        line_message_t beat;
    } said;
} stranger_t;

struct strangers {
    const contact_t *contact;
    int listening, ranks, n, most;
    stranger_t *all;
};

strangers_t *strangers_new(const contact_t *contact, int listening, int ranks) {
    strangers_t *s = xcalloc(1, sizeof *s);
    *s = (strangers_t){contact, listening, ranks, 0, ranks + SPARE_STRANGERS, NULL};
    s->all = xcalloc((size_t)s->most, sizeof *s->all);
    return s;
}

/* In the order in which they came. */
static void remove_stranger(strangers_t *s, int i) {
    memmove(&s->all[i], &s->all[i + 1], (size_t)(--s->n - i) * sizeof *s->all);
}

static void send_away(strangers_t *s, int i) {
    close(s->all[i].fd);
    remove_stranger(s, i);
}

void strangers_free(strangers_t *s) {
    if (!s) return;
    for (int i = 0; i < s->n; i++) close(s->all[i].fd);
    close(s->listening);
    free(s->all);
    free(s);
}

int strangers_most(const strangers_t *s) { return s ? s->most + 1 : 0; }

int strangers_poll(const strangers_t *s, struct pollfd *polls, int n) {
    if (!s) return n;
    polls[n++] = (struct pollfd){.fd = s->listening, .events = POLLIN};
    for (int i = 0; i < s->n; i++) polls[n++] = (struct pollfd){.fd = s->all[i].fd, .events = POLLIN};
    return n;
}

/* Where there are too many the one that came first goes: a rank has said its word long before. */
static void let_in(strangers_t *s) {
    for (int fd; (fd = accept4(s->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (s->n == s->most) send_away(s, 0);
        s->all[s->n++] = (stranger_t){.fd = fd};
    }
}

/* Has the word, and is one of the ranks. Answered once. */
static bool greet(const strangers_t *s, const stranger_t *g) {
    const hello_t *hello = &g->said.hello;
    return memcmp(hello->word, s->contact->word, sizeof hello->word) == 0 && hello->rank > 0 &&
           hello->rank < s->ranks &&
           send(g->fd, s->contact->answer, CONTACT_WORD, MSG_NOSIGNAL | MSG_DONTWAIT) == CONTACT_WORD;
}

/* false: to be sent away. */
static bool listen_to(const strangers_t *s, stranger_t *g) {
    size_t want = sizeof g->said, before = g->have;
    ssize_t n = recv(g->fd, (char *)&g->said + before, want - before, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    g->have += (size_t)n;
    if (before < sizeof g->said.hello && g->have >= sizeof g->said.hello && !greet(s, g)) return false;
    return g->have < want || g->said.beat.kind == LINE_BEAT;
}

void strangers_serve(strangers_t *s, void (*joined)(guest_t guest)) {
    if (!s) return;
    let_in(s);
    for (int i = s->n; i-- > 0;) {
        stranger_t *g = &s->all[i];
        bool stays = listen_to(s, g);
        if (stays && g->have < sizeof g->said) continue;
        guest_t guest = {g->fd, g->said.hello.rank, g->said.hello.process};
        if (!stays) {
            send_away(s, i);
            continue;
        }
        remove_stranger(s, i);
        joined(guest);
    }
}

void strangers_tick(strangers_t *s) {
    if (!s) return;
    for (int i = s->n; i-- > 0;)
        if (++s->all[i].ticks > STRANGER_SECONDS) send_away(s, i);
}
