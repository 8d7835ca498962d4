/* A config of Axolotl or LLaMA-Factory, and a dataset_info.json: what is imported is YAML that a config is made of. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "trainer/config/config.h"
#include "trainer/config/config_yaml.h"
#include "trainer/import/import.h"

/* Whatever stood in the source: a config of ours, unless its values do not go together. */
static void load(const import_t *im, const char *path) {
    config_t c;
    yaml_doc_t doc;
    err_t err = {0};
    char *text = import_config(im);
    if (yaml_doc_parse(path, text, strlen(text), &doc, &err)) check_failed(path, 0, err.msg);
    yaml_doc_free(&doc);
    fuzz_file(path, text, strlen(text));
    free(text);
    err = (err_t){0};
    if (fuzz_outcome(config_load(path, NULL, 0, CONFIG_WRITTEN, &c, &err), &err)) config_free(&c);
    for (size_t i = 0; i < import_n_notes(im); i++) FUZZ_CHECK(!strchr(import_note_line(im, i), '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *source, *info, *made;
    if (!source) {
        source = fuzz_path("source.yml");
        info = fuzz_path("data/dataset_info.json");
        made = fuzz_path("made.yaml");
        fuzz_file(fuzz_path("data/rows.jsonl"), "{}\n", 3);
        FUZZ_CHECK(chdir(fuzz_path(".")) == 0);
    }
    part_t rest = {data, size}, yaml = fuzz_part(&rest), json = fuzz_part(&rest);
    fuzz_file(source, yaml.p ? yaml.p : (const uint8_t *)"", yaml.n);
    fuzz_file(info, json.p, json.n);
    import_t *im;
    err_t err = {0};
    if (!fuzz_outcome(import_read(source, made, &im, &err), &err)) return 0;
    load(im, made);
    import_free(im);
    return 0;
}
