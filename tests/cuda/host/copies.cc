/* cp.async: a copy lands at any time between its issue and the wait for its group. Late landing shows a missing wait,
 * early landing a missing barrier before the buffer is filled again. */
#include "sanitizer.h"
#include "scheduler.h"

namespace cuda_host {

static void land(const copy_t *c) {
    seen_write16(c->to);
    if (!c->from) {
        memset(c->to, 0, 16);
        return;
    }
    seen_read16(c->from);
    memcpy(c->to, c->from, 16);
}

void copy_issue(void *shared, const void *global) {
    thread_t *t = thread_running();
    copy_t c = {shared, global, t->open_group};
    if (draw_chance(3)) land(&c);
    else t->copies.push_back(c);
}

void copies_settle() {
    std::vector<copy_t> &copies = thread_running()->copies;
    for (size_t i = 0; i < copies.size();) {
        if (draw_chance(8)) {
            land(&copies[i]);
            copies[i] = copies.back();
            copies.pop_back();
        } else {
            i++;
        }
    }
}

void copy_commit() { thread_running()->open_group++; }

void copy_wait(unsigned pending) {
    thread_t *t = thread_running();
    std::vector<copy_t> left;
    for (const copy_t &c : t->copies) {
        if (c.group + pending < t->open_group) land(&c);
        else left.push_back(c);
    }
    t->copies.swap(left);
}

} // namespace cuda_host
