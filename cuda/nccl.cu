#include "cuda/nccl.h"

#include <dlfcn.h>

#include "cuda/library.h"

#ifndef NCCL_DIRECTORY /* where the build found the library, see cmake/cuda.cmake */
#define NCCL_DIRECTORY "/usr/local/cuda/lib64"
#endif

/* First where the loader looks, then where the build found it. */
#ifndef NCCL_LIBRARIES /* tests on the host have it in the program, see tests/cuda/host/nccl.h */
#define NCCL_LIBRARIES "libnccl.so.2", NCCL_DIRECTORY "/libnccl.so.2"
#endif

static int cannot_load(const char *why, err_t *err) {
    return err_set(err, ERR_USAGE, "NCCL cannot be loaded: %s", why);
}

int nccl_load(nccl_t *lib, err_t *err) {
    const char *const names[] = {NCCL_LIBRARIES};
    char why[300];
    void *library = library_open(names, sizeof names / sizeof *names, why, sizeof why);
    if (!library) return cannot_load(why, err);
#define NCCL_RESOLVE(name) \
    lib->name = (decltype(lib->name))dlsym(library, #name); \
    if (!lib->name) return cannot_load(dlerror(), err);
    NCCL_FUNCTIONS(NCCL_RESOLVE)
#undef NCCL_RESOLVE
    return 0;
}
