#include "base/version.h"

static const char *built_from = "unknown";

void version_set_commit(const char *commit) { built_from = commit; }

const char *version_commit(void) { return built_from; }
