#include "cuda/cublas.h"

#include <dlfcn.h>

#include "cuda/library.h"

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

static int cannot_load(const char *why, err_t *err) {
    return err_set(err, ERR_USAGE, "cuBLAS cannot be loaded: %s; expected cuBLAS %d on this machine", why,
                   CUBLAS_VER_MAJOR);
}

int cublas_load(cublas_t *lib, err_t *err) {
    const char *const names[] = {CUBLAS_LIBRARIES};
    char why[300];
    void *library = library_open(names, sizeof names / sizeof *names, why, sizeof why);
    if (!library) return cannot_load(why, err);
#define CUBLAS_RESOLVE(name) \
    lib->name = (decltype(lib->name))dlsym(library, #name); \
    if (!lib->name) return cannot_load(dlerror(), err);
    CUBLAS_FUNCTIONS(CUBLAS_RESOLVE)
#undef CUBLAS_RESOLVE
    return 0;
}
