/* `qlora-train report`: the curves of runs, as a page. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/report/html.h"
#include "trainer/report/page.h"

enum { RUNS_MOST = 24 };

static const char help[] =
    "usage: qlora-train report RUN_DIR... [--html FILE]\n"
    "\n"
    "One page of HTML, which needs no other file and no network: the curves of a run and what is known of it, or\n"
    "several runs laid over each other, with what differs in their configurations.\n"
    "\n"
    "RUN_DIR     training.output_dir of a run, finished or under way\n"
    "--html FILE where to write (RUN_DIR/report.html; of several runs report.html in the working directory)\n";

static int write_report(const char *const *dirs, size_t n, const char *file, err_t *err) {
    run_record_t *runs = xcalloc(n, sizeof *runs);
    strbuf_t page = {0};
    size_t read = 0;
    while (read < n && run_record_read(dirs[read], &runs[read], err) == 0) read++;
    if (read == n) {
        report_page(&page, runs, n);
        if (html_write(&page, file, err) == 0) log_info("the report is %s", file);
    }
    for (size_t i = 0; i < n && i <= read; i++) run_record_free(&runs[i]);
    free(page.p);
    free(runs);
    return err->code;
}

int command_report(int argc, char **argv) {
    const char *dirs[RUNS_MOST], *html = NULL;
    bool want_help = false;
    const option_t options[] = {{"html", &html, NULL}, {"help", NULL, &want_help}};
    size_t n;
    err_t err = {0};
    int rc = options_parse(argc, argv, options, sizeof options / sizeof *options, dirs, RUNS_MOST, &n, &err);
    if (rc == 0 && want_help) {
        fputs(help, stdout);
        return 0;
    }
    if (rc == 0 && n == 0) rc = err_set(&err, ERR_USAGE, "report: expected RUN_DIR (see --help)");
    char *beside = rc == 0 ? n == 1 ? path_join(dirs[0], "report.html") : xstrdup("report.html") : NULL;
    if (rc == 0) rc = write_report(dirs, n, html ? html : beside, &err);
    free(beside);
    if (rc) log_error("%s", err.msg);
    return rc;
}
