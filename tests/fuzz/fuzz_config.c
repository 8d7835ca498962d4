/* A config in YAML, with overrides of the command line: what is read is written, and reads the same again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "trainer/config/config.h"

enum { OVERRIDES = 4 };

/* The files that configs name. */
static void make_files(void) {
    static const char *const names[] = {"train.jsonl", "more.jsonl", "eval.jsonl", "adapter/x", "model/config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) fuzz_file(fuzz_path(names[i]), "{}\n", 3);
    FUZZ_CHECK(chdir(fuzz_path(".")) == 0);
}

/* Lines of the part behind the config. */
static size_t split_lines(part_t part, char *lines[OVERRIDES]) {
    size_t n = 0;
    while (part.p && part.n && n < OVERRIDES) {
        const uint8_t *end = memchr(part.p, '\n', part.n);
        size_t len = end ? (size_t)(end - part.p) : part.n;
        lines[n++] = xstrndup((const char *)part.p, len);
        part.p += len + (end != NULL), part.n -= len + (end != NULL);
    }
    return n;
}

static void write_again(const config_t *c, const char *path, config_use_t use) {
    config_t again;
    err_t err = {0};
    char *text = config_to_yaml(c);
    fuzz_file(path, text, strlen(text));
    if (config_load(path, NULL, 0, use, &again, &err)) check_failed(path, 0, err.msg);
    FUZZ_CHECK(config_run_id(&again) == config_run_id(c));
    config_free(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path, *second;
    if (!path) {
        path = fuzz_path("c.yaml");
        second = fuzz_path("again.yaml");
        make_files();
    }
    part_t rest = {data, size}, yaml = fuzz_part(&rest);
    char *lines[OVERRIDES];
    size_t n = split_lines(fuzz_part(&rest), lines);
    fuzz_file(path, yaml.p ? yaml.p : (const uint8_t *)"", yaml.n);
    for (int use = CONFIG_TRAIN; use <= CONFIG_GENERATE; use++) {
        config_t c;
        err_t err = {0};
        if (!fuzz_outcome(config_load(path, lines, n, (config_use_t)use, &c, &err), &err)) continue;
        write_again(&c, second, (config_use_t)use);
        config_free(&c);
    }
    for (size_t i = 0; i < n; i++) free(lines[i]);
    return 0;
}
