#include "data/tokenizer/utf8.h"

size_t utf8_next(const char *s, size_t len, uint32_t *c) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t b = (uint8_t)s[0];
    if (b < 0x80) {
        *c = b;
        return 1;
    }
    size_t n = b >= 0xf0 && b < 0xf8 ? 4 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xc0 && b < 0xe0 ? 2 : 0;
    if (n == 0 || n > len) return 0;
    uint32_t v = b & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        uint8_t t = (uint8_t)s[i];
        if ((t & 0xc0) != 0x80) return 0;
        v = v << 6 | (t & 0x3f);
    }
    if (v < smallest[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) return 0;
    *c = v;
    return n;
}

size_t utf8_valid(const char *s, size_t len) {
    size_t i = 0;
    uint32_t c;
    while (i < len) {
        if ((uint8_t)s[i] < 0x80) {
            i++;
            continue;
        }
        size_t n = utf8_next(s + i, len - i, &c);
        if (n == 0) return i;
        i += n;
    }
    return len;
}

size_t utf8_put(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(0xf00u >> n | c);
    return n;
}
