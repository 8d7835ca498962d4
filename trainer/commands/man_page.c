#include "trainer/commands/man_page.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/commands/command.h"
#include "trainer/commands/help.h"
#include "trainer/config/config_schema.h"

/* ---- roff ----------------------------------------------------------------------------------------------- */

/* `literal`: as somebody types it, where a hyphen is the character "-". */
static void add_char(strbuf_t *b, char c, bool literal) {
    switch (c) {
    case '\\': strbuf_adds(b, "\\(rs"); return;
    case '-': strbuf_adds(b, literal ? "\\-" : "-"); return;
    case '~': strbuf_adds(b, "\\(ti"); return;
    case '^': strbuf_adds(b, "\\(ha"); return;
    case '\'': strbuf_adds(b, "\\(aq"); return;
    default: strbuf_add(b, &c, 1);
    }
}

static void add_literal(strbuf_t *b, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) add_char(b, s[i], true);
}

/* Whether hyphens of a word are only hyphens: "so-called", but no option, program or path. */
static bool is_prose(const char *word, size_t n) {
    if (n == 0 || !isalpha((unsigned char)word[0]) || (n >= 5 && memcmp(word, "qlora", 5) == 0)) return false;
    for (size_t i = 0; i < n; i++)
        if (strchr("/_=<>|.", word[i]) && i + 1 < n) return false;
    return true;
}

/* One paragraph on a line, which it may begin with any character. What stands in `` is bold. */
static void add_text(strbuf_t *b, const char *s) {
    bool bold = false;
    strbuf_adds(b, "\\&");
    while (*s) {
        size_t n = strcspn(s, " `");
        bool literal = bold || !is_prose(s, n);
        if (literal && n) strbuf_adds(b, "\\%"); /* not to be broken */
        for (size_t i = 0; i < n; i++) add_char(b, s[i], literal);
        s += n;
        if (*s == '`') strbuf_adds(b, (bold = !bold) ? "\\fB" : "\\fR");
        if (*s == ' ') strbuf_adds(b, " ");
        s += *s != 0;
    }
    strbuf_adds(b, "\n");
}

static void add_paragraphs(strbuf_t *b, const char *s) {
    while (*s) {
        size_t n = strcspn(s, "\n");
        char *paragraph = xstrndup(s, n);
        strbuf_adds(b, ".PP\n");
        add_text(b, paragraph);
        free(paragraph);
        s += n;
        s += *s == '\n';
    }
}

/* A tagged paragraph: a bold name, what its value is called, and a text. */
static void add_item(strbuf_t *b, const char *name, const char *value, const char *text) {
    strbuf_adds(b, ".TP\n\\fB");
    add_literal(b, name, strlen(name));
    strbuf_adds(b, "\\fR");
    if (value) {
        strbuf_adds(b, " \\fI");
        add_literal(b, value, strlen(value));
        strbuf_adds(b, "\\fR");
    }
    strbuf_adds(b, "\n");
    add_text(b, text);
}

/* ---- synopsis ------------------------------------------------------------------------------------------- */

/* Bold what is typed as it is, in italics what stands for something else. */
static void add_form_word(strbuf_t *b, const char *s, size_t n) {
    bool stands = isupper((unsigned char)s[0]) || (n > 8 && memcmp(s, "section.", 8) == 0) ||
                  (n == 7 && memcmp(s, "options", 7) == 0);
    strbuf_adds(b, stands ? "\\fI" : "\\fB");
    add_literal(b, s, n);
    strbuf_adds(b, "\\fR");
}

static void add_form(strbuf_t *b, const char *name, const char *s, size_t n) {
    const char *end = s + n;
    strbuf_adds(b, ".in +4n\n.ti -4n\n\\fBqlora\\-train ");
    add_literal(b, name, strlen(name));
    strbuf_adds(b, "\\fR ");
    while (s < end) {
        size_t word = strcspn(s, " []()|\n");
        if (strncmp(s, "...", 3) == 0) {
            strbuf_adds(b, "...");
            s += 3;
        } else if (word) {
            size_t dots = word > 3 && strncmp(s + word - 3, "...", 3) == 0 ? 3 : 0;
            add_form_word(b, s, word - dots);
            strbuf_add(b, "...", dots);
            s += word;
        } else {
            strbuf_add(b, s++, 1);
        }
    }
    strbuf_adds(b, "\n.br\n.in -4n\n");
}

static void add_forms(strbuf_t *b, const command_t *c) {
    for (const char *s = c->synopsis; *s;) {
        size_t n = strcspn(s, "\n");
        add_form(b, c->name, s, n);
        s += n;
        s += *s == '\n';
    }
}

static void add_synopsis(strbuf_t *b) {
    strbuf_adds(b, ".SH SYNOPSIS\n.nh\n.ad l\n");
    for (size_t i = 0; i < n_commands; i++) add_forms(b, commands[i]);
    strbuf_adds(b,
                "\\fBqlora\\-train help\\fR [\\fICOMMAND\\fR]\n.br\n\\fBqlora\\-train \\-\\-version\\fR\n.ad b\n.hy\n");
}

/* ---- commands ------------------------------------------------------------------------------------------- */

static void add_command(strbuf_t *b, const command_t *c) {
    strbuf_addf(b, ".SS %s\n", c->name);
    add_paragraphs(b, c->about);
    for (size_t i = 0; i < c->n_positionals; i++) {
        char *help = help_of_positional(&c->positionals[i]);
        add_item(b, c->positionals[i].name, NULL, help);
        free(help);
    }
    for (size_t i = 0; i < c->n_options; i++) {
        const option_t *o = &c->options[i];
        char *name = xasprintf("--%s", o->name), *help = help_of_option(o);
        add_item(b, name, o->value, help);
        free(name);
        free(help);
    }
    if (c->notes) add_paragraphs(b, c->notes);
}

static void add_program_option(strbuf_t *b, const program_option_t *o) {
    char *name = xasprintf("-%c, --%s", o->letter, o->name);
    add_item(b, name, NULL, o->help);
    free(name);
}

static void add_options(strbuf_t *b) {
    strbuf_adds(b, ".SH OPTIONS\n");
    add_paragraphs(b,
                   "Those of a command stand with it, above. Each may be written as `--name VALUE` or `--name=VALUE`, "
                   "before, between or after the other arguments; `--` ends the options.");
    add_program_option(b, &program_help);
    add_program_option(b, &program_version);
}

/* ---- configuration -------------------------------------------------------------------------------------- */

static void add_key(strbuf_t *b, const config_key_t *k) {
    char *name = xasprintf("%s.%s", k->section, k->name), *expected = config_key_expected(k);
    char *text = xasprintf("%s Expected: %s. %s%s.", k->help, expected, k->default_text ? "Default: " : "Required",
                           k->default_text ? k->default_text : "");
    add_item(b, name, NULL, text);
    free(name);
    free(expected);
    free(text);
}

static void add_keys(strbuf_t *b) {
    strbuf_adds(b, ".SH CONFIGURATION KEYS\n");
    add_paragraphs(
        b, "A config is a file of YAML with a mapping for each section. On the command line `section.key=value` "
           "overrides the file, the value written as in YAML. Relative paths are taken from the directory of "
           "the file, on the command line from the working directory.");
    for (size_t s = 0; s < config_n_sections; s++) {
        strbuf_addf(b, ".SS %s\n", config_sections[s]);
        for (size_t i = 0; i < config_n_keys; i++)
            if (strcmp(config_keys[i].section, config_sections[s]) == 0) add_key(b, &config_keys[i]);
    }
}

/* ---- the rest ------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *text;
} item_t;

static const item_t files[] = {
    {"output_dir/checkpoint-N", "what a run goes on from after step N, and what `export` takes"},
    {"output_dir/adapter", "the adapter of a run that is done, as PEFT loads it"},
    {"output_dir/metrics.jsonl", "loss, learning rate and evaluations, a row of JSON each"},
    {"output_dir/samples.jsonl", "answers to training.sample_prompts, made at each evaluation"},
    {"output_dir/starts.jsonl", "by what, where and from which step the run was started each time"},
    {"PREFIX/share/qlora-train/configs", "configs to begin with"},
    {"PREFIX/share/qlora-train/config.schema.json", "the JSON Schema of a config, for editors"},
};

static const item_t signals[] = {
    {"SIGINT, SIGTERM, SIGUSR1, SIGUSR2",
     "A training finishes its micro-batch, writes a checkpoint of the last whole step and ends with status 75. They "
     "count "
     "as one request for two seconds; a SIGINT or SIGTERM that comes later ends at once."},
    {"SIGXFSZ", "Ignored: a file that would grow beyond its limit is an error of the write, as a full disk is."},
};

static const item_t variables[] = {
    {"OMP_NUM_THREADS", "CPU threads where device.threads is auto."},
    {"OMP_WAIT_POLICY, GOMP_SPINCOUNT", "How threads wait for each other. Unless one is set, the program sets both."},
    {"NO_COLOR, TERM", "With NO_COLOR set and not empty, or with TERM=dumb, nothing is coloured."},
    {"TMPDIR", "Where `bench --what load` has its file: a directory on a disk."},
    {"CUDA_VISIBLE_DEVICES", "Which GPUs there are for the CUDA backend."},
    {"OMPI_COMM_WORLD_SIZE, PMI_SIZE, PMIX_RANK, SLURM_STEP_NUM_TASKS",
     "By these a training sees that mpirun or srun has started several processes."},
};

static const item_t examples[] = {
    {"qlora-train init first.yaml --model models/SmolLM2-135M \\\n    --train rows.jsonl",
     "Write a config to begin with:"},
    {"qlora-train plan first.yaml", "Check it, and see what memory and time the run takes:"},
    {"qlora-train first.yaml training.learning_rate=1e-4", "Train, with another learning rate than the file's:"},
    {"qlora-train generate first.yaml --prompt 'Who are you?' \\\n    --adapter runs/first/adapter",
     "Ask what was trained:"},
    {"qlora-train export runs/first/checkpoint-100 --gguf first.gguf",
     "Write the merged model for llama.cpp and Ollama:"},
};

static void add_examples(strbuf_t *b) {
    strbuf_adds(b, ".SH EXAMPLES\n");
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        add_paragraphs(b, examples[i].text);
        strbuf_adds(b, ".PP\n.in +4n\n.nf\n\\fB");
        add_literal(b, examples[i].name, strlen(examples[i].name));
        strbuf_adds(b, "\\fR\n.fi\n.in -4n\n");
    }
}

static void add_items(strbuf_t *b, const char *section, const item_t *items, size_t n) {
    strbuf_addf(b, ".SH %s\n", section);
    for (size_t i = 0; i < n; i++) add_item(b, items[i].name, NULL, items[i].text);
}
#define ADD_ITEMS(b, section, items) add_items(b, section, items, sizeof(items) / sizeof *(items))

static void add_exit_statuses(strbuf_t *b) {
    strbuf_adds(b, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < n_exit_statuses; i++) {
        char *status = xasprintf("%d", exit_statuses[i].status);
        add_item(b, status, NULL, exit_statuses[i].what);
        free(status);
    }
    add_paragraphs(b, "The last may be another, training.preempted_exit_status.");
}

void man_page(strbuf_t *b) {
    strbuf_adds(b, ".\\\" Written by `qlora-train print man`.\n.TH QLORA\\-TRAIN 1 \"\" \"qlora\\-train " QLORA_VERSION
                   "\"\n.SH NAME\nqlora\\-train \\- fine\\-tune language models with QLoRA\n");
    add_synopsis(b);
    strbuf_adds(b, ".SH DESCRIPTION\n");
    add_paragraphs(
        b, "Holds a base model in 4 bits (NF4) and trains LoRA adapters on its linear layers, driven by one file "
           "of YAML. Reads Hugging Face directories and GGUF files (" PROGRAM_MODELS "), goes on from where "
           "it was stopped with the same bytes, and writes adapters and merged models that PEFT, transformers "
           "and llama.cpp load.\n"
           "Errors and warnings go to standard error, all else to standard output.");
    strbuf_adds(b, ".SH COMMANDS\n");
    for (size_t i = 0; i < n_commands; i++) add_command(b, commands[i]);
    add_options(b);
    add_keys(b);
    add_exit_statuses(b);
    ADD_ITEMS(b, "FILES", files);
    ADD_ITEMS(b, "SIGNALS", signals);
    ADD_ITEMS(b, "ENVIRONMENT", variables);
    add_examples(b);
}
