/* Fibers: stacks that a thread of the process switches between. Kept and used again for the life of the process. */
#ifndef CUDA_HOST_FIBER_H
#define CUDA_HOST_FIBER_H

namespace cuda_host {

struct fiber_t;

/* A fiber that calls `entry`, which never returns, once it is switched to; or a released one, which goes on where
 * it stopped: behind its last fiber_switch(). */
fiber_t *fiber_take(void (*entry)());
void fiber_release(fiber_t *f);
fiber_t *fiber_current();
fiber_t *fiber_main(); /* the stack that the process began on */
void fiber_switch(fiber_t *to);
void fiber_entered(); /* first thing in `entry` */

} // namespace cuda_host

#endif
