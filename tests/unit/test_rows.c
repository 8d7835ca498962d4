/* Rows of files: what JSON they may hold where nobody looks, and compressed files. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/odd_json.h"
#include "data/rows.h"

static const char *write_file(const char *name, const void *data, size_t n) {
    err_t err = {0};
    const char *path = test_keep(path_join(test_tmpdir(), name));
    assert_ok(file_write(path, data, n, &err), err);
    return path;
}

/* ---- odd values ---- */

static void assert_replaced(const char *text, const char *want) {
    strbuf_t b = {0};
    assert_int_equal(odd_json_replace(text, strlen(text), &b), strcmp(text, want) != 0);
    assert_string_equal(b.p ? b.p : "", want);
    free(b.p);
}

#define ODD "\"\xef\xbf\xbfodd\xef\xbf\xbf"

static void replacing(void **state) {
    (void)state;
    assert_replaced("", "");
    assert_replaced("{\"a\": [1, -2.5e3, true, null, \"NaN 1e999\"]}",
                    "{\"a\": [1, -2.5e3, true, null, \"NaN 1e999\"]}");
    assert_replaced("{\"a\": NaN, \"b\": [-Infinity,Infinity]}",
                    "{\"a\": " ODD "NaN\", \"b\": [" ODD "-Infinity\"," ODD "Infinity\"]}");
    assert_replaced("[9223372036854775807, 9223372036854775808, -9223372036854775809]",
                    "[9223372036854775807, " ODD "9223372036854775808\", " ODD "-9223372036854775809\"]");
    assert_replaced("[1e308, 1e309, 0.1]", "[1e308, " ODD "1e309\", 0.1]");
    /* A pair of surrogates, its halves alone, and what only looks like one. */
    assert_replaced("[\"\\ud83d\\ude00\", \"\\\\ud83d\"]", "[\"\\ud83d\\ude00\", \"\\\\ud83d\"]");
    assert_replaced("[\"a\\\"\\ud83d\"]", "[" ODD "\\\"a\\\\\\\"\\\\ud83d\\\"\"]");
    assert_replaced("[\"\\ude00\"]", "[" ODD "\\\"\\\\ude00\\\"\"]");
    assert_replaced("[\"open \\ud83d", "[" ODD "\\\"open \\\\ud83d\"");
}

static void extents(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"{\"a\": [1, {\"b\": \"}]\"}]}, {}", 23},
                 {"\"x,\\\"y\", 3", 7},
                 {"12.5e3, 4", 6},
                 {"[[1]", 4},
                 {"\"open", 5},
                 {"{\"a\\", 4},
                 {"-7]", 2},
                 {"[]", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(json_extent(cases[i].text, strlen(cases[i].text)), cases[i].len);
}

/* Values and keys, however deep. */
static void odd_values_are_found(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"a\": [{\"b\": \"\\ud800\"}]}", "{\"a\": [{\"\\ud800\": 1}]}",
                                        "{\"a\": [{\"b\": \"c\"}]}"};
    for (size_t i = 0; i < 3; i++) {
        strbuf_t b = {0};
        err_t err = {0};
        assert_int_equal(odd_json_replace(texts[i], strlen(texts[i]), &b), i < 2);
        json_t *v = json_loadb(b.p, b.len, 0, NULL);
        assert_non_null(v);
        if (i < 2) assert_error(odd_json_refuse(v, &err), err, ERR_USAGE, "\"\\ud800\": half of a surrogate pair");
        else assert_ok(odd_json_refuse(v, &err), err);
        json_decref(v);
        free(b.p);
    }
}

/* The rows are read; only who looks at the value is told. */
static void odd_rows(void **state) {
    (void)state;
    static const char *const files[][2] = {
        {"a.jsonl", "{\"text\": \"a\", \"id\": 123456789012345678901234567890}\n{\"text\": \"b\", \"score\": NaN}\n"},
        {"a.json",
         "[{\"text\": \"a\", \"id\": 123456789012345678901234567890},\n {\"text\": \"b\", \"s\": \"\\ud800\"}]"}};
    for (size_t k = 0; k < 2; k++) {
        rows_t r;
        file_row_t row = {0};
        bool more;
        err_t err = {0};
        assert_ok(rows_open(write_file(files[k][0], files[k][1], strlen(files[k][1])), &r, &err), err);
        for (int i = 0; i < 2; i++) {
            const char *s;
            size_t n;
            assert_ok(rows_next(&r, &row, &more, &err), err);
            assert_true(more && row.odd);
            assert_int_equal(row.line, i + 1);
            assert_ok(row_text(row.json, "text", false, &s, &n, &err), err);
            assert_true(n == 1 && *s == "ab"[i]);
            if (i == 0)
                assert_error(row_text(row.json, "id", true, &s, &n, &err), err, ERR_USAGE,
                             "id: 123456789012345678901234567890: expected a finite number of at most 64 bits");
            err = (err_t){0};
            if (i == 1)
                assert_error(odd_json_refuse(row.json, &err), err, ERR_USAGE, k ? "surrogate" : "NaN: expected");
            row_free(&row);
            err = (err_t){0};
        }
        assert_ok(rows_next(&r, &row, &more, &err), err);
        assert_false(more);
        rows_close(&r);
    }
}

/* ---- compressed files ---- */

static strbuf_t gzip(const char *data, size_t n) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    strbuf_t b = {0};
    b.cap = deflateBound(&z, n) + 64;
    b.p = xmalloc(b.cap);
    z.next_in = (unsigned char *)(uintptr_t)data;
    z.avail_in = (uInt)n;
    z.next_out = (unsigned char *)b.p;
    z.avail_out = (uInt)b.cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.len = b.cap - z.avail_out;
    deflateEnd(&z);
    return b;
}

static strbuf_t zstd(const char *data, size_t n) {
    strbuf_t b = {.cap = ZSTD_compressBound(n)};
    b.p = xmalloc(b.cap);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1); /* as the program zstd does */
    b.len = ZSTD_compress2(c, b.p, b.cap, data, n);
    ZSTD_freeCCtx(c);
    assert_false(ZSTD_isError(b.len));
    return b;
}

typedef strbuf_t (*pack_t)(const char *data, size_t n);

/* Rows of which some are longer than what is read at a time. */
static strbuf_t make_rows(size_t n, bool array) {
    strbuf_t b = {0};
    strbuf_adds(&b, array ? "\xef\xbb\xbf [" : "\xef\xbb\xbf");
    for (size_t i = 1; i <= n; i++) {
        strbuf_addf(&b, "%s{\"text\": \"row %zu ", array && i > 1 ? ",\n" : "", i);
        for (size_t k = i % 100 ? i % 37 : 70000; k > 0; k--) strbuf_addf(&b, "w%zx ", i * k);
        strbuf_adds(&b, array ? "\"}" : "\"}\n");
    }
    if (array) strbuf_adds(&b, "]");
    return b;
}

static void assert_same_rows(const char *plain, const char *packed) {
    rows_t a, b;
    bool more = true;
    err_t err = {0};
    assert_ok(rows_open(plain, &a, &err) || rows_open(packed, &b, &err), err);
    for (size_t n = 0; more; n++) {
        file_row_t x = {0}, y = {0};
        bool also;
        assert_ok(rows_next(&a, &x, &more, &err) || rows_next(&b, &y, &also, &err), err);
        assert_int_equal(more, also);
        assert_int_equal(x.line, y.line);
        assert_int_equal(rows_position(&a), rows_position(&b));
        if (more && !x.json) assert_true(x.len == y.len && memcmp(x.text, y.text, x.len) == 0);
        else if (more) assert_true(json_equal(x.json, y.json));
        row_free(&x);
        row_free(&y);
    }
    rows_close(&a);
    rows_close(&b);
}

static void compressed_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool array;
    } files[] = {{"a.jsonl", false}, {"a.json", true}, {"a.txt", false}};
    for (size_t i = 0; i < 3; i++) {
        strbuf_t rows = make_rows(450, files[i].array);
        const char *plain = write_file(files[i].name, rows.p, rows.len);
        for (int k = 0; k < 2; k++) {
            strbuf_t packed = (k ? zstd : gzip)(rows.p, rows.len);
            char name[32];
            snprintf(name, sizeof name, "%s%s", files[i].name, k ? ".zst" : ".gz");
            assert_true(rows_is_data(name));
            assert_same_rows(plain, write_file(name, packed.p, packed.len));
            free(packed.p);
        }
        free(rows.p);
    }
}

/* Files that were compressed in pieces, one behind the other. */
static void several_members(void **state) {
    (void)state;
    static const pack_t packs[] = {gzip, zstd};
    static const char one[] = "{\"text\": \"a\"}\n{\"te", two[] = "xt\": \"b\"}\n";
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", one, two);
    const char *plain = write_file("a.jsonl", whole, strlen(whole));
    for (int k = 0; k < 2; k++) {
        strbuf_t a = packs[k](one, strlen(one)), b = packs[k](two, strlen(two));
        strbuf_add(&a, b.p, b.len);
        assert_same_rows(plain, write_file(k ? "a.jsonl.zst" : "a.jsonl.gz", a.p, a.len));
        free(a.p);
        free(b.p);
    }
}

static int read_all(const char *path, err_t *err) {
    rows_t r;
    file_row_t row = {0};
    bool more = true;
    if (rows_open(path, &r, err)) return err->code;
    while (more && rows_next(&r, &row, &more, err) == 0) row_free(&row);
    rows_close(&r);
    return err->code;
}

static void damaged_files(void **state) {
    (void)state;
    static const pack_t packs[] = {gzip, zstd};
    strbuf_t rows = make_rows(300, false);
    for (int k = 0; k < 2; k++) {
        strbuf_t p = packs[k](rows.p, rows.len);
        const char *name = k ? "d.jsonl.zst" : "d.jsonl.gz";
        for (size_t cut = 1; cut < 40; cut++) { /* in the header, in the data, in the checksum */
            err_t err = {0};
            size_t n = cut < 30 ? p.len * cut / 30 : p.len - (cut - 29);
            if (k && n == p.len) continue;
            assert_error(read_all(write_file(name, p.p, n), &err), err, ERR_USAGE, "d.jsonl.");
            if (!strstr(err.msg, "the file is cut off")) fail_msg("%zu of %zu bytes: %s", n, p.len, err.msg);
        }
        err_t err = {0};
        assert_error(read_all(write_file(name, "", 0), &err), err, ERR_USAGE, "the file is empty");
        err = (err_t){0};
        assert_error(read_all(write_file(name, rows.p, 100), &err), err, ERR_USAGE,
                     k ? "d.jsonl.zst: not valid Zstandard data" : "d.jsonl.gz: not valid gzip data");
        p.p[p.len / 2] ^= 0x55;
        p.p[p.len / 3] ^= 0x55;
        err = (err_t){0};
        assert_int_equal(read_all(write_file(name, p.p, p.len), &err), ERR_USAGE);
        free(p.p);
    }
    free(rows.p);
}

static void other_kinds(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a.parquet", ".parquet is not read; expected JSONL: python -c 'import pandas; pandas.read_parquet("},
        {"a.arrow", "pandas.read_feather("},
        {"a.csv", "pandas.read_csv("},
        {"a.tsv", "pandas.read_table("},
        {"a.zst",
         "unknown kind of data file; expected .jsonl, .json (an array) or .txt, or one of them with .gz or .zst"},
        {"a.csv.gz", "unknown kind of data file"},
        {"nowhere.jsonl.gz", "nowhere.jsonl.gz: cannot open: No such file"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rows_t r;
        err_t err = {0};
        assert_error(rows_open(cases[i][0], &r, &err), err, ERR_USAGE, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replacing),     cmocka_unit_test(extents),          cmocka_unit_test(odd_values_are_found),
        cmocka_unit_test(odd_rows),      cmocka_unit_test(compressed_files), cmocka_unit_test(several_members),
        cmocka_unit_test(damaged_files), cmocka_unit_test(other_kinds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
