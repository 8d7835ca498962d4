#include "trainer/run/tb_event.h"

#include <stdlib.h>
#include <string.h>

/* ---- records -------------------------------------------------------------------------------------------- */

/* Castagnoli's polynomial, bits reversed. A row is some hundred bytes: a bit at a time is fast enough. */
uint32_t tb_crc32c(const void *data, size_t n) {
    const uint8_t *p = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

uint32_t tb_masked_crc(const void *data, size_t n) {
    uint32_t crc = tb_crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Little-endian, whatever the machine. */
static void add_fixed(strbuf_t *b, uint64_t v, size_t bytes) {
    char out[8];
    for (size_t i = 0; i < bytes; i++) out[i] = (char)(uint8_t)(v >> 8 * i);
    strbuf_add(b, out, bytes);
}

/* The record of a message, which is freed: length, its checksum, the message, its checksum. */
static void add_record(strbuf_t *b, strbuf_t *message) {
    size_t at = b->len;
    add_fixed(b, message->len, 8);
    add_fixed(b, tb_masked_crc(b->p + at, 8), 4);
    strbuf_add(b, message->p, message->len);
    add_fixed(b, tb_masked_crc(message->p, message->len), 4);
    free(message->p);
}

/* ---- messages ------------------------------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* protobuf's wire types */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION_LOG = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };

static void add_varint(strbuf_t *b, uint64_t v) {
    for (; v >= 128; v >>= 7) add_fixed(b, v | 128, 1);
    add_fixed(b, v, 1);
}

static void add_key(strbuf_t *b, unsigned field, unsigned type) { add_varint(b, field << 3 | type); }

static void add_number(strbuf_t *b, unsigned field, uint64_t v) {
    add_key(b, field, VARINT);
    add_varint(b, v);
}

static void add_double(strbuf_t *b, unsigned field, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_key(b, field, FIXED64);
    add_fixed(b, bits, 8);
}

static void add_float(strbuf_t *b, unsigned field, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    add_key(b, field, FIXED32);
    add_fixed(b, bits, 4);
}

static void add_bytes(strbuf_t *b, unsigned field, const char *data, size_t n) {
    add_key(b, field, BYTES);
    add_varint(b, n);
    strbuf_add(b, data, n);
}

/* A message in a message, which is freed. */
static void add_message(strbuf_t *b, unsigned field, strbuf_t *inner) {
    add_bytes(b, field, inner->p, inner->len);
    free(inner->p);
}

void tb_add_version(strbuf_t *b, double wall_time) {
    static const char version[] = "brain.Event:2";
    strbuf_t event = {0};
    add_double(&event, EVENT_WALL_TIME, wall_time);
    add_bytes(&event, EVENT_FILE_VERSION, version, sizeof version - 1);
    add_record(b, &event);
}

void tb_add_restart(strbuf_t *b, double wall_time, uint64_t step) {
    strbuf_t event = {0}, session = {0};
    add_number(&session, SESSION_STATUS, SESSION_START);
    add_double(&event, EVENT_WALL_TIME, wall_time);
    add_number(&event, EVENT_STEP, step);
    add_message(&event, EVENT_SESSION_LOG, &session);
    add_record(b, &event);
}

void tb_add_scalars(strbuf_t *b, double wall_time, uint64_t step, const tb_scalar_t *scalars, size_t n) {
    strbuf_t event = {0}, summary = {0};
    for (size_t i = 0; i < n; i++) {
        strbuf_t value = {0};
        add_bytes(&value, VALUE_TAG, scalars[i].tag, strlen(scalars[i].tag));
        add_float(&value, VALUE_SIMPLE, (float)scalars[i].value);
        add_message(&summary, SUMMARY_VALUE, &value);
    }
    add_double(&event, EVENT_WALL_TIME, wall_time);
    add_number(&event, EVENT_STEP, step);
    add_message(&event, EVENT_SUMMARY, &summary);
    add_record(b, &event);
}
