#include "trainer/run/samples.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "data/tokenizer/utf8.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/generate.h"
#include "trainer/run/run_data.h"
#include "trainer/run/shares.h"

/* ---- before the plan ------------------------------------------------------------------------------------ */

static int encode(const run_t *run, prompt_t *p, err_t *err) {
    size_t most = model_source_config(run->src)->max_positions;
    if (generate_encode(run, NULL, p->text, &p->ids, err)) return err->code;
    if (p->ids.len == 0) return err_set(err, ERR_USAGE, "the prompt has no tokens; expected some text");
    if (p->ids.len < most) return 0;
    return err_set(
        err, ERR_USAGE,
        "the prompt has %zu tokens, and the model %zu positions, which leaves none for an answer; expected a "
        "shorter one",
        p->ids.len, most);
}

static void note(prompts_t *all, const prompt_t *p, size_t most) {
    all->longest = max_size(all->longest, p->ids.len);
    all->positions = max_size(all->positions, min_size(p->ids.len + SAMPLE_TOKENS, most));
    all->id = rng_fold(all->id, XXH3_64bits(p->text, strlen(p->text)));
    all->id = rng_fold(all->id, XXH3_64bits(p->ids.ids, p->ids.len * sizeof *p->ids.ids));
}

static int encode_all(run_t *run, err_t *err) {
    const char *path = run->config.training.sample_prompts;
    prompts_t *all = &run->prompts;
    for (size_t i = 0; i < all->n; i++) {
        if (encode(run, &all->at[i], err)) return err_prefix(err, "%s:%zu", path, all->at[i].line);
        note(all, &all->at[i], model_source_config(run->src)->max_positions);
    }
    all->stops = generate_stop_ids(run);
    return 0;
}

/* Prompts of a base model, whose rows are no conversations, have no template either. */
static int find_template(run_t *run, err_t *err) {
    bool none = strcmp(run->config.data.chat_template, "auto") == 0 && !tokenizer_templates_from(run->tok);
    return none ? 0 : run_find_template(run, err);
}

int samples_prepare(run_t *run, err_t *err) {
    const config_t *c = &run->config;
    if (!c->training.sample_prompts) return 0;
    if (prompts_read(c->training.sample_prompts, &run->prompts, err)) return err->code;
    /* A template that no row needs is none of the training's, whatever prompts are put in. */
    bool of_rows = run->chat != NULL;
    if ((!run->tok && tokenizer_open(c->model.path, &run->tok, err)) || find_template(run, err))
        return err_prefix(err, "training.sample_prompts");
    run->prompts.in_template = run->chat != NULL;
    int rc = encode_all(run, err);
    if (of_rows) return rc;
    chat_template_close(run->chat);
    run->chat = NULL;
    return rc;
}

void samples_need(run_t *run) {
    if (!run->prompts.n) return;
    plan_need_t n = generate_need(run->prompts.longest, run->prompts.positions);
    run->need.prompt_tokens = n.prompt_tokens;
    run->need.cache = n.cache;
}

/* ---- answers -------------------------------------------------------------------------------------------- */

/* Prompt i is rank (i mod n)'s, whose block has an answer for each of its prompts: the number of tokens, and the tokens;
 * behind them whether it has given up. */
enum { ANSWER = SAMPLE_TOKENS + 1 };

static size_t block_size(const prompts_t *p) {
    size_t ranks = (size_t)ranks_size();
    return (p->n + ranks - 1) / ranks * ANSWER + 1;
}

static size_t answer_at(const prompts_t *p, size_t i) {
    size_t ranks = (size_t)ranks_size();
    return i % ranks * block_size(p) + i / ranks * ANSWER;
}

static void add_token(void *ctx, int32_t id) {
    int32_t *answer = ctx;
    answer[++answer[0]] = id;
}

/* Whether it has given up. */
static bool answer_share(run_t *run, bool (*stop)(void), int32_t *block) {
    const prompts_t *p = &run->prompts;
    int32_t *answer = block;
    for (size_t i = shares_first(); i < p->n; i = shares_next(i), answer += ANSWER) {
        const ids_t *ids = &p->at[i].ids;
        size_t left = model_source_config(run->src)->max_positions - ids->len;
        answer_spec_t spec = {.stops = p->stops, .max_new = min_size(SAMPLE_TOKENS, left)};
        if (!generate_answer(run, ids, &spec, stop, add_token, answer)) return true;
    }
    return false;
}

bool samples_answer(run_t *run, bool (*stop)(void), int32_t **answers) {
    size_t size = block_size(&run->prompts), ranks = (size_t)ranks_size();
    int32_t *mine = xcalloc(size, sizeof *mine);
    *answers = xcalloc(ranks * size, sizeof **answers);
    mine[size - 1] = answer_share(run, stop, mine);
    ranks_gather(mine, size * sizeof *mine, *answers);
    free(mine);
    for (size_t k = 1; k <= ranks; k++)
        if ((*answers)[k * size - 1]) return false;
    return true;
}

/* ---- rows ----------------------------------------------------------------------------------------------- */

/* The rows of a step against the prompts. */
typedef struct {
    const prompts_t *prompts;
    size_t step, rows;
    bool others;
} seen_t;

static void see(void *ctx, const json_t *row, size_t step) {
    seen_t *s = ctx;
    if (step != s->step) return;
    const char *prompt = json_string_value(json_object_get(row, "prompt"));
    s->others |= !prompt || s->rows >= s->prompts->n || strcmp(prompt, s->prompts->at[s->rows].text) != 0;
    s->rows++;
}

int samples_open(const run_t *run, size_t step, bool due, step_rows_t **rows, bool *complete, err_t *err) {
    char *path = path_join(run->config.training.output_dir, "samples.jsonl");
    seen_t seen = {.prompts = &run->prompts, .step = step};
    int rc = step_rows_open(path, step, see, &seen, rows, err);
    *complete = seen.rows == run->prompts.n && !seen.others;
    if (rc == 0 && due && seen.rows && !*complete) { /* of a write that was torn, or of other prompts */
        step_rows_close(*rows);
        rc = step_rows_open(path, step - 1, NULL, NULL, rows, err);
    }
    free(path);
    return rc;
}

/* As text that any reader of JSON takes: what is no UTF-8 (half a character, where an answer was cut), and NUL, becomes
 * U+FFFD. */
static void add_text(strbuf_t *b, const char *s, size_t len) {
    uint32_t c;
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = utf8_next(s + i, len - i, &c);
        if (n && c) strbuf_add(b, s + i, n);
        else strbuf_adds(b, "\xef\xbf\xbd");
    }
}

static char *answer_text(const tokenizer_t *tok, const int32_t *answer) {
    strbuf_t bytes = {0}, text = {0};
    for (int32_t i = 0; i < answer[0]; i++) {
        size_t len;
        const char *piece = generate_piece(tok, answer[1 + i], i == 0, &len);
        strbuf_add(&bytes, piece, len);
    }
    add_text(&text, bytes.p, bytes.len);
    free(bytes.p);
    return text.p ? text.p : xstrdup("");
}

static void add_row(strbuf_t *rows, size_t step, const char *prompt, const char *completion) {
    json_t *j = json_pack("{s:I, s:s, s:s}", "step", (json_int_t)step, "prompt", prompt, "completion", completion);
    char *line = mem_checked(json_dumps(j, JSON_PRESERVE_ORDER), 0);
    strbuf_addf(rows, "%s\n", line);
    free(line);
    json_decref(j);
}

int samples_write(step_rows_t *rows, const run_t *run, size_t step, const int32_t *answers, err_t *err) {
    const prompts_t *p = &run->prompts;
    strbuf_t text = {0};
    for (size_t i = 0; i < p->n; i++) {
        char *completion = answer_text(run->tok, answers + answer_at(p, i));
        add_row(&text, step, p->at[i].text, completion);
        free(completion);
    }
    int rc = step_rows_add(rows, text.p, text.len, err);
    if (rc == 0) rc = step_rows_sync(rows, err);
    free(text.p);
    return rc;
}
