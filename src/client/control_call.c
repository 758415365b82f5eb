/*
 * Lines over the control socket: bytes move without blocking, the waits are poll with a deadline.
 */
#include "client/control_call.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/fds.h"
#include "client/connect.h"
#include "client/deadlines.h"

enum { QUEUE_RETRY_MS = 10 };

void control_call_init(struct control_call *c)
{
    *c = (struct control_call){.fd = -1, .end_fd = -1};
}

void control_call_close(struct control_call *c)
{
    fds_close(&c->fd);
    fds_close(&c->end_fd);
    c->peer = 0;
    c->out_len = c->out_sent = c->in_len = c->in_scanned = 0;
}

void control_call_fini(struct control_call *c)
{
    control_call_close(c);
    free(c->out);
    free(c->in);
    control_call_init(c);
}

/*
 * Finds the process that listens. Process 1 may hold the socket for another process, so it is not
 * waited for.
 */
static void find_peer(struct control_call *c)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 1)
        return;
    c->peer = peer.pid;
    c->end_fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

int control_call_connect(struct control_call *c, const char *path, uint64_t deadline_ns)
{
    struct addr a = {.kind = ADDR_UNIX};
    struct arb_address to;
    size_t len = strlen(path);
    int rc;

    if (len >= sizeof(a.path))
        return -ENAMETOOLONG;
    memcpy(a.path, path, len + 1);
    control_call_close(c);
    rc = addr_to_sockaddr(&a, &to.sa, &to.len);
    if (rc == 0)
        rc = connect_begin(&to, NULL, &c->fd);
    /* The accept queue is full: nothing tells when there is room. */
    while (rc == -EAGAIN) {
        if (clock_mono_ns() >= deadline_ns)
            return ARB_TIMEOUT;
        poll(NULL, 0, QUEUE_RETRY_MS);
        rc = connect_begin(&to, NULL, &c->fd);
    }
    if (rc == 0)
        find_peer(c);
    return rc;
}

int control_call_post(struct control_call *c, const char *command, const char *target, json_t *args)
{
    json_t *o = json_pack("{s:s, s:s*, s:I, s:O*}", "command", command, "target", target, "id",
                          c->id + 1, "args", args);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    if (!text)
        return -EILSEQ;
    free(c->out);
    c->out = text;
    c->out_len = strlen(text);
    c->out[c->out_len++] = '\n'; /* in place of the NUL: it is no string any more */
    c->out_sent = 0;
    c->id++;
    return 0;
}

short control_call_events(const struct control_call *c)
{
    return c->out_sent < c->out_len ? POLLIN | POLLOUT : POLLIN;
}

/* A peer that takes no more bytes may still have sent an answer: reading finds out. */
static int send_request(struct control_call *c)
{
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);

        if (n >= 0)
            c->out_sent += (size_t)n;
        else if (errno == EPIPE || errno == ECONNRESET)
            c->out_sent = c->out_len;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int make_room(struct control_call *c)
{
    size_t capacity = c->in_capacity ? c->in_capacity * 2 : CONTROL_CALL_READ_BYTES;
    char *in;

    if (c->in_len < c->in_capacity)
        return 0;
    if (capacity > CONTROL_CALL_ANSWER_MAX)
        return -EMSGSIZE;
    in = realloc(c->in, capacity);
    if (!in)
        return -ENOMEM;
    c->in = in;
    c->in_capacity = capacity;
    return 0;
}

/* One read: 0, OUTCOME_PENDING for nothing yet, or why there will be nothing. */
static int receive_some(struct control_call *c)
{
    int rc = make_room(c);
    ssize_t n;

    if (rc)
        return rc;
    do {
        n = recv(c->fd, c->in + c->in_len, c->in_capacity - c->in_len, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        c->in_len += (size_t)n;
        return 0;
    }
    if (n == 0)
        return ARB_CLOSED;
    if (errno == ECONNRESET)
        return ARB_RESET;
    return errno == EAGAIN ? OUTCOME_PENDING : -errno;
}

static bool is_answer(const json_t *o)
{
    json_t *error = json_object_get(o, "error");

    if (!error)
        return json_object_get(o, "result") != NULL;
    return json_is_string(json_object_get(error, "code")) &&
           json_is_string(json_object_get(error, "message"));
}

/* An answer to a request that was given up may still come. An answer without an id is ours. */
static bool is_late(const struct control_call *c, const json_t *o)
{
    json_t *id = json_object_get(o, "id");

    return json_is_integer(id) && json_integer_value(id) != c->id;
}

/* The first line that is our answer: 0, OUTCOME_PENDING or -EBADMSG. */
static int take_answer(struct control_call *c, json_t **ret_answer)
{
    char *newline;

    while (c->in_len > c->in_scanned &&
           (newline = memchr(c->in + c->in_scanned, '\n', c->in_len - c->in_scanned))) {
        size_t len = (size_t)(newline - c->in);
        json_t *o = json_loadb(c->in, len, JSON_REJECT_DUPLICATES, NULL);

        c->in_len -= len + 1;
        c->in_scanned = 0;
        memmove(c->in, newline + 1, c->in_len);
        if (!is_answer(o)) {
            json_decref(o);
            return -EBADMSG;
        }
        if (!is_late(c, o)) {
            *ret_answer = o;
            return 0;
        }
        json_decref(o);
    }
    c->in_scanned = c->in_len;
    return OUTCOME_PENDING;
}

int control_call_advance(struct control_call *c, json_t **ret_answer)
{
    int rc = send_request(c);

    while (rc == 0) {
        rc = take_answer(c, ret_answer);
        if (rc != OUTCOME_PENDING)
            return rc;
        rc = receive_some(c);
    }
    return rc;
}

int control_call_wait(struct control_call *c, uint64_t deadline_ns, json_t **ret_answer)
{
    int rc;

    for (;;) {
        rc = control_call_advance(c, ret_answer);
        if (rc != OUTCOME_PENDING)
            return rc;
        rc = deadline_poll(c->fd, control_call_events(c), deadline_ns);
        if (rc)
            return rc;
    }
}

int control_call_wait_end(struct control_call *c, uint64_t deadline_ns)
{
    int rc;

    /* The process is watched, not the connection: a server drops idle connections before it ends.
     */
    if (c->end_fd >= 0)
        return deadline_poll(c->end_fd, POLLIN, deadline_ns);
    do {
        c->in_len = c->in_scanned = 0;
        rc = receive_some(c);
        if (rc == OUTCOME_PENDING)
            rc = deadline_poll(c->fd, POLLIN, deadline_ns);
    } while (rc == 0);
    return rc == ARB_CLOSED || rc == ARB_RESET ? 0 : rc;
}
