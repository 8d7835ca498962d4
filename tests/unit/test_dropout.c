/* The masks of dropout as numbers: how often they drop, and that no coordinate of a value says anything about another.
 * Everything is a fixed function, so a test passes always or never; bounds are 5 standard deviations. */
#include "testing.h"

#include <math.h>

#include "model/backend/element.h"

enum { ROWS = 1024, CHANNELS = 1024, VALUES = ROWS * CHANNELS };

/* What a mask depends on beside the channel. */
typedef struct {
    uint64_t seed, step;
    int32_t row, pos;
    uint32_t layer, site;
    size_t channel; /* is added to every channel */
} place_t;

static uint64_t key_of(const place_t *p) {
    return dropout_row_key(p->seed, p->step, p->row, p->pos, p->layer, p->site);
}

/* Row r of the values that are looked at. */
static place_t row_of(const place_t *p, int r) {
    place_t row = *p;
    row.row += r / 32;
    row.pos += r % 32;
    return row;
}

static void test_probability(void **state) {
    (void)state;
    static const struct {
        float p;
        uint32_t least;
    } cases[] = {
        {0, 0},       {1e-30f, 1},    {1e-6f, 1},    {1.4f / 65536, 1}, {1.6f / 65536, 2}, {0.05f, 3277},
        {0.1f, 6554}, {0.25f, 16384}, {0.5f, 32768}, {0.9f, 58982},     {0.99999f, 65535}, {0x1.fffffep-1f, 65535}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dropout_least(cases[i].p), cases[i].least);
        /* Unbiased: what is kept, scaled, has the mean of what there was; to the last bit of fp32. */
        double kept = (65536 - cases[i].least) / 65536.0;
        assert_true(fabs(kept * dropout_scale(cases[i].p) - 1) <= 0x1p-24);
    }
    assert_true(dropout_scale(0.5f) == 2 && dropout_scale(0) == 1);
}

/* p 0 keeps all, whatever the bits. */
static void test_rate(void **state) {
    (void)state;
    static const float ps[] = {0, 1e-3f, 0.05f, 0.1f, 0.5f, 0.9f};
    const place_t first = {.seed = 42, .step = 7, .row = 3, .pos = 11, .layer = 5, .site = 2};
    for (size_t i = 0; i < sizeof ps / sizeof *ps; i++) {
        double p = dropout_least(ps[i]) / 65536.0, dropped = 0;
        for (int r = 0; r < ROWS; r++) {
            place_t row = row_of(&first, r);
            uint64_t key = key_of(&row);
            for (size_t c = 0; c < CHANNELS; c++) dropped += !dropout_keep(key, c, ps[i]);
        }
        print_message("p %g: %.6f dropped\n", (double)ps[i], dropped / VALUES);
        assert_true(fabs(dropped - p * VALUES) <= 5 * sqrt(p * (1 - p) * VALUES));
    }
}

/* Each of the four fields of a word takes all its values equally often: its upper byte and its lower, chi-squared with
 * 255 degrees of freedom. */
static void test_fields(void **state) {
    (void)state;
    const place_t first = {.seed = 1};
    for (int byte = 0; byte < 8; byte++) {
        double count[256] = {0}, chi2 = 0, expected = VALUES / 4.0 / 256;
        for (int r = 0; r < ROWS; r++) {
            place_t row = row_of(&first, r);
            uint64_t key = key_of(&row);
            for (size_t g = 0; g < CHANNELS / 4; g++) count[dropout_word(key, g) >> 8 * byte & 0xff]++;
        }
        for (int v = 0; v < 256; v++) chi2 += (count[v] - expected) * (count[v] - expected) / expected;
        assert_true(fabs(chi2 - 255) <= 5 * sqrt(2 * 255.0));
    }
}

/* Two masks whose places differ a little: both drop a value as often as chance has it. */
static void check_independent(const char *what, const place_t *a, const place_t *b) {
    static const float ps[] = {0.1f, 0.5f};
    for (int i = 0; i < 2; i++) {
        double p = dropout_least(ps[i]) / 65536.0, both = 0, q = p * p;
        for (int r = 0; r < ROWS; r++) {
            place_t x = row_of(a, r), y = row_of(b, r);
            uint64_t x_key = key_of(&x), y_key = key_of(&y);
            for (size_t c = 0; c < CHANNELS; c++)
                both += !dropout_keep(x_key, c + a->channel, ps[i]) && !dropout_keep(y_key, c + b->channel, ps[i]);
        }
        double z = (both - q * VALUES) / sqrt(q * (1 - q) * VALUES);
        /* Pairs of channels share a value each with two others, which widens the spread of their count. */
        double spread = sqrt(1 + 2 * p / (1 + p));
        if (!(fabs(z) <= 5 * spread)) fail_msg("%s, p %g: %.1f standard deviations", what, (double)ps[i], z);
    }
}

static void test_independence(void **state) {
    (void)state;
    const place_t a = {.seed = 42, .step = 7, .row = 3, .pos = 11, .layer = 5, .site = 2};
    static const size_t distances[] = {1, 2, 3, 4, 5, 8, 64, 1024};
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        place_t b = a;
        b.channel = distances[i];
        check_independent("channel", &a, &b);
    }
    place_t b = a;
    b.seed++;
    check_independent("seed", &a, &b);
    b = a, b.step++;
    check_independent("step", &a, &b);
    b = a, b.row++;
    check_independent("row", &a, &b);
    b = a, b.pos++;
    check_independent("position", &a, &b);
    b = a, b.layer++;
    check_independent("layer", &a, &b);
    b = a, b.site++;
    check_independent("site", &a, &b);
    /* Coordinates that could be taken for one another. */
    b = a, b.row = a.pos, b.pos = a.row;
    check_independent("row and position swapped", &a, &b);
    b = a, b.layer = a.site, b.site = a.layer;
    check_independent("layer and site swapped", &a, &b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probability),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_independence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
