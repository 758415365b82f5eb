/*
 * libmicrohttpd between our loop and our table of routes. It has an epoll set of its own, which is
 * one descriptor of our loop, and is called when something happens in it or when its time comes. A
 * request that has to wait for the arbiter is suspended meanwhile.
 */
#include "status/status_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "status/status_route.h"

enum { SWEEP_MS = 250, LOG_LINE_LEN = 256 };

/* A connection. It has one request. */
struct http_client {
    struct list link; /* in http->clients */
    struct status_http *http; /* borrowed */
    struct MHD_Connection *connection; /* borrowed: the library's */
    uint64_t since_ms;
    uint64_t asked_ns; /* its request is complete since then; 0 = not yet */
    bool is_waiting; /* suspended */
    bool is_answered;
    bool is_cut; /* shut down; the library may not have noticed yet */
};

/* ---- answers ---- */

static const char nothing_loaded[] = "default-src 'none'; frame-ancestors 'none'";

static enum MHD_Result queue_answer(struct http_client *c, const struct status_answer *a,
                                    const char *policy)
{
    struct status_http *h = c->http;
    const struct http_library *lib = &h->library;
    struct MHD_Response *r =
        lib->create_response_from_buffer(a->len, (void *)(uintptr_t)a->text,
                                         a->owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rc = r ? MHD_YES : MHD_NO;

    if (!r) {
        free(a->owned);
        return MHD_NO;
    }
    const struct {
        const char *name, *value;
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, a->type},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {MHD_HTTP_HEADER_CONNECTION, "close"},
        {"Content-Security-Policy", policy ? policy : nothing_loaded},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {MHD_HTTP_HEADER_ALLOW, a->code == MHD_HTTP_METHOD_NOT_ALLOWED ? "GET, HEAD" : NULL},
    };
    for (size_t i = 0; rc == MHD_YES && i < ARRAY_SIZE(headers); i++)
        if (headers[i].value)
            rc = lib->add_response_header(r, headers[i].name, headers[i].value);
    if (rc == MHD_YES)
        rc = lib->queue_response(c->connection, a->code, r);
    lib->destroy_response(r);
    if (rc == MHD_YES) {
        c->is_answered = true;
        h->n_answered++;
    }
    return rc;
}

/* The library ends the connection if there is no memory for an answer. */
static enum MHD_Result refuse_request(struct http_client *c, unsigned code, const char *why)
{
    struct status_answer a;

    return status_answer_error(&a, code, why) < 0 ? MHD_NO : queue_answer(c, &a, NULL);
}

static enum MHD_Result show_route(struct http_client *c, const struct status_route *route)
{
    const struct status_snapshot *s = c->http->snapshot;
    const char *accept = c->http->library.lookup_connection_value(c->connection, MHD_HEADER_KIND,
                                                                  MHD_HTTP_HEADER_ACCEPT);
    const struct status_view view = {
        .info = route->needs_info ? s->info : NULL,
        .text = s->text,
        .len = s->len,
        .accept = accept ? accept : "",
    };
    struct status_answer a;

    return route->make(&view, &a) < 0 ? MHD_NO : queue_answer(c, &a, route->policy);
}

/* ---- a request ---- */

/* Suspends the request until status_http_tell or the sweep resumes it. */
static enum MHD_Result wait_for_info(struct http_client *c)
{
    struct status_http *h = c->http;

    c->is_waiting = true;
    c->asked_ns = clock_mono_ns();
    h->library.suspend_connection(c->connection);
    h->ops->on_wanted(h);
    return MHD_YES;
}

static void resume_client(struct http_client *c)
{
    c->is_waiting = false;
    c->http->library.resume_connection(c->connection);
}

static struct http_client *client_of(const struct http_library *lib,
                                     struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        lib->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

/* Called once the head of a request is there, and again when it has waited. A body is not read:
 * the library closes the connection behind the answer. */
static enum MHD_Result on_http_request(void *cls, struct MHD_Connection *connection,
                                       const char *path, const char *method,
                                       const char *version UNUSED, const char *data UNUSED,
                                       size_t *data_len UNUSED, void **request UNUSED)
{
    struct status_http *h = cls;
    struct http_client *c = client_of(&h->library, connection);
    const struct status_route *route = status_route_find(path);
    struct status_answer a;

    if (!c || c->is_answered)
        return MHD_NO;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse_request(c, MHD_HTTP_METHOD_NOT_ALLOWED,
                              "Nothing can be changed here, allowed: GET and HEAD.");
    if (!route)
        return status_answer_unknown(&a) < 0 ? MHD_NO : queue_answer(c, &a, NULL);
    if (route->needs_info && !c->asked_ns)
        return wait_for_info(c);
    if (!route->needs_info || status_snapshot_has(h->snapshot, c->asked_ns))
        return show_route(c, route);
    return refuse_request(c, MHD_HTTP_SERVICE_UNAVAILABLE, "The arbiter has not answered in 2 s.");
}

/* ---- the library in our loop ---- */

static void set_timeout(struct status_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;

    ev_timer_stop(h->loop, &h->timeout);
    if (h->library.get_timeout(h->daemon, &ms) != MHD_YES)
        return;
    ev_timer_set(&h->timeout, (double)ms / 1e3, 0.);
    ev_now_update(h->loop);
    ev_timer_start(h->loop, &h->timeout);
}

static void run_library(struct status_http *h)
{
    h->library.run(h->daemon);
    set_timeout(h);
    if (h->is_draining && h->n_clients == 0)
        h->ops->on_drained(h);
}

static void on_http_io(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    run_library(container_of(io, struct status_http, io));
}

static void on_http_timeout(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    run_library(container_of(timer, struct status_http, timeout));
}

/* The library hears of it as of the end of the peer's input, and closes. */
static void cut_client(struct http_client *c)
{
    const union MHD_ConnectionInfo *info =
        c->http->library.get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    c->is_cut = true;
    if (info)
        shutdown(info->connect_fd, SHUT_RDWR);
}

static bool has_asked(const struct http_client *c)
{
    return c->is_waiting || c->is_answered;
}

static void on_http_sweep(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct status_http *h = container_of(timer, struct status_http, sweep);
    const uint64_t now_ms = clock_mono_ms();
    struct list *link;

    list_for_each (link, &h->clients) {
        struct http_client *c = container_of(link, struct http_client, link);

        if (c->is_waiting && now_ms - c->asked_ns / 1000000 >= STATUS_ANSWER_MS)
            resume_client(c);
        if (now_ms - c->since_ms >= (has_asked(c) || !h->is_draining ? STATUS_CLIENT_MS : SWEEP_MS))
            cut_client(c);
    }
    run_library(h);
}

/* ---- clients ---- */

/* A browser or a scraper sends its request at once. So the oldest client without a request is cut:
 * silent connections cannot keep others out. */
static void cut_silent_client(struct status_http *h)
{
    struct list *link;

    list_for_each (link, &h->clients) {
        struct http_client *c = container_of(link, struct http_client, link);

        if (has_asked(c) || c->is_cut)
            continue;
        cut_client(c);
        return;
    }
}

static void begin_client(struct status_http *h, struct MHD_Connection *connection, void **ret)
{
    struct http_client *c = calloc(1, sizeof(*c));

    *ret = c;
    if (!c)
        return;
    c->http = h;
    c->connection = connection;
    c->since_ms = clock_mono_ms();
    if (h->n_clients >= STATUS_CLIENTS_QUIET)
        cut_silent_client(h);
    list_append(&h->clients, &c->link);
    if (h->n_clients++ == 0)
        ev_timer_again(h->loop, &h->sweep);
}

static void end_client(struct status_http *h, struct http_client *c)
{
    h->n_unanswered += !c->is_answered;
    list_remove(&c->link);
    free(c);
    if (--h->n_clients == 0)
        ev_timer_stop(h->loop, &h->sweep);
}

static void on_http_connection(void *cls, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode what)
{
    struct status_http *h = cls;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        begin_client(h, connection, context);
    } else if (*context) {
        end_client(h, *context);
        *context = NULL;
    }
}

/* The library reports what clients do. Anybody can be a client, so the level is debug. */
static void __attribute__((format(printf, 2, 0)))
on_http_log(void *cls, const char *format, va_list values)
{
    const struct status_http *h = cls;
    char line[LOG_LINE_LEN];
    int len = vsnprintf(line, sizeof(line), format, values);

    len = MIN(len, (int)sizeof(line) - 1);
    while (len > 0 && line[len - 1] == '\n')
        line[--len] = '\0';
    if (len > 0)
        log_debug(h->log, "http", F_STR("library", line));
}

/* ---- life ---- */

int status_http_start(struct status_http *h, struct ev_loop *loop, struct log *log, int fd,
                      const struct status_snapshot *snapshot, const struct status_http_ops *ops)
{
    const time_t now = 0;
    const union MHD_DaemonInfo *info;
    struct tm tm;

    h->loop = loop;
    h->log = log;
    h->snapshot = snapshot;
    h->ops = ops;
    list_init(&h->clients);
    ev_init(&h->timeout, on_http_timeout);
    ev_init(&h->sweep, on_http_sweep);
    h->sweep.repeat = SWEEP_MS / 1e3;
    gmtime_r(&now,
             &tm); /* its first call opens a file, which the sandbox would not let happen later */
    errno = ENOMEM;
    h->daemon = h->library.start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        on_http_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_http_log, h, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)STATUS_CLIENTS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)STATUS_CLIENTS_PER_SOURCE,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)STATUS_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)STATUS_CLIENT_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_http_connection, h,
        MHD_OPTION_END);
    if (!h->daemon)
        return -errno;
    info = h->library.get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info)
        return -ENOTSUP;
    ev_io_init(&h->io, on_http_io, info->epoll_fd, EV_READ);
    ev_io_start(loop, &h->io);
    run_library(h);
    return 0;
}

void status_http_tell(struct status_http *h)
{
    bool is_more_wanted = false;
    struct list *link;

    list_for_each (link, &h->clients) {
        struct http_client *c = container_of(link, struct http_client, link);

        if (c->is_waiting && status_snapshot_has(h->snapshot, c->asked_ns))
            resume_client(c);
        is_more_wanted |= c->is_waiting;
    }
    run_library(h);
    if (is_more_wanted)
        h->ops->on_wanted(h);
}

/* The request of a client that has just connected may be on its way. The sweep cuts the client if
 * none comes. */
void status_http_drain(struct status_http *h)
{
    if (h->is_draining)
        return;
    h->is_draining = true;
    h->library.quiesce_daemon(h->daemon);
    run_library(h);
}

void status_http_stop(struct status_http *h)
{
    struct list *link;

    if (!h->daemon)
        return;
    list_for_each (link, &h->clients) {
        struct http_client *c = container_of(link, struct http_client, link);

        if (c->is_waiting)
            resume_client(c); /* the library stops for none that is suspended */
    }
    ev_io_stop(h->loop, &h->io);
    h->library.stop_daemon(h->daemon);
    h->daemon = NULL;
    ev_timer_stop(h->loop, &h->timeout);
    ev_timer_stop(h->loop, &h->sweep);
}
