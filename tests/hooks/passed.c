/*
 * The test build's kernel cannot refuse descriptors, while ECHO_TEST_PASSED is set. Wraps
 * setsockopt, see the Makefile.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/passed.h"

int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && option == SO_PASSRIGHTS && getenv("ECHO_TEST_PASSED")) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return __real_setsockopt(fd, level, option, value, len);
}
