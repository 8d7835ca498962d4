#include "data/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/mem.h"

enum { INPUT = 1 << 16 };

struct unpack {
    char *path;
    FILE *file;
    bool is_gzip;
    z_stream z;
    ZSTD_DStream *zstd;
    unsigned char in[INPUT];
    size_t at, len; /* of `in`, what is not unpacked yet */
    bool inside;    /* a gzip member or a frame has begun and not ended; a file may have several */
    bool any;       /* there was one */
};

const char *unpack_suffix(const char *path) {
    static const char *const suffixes[] = {".gz", ".zst"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (path_has_suffix(path, suffixes[i])) return path + strlen(path) - strlen(suffixes[i]);
    return NULL;
}

int unpack_open(const char *path, unpack_t **out, err_t *err) {
    *out = NULL;
    if (path_is_dir(path)) return err_set(err, ERR_USAGE, "%s: a directory; expected a file", path);
    FILE *file = fopen(path, "rb");
    if (!file) return file_cannot_open(path, err);
    unpack_t *u = xcalloc(1, sizeof *u);
    *u = (unpack_t){.path = xstrdup(path), .file = file, .is_gzip = path_has_suffix(path, ".gz")};
    bool ready = u->is_gzip ? inflateInit2(&u->z, 15 + 16) == Z_OK : (u->zstd = ZSTD_createDStream()) != NULL;
    if (!ready) mem_checked(NULL, 0); /* the one reason */
    *out = u;
    return 0;
}

void unpack_close(unpack_t *u) {
    if (!u) return;
    if (u->is_gzip) inflateEnd(&u->z);
    else ZSTD_freeDStream(u->zstd);
    fclose(u->file);
    free(u->path);
    free(u);
}

static int damaged(const unpack_t *u, const char *why, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: not valid %s data: %s", u->path, u->is_gzip ? "gzip" : "Zstandard", why);
}

static int step_gzip(unpack_t *u, char *out, size_t room, size_t *n, err_t *err) {
    u->z.next_in = u->in + u->at;
    u->z.avail_in = (uInt)(u->len - u->at);
    u->z.next_out = (unsigned char *)out;
    u->z.avail_out = (uInt)room;
    int rc = inflate(&u->z, Z_NO_FLUSH);
    u->at = u->len - u->z.avail_in;
    *n = room - u->z.avail_out;
    if (rc == Z_STREAM_END) {
        u->inside = false;
        return inflateReset(&u->z) == Z_OK ? 0 : damaged(u, "a member that does not end", err);
    }
    if (rc == Z_OK || rc == Z_BUF_ERROR) return 0;
    return damaged(u, u->z.msg ? u->z.msg : "damaged", err);
}

static int step_zstd(unpack_t *u, char *out, size_t room, size_t *n, err_t *err) {
    ZSTD_inBuffer in = {u->in, u->len, u->at};
    ZSTD_outBuffer o = {out, room, 0};
    size_t rc = ZSTD_decompressStream(u->zstd, &o, &in);
    if (ZSTD_isError(rc)) return damaged(u, ZSTD_getErrorName(rc), err);
    u->at = in.pos;
    *n = o.pos;
    if (rc == 0) u->inside = false;
    return 0;
}

/* *more false: the file has ended. */
static int read_input(unpack_t *u, bool *more, err_t *err) {
    if (u->at < u->len) return 0;
    u->at = 0;
    u->len = fread(u->in, 1, INPUT, u->file);
    if (ferror(u->file)) return err_set(err, ERR_FAILED, "%s: cannot read: %s", u->path, strerror(errno));
    *more = u->len > 0;
    return 0;
}

/* Most that one step is asked for: zlib counts in 32 bits. */
#define MOST ((size_t)1 << 30)

int unpack_read(unpack_t *u, char *out, size_t room, size_t *n, err_t *err) {
    *n = 0;
    while (*n < room) {
        bool more = true;
        size_t made = 0, ask = room - *n < MOST ? room - *n : MOST;
        if (read_input(u, &more, err)) return err->code;
        if (!more && !u->inside) return u->any ? 0 : damaged(u, "the file is empty", err);
        if (more && !u->inside) u->inside = u->any = true;
        if (u->is_gzip ? step_gzip(u, out + *n, ask, &made, err) : step_zstd(u, out + *n, ask, &made, err))
            return err->code;
        *n += made;
        if (!more && made == 0 && u->inside) return damaged(u, "the file is cut off", err);
    }
    return 0;
}
