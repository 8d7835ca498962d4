/* Seconds since some fixed point, for durations; not changed by setting the system's clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Never less than before: no duration is negative, also where a machine that is moved or resumed has a clock which goes
 * back. */
double clock_seconds(void);

#endif
