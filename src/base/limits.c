/*
 * Limits of a process. One that is set at the start of the process holds for its stack as well: the
 * kernel looks at it whenever the stack grows.
 */
#include "base/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "base/util.h"

static uint64_t limit_value(rlim_t limit)
{
    return limit == RLIM_INFINITY ? UINT64_MAX : limit;
}

uint64_t limits_raise(int resource, uint64_t wanted)
{
    struct rlimit rl, raised;

    if (getrlimit((__rlimit_resource_t)resource, &rl) < 0)
        return UINT64_MAX;
    raised = rl;
    raised.rlim_cur = wanted < limit_value(rl.rlim_max) ? (rlim_t)wanted : rl.rlim_max;
    if (limit_value(rl.rlim_cur) < limit_value(raised.rlim_cur) &&
        setrlimit((__rlimit_resource_t)resource, &raised) == 0)
        rl = raised;
    return limit_value(rl.rlim_cur);
}

const char *limits_error(int error, char buf[LIMITS_ERROR_LEN])
{
    if (error != EMFILE)
        return strerror(error);
    snprintf(buf, LIMITS_ERROR_LEN, "%s: all %" PRIu64 " that RLIMIT_NOFILE allows are in use",
             strerror(error), limits_raise(RLIMIT_NOFILE, 0));
    return buf;
}
