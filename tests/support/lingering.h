/*
 * A socket whose close waits. In a header, since the hooks of the test build use it, too.
 */
#ifndef SUPPORT_LINGERING_H
#define SUPPORT_LINGERING_H

#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGERING_S = 600 }; /* longer than any test */

/* lingering_socket - connected to @ret_reader, which does not read what was sent to it */
static inline int lingering_socket(int *ret_reader)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = LINGERING_S};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static const char data[4096];

    if (bind(listener, (struct sockaddr *)&sin, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&sin, &len) < 0 ||
        connect(fd, (struct sockaddr *)&sin, len) < 0 ||
        (*ret_reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        abort();
    close(listener);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (send(fd, data, sizeof(data), MSG_NOSIGNAL) > 0)
        ;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    return fd;
}

#endif
