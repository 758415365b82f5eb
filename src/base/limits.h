/*
 * Limits that the environment sets for a process. Any process.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stdint.h>

/*
 * limits_raise - raise the limit in force to @wanted, as far as this user may
 * @resource  RLIMIT_*
 * Returns the limit that is in force then; UINT64_MAX = none, or not known.
 */
uint64_t limits_raise(int resource, uint64_t wanted);

/* limits_error - as strerror(3); if there are no more descriptors, with the number that there may
 * be. Returns @buf or a constant. */
enum { LIMITS_ERROR_LEN = 96 };
const char *limits_error(int error, char buf[LIMITS_ERROR_LEN]);

#endif
