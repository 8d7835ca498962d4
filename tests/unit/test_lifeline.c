/* The lifeline between processes of this host, which have pipes in the place of MPI: what strangers at rank 0's port do to
 * it, what is told to whom, and what is said of a process that ends. Under MPI, on several hosts, and what takes the time
 * after which a silent one is lost: cluster/ranks.sh. */
#include "trainer/ranks/lifeline.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/support/testing.h"
#include "trainer/ranks/lifeline_join.h"
#include "trainer/ranks/ranks.h"

#define RANKS 3
#define SECONDS 60 /* that a process may take, all in all */

/* ---- the functions of ranks.h that the lifeline calls: rank 0 has a socket to each of the others, they one to it ------ */

static int me;
static int links[RANKS];
static void (*before_broadcast)(void *p); /* of rank 0 */

int ranks_rank(void) { return me; }
int ranks_size(void) { return RANKS; }
bool ranks_first(void) { return me == 0; }
host_share_t ranks_share(void) { return (host_share_t){me, RANKS, 1}; }
const char *ranks_host(int rank) { return rank < RANKS ? "made-up" : NULL; }

/* To and from a process that has ended they wait for ever, as in a sum of MPI's. */
static void put(int link, const void *p, size_t bytes) {
    if (send(link, p, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) pause();
}

static void get(int link, void *p, size_t bytes) {
    for (char *at = p; bytes > 0;) {
        ssize_t n = read(link, at, bytes);
        if (n <= 0) pause();
        at += n;
        bytes -= (size_t)n;
    }
}

static void share_out(void *p, size_t bytes) {
    if (me != 0) get(links[0], p, bytes);
    for (int k = 1; me == 0 && k < RANKS; k++) put(links[k], p, bytes);
}

void ranks_broadcast(void *p, size_t bytes) {
    if (me == 0 && before_broadcast) before_broadcast(p);
    share_out(p, bytes);
}

void ranks_gather(const void *mine, size_t bytes, void *all) {
    char *to = all;
    if (me != 0) put(links[0], mine, bytes);
    else memcpy(to, mine, bytes);
    for (int k = 1; me == 0 && k < RANKS; k++) get(links[k], to + (size_t)k * bytes, bytes);
    share_out(all, bytes * RANKS);
}

int ranks_agree(err_t *err) {
    err_t all[RANKS];
    ranks_gather(err, sizeof *err, all);
    for (int k = 0; k < RANKS; k++)
        if (all[k].code) return *err = all[k], err->code;
    return 0;
}

/* ---- running some ------------------------------------------------------------------------------------------------- */

/* What a rank does when all are connected; returns its status. */
typedef int (*part_t)(void);

static void act(int rank, int sockets[RANKS][2], const char *errors, part_t part) {
    err_t err = {0};
    me = rank;
    alarm(SECONDS);
    for (int k = 0; k < RANKS; k++) links[k] = sockets[k][1];
    links[0] = sockets[rank][0];
    for (int k = 0; k < RANKS; k++) /* the other end is open in its own process alone, so that it ends with that */
        for (int side = 0; side < 2; side++)
            if (rank == 0 ? side == 0 : k != rank || side == 1) close(sockets[k][side]);
    if (!freopen(errors, "a", stderr)) _exit(91);
    if (lifeline_open(true, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        _exit(92);
    }
    int status = part();
    lifeline_close();
    _exit(status);
}

/* The exit statuses, 128 + a signal that ended it, and what was written to standard error; freed by the next call. */
typedef struct {
    int status[RANKS];
    pid_t process[RANKS];
    const char *errors;
} ended_t;

static ended_t run(part_t part) {
    static char text[4096];
    ended_t e = {.errors = text};
    int sockets[RANKS][2];
    char *errors = xasprintf("%s/errors", test_tmpdir());
    remove(errors);
    for (int k = 0; k < RANKS; k++) assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[k]), 0);
    for (int k = 0; k < RANKS; k++)
        if ((e.process[k] = fork()) == 0) act(k, sockets, errors, part);
    for (int k = 0; k < RANKS; k++) close(sockets[k][0]), close(sockets[k][1]);
    for (int k = 0; k < RANKS; k++) {
        int status;
        assert_int_equal(waitpid(e.process[k], &status, 0), e.process[k]);
        e.status[k] = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    FILE *f = fopen(errors, "r");
    text[f ? fread(text, 1, sizeof text - 1, f) : 0] = '\0';
    if (f) fclose(f);
    free(errors);
    return e;
}

static void assert_statuses(const ended_t *e, int first, int second, int third) {
    const int expected[RANKS] = {first, second, third};
    for (int k = 0; k < RANKS; k++)
        if (e->status[k] != expected[k])
            fail_msg("rank %d ended with %d, not %d: %s", k, e->status[k], expected[k], e->errors);
}

/* Exactly this is said, once. */
static void assert_lost(const ended_t *e, int rank) {
    char expected[256];
    snprintf(expected, sizeof expected,
             "rank %d (made-up, process %d) has ended before its time; the run ends, its newest checkpoint is good\n",
             rank, (int)e->process[rank]);
    assert_string_equal(e->errors, expected);
}

static void barrier(void) {
    int mine = 0, all[RANKS];
    ranks_gather(&mine, sizeof mine, all);
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

static int nothing(void) {
    barrier();
    return 0;
}

static void open_and_close(void **state) {
    (void)state;
    before_broadcast = NULL;
    ended_t e = run(nothing);
    assert_statuses(&e, 0, 0, 0);
    assert_string_equal(e.errors, "");
}

static int dying; /* the rank */
static int die(void) {
    barrier();
    if (me == dying) raise(SIGKILL);
    barrier();
    return 0;
}

static void each_that_dies_is_named(void **state) {
    (void)state;
    before_broadcast = NULL;
    for (dying = 0; dying < RANKS; dying++) {
        ended_t e = run(die);
        int status[RANKS] = {1, 1, 1};
        status[dying] = 128 + SIGKILL;
        assert_statuses(&e, status[0], status[1], status[2]);
        assert_lost(&e, dying);
    }
}

static int teller;
static atomic_int told;
static void take(int sig) { atomic_fetch_add(&told, sig); }
static void on_usr1(int sig) { lifeline_tell_stop(sig); }

/* Told by a handler, twice, before some have said who takes it; taken once by all others. */
static int tell_stop(void) {
    if (me == teller) {
        struct sigaction act = {.sa_handler = on_usr1};
        sigaction(SIGUSR1, &act, NULL);
        raise(SIGUSR1);
        raise(SIGUSR1);
    }
    barrier();
    lifeline_on_stop(take);
    for (int i = 0; i < 1000 && me != teller && atomic_load(&told) == 0; i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    barrier();
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    return atomic_load(&told);
}

static void a_stop_reaches_all_others(void **state) {
    (void)state;
    before_broadcast = NULL;
    for (teller = 0; teller < RANKS; teller++) {
        ended_t e = run(tell_stop);
        int status[RANKS] = {SIGUSR1, SIGUSR1, SIGUSR1};
        status[teller] = 0;
        assert_statuses(&e, status[0], status[1], status[2]);
    }
}

static int tell_end(void) {
    barrier();
    if (me == teller) {
        lifeline_tell_end(75);
        _exit(75);
    }
    barrier();
    return 0;
}

static void an_end_in_order(void **state) {
    (void)state;
    before_broadcast = NULL;
    for (teller = 0; teller < RANKS; teller++) {
        ended_t e = run(tell_end);
        assert_statuses(&e, 75, 75, 75);
        assert_string_equal(e.errors, "");
    }
}

/* ---- strangers ---------------------------------------------------------------------------------------------------- */

static int connected(const contact_t *contact) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)contact->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) _exit(93);
    return fd;
}

static void send_some(int fd, const void *p, size_t bytes) { (void)!send(fd, p, bytes, MSG_NOSIGNAL); }

/* More than there are places for: silent ones, such as say anything at all, part of the word, or the word and then nonsense,
 * as ranks that there are not, as rank 0, or as one that then does not go on. */
static void strangers_come(void *p) {
    const contact_t *contact = p;
    static char anything[1 << 16];
    struct {
        unsigned char word[CONTACT_WORD];
        int32_t rank, process;
        line_message_t message;
    } said = {.process = 1, .message = {LINE_END, 3}};
    memset(anything, 'x', sizeof anything);
    memcpy(said.word, contact->word, sizeof said.word);
    for (int i = 0; i < 30; i++) connected(contact);
    for (int i = 0; i < 5; i++) close(connected(contact));
    for (int i = 0; i < 5; i++) send_some(connected(contact), anything, sizeof anything);
    send_some(connected(contact), said.word, sizeof said.word - 1);
    static const int32_t nobody[] = {0, -1, RANKS, 1 << 30, 1, 2};
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        said.rank = nobody[i];
        int fd = connected(contact);
        send_some(fd, &said, sizeof said);
        if (i % 2) close(fd);
    }
    said.rank = 1;
    send_some(connected(contact), &said, sizeof said - sizeof said.message);
}

static void strangers_change_nothing(void **state) {
    (void)state;
    before_broadcast = strangers_come;
    ended_t e = run(nothing);
    assert_statuses(&e, 0, 0, 0);
    assert_string_equal(e.errors, "");
    dying = 2;
    e = run(die);
    assert_statuses(&e, 1, 1, 128 + SIGKILL);
    assert_lost(&e, 2);
}

/* Somebody else at the address: takes the connection and says nothing right. */
static void no_connection(void **state) {
    (void)state;
    err_t err = {0};
    contact_t contact;
    int listening, fd;
    assert_ok(contact_listen(&contact, &listening, &err), err);
    assert_true(contact.n_addresses > 0 && contact.port > 0);
    contact.n_addresses = 2;
    contact.addresses[0] = (contact_address_t){AF_INET, true, {127, 0, 0, 1}};
    contact.addresses[1] = (contact_address_t){AF_INET, false, {127, 0, 0, 2}};
    close(listening);
    char port[16];
    snprintf(port, sizeof port, "port %d", contact.port);
    assert_error(contact_connect(&contact, 1, true, &fd, &err), err, ERR_FAILED, port);
    assert_non_null(strstr(err.msg, "127.0.0.1 (Connection refused), 127.0.0.2 (Connection refused)"));
    assert_error(contact_connect(&contact, 1, false, &fd, &err), err, ERR_FAILED, "of 127.0.0.2 (Connection");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_and_close),
        cmocka_unit_test(each_that_dies_is_named),
        cmocka_unit_test(a_stop_reaches_all_others),
        cmocka_unit_test(an_end_in_order),
        cmocka_unit_test(strangers_change_nothing),
        cmocka_unit_test(no_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
