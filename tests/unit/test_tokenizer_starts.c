/* Where each token begins in the text, against the offsets of the reference libraries (tests/golden/tokenizer/
 * gen_starts.py). */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/tokenizer.h"
#include "tokenizer_kinds.h"

static bool same(const places_t *got, const json_t *want) {
    bool same = got->len == json_array_size(want);
    for (size_t i = 0; same && i < got->len; i++)
        same = got->at[i] == (size_t)json_integer_value(json_array_get(want, i));
    return same;
}

static void print_difference(const char *text, const places_t *got, const json_t *want) {
    strbuf_t b = {0};
    for (size_t i = 0; i < got->len; i++) strbuf_addf(&b, "%zu,", got->at[i]);
    char *w = json_dumps(want, JSON_COMPACT);
    print_error("\"%s\"\n  got [%s]\n  expected %s\n", text, b.p ? b.p : "", w);
    free(w);
    free(b.p);
}

/* The ids are those of an encoding without starts, there is one start an id, and the starts are the reference's. */
static void check(const tokenizer_t *t, const char *name, const json_t *texts, const json_t *want) {
    const json_t *text;
    size_t i, good = 0;
    json_array_foreach(texts, i, text) {
        err_t err = {0};
        ids_t ids = {0}, plain = {0};
        places_t starts = {0};
        const char *s = json_string_value(text);
        size_t len = json_string_length(text);
        assert_ok(tokenizer_encode_starts(t, s, len, true, false, &ids, &starts, &err), err);
        assert_ok(tokenizer_encode(t, s, len, true, &plain, &err), err);
        assert_int_equal(ids.len, plain.len);
        if (ids.len) assert_memory_equal(ids.ids, plain.ids, ids.len * sizeof *ids.ids);
        assert_int_equal(starts.len, ids.len);
        bool equal = same(&starts, json_array_get(want, i));
        if (!equal) print_difference(s, &starts, json_array_get(want, i));
        good += equal;
        free(ids.ids);
        free(plain.ids);
        free(starts.at);
    }
    print_message("%s: %zu of %zu\n", name, good, json_array_size(texts));
    assert_int_equal(good, json_array_size(texts));
    assert_true(good >= 100);
}

static const json_t *named(const json_t *list, const char *name) {
    const json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        if (!strcmp(json_string_value(json_object_get(v, "name")), name)) return v;
    }
    return NULL;
}

static void test_kinds(void **state) {
    (void)state;
    json_t *all = load_json(test_path("golden/tokenizer/starts.json")), *want;
    json_t *golden = load_json(test_path("golden/tokenizer/kinds.json"));
    const char *name;
    assert_true(json_object_size(json_object_get(all, "kinds")) >= 10);
    json_object_foreach(json_object_get(all, "kinds"), name, want) {
        const json_t *kind = named(json_object_get(golden, "kinds"), name);
        tokenizer_t *t = open_tokenizer(write_kind(json_object_get(golden, "base"), json_object_get(kind, "files")));
        check(t, name, json_object_get(golden, "texts"), want);
        tokenizer_close(t);
    }
    json_decref(golden);
    json_decref(all);
}

static void test_variants(void **state) {
    (void)state;
    json_t *all = load_json(test_path("golden/tokenizer/starts.json")), *want;
    json_t *golden = load_json(test_path("golden/tokenizer/variants.json"));
    json_t *base = load_json(test_path("golden/tokenizer/tokenizer.json"));
    const char *name;
    assert_true(json_object_size(json_object_get(all, "variants")) >= 5);
    json_object_foreach(json_object_get(all, "variants"), name, want) {
        const json_t *variant = named(json_object_get(golden, "variants"), name);
        json_t *files = json_pack("{s:O}", "tokenizer.json", json_object_get(variant, "patch"));
        tokenizer_t *t = open_tokenizer(write_kind(base, files));
        check(t, name, json_object_get(golden, "texts"), want);
        check(t, "the same, of words that are known by now", json_object_get(golden, "texts"), want);
        tokenizer_close(t);
        json_decref(files);
    }
    json_decref(base);
    json_decref(golden);
    json_decref(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
