/*
 * A file of its own, so that the test build can be a kernel that knows no such option.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/passed.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

int passed_refuse(int fd)
{
    const int off = 0;

    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) < 0 ? -errno : 0;
}
