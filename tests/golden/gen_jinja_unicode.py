#!/usr/bin/env python3
"""Writes data/jinja/unicode_tables.h: what Python's str knows of characters beyond their general category and their
simple case mappings, which utf8proc has. Run from the repository's root; the answers are this Python's (3.11: Unicode 14)."""
import unicodedata


def differences(predicate, categories):
    """Ranges of code points for which `predicate` does not follow from the category."""
    ranges = []
    for code in (c for c in range(0x110000) if not 0xD800 <= c < 0xE000):
        if predicate(chr(code)) == (unicodedata.category(chr(code)) in categories):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


def braces(text):
    return "{" + ", ".join(f"0x{ord(c):04x}" for c in text) + "}"


def main():
    out = ["/* Made by tests/golden/gen_jinja_unicode.py: what Python's str knows of characters beyond their general category",
           " * and simple case mappings. */", "#ifndef DATA_JINJA_UNICODE_TABLES_H", "#define DATA_JINJA_UNICODE_TABLES_H", "",
           "#include <stdint.h>", "", "typedef struct {", "    int32_t first, last;", "} char_range_t;", ""]
    for name, what, predicate, categories in [
        ("other_lower", "islower(), though not of category Ll", str.islower, ["Ll"]),
        ("other_upper", "isupper(), though not of category Lu", str.isupper, ["Lu"]),
        ("other_digit", "isdigit(), though not of category Nd", str.isdigit, ["Nd"]),
        ("other_numeric", "isnumeric(), though not of category Nd, Nl or No", str.isnumeric, ["Nd", "Nl", "No"])]:
        rows = ", ".join(f"{{0x{a:x}, 0x{b:x}}}" for a, b in differences(predicate, categories))
        out += [f"/* {what} */", f"static const char_range_t {name}[] = {{{rows}}};", ""]
    out += ["/* Characters whose upper case is several, and their title case. */", "typedef struct {",
            "    int32_t c, upper[3], title[3];", "} special_case_t;", "static const special_case_t special_cases[] = {"]
    for code in range(0x110000):
        c = chr(code)
        if len(c.upper()) > 1:
            out.append(f"    {{0x{code:04x}, {braces(c.upper())}, {braces(c.title())}}},")
    out += ["};", "", "#endif"]
    with open("data/jinja/unicode_tables.h", "w") as f:
        f.write("\n".join(out) + "\n")


main()
