#include "trainer/ranks/ranks.h"

#include "base/log.h"
#include "trainer/ranks/group.h"
#include "trainer/ranks/lifeline.h"

int ranks_open(err_t *err) {
    if (group_join(err) || !group_joined()) return err->code;
    if (lifeline_open(group_beside_first(), err)) {
        group_leave();
        return err->code;
    }
    if (!ranks_first()) log_errors_only();
    return 0;
}

void ranks_close(void) {
    if (!group_joined()) return;
    lifeline_close();
    group_leave();
}

/* ---- requests to stop ---------------------------------------------------------------------------------------- */

void ranks_on_stop(void (*take)(int sig)) { lifeline_on_stop(take); }
void ranks_tell_stop(int sig) { lifeline_tell_stop(sig); }
void ranks_tell_end(int status) { lifeline_tell_end(status); }
