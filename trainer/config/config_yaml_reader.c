#include "trainer/config/config_yaml_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

int place_error(const place_t *at, err_t *err, const char *fmt, ...) {
    char msg[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err_set(err, ERR_USAGE, "%s", msg);
    if (at->line) return err_prefix(err, "%s:%zu:%zu", at->file, at->line, at->column);
    return err_prefix(err, "%s", at->file);
}

place_t yaml_place_of(const yaml_reader_t *r, const yaml_mark_t *mark) {
    /* An override is one short value: its line and column would only puzzle. */
    if (r->what) return (place_t){.file = r->file};
    return (place_t){.file = r->file, .line = mark->line + 1, .column = mark->column + 1};
}

/* For errors about the YAML itself: before any key is known, but an override is known all along. */
int yaml_syntax_error(const yaml_reader_t *r, const place_t *at, const char *what, const char *detail) {
    const char *colon = r->what ? ": " : "";
    return place_error(at, r->err, "%s%s%s%s", r->what ? r->what : "", colon, what, detail);
}

/* libyaml reports bytes that are no UTF-8 with an offset only. */
static place_t place_of_offset(const yaml_reader_t *r, size_t offset) {
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->len; i++) {
        bool newline = r->text[i] == '\n';
        mark.line += newline;
        mark.column = newline ? 0 : mark.column + 1;
    }
    return yaml_place_of(r, &mark);
}

/* Whether a tab is among the white space that line `line` (from 0) begins with. */
static bool tab_indents(const yaml_reader_t *r, size_t line) {
    const char *s = r->text;
    for (; line > 0 && (s = memchr(s, '\n', r->len - (size_t)(s - r->text))); line--) s++;
    if (!s) return false;
    size_t n = strspn(s, " \t"); /* the text ends in a NUL */
    return memchr(s, '\t', n) != NULL;
}

static int parser_error(const yaml_reader_t *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return err_set(r->err, ERR_FAILED, "%s: out of host memory", r->file);
    bool reader = p->error == YAML_READER_ERROR;
    place_t at = reader ? place_of_offset(r, p->problem_offset) : yaml_place_of(r, &p->problem_mark);
    const char *problem = p->problem ? p->problem : "unknown problem";
    if (!reader && tab_indents(r, p->problem_mark.line)) problem = "a tab in front; expected spaces";
    return yaml_syntax_error(r, &at, "not valid YAML: ", problem);
}

static int refuse_extras(const yaml_reader_t *r, const yaml_event_t *e) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    place_t at = yaml_place_of(r, &e->start_mark);
    if (e->type == YAML_ALIAS_EVENT || anchor)
        return yaml_syntax_error(r, &at, "anchors (&) and aliases (*) are not supported; expected plain values", "");
    if (tag) return yaml_syntax_error(r, &at, "tags (!) are not supported; expected plain values", "");
    return 0;
}

int yaml_next_event(yaml_reader_t *r, yaml_event_t *e) {
    if (!yaml_parser_parse(&r->parser, e)) return parser_error(r);
    if (refuse_extras(r, e) == 0) return 0;
    yaml_event_delete(e);
    return r->err->code;
}

int yaml_scalar_text(const yaml_reader_t *r, const yaml_event_t *e, char **text) {
    const char *s = (const char *)e->data.scalar.value;
    if (memchr(s, 0, e->data.scalar.length)) {
        place_t at = yaml_place_of(r, &e->start_mark);
        return yaml_syntax_error(r, &at, "a NUL character in a value; expected text", "");
    }
    *text = xstrndup(s, e->data.scalar.length);
    return 0;
}

int yaml_read_root(yaml_reader_t *r, yaml_event_t *root, bool *empty) {
    *empty = false;
    for (;;) {
        if (yaml_next_event(r, root)) return r->err->code;
        *empty = root->type == YAML_STREAM_END_EVENT;
        if (root->type != YAML_STREAM_START_EVENT && root->type != YAML_DOCUMENT_START_EVENT) return 0;
        yaml_event_delete(root);
    }
}

int yaml_read_end(yaml_reader_t *r) {
    for (bool more = true; more;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        place_t at = yaml_place_of(r, &e.start_mark);
        more = e.type != YAML_STREAM_END_EVENT;
        bool another = e.type == YAML_DOCUMENT_START_EVENT;
        yaml_event_delete(&e);
        if (another) return yaml_syntax_error(r, &at, "a second document; expected one", "");
    }
    return 0;
}

void yaml_reader_open(yaml_reader_t *r) {
    if (r->len >= 3 && memcmp(r->text, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
        r->text += 3;
        r->len -= 3;
    }
    if (!yaml_parser_initialize(&r->parser)) mem_checked(NULL, 0); /* the one reason */
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->len);
}

void yaml_reader_close(yaml_reader_t *r) { yaml_parser_delete(&r->parser); }
