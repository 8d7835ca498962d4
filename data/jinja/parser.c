#include "data/jinja/parser.h"

#include <string.h>
#include <utf8proc.h>

#include "data/jinja/arena.h"
#include "data/jinja/jinja.h"

const char *const special_names[N_SPECIAL] = {"caller", "varargs", "kwargs"};

/* ---- tokens --------------------------------------------------------------------------------------------- */

static const char *token_text(const token_t *tok, char *room) {
    static const struct {
        char op;
        const char *text;
    } ops[] = {{OP_EQ, "=="}, {OP_NE, "!="}, {OP_LE, "<="}, {OP_GE, ">="}, {OP_FLOORDIV, "//"}, {OP_POW, "**"}};
    switch (tok->type) {
    case T_END: return "the end of the template";
    case T_DATA: return "text";
    case T_OUTPUT_BEGIN: return "{{";
    case T_OUTPUT_END: return "}}";
    case T_BLOCK_BEGIN: return "{%";
    case T_BLOCK_END: return "%}";
    case T_NAME: return tok->value.s->p;
    case T_STRING: return "a string";
    case T_INT:
    case T_FLOAT: return "a number";
    case T_OP: break;
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (ops[i].op == tok->op) return ops[i].text;
    }
    room[0] = tok->op;
    room[1] = 0;
    return room;
}

_Noreturn void parse_failed(parser_t *p, const char *expected) {
    char room[2];
    p->r.place = p->tok->place;
    jinja_fail(&p->r, "unexpected %.100s; expected %s", token_text(p->tok, room), expected);
}

/* The parser recurses, and what reads its tree does too. */
void enter_nested(parser_t *p) {
    if (++p->depth <= JINJA_MAX_DEPTH) return;
    p->r.place = p->tok->place;
    jinja_fail(&p->r, "nested more than %d deep", JINJA_MAX_DEPTH);
}

bool token_is_word(const token_t *tok, const char *word) {
    return tok->type == T_NAME && strcmp(tok->value.s->p, word) == 0;
}
bool at_word(const parser_t *p, const char *word) { return token_is_word(p->tok, word); }

bool skip_op(parser_t *p, char op) {
    bool found = at_op(p, op);
    p->tok += found;
    return found;
}

bool skip_word(parser_t *p, const char *word) {
    bool found = at_word(p, word);
    p->tok += found;
    return found;
}

void expect_op(parser_t *p, char op) {
    if (!skip_op(p, op)) parse_failed(p, (char[]){op, 0});
}

const char *expect_name(parser_t *p, const char *expected) {
    if (p->tok->type != T_NAME) parse_failed(p, expected);
    const char *text = p->tok->value.s->p;
    p->r.place = p->tok->place;
    if (text[0] >= '0' && text[0] <= '9') jinja_fail(&p->r, "'%s' is no name", text);
    p->tok++;
    return text;
}

void pointers_add(parser_t *p, pointers_t *a, void *v) {
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 4;
        void **grown = jinja_alloc(&p->r, cap * sizeof *grown);
        if (a->n) memcpy(grown, a->v, a->n * sizeof *grown);
        a->v = grown;
        a->cap = cap;
    }
    a->v[a->n++] = v;
}

/* ---- names ---------------------------------------------------------------------------------------------- */

static size_t hash_of(const char *s) {
    uint64_t h = 14695981039346656037u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

/* Where the name is in p->ids, or the free place for it. */
static size_t find_id(const parser_t *p, const char *text) {
    size_t i = hash_of(text) & (p->n_ids - 1);
    while (p->ids[i] && strcmp(p->t->names[p->ids[i] - 1], text) != 0) i = (i + 1) & (p->n_ids - 1);
    return i;
}

static void grow_names(parser_t *p) {
    jinja_t *t = p->t;
    size_t cap = p->cap_names ? 2 * p->cap_names : 32;
    const char **names = jinja_alloc(&p->r, cap * sizeof *names);
    bool *is_read = jinja_alloc(&p->r, cap);
    if (t->n_names) {
        memcpy(names, t->names, t->n_names * sizeof *names);
        memcpy(is_read, t->is_read, t->n_names);
    }
    t->names = names;
    t->is_read = is_read;
    p->cap_names = cap;
    p->n_ids = 4 * cap;
    p->ids = jinja_alloc(&p->r, p->n_ids * sizeof *p->ids);
    for (size_t i = 0; i < t->n_names; i++) p->ids[find_id(p, names[i])] = (uint32_t)i + 1;
}

name_t find_name(parser_t *p, const char *text) {
    if (p->t->n_names == p->cap_names) grow_names(p);
    size_t i = find_id(p, text);
    if (!p->ids[i]) {
        p->t->names[p->t->n_names++] = text;
        p->ids[i] = (uint32_t)p->t->n_names;
    }
    return (name_t){.text = text, .id = p->ids[i] - 1};
}

name_t use_name(parser_t *p, const char *text, name_use_t use) {
    name_t name = find_name(p, text);
    if (use == NAME_READ) p->t->is_read[name.id] = true;
    if (use == NAME_SET && p->fors && strcmp(text, "loop") == 0) jinja_fail(&p->r, "'loop' cannot be set in a loop");
    for (int i = 0; i < N_SPECIAL; i++) {
        if (strcmp(text, special_names[i]) != 0) continue;
        for (enclosing_t *m = p->macros; m; m = m->outer) {
            if (!m->seen[i]) m->read[i] = use == NAME_READ;
            m->seen[i] = true;
        }
    }
    return name;
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static int check_text(const char *name, const char *text, size_t len, err_t *err) {
    size_t line = 1;
    if (len > JINJA_MOST_BYTES) return err_set(err, ERR_USAGE, "%s: a template of more than 1 MiB", name);
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (k <= 0) return err_set(err, ERR_USAGE, "%s:%zu: the template is not UTF-8", name, line);
        if (c == 0) return err_set(err, ERR_USAGE, "%s:%zu: the template has a NUL byte", name, line);
        line += c == '\n';
        i += (size_t)k;
    }
    return 0;
}

/* On its own, so that what jinja_parse() keeps across the longjmp is not in a register of this one. */
static int parse_guarded(parser_t *p, const char *text, size_t len) {
    if (setjmp(p->r.failed)) return p->r.err->code;
    p->tok = jinja_tokens(&p->r, text, len).v;
    p->t->body = parse_template(p);
    jinja_find_slots(&p->r, p->t);
    return 0;
}

int jinja_parse(const char *name, const char *text, size_t len, jinja_t **t, err_t *err) {
    *t = NULL;
    if (check_text(name, text, len, err)) return err->code;
    parser_t p = {.t = xcalloc(1, sizeof *p.t)};
    p.t->name = xstrdup(name);
    p.r.t = p.t;
    p.r.name = p.t->name;
    p.r.err = err;
    int rc = parse_guarded(&p, text, len);
    p.t->arena = p.r.arena;
    if (rc) {
        jinja_free(p.t);
    } else {
        *t = p.t;
    }
    return rc;
}

void jinja_free(jinja_t *t) {
    if (!t) return;
    arena_free(t->arena);
    free(t->name);
    free(t);
}

bool jinja_marks_generation(const jinja_t *t) { return t->marks_generation; }

bool jinja_reads(const jinja_t *t, const char *name) {
    for (size_t i = 0; i < t->n_names; i++) {
        if (strcmp(t->names[i], name) == 0) return t->is_read[i] && t->from_context[i];
    }
    return false;
}
