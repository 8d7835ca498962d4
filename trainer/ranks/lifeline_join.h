/* How the connections of the lifeline come about: rank 0 listens, tells the others by MPI where and by which words they
 * know each other, and lets in who has them. */
#ifndef TRAINER_RANKS_LIFELINE_JOIN_H
#define TRAINER_RANKS_LIFELINE_JOIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
    LINE_BEAT = 1,
    LINE_STOP,  /* value: a signal */
    LINE_END,   /* value: a status */
    LINE_GONE,  /* value: a rank */
    LINE_LEAVE, /* what ends now, ends in order */
};
typedef struct {
    int32_t kind, value;
} line_message_t;

#define CONTACT_ADDRESSES 32
#define CONTACT_WORD 16
typedef struct {
    int32_t family; /* AF_INET, AF_INET6 */
    bool loopback;
    unsigned char bytes[16];
} contact_address_t;

/* Where rank 0 is found, and two words that nobody else knows: what others say to it, and what it answers, as a private
 * address may be somebody else's on another host. */
typedef struct {
    unsigned char word[CONTACT_WORD], answer[CONTACT_WORD];
    int32_t process;
    int32_t port, n_addresses;
    contact_address_t addresses[CONTACT_ADDRESSES];
} contact_t;

/* Of rank 0: *fd listens, at what is noted in *contact. */
int contact_listen(contact_t *contact, int *fd, err_t *err);
/* Of the others: connects to it. here: on the same host. */
int contact_connect(const contact_t *contact, int rank, bool here, int *fd, err_t *err);

/* Those who have connected to rank 0, which do not count before they have said the word and shown, by a first beat, that
 * they have its answer. */
typedef struct strangers strangers_t;
typedef struct {
    int fd, rank;
    int32_t process;
} guest_t;

strangers_t *strangers_new(const contact_t *contact, int listening, int ranks);
/* Closes all of their connections, and the listening one. */
void strangers_free(strangers_t *s);
/* Adds what there is to wait for to polls[n], of strangers_most(); returns how many there are now. */
struct pollfd;
int strangers_most(const strangers_t *s);
int strangers_poll(const strangers_t *s, struct pollfd *polls, int n);
/* Takes what has come; calls joined() for each that may. */
void strangers_serve(strangers_t *s, void (*joined)(guest_t guest));
/* A second has gone by: who has said nothing for some is sent away. */
void strangers_tick(strangers_t *s);

#endif
