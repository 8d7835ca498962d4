/* Pages that need no other file: no script, font or picture from elsewhere, light or dark as the reader's system is. */
#ifndef TRAINER_REPORT_HTML_H
#define TRAINER_REPORT_HTML_H

#include "base/error.h"
#include "base/mem.h"

/* Up to <body>, with the style of all pages; what follows is the caller's. */
void html_begin(strbuf_t *b, const char *title);
/* Text as text, whatever is in it, also within quotation marks of an attribute. Control characters become U+FFFD. */
void html_text(strbuf_t *b, const char *text);
/* The finished page in its file: whole, or not there. */
int html_write(strbuf_t *b, const char *path, err_t *err);

#endif
