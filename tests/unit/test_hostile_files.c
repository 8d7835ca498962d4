/* Files made to harm: names that lead out of a model's directory, sizes that would fill the memory, a table that a library
 * would follow anywhere. What was found by fuzzing is in fuzz/found/. */
#include "testing.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/tokenizer/spm_check.h"
#include "data/tokenizer/tokenizer.h"
#include "model/adapter.h"
#include "model/source.h"
#include "trainer/run/checkpoint.h"
#include "variant.h"

#define MODEL "golden/tiny/llama-gqa-tied-odd"

static const char *put(const char *dir, const char *name, const void *data, size_t n) {
    err_t err = {0};
    char *path = path_join(dir, name), *parent = path_dirname(path);
    assert_ok(dir_make(parent, &err), err);
    assert_ok(file_write(path, data, n, &err), err);
    free(parent);
    return test_keep(path);
}

static const char *put_text(const char *dir, const char *name, const char *text) {
    return put(dir, name, text, strlen(text));
}

static const char *copy(const char *from, const char *dir, const char *name) {
    err_t err = {0};
    char *data;
    size_t n;
    assert_ok(file_read(test_path(from), &data, &n, &err), err);
    const char *path = put(dir, name, data, n);
    free(data);
    return path;
}

static void link_to(const char *target, const char *dir, const char *name) {
    char *path = path_join(dir, name);
    assert_int_equal(symlink(target, path), 0);
    free(path);
}

static void assert_opens(const char *dir) {
    err_t err = {0};
    model_source_t *src = NULL;
    assert_ok(model_source_open(dir, &src, &err), err);
    model_source_close(src);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* An index of all tensors of the model: in `file`, but for the last. */
static void put_index(const char *dir, const char *file, size_t len) {
    err_t err = {0};
    safetensors_t *st = NULL;
    json_t *map = json_object();
    assert_ok(safetensors_open(test_path(MODEL "/model.safetensors"), &st, &err), err);
    for (size_t i = 0; i < st->n_tensors; i++)
        json_object_set_new(map, st->tensors[i].name,
                            i + 1 < st->n_tensors ? json_string("part.safetensors") : json_stringn(file, len));
    safetensors_close(st);
    json_t *root = json_pack("{s:o}", "weight_map", map);
    char *text = json_dumps(root, 0);
    put_text(dir, "model.safetensors.index.json", text);
    free(text);
    json_decref(root);
}

/* The file is there, whatever name leads to it: it is the name that is refused. */
static void test_weight_map(void **state) {
    (void)state;
    const char *top = test_tmpdir(), *dir = path_join(top, "model");
    copy(MODEL "/config.json", dir, "config.json");
    copy(MODEL "/model.safetensors", dir, "part.safetensors");
    copy(MODEL "/model.safetensors", dir, "sub/part.safetensors");
    const char *outside = copy(MODEL "/model.safetensors", top, "part.safetensors");
    const struct {
        const char *file;
        size_t len;
    } refused[] = {{"../part.safetensors", 19},
                   {"sub/../../part.safetensors", 26},
                   {"sub/part.safetensors", 20},
                   {"./../part.safetensors", 21},
                   {".//part.safetensors", 19},
                   {outside, strlen(outside)},
                   {"..", 2},
                   {".", 1},
                   {"./", 2},
                   {"", 0},
                   {"part.safetensors\0x", 18}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        model_source_t *src = NULL;
        err_t err = {0};
        put_index(dir, refused[i].file, refused[i].len);
        assert_error(model_source_open(dir, &src, &err), err, ERR_USAGE,
                     "expected the name of a file in the same directory");
    }
    put_index(dir, "./part.safetensors", 18);
    assert_opens(dir);
    link_to(outside, dir, "linked.safetensors");
    put_index(dir, "linked.safetensors", 18);
    assert_opens(dir);
    free((char *)(uintptr_t)dir);
}

/* models--ORG--NAME/snapshots/REVISION/ of Hugging Face's cache has only links. */
static void test_cache_of_links(void **state) {
    (void)state;
    const char *top = test_tmpdir();
    copy(MODEL "/config.json", top, "blobs/c0");
    copy(MODEL "/model.safetensors", top, "blobs/aa");
    put_text(top, "snapshots/1/README", "");
    char *dir = path_join(top, "snapshots/1");
    link_to("../../blobs/c0", dir, "config.json");
    link_to("../../blobs/aa", dir, "part.safetensors");
    put_index(dir, "part.safetensors", 16);
    assert_opens(dir);
    free(dir);
}

static void test_base_model_is_not_followed(void **state) {
    (void)state;
    static const char *const bases[] = {"\"/proc/self/mem\"", "\"../../../etc\"", "\"\"", "null"};
    model_source_t *src = NULL;
    err_t err = {0};
    assert_ok(model_source_open(test_path(MODEL), &src, &err), err);
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        variant_t v = variant_of(test_path(MODEL "/adapter"));
        variant_set(&v, "base_model_name_or_path", bases[i]);
        lora_spec_t spec;
        assert_ok(adapter_read_spec(variant_write(&v), model_source_config(src), &spec, &err), err);
        lora_spec_free(&spec);
    }
    model_source_close(src);
}

static void assert_files(const char *path, const char *const *names, size_t n) {
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        bool known = e->d_name[0] == '.';
        for (size_t i = 0; i < n; i++) known |= !strcmp(e->d_name, names[i]);
        if (!known) fail_msg("%s/%s was written", path, e->d_name);
    }
    closedir(d);
}

static const char tokenizer_head[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"</s>\": 2}, \"merges\": []}, "
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [";
static const char tokenizer_byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}";

/* Names of chat templates are names, not of files: neither when they are read nor when they are written. */
static void test_template_names(void **state) {
    (void)state;
    static const char *const written[] = {"in", "out"};
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json"};
    const char *top = test_tmpdir();
    char *in = path_join(top, "in"), *out = path_join(top, "out");
    char *json = xasprintf("%s%s}", tokenizer_head, tokenizer_byte_level);
    put_text(in, "tokenizer.json", json);
    put_text(in, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"../evil\", \"template\": \"x\"}, {\"name\": \"/tmp/evil\", "
             "\"template\": \"y\"}]}");
    tokenizer_t *tok = NULL;
    err_t err = {0};
    size_t len;
    assert_ok(tokenizer_open(in, &tok, &err), err);
    assert_string_equal(tokenizer_chat_template(tok, "../evil", &len), "x");
    assert_ok(tokenizer_save(tok, out, &err), err);
    assert_files(top, written, 2);
    assert_files(out, files, 2);
    tokenizer_close(tok);
    free(json);
    free(in);
    free(out);
}

/* Names are shown in messages; what would clear a terminal, or retitle it, is not. */
static void test_names_with_controls(void **state) {
    (void)state;
    static const char header[] = "{\"\\u001b[2J\\u0007\\u009b31m\\u007f\\u00e9\\r\": 3}";
    uint64_t n = sizeof header - 1;
    strbuf_t b = {0};
    strbuf_add(&b, (const char *)&n, sizeof n);
    strbuf_adds(&b, header);
    const char *path = put(test_tmpdir(), "a.safetensors", b.p, b.len);
    safetensors_t *st = NULL;
    err_t err = {0};
    assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE,
                 "tensor \"?[2J??31m?\xc3\xa9?\": expected an object");
    free(b.p);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static void assert_encode_fails(const char *tokenizer, const char *text, size_t len, const char *why) {
    const char *path = put_text(test_tmpdir(), "tokenizer.json", tokenizer);
    tokenizer_t *tok = NULL;
    ids_t ids = {0};
    err_t err = {0};
    assert_ok(tokenizer_open(path, &tok, &err), err);
    assert_error(tokenizer_encode(tok, text, len, true, &ids, &err), err, ERR_USAGE, why);
    tokenizer_close(tok);
    free(ids.ids);
}

/* Each step makes eight of one: sixteen would make 2^48. */
static void test_normalizer_that_grows(void **state) {
    (void)state;
    strbuf_t b = {0};
    strbuf_addf(&b, "%s%s, \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [", tokenizer_head,
                tokenizer_byte_level);
    for (int i = 0; i < 16; i++)
        strbuf_addf(&b, "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aaaaaaaa\"}",
                    i ? ", " : "");
    strbuf_adds(&b, "]}}");
    assert_encode_fails(b.p, "aa", 2, "the tokenizer's normalizer makes a text of 2 bytes more than 64 times as long");
    free(b.p);
}

/* A pattern that keeps a place to go back to for every byte: of these texts gigabytes. */
static void test_pattern_that_remembers(void **state) {
    (void)state;
    enum { BYTES = 1 << 24 };
    char *text = xmalloc(BYTES);
    memset(text, 'a', BYTES);
    char *json = xasprintf(
        "%s{\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"(a|b)+c\"}}, "
        "%s}",
        tokenizer_head, tokenizer_byte_level);
    assert_encode_fails(json, text, BYTES, "the tokenizer's pattern cannot be applied");
    free(json);
    free(text);
}

/* Adapters are given room by the rank that adapter_config.json says. */
static void test_rank_without_tensors(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *shape;
    } cases[] = {{"r", "16384", "expected [16384, "},
                 {"rank_pattern", "{\"down_proj\": 16384}", "expected [16384, "},
                 {"r", "3", "expected [3, "}};
    model_source_t *src = NULL;
    err_t err = {0};
    assert_ok(model_source_open(test_path(MODEL), &src, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        variant_t v = variant_of(test_path(MODEL "/adapter"));
        variant_set(&v, cases[i].key, cases[i].value);
        lora_spec_t spec;
        assert_error(adapter_read_spec(variant_write(&v), model_source_config(src), &spec, &err), err, ERR_USAGE,
                     cases[i].shape);
    }
    model_source_close(src);
}

static void test_state_that_cannot_be(void **state) {
    (void)state;
    static const char form[] = "{\"step\": %s, \"adam_t\": %s, \"skipped\": %s, \"useless_in_row\": %s, "
                               "\"run_id\": \"0000000000000001\", \"data_id\": \"0000000000000002\", "
                               "\"model_id\": \"0000000000000003\"}";
    static const char *const refused[][4] = {{"5", "6", "0", "0"},
                                             {"5", "3", "3", "0"},
                                             {"5", "5", "0", "6"},
                                             {"5", "1", "9223372036854775807", "0"},
                                             {"5", "-1", "0", "0"}};
    const char *dir = test_tmpdir();
    train_state_t s;
    err_t err = {0};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char *text = xasprintf(form, refused[i][0], refused[i][1], refused[i][2], refused[i][3]);
        put_text(dir, "trainer_state.json", text);
        assert_error(checkpoint_read_state(dir, &s, &err), err, ERR_USAGE, "trainer_state.json: ");
        free(text);
    }
    char *text = xasprintf(form, "5", "3", "2", "1");
    put_text(dir, "trainer_state.json", text);
    assert_ok(checkpoint_read_state(dir, &s, &err), err);
    free(text);
}

/* ---- the table of a SentencePiece model ------------------------------------------------------------------------- */

enum { BLOCK = 256, MOST_BLOCKS = 1200 };

typedef struct {
    uint32_t units[MOST_BLOCKS * BLOCK];
    size_t n;
} table_t;

/* From base to base by the letter 'a'; with `leaf` a text ends there, at byte `value` of the texts. */
static void add_step(table_t *t, uint32_t base, uint32_t next, bool leaf, uint32_t value) {
    uint32_t at = base ^ 'a', offset = at ^ next, wide = offset >= 1u << 21;
    t->units[at] = (wide ? offset >> 8 << 10 | 1u << 9 : offset << 10) | (uint32_t)leaf << 8 | 'a';
    if (leaf) t->units[next] = 1u << 31 | value;
}

/* A table that begins at block 1, of a chain of `steps`, the first `leaves` of which end a text. */
static table_t *chain(size_t steps, size_t leaves) {
    table_t *t = xcalloc(1, sizeof *t);
    t->n = (steps + 2) * BLOCK;
    for (size_t i = 0; i < t->n; i++) t->units[i] = 1u << 31; /* no letter's */
    t->units[0] = (uint32_t)BLOCK << 10;
    for (uint32_t i = 1; i <= steps; i++) add_step(t, i * BLOCK, (i + 1) * BLOCK, i <= leaves, 0);
    return t;
}

static void put_varint(strbuf_t *b, uint64_t v) {
    for (; v > 0x7f; v >>= 7) strbuf_add(b, &(char){(char)(v | 0x80)}, 1);
    strbuf_add(b, &(char){(char)v}, 1);
}

/* normalizer_spec { precompiled_charsmap: the table }, checked. Frees it. */
static int check_table(table_t *t, const char *texts, size_t n_texts, err_t *err) {
    strbuf_t map = {0}, spec = {0}, proto = {0};
    uint32_t size = (uint32_t)(t->n * sizeof *t->units);
    strbuf_add(&map, (const char *)&size, sizeof size);
    strbuf_add(&map, (const char *)t->units, size);
    strbuf_add(&map, texts, n_texts);
    strbuf_adds(&spec, "\x12");
    put_varint(&spec, map.len);
    strbuf_add(&spec, map.p, map.len);
    strbuf_adds(&proto, "\x1a");
    put_varint(&proto, spec.len);
    strbuf_add(&proto, spec.p, spec.len);
    *err = (err_t){0};
    int rc = spm_check(proto.p, proto.len, "m.model", err);
    free(map.p);
    free(spec.p);
    free(proto.p);
    free(t);
    return rc;
}

#define OUTSIDE "precompiled_charsmap leads outside of itself"

static void test_charsmap(void **state) {
    (void)state;
    err_t err;
    assert_ok(check_table(chain(3, 3), "b", 2, &err), err);
    assert_ok(check_table(chain(1000, 0), "b", 2, &err), err);
    assert_ok(check_table(chain(40, 32), "b", 2, &err), err);
    /* More texts within one another than the library has room for. */
    assert_error(check_table(chain(40, 33), "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    /* Deeper than any text is. */
    assert_error(check_table(chain(1100, 0), "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    /* Texts that do not end. */
    assert_error(check_table(chain(3, 3), "b", 1, &err), err, ERR_USAGE, OUTSIDE);
    table_t *t = chain(3, 3);
    add_step(t, 2 * BLOCK, 3 * BLOCK, true, 2); /* a text behind the texts */
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    t = chain(3, 0);
    add_step(t, 3 * BLOCK, BLOCK, false, 0); /* round and round */
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    t = chain(3, 0);
    add_step(t, 3 * BLOCK, 5 * BLOCK, false, 0); /* the first block that is not there */
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    t = chain(3, 0);
    add_step(t, 3 * BLOCK, 1u << 27, false, 0);
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    t = chain(3, 0);
    t->n -= 1; /* the last block is not whole */
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
    t = chain(3, 0);
    t->units[0] = UINT32_MAX;
    assert_error(check_table(t, "b", 2, &err), err, ERR_USAGE, OUTSIDE);
}

/* A real one (golden/tokenizer/gen_rules.py) is read, and does what it says. */
static void test_charsmap_of_rules(void **state) {
    (void)state;
    tokenizer_t *tok = NULL;
    ids_t ids = {0};
    err_t err = {0};
    size_t len;
    assert_ok(tokenizer_open(test_path("golden/tokenizer/rules.model"), &tok, &err), err);
    assert_ok(tokenizer_encode(tok, "tac baxyz", 9, false, &ids, &err), err);
    char *text = tokenizer_decode(tok, ids.ids, ids.len, false, &len);
    assert_string_equal(text, "tbb bb");
    free(text);
    free(ids.ids);
    tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight_map),
        cmocka_unit_test(test_cache_of_links),
        cmocka_unit_test(test_base_model_is_not_followed),
        cmocka_unit_test(test_template_names),
        cmocka_unit_test(test_names_with_controls),
        cmocka_unit_test(test_normalizer_that_grows),
        cmocka_unit_test(test_pattern_that_remembers),
        cmocka_unit_test(test_rank_without_tensors),
        cmocka_unit_test(test_state_that_cannot_be),
        cmocka_unit_test(test_charsmap),
        cmocka_unit_test(test_charsmap_of_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
