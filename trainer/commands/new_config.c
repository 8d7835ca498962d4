#include "trainer/commands/new_config.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

int new_config_check(const char *file, bool replace, err_t *err) {
    if (replace || !path_exists(file)) return 0;
    return err_set(err, ERR_USAGE, "%s: is there already; expected the name of a new file, or --force", file);
}

char *new_config_temporary(const char *file) { return xasprintf("%s.part-%ld", file, (long)getpid()); }

static void drop_place(const char *path, err_t *err) {
    size_t n = strlen(path);
    if (strncmp(err->msg, path, n) != 0 || err->msg[n] != ':') return;
    const char *rest = err->msg + n + 1;
    rest += strspn(rest, "0123456789:");
    rest += strspn(rest, " ");
    memmove(err->msg, rest, strlen(rest) + 1);
}

int new_config_write(const char *temporary, const char *text, char *const *overrides, size_t n_overrides,
                     config_use_t use, config_t *config, err_t *err) {
    if (file_write(temporary, text, strlen(text), err)) return err->code;
    if (config_load(temporary, overrides, n_overrides, use, config, err)) drop_place(temporary, err);
    return err->code;
}
