/* `qlora-train report`: the curves of runs, as a page. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/report/html.h"
#include "trainer/report/page.h"

enum { RUNS_MOST = 24 };

typedef struct {
    const char *html;
} given_t;

/* Runs whose directories end alike (a/out, b/out) go by the whole of what was given. */
static void tell_apart(run_record_t *runs, size_t n) {
    bool shared[RUNS_MOST] = {false};
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) shared[i] |= i != j && strcmp(runs[i].name, runs[j].name) == 0;
    for (size_t i = 0; i < n; i++) {
        if (!shared[i]) continue;
        free(runs[i].name);
        runs[i].name = xstrdup(runs[i].dir);
    }
}

static int write_report(const char *const *dirs, size_t n, const char *file, err_t *err) {
    run_record_t *runs = xcalloc(n, sizeof *runs);
    strbuf_t page = {0};
    size_t read = 0;
    while (read < n && run_record_read(dirs[read], &runs[read], err) == 0) read++;
    if (read == n) {
        tell_apart(runs, n);
        report_page(&page, runs, n);
        if (html_write(&page, file, err) == 0) log_info("the report is %s", file);
    }
    for (size_t i = 0; i < n && i <= read; i++) run_record_free(&runs[i]);
    free(page.p);
    free(runs);
    return err->code;
}

static int run_report(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_report, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && args.n == 0) rc = err_set(&err, ERR_USAGE, "report: expected RUN_DIR (see --help)");
    char *beside = rc == 0 ? args.n == 1 ? path_join(args.pos[0], "report.html") : xstrdup("report.html") : NULL;
    if (rc == 0) rc = write_report(args.pos, args.n, given.html ? given.html : beside, &err);
    free(beside);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {
    {"RUN_DIR", ARG_DIR, RUNS_MOST, .help = "training.output_dir of a run, finished or under way"},
};
static const option_t options[] = {
    {"html", ARG_FILE, offsetof(given_t, html), "FILE",
     .help = "where to write (RUN_DIR/report.html; of several runs report.html in the working directory)"},
};

const command_t command_report = {
    .name = "report",
    .synopsis = "RUN_DIR... [--html FILE]",
    .what = "curves of a run, or of several laid over each other, as a page",
    .about =
        "One page of HTML, which needs no other file and no network: the curves of a run and what is known of it, or "
        "several runs laid over each other, with what differs in their configurations.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_report,
};
