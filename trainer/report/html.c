#include "trainer/report/html.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/out_file.h"

/* Colours that people who see red and green alike can tell apart (Okabe and Ito), lighter where the page is dark. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--soft:#5c6470;--paper:#fff;--card:#f6f7f9;--line:#dcdfe4;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b0578d;--c4:#e69f00;--c5:#56b4e9}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3af;--paper:#15171a;--card:#1e2125;"
    "--line:#353a41;--c0:#4aa8e0;--c1:#ff8a3d;--c2:#2cc79b;--c3:#dd8fbd;--c4:#f2b63c;--c5:#8fd0f5}}\n"
    "*{box-sizing:border-box}\n"
    "body{font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:var(--ink);background:var(--paper);"
    "max-width:75rem;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
    "h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}"
    "h2{font-size:1.15rem;margin:2.5rem 0 .75rem}\n"
    "p{max-width:48rem}.soft{color:var(--soft)}\n"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "td,th{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}\n"
    "th{font-weight:600}td.n,th.n{text-align:right}code{font:.875em ui-monospace,Menlo,Consolas,monospace;"
    "overflow-wrap:anywhere}\n"
    ".grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}\n"
    "figure{margin:0;padding:.75rem .75rem .25rem;background:var(--card);border-radius:.5rem;break-inside:avoid}\n"
    "figcaption{font-weight:600}figcaption span{font-weight:400;color:var(--soft)}\n"
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:11px}\n"
    "@media(max-width:40rem){svg text{font-size:14px}}\n"
    ".axis{stroke:var(--line);fill:none}.curve{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".faint{fill:none;stroke-width:1;opacity:.35}.band{stroke:none;opacity:.18}\n"
    ".h rect{fill:transparent}.h text,.h line{visibility:hidden}.h line{stroke:var(--soft)}"
    ".h:hover text,.h:hover line{visibility:visible}.h:hover text{fill:var(--ink)}\n"
    ".key{display:inline-block;width:1.4em;height:.28em;border-radius:.14em;vertical-align:middle;"
    "margin-right:.5em}\n"
    ".texts td{min-width:12rem;max-width:30rem;white-space:pre-wrap;overflow-wrap:anywhere}"
    ".lines td{white-space:nowrap}.numbers td+td,.numbers "
    "th+th{text-align:right}.bar{fill:var(--c5)}.normal{stroke:var(--ink);fill:none;"
    "stroke-width:1.5}\n"
    "@media print{body{max-width:none}figure{background:none;border:1px solid var(--line)}}\n";

void html_begin(strbuf_t *b, const char *title) {
    strbuf_adds(b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    html_text(b, title);
    strbuf_addf(b, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
}

void html_text(strbuf_t *b, const char *text) {
    for (const char *s = text; *s; s++) {
        bool control = ((unsigned char)*s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7f;
        if (*s == '&') strbuf_adds(b, "&amp;");
        else if (*s == '<') strbuf_adds(b, "&lt;");
        else if (*s == '>') strbuf_adds(b, "&gt;");
        else if (*s == '"') strbuf_adds(b, "&quot;");
        else if (control) strbuf_adds(b, "\xef\xbf\xbd");
        else strbuf_add(b, s, 1);
    }
}

int html_write(strbuf_t *b, const char *path, err_t *err) {
    out_file_t out;
    char *tmp = xasprintf("%s.part-%ld", path, (long)getpid());
    strbuf_adds(b, "</body>\n</html>\n");
    int rc = out_open(&out, tmp, err);
    if (rc == 0) rc = out_write(&out, b->p, b->len, err);
    rc = file_replace(tmp, path, out_close(&out, rc, err), err);
    free(tmp);
    return rc;
}
