#include "data/tokenizer/bpe.h"
#include "data/tokenizer/utf8.h"

static bool shows_itself(uint32_t b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
}

/* The bytes that do not show themselves, 0x00-0x20, 0x7f-0xa0 and 0xad, are U+0100 to U+0143 in that order. */
static uint32_t char_of_byte(uint32_t b) {
    if (shows_itself(b)) return b;
    return 0x100 + (b <= 0x20 ? b : b <= 0xa0 ? 0x21 + b - 0x7f : 0x43);
}

static int byte_of_char(uint32_t c) {
    if (c < 0x100) return shows_itself(c) ? (int)c : -1;
    uint32_t k = c - 0x100;
    return k <= 0x20 ? (int)k : k <= 0x42 ? (int)(k - 0x21 + 0x7f) : k == 0x43 ? 0xad : -1;
}

void bytelevel_encode(const char *bytes, size_t len, strbuf_t *out) {
    char c[4];
    for (size_t i = 0; i < len; i++) strbuf_add(out, c, utf8_put(char_of_byte((uint8_t)bytes[i]), c));
}

bool bytelevel_decode(const char *text, size_t len, strbuf_t *out) {
    uint32_t c;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_next(text + i, len - i, &c);
        int b = n ? byte_of_char(c) : -1;
        if (b < 0) return false;
        strbuf_add(out, &(char){(char)b}, 1);
    }
    return true;
}
