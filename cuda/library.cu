#include "cuda/library.h"

#include <dlfcn.h>
#include <stdio.h>

void *library_open(const char *const *names, size_t n, char *why, size_t size) {
    static const int mode = RTLD_NOW | RTLD_LOCAL;
    void *library = dlopen(names[0], mode);
    if (library) return library;
    snprintf(why, size, "%s", dlerror());
    for (size_t i = 1; !library && i < n; i++) library = dlopen(names[i], mode);
    return library;
}
