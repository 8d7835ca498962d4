/* `qlora-train init`: a commented config to begin with, made of a model and data that are looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/commands/init_config.h"
#include "trainer/commands/new_config.h"

static const char usual_output[] = "runs/first", usual_file[] = "qlora.yaml";

/* A line of the terminal in `line`; an empty one is the answer `usual`, if there is one. */
static int ask(const char *question, const char *usual, char *line, size_t size, err_t *err) {
    do {
        printf("%s%s%s%s: ", question, usual ? " [" : "", usual ? usual : "", usual ? "]" : "");
        fflush(stdout);
        if (!fgets(line, (int)size, stdin)) {
            putchar('\n');
            return err_set(err, ERR_USAGE, "init: the input has ended; nothing was written");
        }
        line[strcspn(line, "\n")] = 0;
        if (!*line && usual) snprintf(line, size, "%s", usual);
    } while (!*line);
    return 0;
}

/* Looks at what was given, or asks until it can be looked at. The answer is kept until the program ends. */
static int settle(const char *question, const char **path, int (*see)(const char *, init_sight_t *, err_t *),
                  init_sight_t *s, err_t *err) {
    static char answers[2][4096];
    char *line = answers[see == init_see_data];
    if (*path) return see(*path, s, err);
    for (;;) {
        err_t wrong = {0};
        if (ask(question, NULL, line, sizeof answers[0], err)) return err->code;
        *path = line;
        if (see(line, s, &wrong) == 0) return 0;
        log_error("%s", wrong.msg);
    }
}

static int look(init_choice_t *c, init_sight_t *s, bool asks, err_t *err) {
    static char output[4096];
    bool asked = !c->model || !c->train;
    if (settle("Model (a Hugging Face directory or a GGUF file)", &c->model, init_see_model, s, err) ||
        settle("Training data (.jsonl, .json or .txt)", &c->train, init_see_data, s, err))
        return err->code;
    if (c->output_dir) return 0;
    c->output_dir = usual_output;
    if (!asks || !asked) return 0;
    c->output_dir = output;
    return ask("Directory for the run", usual_output, output, sizeof output, err);
}

static void say(const char *file, const init_choice_t *c, const init_sight_t *s) {
    log_info("%s: %s%zu rows (%s) in %s%s", file, s->rows == INIT_ROWS_LOOKED_AT ? "at least " : "", s->rows,
             data_format_name(s->format), c->train,
             s->uses_template && !s->has_template ? "; the model has no chat template of its own" : "");
    log_info("next: qlora-train plan %s", file);
}

static int init(const char *file, init_choice_t *c, bool force, err_t *err) {
    init_sight_t s = {0};
    bool asks = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (!asks && (!c->model || !c->train))
        return err_set(err, ERR_USAGE, "init: expected --%s, as there is no terminal to ask on (see --help)",
                       c->model ? "train FILE" : "model PATH");
    if (new_config_check(file, force, err)) return err->code;
    int rc = look(c, &s, asks, err);
    if (rc == 0) rc = init_write(file, c, &s, force, err);
    if (rc == 0) say(file, c, &s);
    init_sight_free(&s);
    return rc;
}

typedef struct {
    const char *model, *train, *eval, *output_dir;
    bool force;
} given_t;

static int run_init(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_init, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) {
        bool named = args.n > 0 && !strchr(args.pos[0], '=');
        init_choice_t c = {.model = given.model,
                           .train = given.train,
                           .eval = given.eval,
                           .output_dir = given.output_dir,
                           .overrides = (char *const *)(args.pos + named),
                           .n_overrides = args.n - named};
        rc = init(named ? args.pos[0] : usual_file, &c, given.force, &err);
    }
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {
    {"FILE", ARG_CONFIG, .optional = true, .help = "the config to write (qlora.yaml)"}};
static const option_t options[] = {
    {"model", ARG_PATH, offsetof(given_t, model), "PATH", .help = "a Hugging Face directory or a GGUF file"},
    {"train", ARG_FILE, offsetof(given_t, train), "FILE",
     .help = "training rows: .jsonl, .json or .txt, also .gz or .zst"},
    {"eval", ARG_FILE, offsetof(given_t, eval), "FILE", .help = "rows for evaluation"},
    {"output-dir", ARG_DIR, offsetof(given_t, output_dir), "DIR",
     .help = "for checkpoints and the adapter (runs/first)"},
    {"force", ARG_FLAG, offsetof(given_t, force), .help = "replace FILE if it is there"},
};

const command_t command_init = {
    .name = "init",
    .synopsis = "[FILE] --model PATH --train FILE [--eval FILE] [--output-dir DIR] [--force] [section.key=value ...]",
    .what = "write a commented config to begin with",
    .about =
        "Writes a commented config (qlora.yaml) that can be planned and trained as it is. Model and data are opened: a "
        "chat template is named where rows are conversations and the model has none, and of 200 rows or more some are "
        "held out for evaluation, unless --eval gives others. Fewer than 1000 rows are not packed and make a step of "
        "every 4, so that an epoch has steps enough to learn in. On a terminal what is not given is asked for.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .overrides = true,
    .run = run_init,
};
