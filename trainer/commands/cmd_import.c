/* `qlora-train import`: a config of Axolotl or LLaMA-Factory as one of ours. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/commands/new_config.h"
#include "trainer/import/import.h"

typedef struct {
    const char *output;
    bool force, keys;
} given_t;

static int write_config(const import_t *im, const char *file, const char *tmp, err_t *err) {
    char *text = import_config(im);
    config_t config;
    int rc = new_config_write(tmp, text, NULL, 0, CONFIG_WRITTEN, &config, err);
    free(text);
    if (rc == ERR_USAGE) return err_prefix(err, "%s", file); /* which the values come from */
    if (rc == 0) config_free(&config);
    return rc;
}

static void say(const import_t *im, const char *output) {
    for (size_t i = 0; i < import_n_notes(im); i++) log_warn("%s", import_note_line(im, i));
    if (import_n_missing(im))
        log_info("%s: written; model or data are not here: put in the paths, as its comments say", output);
    else log_info("%s: written", output);
    log_info("next: qlora-train plan %s", output);
}

static int import(const char *file, const char *output, bool force, err_t *err) {
    import_t *im;
    if (new_config_check(output, force, err) || import_read(file, output, &im, err)) return err->code;
    char *tmp = new_config_temporary(output);
    int rc = file_replace(tmp, output, write_config(im, file, tmp, err), err);
    if (rc == 0) say(im, output);
    free(tmp);
    import_free(im);
    return rc;
}

static void print_keys(void) {
    char *tables = import_key_tables();
    fputs(tables, stdout);
    free(tables);
}

static int run_import(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_import, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && given.keys) print_keys();
    else if (rc == 0 && args.n == 0) rc = err_set(&err, ERR_USAGE, "import: expected FILE (see --help)");
    else if (rc == 0) rc = import(args.pos[0], given.output, given.force, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {
    {"FILE", ARG_FILE, .optional = true, .help = "the YAML config of Axolotl or of LLaMA-Factory"}};
static const option_t options[] = {
    {"output", ARG_CONFIG, offsetof(given_t, output), "CONFIG", "qlora.yaml", .help = "the config to write"},
    {"force", ARG_FLAG, offsetof(given_t, force), .help = "replace it if it is there"},
    {"keys", ARG_FLAG, offsetof(given_t, keys), .help = "print where each key goes, as tables in Markdown"},
};

const command_t command_import = {
    .name = "import",
    .synopsis = "FILE [--output CONFIG] [--force]\n--keys",
    .what = "turn a config of Axolotl or LLaMA-Factory into one of ours",
    .about = "Turns a YAML config of Axolotl or of LLaMA-Factory into one of ours. Each value has the key that it "
             "comes from beside it, also where the other program's default is not ours. What is not carried over is "
             "said, with its line, and stands at the end of the config. Where that would make another training "
             "(preferences, full fine-tuning, 8-bit layers, images) nothing is written. Relative paths are taken from "
             "the working directory, or from FILE's. docs/import.md has every key.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_import,
};
