/*
 * The test build is a kernel that cannot refuse descriptors, while ECHO_TEST_PASSED is set.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/passed.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

int passed_refuse(int fd)
{
    const int off = 0;

    if (getenv("ECHO_TEST_PASSED"))
        return -ENOPROTOOPT;
    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) < 0 ? -errno : 0;
}
