#include "trainer/commands/help.h"

#include <stdlib.h>
#include <string.h>

#include "base/names.h"

enum { WIDTH = 100, MARGIN = 2, GAP = 2, WIDEST_NAME = 28 };

/* ---- sentences ------------------------------------------------------------------------------------------ */

const config_key_t *option_key(const option_t *o) {
    if (!o->key) return NULL;
    size_t section = strcspn(o->key, ".");
    char *name = xstrndup(o->key, section);
    const config_key_t *key = config_key_find(name, o->key + section + 1);
    free(name);
    CHECK(key != NULL);
    return key;
}

/* The sentence with the words where it says "%s". */
static void add_sentence(strbuf_t *b, const char *help, const char *const *words) {
    const char *place = strstr(help, "%s");
    if (!place) {
        strbuf_adds(b, help);
        return;
    }
    CHECK(words != NULL);
    char *list = name_list(words, name_count(words));
    strbuf_add(b, help, (size_t)(place - help));
    strbuf_adds(b, list);
    strbuf_adds(b, place + 2);
    free(list);
}

char *help_of_option(const option_t *o) {
    strbuf_t b = {0};
    const config_key_t *key = option_key(o);
    add_sentence(&b, o->help, key ? key->words : o->words);
    if (o->usual) strbuf_addf(&b, " (%s)", o->usual);
    return b.p;
}

char *help_of_positional(const positional_t *p) {
    strbuf_t b = {0};
    add_sentence(&b, p->help, p->words);
    return b.p;
}

/* ---- lines ---------------------------------------------------------------------------------------------- */

/* How much of a text stays on one line: to the next space that is not between `` or, with `whole`, brackets. */
static size_t piece_length(const char *s, bool whole) {
    bool quoted = false;
    size_t n = 0;
    for (int depth = 0; s[n] && (s[n] != ' ' || quoted || depth > 0); n++) {
        if (s[n] == '`') quoted = !quoted;
        if (whole) depth += (s[n] == '[') - (s[n] == ']');
    }
    return n;
}

/* A text of one paragraph from `column` on, its further lines indented. */
static void add_wrapped(strbuf_t *b, const char *s, size_t column, size_t indent, bool whole) {
    for (bool first = true; *s; first = false) {
        size_t n = piece_length(s, whole);
        if (first) {
            column += n;
        } else if (column + 1 + n <= WIDTH) {
            strbuf_adds(b, " ");
            column += 1 + n;
        } else {
            strbuf_addf(b, "\n%*s", (int)indent, "");
            column = indent + n;
        }
        strbuf_add(b, s, n);
        s += n;
        s += *s == ' ';
    }
    strbuf_adds(b, "\n");
}

/* Paragraphs, an empty line between them. */
static void add_paragraphs(strbuf_t *b, const char *s) {
    while (*s) {
        size_t n = strcspn(s, "\n");
        char *paragraph = xstrndup(s, n);
        add_wrapped(b, paragraph, 0, 0, false);
        free(paragraph);
        s += n;
        if (*s && *++s) strbuf_adds(b, "\n");
    }
}

/* ---- usage ---------------------------------------------------------------------------------------------- */

/* A line for each form of the command, the first of which begins with `lead`, the others below it. */
static void add_forms(strbuf_t *b, const command_t *c, const char *lead) {
    int margin = (int)strlen(lead);
    for (const char *s = c->synopsis; *s;) {
        size_t n = strcspn(s, "\n");
        char *form = xasprintf("qlora-train %s %.*s", c->name, (int)n, s);
        strbuf_addf(b, "%*s", margin, s == c->synopsis ? lead : "");
        add_wrapped(b, form, (size_t)margin, (size_t)margin + 4, true);
        free(form);
        s += n;
        s += *s == '\n';
    }
}

/* ---- arguments ------------------------------------------------------------------------------------------ */

typedef struct {
    char *name, *help; /* "--adapter DIR", and its sentence */
} line_t;

typedef struct {
    line_t lines[64];
    size_t n;
} lines_t;

static void add_line(lines_t *l, char *name, char *help) {
    CHECK(l->n < sizeof l->lines / sizeof *l->lines);
    l->lines[l->n++] = (line_t){name, help};
}

static void list_arguments(lines_t *l, const command_t *c) {
    for (size_t i = 0; i < c->n_positionals; i++)
        add_line(l, xstrdup(c->positionals[i].name), help_of_positional(&c->positionals[i]));
    for (size_t i = 0; i < c->n_options; i++) {
        const option_t *o = &c->options[i];
        char *name = xasprintf("--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        add_line(l, name, help_of_option(o));
    }
}

static void print_lines(strbuf_t *b, const lines_t *l) {
    size_t widest = 0;
    for (size_t i = 0; i < l->n; i++) {
        size_t n = strlen(l->lines[i].name);
        if (n > widest && n <= WIDEST_NAME) widest = n;
    }
    size_t indent = MARGIN + widest + GAP;
    for (size_t i = 0; i < l->n; i++) {
        size_t n = MARGIN + strlen(l->lines[i].name) + GAP;
        strbuf_addf(b, "%*s%s%*s", MARGIN, "", l->lines[i].name, (int)(n < indent ? indent - n + GAP : GAP), "");
        add_wrapped(b, l->lines[i].help, n < indent ? indent : n, indent, false);
    }
}

static void add_arguments(strbuf_t *b, const command_t *c) {
    lines_t l = {.n = 0};
    list_arguments(&l, c);
    if (l.n) strbuf_adds(b, "\n");
    print_lines(b, &l);
    for (size_t i = 0; i < l.n; i++) {
        free(l.lines[i].name);
        free(l.lines[i].help);
    }
}

/* ---- texts ---------------------------------------------------------------------------------------------- */

void help_command(strbuf_t *b, const command_t *c) {
    add_forms(b, c, "usage: ");
    strbuf_adds(b, "\n");
    add_paragraphs(b, c->about);
    add_arguments(b, c);
    if (!c->notes) return;
    strbuf_adds(b, "\n");
    add_paragraphs(b, c->notes);
}

static void add_exit_statuses(strbuf_t *b) {
    strbuf_t s = {0};
    strbuf_adds(&s, "Exit status: ");
    for (size_t i = 0; i < n_exit_statuses; i++)
        strbuf_addf(&s, "%s%d %s", i ? "; " : "", exit_statuses[i].status, exit_statuses[i].what);
    strbuf_adds(&s, ".");
    add_paragraphs(b, s.p);
    free(s.p);
}

void help_program(strbuf_t *b) {
    strbuf_adds(b, "qlora-train: " PROGRAM_IS "\n\nusage:\n");
    for (size_t i = 0; i < n_commands; i++) {
        add_forms(b, commands[i], "  ");
        strbuf_addf(b, "      %s\n", commands[i]->what);
    }
    strbuf_adds(b, "\n");
    add_paragraphs(b, "\"qlora-train COMMAND --help\" explains a command, docs/config.md every key of a config.");
    add_exit_statuses(b);
}
