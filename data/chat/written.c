#include "data/chat/written.h"

#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "data/tokenizer/utf8.h"

/* The name of an element's key by its number; "" for those that are not told apart. */
static const char *key_name(const json_t *messages, jinja_origin_t origin) {
    json_t *message = json_array_get(messages, jinja_item(origin));
    size_t i = 0;
    for (void *it = json_object_iter(message); it; it = json_object_iter_next(message, it))
        if (i++ == jinja_key(origin)) return json_object_iter_key(it);
    return "";
}

bool written_is_text(const json_t *messages, jinja_origin_t origin) {
    static const char *const others[] = {"role", "name", "tool_call_id", "id", NULL};
    return jinja_traced(origin) && !name_is_among(key_name(messages, origin), others);
}

static size_t run_start(const jinja_output_t *out, size_t i) { return i ? out->runs[i - 1].end : 0; }

/* ---- what there is of each message ---- */

typedef enum { IN_ITERATION, IN_NONE, IN_ANOTHER, PLACES } place_t;

typedef struct {
    bool any[PLACES];
    size_t first[PLACES], last[PLACES];
    strbuf_t calls; /* what is written of its calls */
} found_t;

static void note_text(found_t *f, written_t *w, const char *key, place_t place, const char *text, size_t from,
                      size_t to) {
    static const char *const reasoning[] = {"reasoning_content", "thinking", "reasoning", NULL};
    if (!f->any[place]) f->first[place] = from;
    f->any[place] = true;
    f->last[place] = to;
    w->content |= !strcmp(key, "content");
    w->reasoning |= name_is_among(key, reasoning);
    if (strcmp(key, "tool_calls") != 0) return;
    w->calls = true;
    strbuf_add(&f->calls, text + from, to - from);
}

static void settle(written_t *w, const found_t *f) {
    for (int p = PLACES - 1; p >= 0; p--) {
        if (!f->any[p]) continue;
        w->any = true;
        w->in_iteration = p == IN_ITERATION;
        w->first = f->first[p];
        w->last = f->last[p];
    }
}

static const char *call_name(const json_t *call) {
    const char *name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
    return name ? name : "";
}

/* A call is there if its name is as often as calls have it. */
static const char *find_unwritten(const json_t *message, const strbuf_t *written) {
    const json_t *calls = json_object_get(message, "tool_calls"), *call, *other;
    size_t i, k;
    json_array_foreach(calls, i, call) {
        const char *name = call_name(call), *at = written->len ? written->p : "";
        json_array_foreach(calls, k, other) {
            if (strcmp(call_name(other), name) != 0) continue;
            if (k < i) break; /* counted with that one */
            if (!(at = strstr(at, name))) return name;
            at += strlen(name);
        }
    }
    return NULL;
}

written_t *written_find(const json_t *messages, size_t n, const jinja_output_t *out) {
    written_t *written = xcalloc(n + 1, sizeof *written);
    found_t *found = xcalloc(n + 1, sizeof *found);
    for (size_t i = 0; i < out->n_runs; i++) {
        const jinja_run_t *run = &out->runs[i];
        size_t from = run_start(out, i);
        if (run->writer >= 0 && (size_t)run->writer < n) {
            written_t *w = &written[run->writer];
            if (w->iteration == w->iteration_end) w->iteration = from;
            w->iteration_end = run->end;
        }
        if (!written_is_text(messages, run->origin)) continue;
        size_t item = jinja_item(run->origin);
        place_t place = run->writer < 0 ? IN_NONE : (size_t)run->writer == item ? IN_ITERATION : IN_ANOTHER;
        note_text(&found[item], &written[item], key_name(messages, run->origin), place, out->text.p, from, run->end);
    }
    for (size_t i = 0; i < n; i++) {
        settle(&written[i], &found[i]);
        written[i].unwritten_call = find_unwritten(json_array_get(messages, i), &found[i].calls);
        free(found[i].calls.p);
    }
    free(found);
    return written;
}

int written_check(const json_t *messages, size_t n, const written_t *written, err_t *err) {
    for (size_t k = 0; k < n; k++) {
        const json_t *m = json_array_get(messages, k);
        const written_t *w = &written[k];
        const char *what = NULL;
        if (!w->content && written_says_something(json_object_get(m, "content"))) what = "none of its content";
        else if (!w->calls && json_array_size(json_object_get(m, "tool_calls"))) what = "none of its tool_calls";
        if (what) return err_set(err, ERR_USAGE, "messages[%zu]: the chat template writes %s", k, what);
        if (w->unwritten_call)
            return err_set(err, ERR_USAGE, "messages[%zu]: the chat template does not write the call of \"%.100s\"", k,
                           w->unwritten_call);
    }
    return 0;
}

/* ---- places ---- */

bool written_before(const json_t *messages, const jinja_output_t *out, size_t item, size_t limit, long only,
                    size_t *end, size_t *whose) {
    for (size_t i = out->n_runs; i-- > 0;) {
        const jinja_run_t *run = &out->runs[i];
        if (run->end > limit || !written_is_text(messages, run->origin)) continue;
        size_t from = jinja_item(run->origin);
        if (from >= item || (only >= 0 && from != (size_t)only)) continue;
        *end = run->end;
        *whose = from;
        return true;
    }
    return false;
}

long written_foreign(const json_t *messages, const jinja_output_t *out, size_t item, size_t from, size_t to) {
    for (size_t i = 0; i < out->n_runs && run_start(out, i) < to; i++) {
        const jinja_run_t *run = &out->runs[i];
        if (run->end > from && written_is_text(messages, run->origin) && jinja_item(run->origin) != item)
            return (long)jinja_item(run->origin);
    }
    return -1;
}

size_t written_iteration_end(const jinja_output_t *out, size_t at) {
    size_t i = 0;
    while (i < out->n_runs && out->runs[i].end < at) i++;
    if (i == out->n_runs) return at;
    int32_t writer = out->runs[i].writer;
    while (i + 1 < out->n_runs && out->runs[i + 1].writer == writer) i++;
    return out->runs[i].end;
}

size_t written_next(const json_t *messages, const jinja_output_t *out, size_t item, size_t at) {
    for (size_t i = 0; i < out->n_runs; i++) {
        const jinja_run_t *run = &out->runs[i];
        size_t from = run_start(out, i);
        if (from >= at && written_is_text(messages, run->origin) && jinja_item(run->origin) != item) return from;
    }
    return out->text.len;
}

/* ---- values ---- */

/* What Python's str.strip() takes away. */
static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 0xd) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool written_says_something(const json_t *value) {
    const json_t *part;
    size_t i;
    json_array_foreach(value, i, part) {
        if (written_says_something(json_object_get(part, "text"))) return true;
    }
    const char *s = json_string_value(value);
    uint32_t c = 0;
    for (size_t k = 0, n, len = s ? json_string_length(value) : 0; k < len; k += n) {
        n = utf8_next(s + k, len - k, &c);
        if (n == 0 || !is_space(c)) return true;
    }
    return false;
}
