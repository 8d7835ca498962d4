/* The table behind data/chat/chat.h: what each published template writes around the text of each turn. */
#ifndef DATA_CHAT_CHAT_TABLE_H
#define DATA_CHAT_CHAT_TABLE_H

#include "data/chat/chat.h"

enum { CHAT_ROLES = ROLE_CALL + 1 };

/* In the strings of the table these two bytes stand for the model's BOS and EOS, whatever they are called.
 * Other special tokens (<|im_end|>) are written out, and become their ids where the vocabulary has them. */
#define CHAT_BOS "\1"
#define CHAT_EOS "\2"

/* open | lead text tail close | after. Of an assistant's turn the middle is trained. Turns of one speaker may
 * share an opening: with `join`, a turn that follows one of its own kind (or a call that follows its assistant's
 * text) is written join | lead text tail before the close of the earlier one. */
typedef struct {
    const char *open; /* NULL: the template has no such turn */
    const char *lead, *tail, *close, *after;
    const char *join; /* NULL: turns are never joined */
} turn_pieces_t;

typedef enum { SYSTEM_OWN_TURN, SYSTEM_IN_FIRST_USER, SYSTEM_IN_LAST_USER } system_place_t;

struct chat_variant {
    const char *name;
    chat_format_t format;
    /* Recognition: all of `has` and none of `lacks` in the model's Jinja text, and `token` one id. The rows of the
     * table are tried in order: the particular before the general. */
    const char *has[3], *lacks[3];
    const char *token;
    turn_pieces_t role[CHAT_ROLES];
    const char *generation; /* opens an assistant turn to be generated */
    system_place_t system_place;
    const char *system_open, *system_close; /* around the system text inside a user turn */
    const char *system_lead;                /* before the text of a first system turn */
    const char *default_system;             /* when the model's own template names none */
    unsigned trim;                          /* roles (bits) whose texts lose the white space around them */
    unsigned may_trim;                      /* the same if the model's Jinja text says so */
    bool alternate;                         /* user and assistant must take turns, the user first */
    bool think;                             /* the last answer has a <think> block, earlier ones lose theirs */
    bool tagged_calls;                      /* calls stand in <tool_call> tags: the list of tools says so */
    const char *stops[3];                   /* ends of an assistant turn, besides EOS */
};

extern const chat_variant_t chat_variants[];
extern const size_t chat_n_variants;

#endif
