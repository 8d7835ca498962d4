/* The manual page, as man(7), made from the tables of the commands and of the config's keys. */
#ifndef TRAINER_COMMANDS_MAN_PAGE_H
#define TRAINER_COMMANDS_MAN_PAGE_H

#include "base/mem.h"

void man_page(strbuf_t *b);

#endif
