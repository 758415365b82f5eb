/*
 * refserver - the smallest correct echo server, a process a connection; slow and unbounded. The
 * conformance table is held against it, and against its faults (-f), so that the table itself is
 * known to be right. Prints its address; ends when its parent does.
 */
#include <ctype.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The faults: each is one that a real server has had. */
static const char *fault = "";
static size_t max_message = 1 << 20;

static bool has_fault(const char *name)
{
    return !strcmp(fault, name);
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* End as a server must: our half first, then wait for the peer's, so that no reply is destroyed. */
static void end(int fd)
{
    char buf[65536];
    if (has_fault("no-linger"))
        _exit(0);
    shutdown(fd, SHUT_WR);
    alarm(2);
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    _exit(0);
}

/* Echo the whole messages of @buf; returns the bytes that are finished with. */
static size_t echo(int fd, char *buf, size_t len, size_t *seen)
{
    size_t start = 0;
    for (;;) {
        size_t from = *seen > start + 3 ? *seen - 3 : start;
        if (has_fault("lost-split") && *seen > from)
            from = *seen;
        const char *sep = memmem(buf + from, len - from, "\r\n\r\n", 4);
        size_t message = (sep ? (size_t)(sep - buf) : len) - start;
        size_t slack = sep ? 0 : has_fault("small-limit") ? 0 : 3;
        if (message > max_message + slack && !has_fault("no-limit"))
            end(fd);
        *seen = len;
        if (!sep)
            return start;
        bool is_quit = message == 4 && !memcmp(buf + start, "QUIT", 4);
        if (has_fault("prefix-quit") && message >= 4 && !memcmp(buf + start, "QUIT", 4))
            is_quit = true;
        for (size_t i = 0; has_fault("upper-case") && i < message; i++)
            buf[start + i] = (char)toupper((unsigned char)buf[start + i]);
        if (has_fault("drop-empty") && message == 0)
            message = (size_t)0;
        else if (!send_all(fd, buf + start, message + 4))
            _exit(0);
        if (is_quit && !has_fault("no-quit"))
            end(fd);
        start += message + 4;
        *seen = start;
    }
}

static void serve(int fd)
{
    size_t size = 1 << 16, len = 0, seen = 0;
    char *buf = malloc(size);
    for (;;) {
        if (len == size)
            buf = realloc(buf, size *= 2);
        ssize_t n = read(fd, buf + len, size - len);
        if (!buf || n < 0)
            _exit(1);
        if (n == 0)
            break;
        len += (size_t)n;
        size_t done = echo(fd, buf, len, &seen);
        memmove(buf, buf + done, len - done);
        len -= done;
        seen -= done;
    }
    if (has_fault("echo-partial"))
        send_all(fd, buf, len);
    end(fd);
}

int main(int argc, char **argv)
{
    int opt;
    while ((opt = getopt(argc, argv, "f:m:")) != -1) {
        if (opt == 'f')
            fault = optarg;
        else if (opt == 'm')
            max_message = strtoull(optarg, NULL, 10);
    }
    signal(SIGCHLD, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int lfd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(lfd, (struct sockaddr *)&sa, len) || listen(lfd, 4096) ||
        getsockname(lfd, (struct sockaddr *)&sa, &len))
        return 69;
    printf("127.0.0.1:%u\n", ntohs(sa.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(lfd, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        pid_t parent = getpid();
        if (fd >= 0 && fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent)
                serve(fd);
            _exit(0);
        }
        close(fd);
    }
}
