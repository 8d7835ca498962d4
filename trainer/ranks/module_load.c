#include "trainer/ranks/module_load.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/host.h"
#include "base/mem.h"

/* The directory of this program, to which it was built or installed; "." where that is not known. */
static char *program_directory(void) {
    char *path = host_program();
    const char *slash = path ? strrchr(path, '/') : NULL;
    char *directory = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup("./");
    free(path);
    return directory;
}

/* Open MPI loads plugins that look for its symbols among those of the whole process. */
static int load(const char *path, const ranks_module_t **module, err_t *err) {
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return err_set(err, ERR_USAGE,
                       "%s: cannot be loaded (%s); expected the MPI that it was built with (Debian: openmpi-bin), for "
                       "which clusters often have to load a module; or build it again with the one there is",
                       path, dlerror());
    *module = dlsym(library, RANKS_MODULE_SYMBOL);
    if (*module && (*module)->version == RANKS_MODULE_VERSION) return 0;
    return err_set(err, ERR_USAGE, "%s: not of this version of the program; expected the one built with it", path);
}

/* Beside the program in a build, and among the libraries of an installation. */
int module_load(const ranks_module_t **module, err_t *err) {
    char *directory = program_directory();
    char *beside = xasprintf("%s" RANKS_MODULE_NAME, directory);
    char *installed = xasprintf("%s" RANKS_MODULE_INSTALLED "/" RANKS_MODULE_NAME, directory);
    const char *path = path_exists(beside) ? beside : installed;
    if (path_exists(path)) load(path, module, err);
    else
        err_set(err, ERR_USAGE,
                "%s: not there; expected it here or beside the program: it is built with it where CMake finds MPI "
                "(Debian: libopenmpi-dev)",
                installed);
    free(directory);
    free(beside);
    free(installed);
    return err->code;
}
