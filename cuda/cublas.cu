#include "cuda/cublas.h"

#include <dlfcn.h>

#ifndef CUBLAS_DIRECTORY /* of the build's toolkit, see cmake/cuda.cmake */
#define CUBLAS_DIRECTORY "/usr/local/cuda/lib64"
#endif

/* The version of the header that this is compiled with: its types are those of the library. First where the loader
 * looks, then in the toolkit, which the loader may not know of. */
#ifndef CUBLAS_LIBRARIES /* tests on the host have it in the program, see cuda_host/cublasLt.h */
#define CUBLAS_TEXT(x) #x
#define CUBLAS_NAME(major) "libcublasLt.so." CUBLAS_TEXT(major)
#define CUBLAS_LIBRARIES CUBLAS_NAME(CUBLAS_VER_MAJOR), CUBLAS_DIRECTORY "/" CUBLAS_NAME(CUBLAS_VER_MAJOR)
#endif

static int cannot_load(err_t *err) {
    return err_set(err, ERR_USAGE, "cuBLAS cannot be loaded: %s; expected cuBLAS %d on this machine", dlerror(),
                   CUBLAS_VER_MAJOR);
}

/* The error is that of the first name. */
static void *open_library(err_t *err) {
    static const int mode = RTLD_NOW | RTLD_LOCAL;
    const char *const names[] = {CUBLAS_LIBRARIES};
    void *library = dlopen(names[0], mode);
    if (library) return library;
    err_t missing;
    cannot_load(&missing);
    for (size_t i = 1; !library && i < sizeof names / sizeof *names; i++) library = dlopen(names[i], mode);
    if (!library) *err = missing;
    return library;
}

int cublas_load(cublas_t *lib, err_t *err) {
    void *library = open_library(err);
    if (!library) return err->code;
#define CUBLAS_RESOLVE(name) \
    lib->name = (decltype(lib->name))dlsym(library, #name); \
    if (!lib->name) return cannot_load(err);
    CUBLAS_FUNCTIONS(CUBLAS_RESOLVE)
#undef CUBLAS_RESOLVE
    return 0;
}
