#include "support/http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "support/tool.h"

json_t *http_info(struct server *s)
{
    char control[sizeof(s->run) + 16];
    struct tool_run r;
    json_t *info;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "--json", "info");
    info = json_loads(r.out, 0, NULL);
    MUST(r.code == 0 && info, "info: %s%s", r.err, r.out);
    return info;
}

char *http_address(struct server *s)
{
    json_t *info = http_info(s);
    const char *text =
        json_string_value(json_object_get(json_object_get(info, "arbiter"), "status_bind"));
    char *ret = peer_alloc(128);

    snprintf(ret, 128, "%s", text ? text : "");
    json_decref(info);
    return ret;
}

int http_ask(const char *addr, const char *method, const char *path, const char *headers)
{
    const int fd = peer_connect(addr);
    char text[512];

    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, headers);
    peer_send_text(fd, text);
    return fd;
}

struct http_reply http_read(int fd)
{
    size_t size = 1 << 20, len = 0;
    char *text = peer_alloc(size);
    struct http_reply r = {.head = text};
    char *body;
    ssize_t n;

    while ((n = recv(fd, text + len, size - 1 - len, 0)) != 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (n < 0 && errno != EAGAIN)
            break;
        len += n > 0 ? (size_t)n : 0;
        if (n < 0)
            MUST(poll(&p, 1, (int)WAIT_MS) == 1, "no answer, but \"%.*s\"", (int)len, text);
    }
    text[len] = '\0';
    peer_close(fd);
    body = strstr(text, "\r\n\r\n");
    r.body = body ? body + 4 : "";
    sscanf(text, "HTTP/1.1 %u ", &r.code);
    return r;
}

struct http_reply http_get(const char *addr, const char *path)
{
    return http_read(http_ask(addr, "GET", path, ""));
}
