#include "trainer/config/config_json.h"

#include <errno.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* ---- scalars ---- */

bool yaml_is_null(const char *text) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(text, nulls[i]) == 0) return true;
    return false;
}

bool yaml_is_bool(const char *text, bool *v) {
    static const char *const words[2][3] = {{"false", "False", "FALSE"}, {"true", "True", "TRUE"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 3; i++)
            if (strcmp(text, words[value][i]) == 0) {
                *v = value;
                return true;
            }
    return false;
}

size_t yaml_number_length(const char *s, bool real) {
    static const char digits[] = "0123456789";
    size_t sign = *s == '-' || *s == '+', whole = strspn(s + sign, digits), n = sign + whole;
    if (!real) return whole > 1 && s[sign] == '0' ? 0 : whole ? n : 0;
    size_t fraction = 0;
    if (s[n] == '.') {
        fraction = strspn(s + n + 1, digits);
        n += 1 + fraction;
    }
    if (whole + fraction == 0) return 0;
    if (s[n] == 'e' || s[n] == 'E') {
        size_t exp_sign = s[n + 1] == '-' || s[n + 1] == '+', exponent = strspn(s + n + 1 + exp_sign, digits);
        if (exponent) n += 1 + exp_sign + exponent;
    }
    return n;
}

/* .inf, -.Inf, .NaN and the like. */
static bool is_not_finite(const char *s) {
    static const char *const words[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"};
    size_t sign = *s == '-' || *s == '+';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(s + (i < 3 ? sign : 0), words[i]) == 0) return true;
    return false;
}

/* The base of a whole number, 0: it is none. */
static int whole_base(const char *s) {
    size_t n = yaml_number_length(s, false);
    if (n && !s[n]) return 10;
    if (s[0] != '0' || !s[1] || !s[2]) return 0;
    if (s[1] == 'x' && !s[2 + strspn(s + 2, "0123456789abcdefABCDEF")]) return 16;
    return s[1] == 'o' && !s[2 + strspn(s + 2, "01234567")] ? 8 : 0;
}

static json_t *whole_value(const char *text, int base, const char **expected) {
    errno = 0;
    long long v = strtoll(base == 10 ? text : text + 2, NULL, base);
    *expected = "a whole number of 64 bits, or a string in quotes";
    return errno ? NULL : json_integer(v);
}

static json_t *real_value(const char *text, const char **expected) {
    double v = strtod(text, NULL);
    *expected = "a number that a double holds, or a string in quotes";
    return isfinite(v) ? json_real(v + 0.0) : NULL; /* no negative zero */
}

json_t *yaml_scalar_value(const char *text, bool quoted, const char **expected) {
    bool truth;
    if (quoted) return json_string(text);
    if (yaml_is_null(text)) return json_null();
    if (yaml_is_bool(text, &truth)) return json_boolean(truth);
    int base = whole_base(text);
    if (base) return whole_value(text, base, expected);
    size_t sign = *text == '-' || *text == '+', digits = strspn(text + sign, "0123456789");
    if (digits && !text[sign + digits]) {
        *expected = "a whole number without zeros in front, or a string in quotes";
        return NULL;
    }
    size_t n = yaml_number_length(text, true);
    if (n && !text[n]) return real_value(text, expected);
    *expected = "a finite number, or a string in quotes";
    return is_not_finite(text) ? NULL : json_string(text);
}

/* ---- printing ---- */

void yaml_add_real(strbuf_t *b, double v) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    strbuf_adds(b, text);
}

/* What may not stand in YAML as it is: control characters, those of U+0080 to U+009F too, which UTF-8 begins with C2; the
 * line ends U+2028 and U+2029, which would be folded; the byte order mark and what is no character (U+FFFE, U+FFFF). */
void yaml_add_quoted(strbuf_t *b, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    strbuf_adds(b, "\"");
    for (; *s; s++) {
        if (*s < 0x20 || *s == 0x7f) strbuf_addf(b, "\\x%02x", (unsigned)*s);
        else if (*s == 0xc2 && s[1] < 0xa0) strbuf_addf(b, "\\x%02x", (unsigned)*++s);
        else if (*s == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
            strbuf_addf(b, "\\u20%02x", (unsigned)s[2] - 0x80), s += 2;
        else if (*s == 0xef && s[1] == 0xbb && s[2] == 0xbf) strbuf_adds(b, "\\uFEFF"), s += 2;
        else if (*s == 0xef && s[1] == 0xbf && s[2] >= 0xbe)
            strbuf_addf(b, "\\uFFF%c", s[2] == 0xbe ? 'E' : 'F'), s += 2;
        else if (*s == '"' || *s == '\\') strbuf_addf(b, "\\%c", *s);
        else strbuf_add(b, (const char *)s, 1);
    }
    strbuf_adds(b, "\"");
}

static void add_mapping(strbuf_t *b, const json_t *v) {
    const char *key, *sep = "";
    json_t *value;
    strbuf_adds(b, "{");
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        strbuf_adds(b, sep);
        yaml_add_quoted(b, key);
        strbuf_adds(b, ": ");
        yaml_add_value(b, value);
        sep = ", ";
    }
    strbuf_adds(b, "}");
}

static void add_list(strbuf_t *b, const json_t *v) {
    strbuf_adds(b, "[");
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i) strbuf_adds(b, ", ");
        yaml_add_value(b, json_array_get(v, i));
    }
    strbuf_adds(b, "]");
}

void yaml_add_value(strbuf_t *b, const json_t *v) {
    if (!v || json_is_object(v)) add_mapping(b, v);
    else if (json_is_array(v)) add_list(b, v);
    else if (json_is_string(v)) yaml_add_quoted(b, json_string_value(v));
    else if (json_is_integer(v)) strbuf_addf(b, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) {
        size_t before = b->len;
        yaml_add_real(b, json_real_value(v));
        if (!strpbrk(b->p + before, ".e")) strbuf_adds(b, ".0"); /* read again it is no whole number */
    } else strbuf_adds(b, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "null");
}
