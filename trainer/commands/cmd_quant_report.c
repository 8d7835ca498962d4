/* `qlora-train quant-report`: the data types compared on one model. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "trainer/commands/command.h"
#include "trainer/quant_report/quant_report.h"

typedef struct {
    const char *text, *html;
} given_t;

static void print_error(const quant_error_t *e) {
    printf("  %10.3e  %11.3e", quant_rmse(e), (double)e->worst);
    if (quant_is_exact(e)) printf("  %7s", "exact");
    else printf("  %7.2f", quant_snr(e));
}

static void print_types(const quant_report_t *r) {
    printf("%-25s  %7s  %10s  %11s  %7s  %10s%s\n", "type", "bits", "RMSE", "worst error", "SNR dB", "off normal",
           r->label_tokens ? "  perplexity" : "");
    for (int i = 0; i < QUANT_KINDS; i++) {
        const quant_result_t *of = &r->of[i];
        printf("%-25s  %7.4f", quant_kinds[i].name, 8.0 * (double)of->bytes / (double)r->values);
        print_error(&of->whole);
        if (quant_code_count(quant_kinds[i].type)) printf("  %9.2f%%", 100 * quant_off_normal(r, i));
        else printf("  %10s", "");
        if (r->label_tokens) printf("  %10.4f", exp(of->loss));
        putchar('\n');
    }
}

static void print_layers(const quant_report_t *r) {
    printf("\nSNR dB by layer\n%-5s", "layer");
    for (int i = 1; i < QUANT_KINDS - 1; i++) printf("  %14s", quant_kinds[i].name);
    printf("  %14s\n", "nf4 + double");
    for (size_t l = 0; l < r->layers; l++) {
        printf("%5zu", l);
        for (int i = 1; i < QUANT_KINDS; i++) {
            if (quant_is_exact(&r->of[i].layer[l])) printf("  %14s", "exact");
            else printf("  %14.2f", quant_snr(&r->of[i].layer[l]));
        }
        putchar('\n');
    }
}

static int measure(quant_report_t *r, err_t *err) {
    model_source_t *src;
    if (model_source_open(r->model, &src, err)) return err->code;
    if (model_source_is_gguf(src))
        log_info(
            "taken for exact: the values that the GGUF gives, in BF16; what they were before it was made, it does not "
            "say");
    int rc = quant_measure(src, r, err);
    model_source_close(src);
    return rc;
}

static int report(const char *model, const given_t *given, quant_report_t *r, err_t *err) {
    r->model = model;
    r->text = given->text;
    if (measure(r, err)) return err->code;
    if (r->text && quant_perplexity(r, err)) return err->code;
    log_info("%s: %zu parameters in the linear layers of %zu layers", r->model, r->values, r->layers);
    if (r->text) log_info("perplexity on %s, %zu tokens, computed in f32", r->text, r->label_tokens);
    print_types(r);
    print_layers(r);
    return given->html ? quant_page_write(r, given->html, err) : 0;
}

static int run_quant_report(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    quant_report_t r = {0};
    err_t err = {0};
    int rc = command_parse(&command_quant_report, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && args.n == 0) rc = err_set(&err, ERR_USAGE, "quant-report: expected MODEL (see --help)");
    if (rc == 0) rc = report(args.pos[0], &given, &r, &err);
    quant_report_free(&r);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {{"MODEL", ARG_PATH, .help = "a Hugging Face directory or a GGUF file"}};
static const option_t options[] = {
    {"text", ARG_FILE, offsetof(given_t, text), "FILE",
     .help = "also the perplexity on this text (.txt, or rows with \"text\"), under each type, computed in f32"},
    {"html", ARG_FILE, offsetof(given_t, html), "FILE",
     .help = "the same as a page, with the use of the codes and the layers drawn"},
};

const command_t command_quant_report = {
    .name = "quant-report",
    .synopsis = "MODEL [--text FILE] [--html FILE]",
    .what = "data types compared on a model: bits a parameter, errors, perplexity",
    .about =
        "What each data type makes of the model's linear layers: bits a parameter, root mean square and worst error, "
        "signal to noise in dB, and how far the use of its codes is from that of normally distributed values.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_quant_report,
};
