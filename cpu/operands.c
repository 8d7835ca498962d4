#include "cpu/operands.h"

#include "base/minmax.h"
#include "model/backend/element.h"

enum {
    PASS_BYTES = 2 * 1664, /* of a row of A in one pass: K 1664 of BF16, 832 of fp32 */
    CHUNK = 32,            /* rows of B that are decoded at a time: a multiple of every depth */
    CHUNK_VALUES = 256     /* values of each */
};

/* ---- scratch -------------------------------------------------------------------------------------------------- */

static size_t chunk_bytes(void) { return CHUNK * CHUNK_VALUES * sizeof(float); }
static size_t a_bytes(void) { return TILE_MAX_ROWS * (PASS_BYTES + MAX_PIECES * TILE_MAX_DEPTH * sizeof(float)); }

size_t operands_bytes(void) { return (PANELS_BYTES + chunk_bytes() + a_bytes() + 63) / 64 * 64; }

void operands_lay_out(packer_t *k, unsigned char *scratch) {
    k->panels = scratch;
    k->chunk = k->panels + PANELS_BYTES;
    k->a = k->chunk + chunk_bytes();
}

/* ---- the parts of K ------------------------------------------------------------------------------------------- */

bool operands_next_pass(const tiles_t *t, const product_t *p, cursor_t *at, pass_t *pass) {
    size_t most = PASS_BYTES / dtype_size(t->type);
    pass->n = pass->depth = 0;
    while (at->term < p->n && pass->n < MAX_PIECES) {
        const term_t *term = &p->term[at->term];
        size_t left = term->K - at->k, room = most - pass->depth, whole = left / t->depth * t->depth;
        size_t n = whole ? min_size(whole, room) : left;
        if (left && (room == 0 || n > room)) break;
        at->k += n;
        if (n) {
            bool ends_mask = p->mask && at->term == 0 && at->k == term->K;
            pass->piece[pass->n++] = (piece_t){term, at->k - n, n, ends_mask};
            pass->depth += tiles_padded(t, n);
        }
        if (at->k == term->K) *at = (cursor_t){at->term + 1, 0};
    }
    return pass->n > 0;
}

/* ---- packing -------------------------------------------------------------------------------------------------- */

void operands_drop(const backend_t *be, void *y, dtype_t type, const dropout_t *d, size_t token, size_t first,
                   size_t n) {
    uint64_t key = dropout_row_key(d->seed, d->step, d->row[token], d->pos[token], d->layer, d->site);
    cpu_kernels(be)->dropout_row(y, y, first, n, key, d->p, type);
}

/* Values [c, c+n) of row r of a matrix as it is stored, in the type of the table. */
static void fetch_matrix(const packer_t *k, const matrix_t *m, const dropout_t *drop, size_t r, size_t c, size_t n,
                         void *out) {
    cpu_kernels(k->be)->cast(out, k->t->type, act_at_const(m->p, m->type, r * m->ld + c), m->type, n);
    if (drop) operands_drop(k->be, out, k->t->type, drop, r, c, n);
}

static void fetch_b(const packer_t *k, const term_t *term, size_t r, size_t c, size_t n, void *out) {
    if (!term->w) fetch_matrix(k, &term->b, term->drop_b, r, c, n, out);
    else cpu_kernels(k->be)->dequant(term->w, r * term->w->cols + c, n, out, k->t->type, k->rounded);
}

/* A piece of B, [N, K] as stored: some values of each row of a panel after the other. */
static void pack_stored_columns(const packer_t *k, const pass_t *pass, const piece_t *piece, size_t depth,
                                bool in_place) {
    const tiles_t *t = k->t;
    const matrix_t *b = &piece->term->b;
    for (size_t i = 0; i * t->cols < k->N; i++) {
        size_t n = k->n + i * t->cols, cols = min_size(t->cols, k->N - i * t->cols);
        if (in_place) {
            t->pack_columns(panel_at(k, pass, i, depth), act_at_const(b->p, b->type, n * b->ld + piece->k), b->ld, cols,
                            piece->n);
            continue;
        }
        for (size_t c = 0; c < piece->n; c += CHUNK_VALUES) {
            size_t len = min_size(CHUNK_VALUES, piece->n - c);
            for (size_t j = 0; j < cols; j++)
                fetch_b(k, piece->term, n + j, piece->k + c, len, value_at(k->chunk, t, j * CHUNK_VALUES));
            t->pack_columns(panel_at(k, pass, i, depth + c), k->chunk, CHUNK_VALUES, cols, len);
        }
    }
}

/* A piece of B, [K, N] as stored: some rows of as many panels as a chunk has room for. */
static void pack_stored_rows(const packer_t *k, const pass_t *pass, const piece_t *piece, size_t depth, bool in_place) {
    const tiles_t *t = k->t;
    const matrix_t *b = &piece->term->b;
    if (in_place) {
        for (size_t i = 0; i * t->cols < k->N; i++)
            t->pack_rows(panel_at(k, pass, i, depth),
                         act_at_const(b->p, b->type, piece->k * b->ld + k->n + i * t->cols), b->ld, piece->n,
                         min_size(t->cols, k->N - i * t->cols));
        return;
    }
    for (size_t c = 0; c < k->N; c += CHUNK_VALUES) {
        size_t cols = min_size(CHUNK_VALUES, k->N - c);
        for (size_t r = 0; r < piece->n; r += CHUNK) {
            size_t rows = min_size(CHUNK, piece->n - r);
            for (size_t j = 0; j < rows; j++)
                fetch_b(k, piece->term, piece->k + r + j, k->n + c, cols, value_at(k->chunk, t, j * CHUNK_VALUES));
            for (size_t j = 0; j < cols; j += t->cols)
                t->pack_rows(panel_at(k, pass, (c + j) / t->cols, depth + r), value_at(k->chunk, t, j), CHUNK_VALUES,
                             rows, min_size(t->cols, cols - j));
        }
    }
}

void operands_pack_b(const packer_t *k, const pass_t *pass) {
    for (size_t i = 0, depth = 0; i < pass->n; i++) {
        const piece_t *piece = &pass->piece[i];
        const term_t *term = piece->term;
        bool in_place = !term->w && term->b.type == k->t->type && !term->drop_b;
        (term->tb ? pack_stored_columns : pack_stored_rows)(k, pass, piece, depth, in_place);
        depth += tiles_padded(k->t, piece->n);
    }
}

static rows_t pack_transposed_a(const packer_t *k, const piece_t *piece, size_t m, size_t M, unsigned char *out) {
    const tiles_t *t = k->t;
    const matrix_t *a = &piece->term->a;
    rows_t rows = {out, tiles_padded(t, piece->n)};
    if (a->type == t->type) {
        t->transpose(out, rows.ld, act_at_const(a->p, a->type, piece->k * a->ld + m), a->ld, piece->n, M);
        return rows;
    }
    for (size_t r = 0; r < piece->n; r += CHUNK_VALUES) {
        size_t n = min_size(CHUNK_VALUES, piece->n - r);
        for (size_t j = 0; j < n; j++)
            fetch_matrix(k, a, NULL, piece->k + r + j, m, M, value_at(k->chunk, t, j * TILE_MAX_ROWS));
        t->transpose(value_at(out, t, r), rows.ld, k->chunk, TILE_MAX_ROWS, n, M);
    }
    return rows;
}

rows_t operands_pack_a(const packer_t *k, const piece_t *piece, size_t depth, size_t m, size_t M) {
    const tiles_t *t = k->t;
    const term_t *term = piece->term;
    const matrix_t *a = &term->a;
    size_t padded = tiles_padded(t, piece->n);
    unsigned char *out = value_at(k->a, t, depth * TILE_MAX_ROWS);
    if (term->ta) return pack_transposed_a(k, piece, m, M, out);
    if (a->type == t->type && !term->drop_a && piece->n == padded)
        return (rows_t){act_at_const(a->p, a->type, m * a->ld + piece->k), a->ld};
    for (size_t i = 0; i < M; i++) {
        fetch_matrix(k, a, term->drop_a, m + i, piece->k, piece->n, value_at(out, t, i * padded));
        memset(value_at(out, t, i * padded + piece->n), 0, (padded - piece->n) * dtype_size(t->type));
    }
    return (rows_t){out, padded};
}
