/* The files of data/chat/templates/, as cmake/templates.cmake writes them into the program. */
#ifndef DATA_CHAT_SHIPPED_H
#define DATA_CHAT_SHIPPED_H

#include <stddef.h>

typedef struct {
    const char *name; /* of the file, without .jinja */
    const char *text; /* not NUL-terminated */
    size_t len;
} shipped_template_t;

extern const shipped_template_t shipped_templates[];
extern const size_t n_shipped_templates;

#endif
