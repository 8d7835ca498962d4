/* What is chosen and said for processors that are not here. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "cpu/tiles_choice.h"

static const cpu_build_t whole = {.avx512_bf16 = true, .amx_bf16 = true};

/* Ordinary ones, each with a system that lets it. */
static const cpu_features_t avx2 = {.avx2 = true};
static const cpu_features_t skylake = {.avx2 = true, .avx512 = true, .saves_avx512 = true};
static const cpu_features_t zen5 = {.avx2 = true, .avx512 = true, .avx512_bf16 = true, .saves_avx512 = true};
static const cpu_features_t sapphire_rapids = {.avx2 = true,
                                               .avx512 = true,
                                               .avx512_bf16 = true,
                                               .amx_bf16 = true,
                                               .saves_avx512 = true,
                                               .saves_tiles = true,
                                               .grants_tiles = true};

/* ---- this one -------------------------------------------------------------------------------------------- */

static void test_here(void **state) {
    (void)state;
    const tiles_choice_t *c = tiles_choice();
    char text[96];
    tiles_auto_reason(c, text, sizeof text);
    print_message("%s, %s: %s\n", c->f32->name, c->bf16 ? c->bf16->name : "no bf16", text);
    assert_false(c->wrong);
    assert_int_equal(c->f32->type, DT_F32);
    if (c->bf16) assert_int_equal(c->bf16->type, DT_BF16);
    const tiles_t *t;
    bool known = false;
    for (int i = 0; (t = tiles_nth(i)); i++) {
        known |= t == c->f32;
        if (t->type == DT_BF16) assert_true(tiles_right(t));
    }
    assert_true(known);
    assert_ptr_equal(c, tiles_choice());
    const cpu_features_t has = cpu_features();
    assert_true(!cpu_runs_amx(&has) || cpu_runs_avx512_bf16(&has));
    assert_true(!cpu_runs_avx512_bf16(&has) || cpu_runs_avx512(&has));
}

/* ---- the choice ------------------------------------------------------------------------------------------ */

static double bf16_seconds; /* of a product that takes 1 s as fp32 */
static int timed;           /* runs so far; each third takes ten times as long, as on a busy machine */

static double seconds(const tiles_t *t) { return (t->type == DT_BF16 ? bf16_seconds : 1) * (timed++ % 3 ? 1 : 10); }
static bool right(const tiles_t *t) { return t->multiply != NULL; }
static bool wrong(const tiles_t *t) { return t->multiply == NULL; }

static tiles_choice_t choose(const cpu_features_t *has, double bf16) {
    bf16_seconds = bf16;
    timed = 0;
    return tiles_choose(has, seconds, right);
}

static void assert_reason(const tiles_choice_t *c, const char *want) {
    char text[96];
    tiles_auto_reason(c, text, sizeof text);
    assert_string_equal(text, want);
}

static void assert_described(const tiles_choice_t *c, const char *isa, const char *want) {
    char text[96];
    tiles_describe(isa, c->bf16, text, sizeof text);
    assert_string_equal(text, want);
}

static void test_without_bf16(void **state) {
    (void)state;
    const cpu_features_t none = {0}, *all[] = {&none, &avx2, &skylake};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tiles_choice_t c = choose(all[i], 0.1);
        assert_null(c.bf16);
        assert_int_equal(timed, 0);
        assert_int_equal(tiles_auto_type(&c), DT_F32);
        assert_reason(&c, "no kernel multiplies bf16 here");
        assert_described(&c, "AVX2", "AVX2");
    }
}

static void test_worthwhile(void **state) {
    (void)state;
    if (!cpu_build().avx512_bf16) skip();
    tiles_choice_t c = choose(&zen5, 0.5);
    assert_string_equal(c.bf16->name, "AVX512-BF16");
    assert_string_equal(c.f32->name, "AVX-512");
    assert_int_equal(tiles_auto_type(&c), DT_BF16);
    assert_reason(&c, "bf16 products by AVX512-BF16 are 2.0 times as fast as f32");
    assert_described(&c, "AVX-512", "AVX-512, bf16 products by AVX512-BF16");
    c = choose(&zen5, 1 / 1.16);
    assert_non_null(c.bf16);
    c = choose(&zen5, 1 / 1.14);
    assert_null(c.bf16);
    assert_int_equal(tiles_auto_type(&c), DT_F32);
    assert_reason(&c, "bf16 products by AVX512-BF16 would be 1.14 times as fast as f32");
    assert_described(&c, "AVX-512", "AVX-512");
    c = choose(&zen5, 1.8);
    assert_reason(&c, "bf16 products by AVX512-BF16 would be 0.56 times as fast as f32");
}

static void test_amx(void **state) {
    (void)state;
    if (!cpu_build().amx_bf16) skip();
    tiles_choice_t c = choose(&sapphire_rapids, 0.08);
    assert_string_equal(c.bf16->name, "AMX-BF16");
    assert_described(&c, "AVX-512", "AVX-512, bf16 products by AMX-BF16");
    cpu_features_t refused = sapphire_rapids;
    refused.grants_tiles = false;
    c = choose(&refused, 0.5);
    assert_string_equal(c.bf16->name, "AVX512-BF16");
    c = tiles_choose(&sapphire_rapids, seconds, wrong);
    assert_null(c.bf16);
    assert_true(c.wrong);
    assert_reason(&c, "bf16 products by AMX-BF16 are wrong here");
}

/* ---- advice ---------------------------------------------------------------------------------------------- */

static void assert_told(const cpu_features_t *has, const cpu_build_t *built, bool bf16, const char *want) {
    char text[400];
    cpu_shortfall(has, built, bf16, text, sizeof text);
    assert_true(strlen(text) < sizeof text - 1);
    if (!*want) assert_string_equal(text, "");
    else if (!strstr(text, want)) fail_msg("\"%s\"; expected \"%s\"", text, want);
}

static void test_nothing_missing(void **state) {
    (void)state;
    const cpu_features_t none = {0}, *all[] = {&none, &avx2, &skylake, &zen5, &sapphire_rapids};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_told(all[i], &whole, true, "");
    const cpu_build_t old = {0};
    assert_told(&avx2, &old, true, "");
    assert_told(&skylake, &old, true, "");
}

static void test_avx512_disabled(void **state) {
    (void)state;
    cpu_features_t has = sapphire_rapids;
    has.saves_avx512 = has.saves_tiles = has.grants_tiles = false;
    assert_told(&has, &whole, false,
                "has AVX-512, but the operating system does not enable it; everything runs by AVX2");
    assert_null(tiles_bf16_of(&has));
    has.avx2 = false;
    assert_told(&has, &whole, true, "everything runs by SSE2");
}

static void test_old_compiler(void **state) {
    (void)state;
    const cpu_build_t without_amx = {.avx512_bf16 = true}, old = {0};
    assert_told(&sapphire_rapids, &without_amx, true, "has AMX for bf16 products, but this program was built by a");
    assert_told(&sapphire_rapids, &without_amx, true, "build it again with GCC 11");
    assert_told(&sapphire_rapids, &without_amx, false, "");
    assert_told(&zen5, &without_amx, true, "");
    assert_told(&zen5, &old, true, "has AVX512-BF16 for bf16 products, but this program was built by a compiler");
    assert_told(&zen5, &old, true, "build it again with GCC 10");
}

static void test_tiles_refused(void **state) {
    (void)state;
    cpu_features_t has = sapphire_rapids;
    has.grants_tiles = false;
    assert_told(&has, &whole, true, "but Linux does not grant it to this process; let the container");
    has.saves_tiles = false;
    assert_told(&has, &whole, true, "but the operating system does not enable it; that takes Linux 5.16");
    assert_told(&has, &whole, false, "");
    assert_false(cpu_runs_amx(&has));
    assert_true(cpu_runs_avx512_bf16(&has));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_here),
        cmocka_unit_test(test_without_bf16),
        cmocka_unit_test(test_worthwhile),
        cmocka_unit_test(test_amx),
        cmocka_unit_test(test_nothing_missing),
        cmocka_unit_test(test_avx512_disabled),
        cmocka_unit_test(test_old_compiler),
        cmocka_unit_test(test_tiles_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
