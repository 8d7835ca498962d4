#include "tensors.h"

#include "testing.h"

void tensors_write(const char *path, const st_tensor_t *list, size_t n) {
    err_t err = {0};
    st_writer_t *w = st_writer_new();
    for (size_t i = 0; i < n; i++) st_writer_declare(w, list[i].name, list[i].dtype, list[i].n_dims, list[i].shape);
    assert_ok(st_writer_begin(w, path, &err), err);
    for (size_t i = 0; i < n; i++) {
        const st_tensor_t *t = &list[st_writer_order(w, i)];
        assert_ok(st_writer_data(w, t->data, t->bytes, &err), err);
    }
    assert_ok(st_writer_finish(w, &err), err);
}
