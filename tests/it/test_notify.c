/*
 * A service manager that is only a socket: what it hears of the arbiter, in which order, on every
 * way that a start, a change and a stop can take; and that nobody waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { TEXT_MAX = 1 << 16 };

struct manager {
    int fd;
    char env[160]; /* NOTIFY_SOCKET=... */
    char text[TEXT_MAX]; /* all lines so far */
    char order[1024]; /* the first words of those that are about steps: "READY STOPPING " */
    pid_t main_pid; /* as it says */
};

static void manager_open(struct manager *m, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);

    *m = (struct manager){.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    MUST(len < sizeof(to.sun_path), "path");
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    MUST(m->fd >= 0 && bind(m->fd, (struct sockaddr *)&to,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0,
         "notify socket: %s", strerror(errno));
    snprintf(m->env, sizeof(m->env), "NOTIFY_SOCKET=%s", path);
}

static void take_line(struct manager *m, const char *line)
{
    static const char *const steps[] = {"READY=1", "RELOADING=1", "STOPPING=1"};
    const size_t len = strlen(m->text), order_len = strlen(m->order);

    snprintf(m->text + len, sizeof(m->text) - len, "%s\n", line);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
        if (strcmp(line, steps[i]) == 0)
            snprintf(m->order + order_len, sizeof(m->order) - order_len, "%.*s ",
                     (int)strcspn(line, "="), line);
    if (strncmp(line, "MAINPID=", 8) == 0)
        m->main_pid = (pid_t)atoi(line + 8);
}

/* All that has come; a step without its time is none. */
static void manager_read(struct manager *m)
{
    char data[4096], *save;
    ssize_t n;

    while ((n = recv(m->fd, data, sizeof(data) - 1, 0)) > 0) {
        data[n] = '\0';
        MUST(!strstr(data, "RELOADING=1") || strstr(data, "\nMONOTONIC_USEC="), "no time: %s",
             data);
        for (char *line = strtok_r(data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            take_line(m, line);
    }
}

static bool manager_has(struct manager *m, const char *text)
{
    manager_read(m);
    return strstr(m->text, text) != NULL;
}

#define MUST_HEAR(m, what)                                                                         \
    MUST_COME(manager_has((m), (what)), "the manager does not hear %s: %s", (what), (m)->text)

static bool is_order(struct manager *m, const char *order)
{
    manager_read(m);
    return strcmp(m->order, order) == 0;
}

#define MUST_HEAR_ORDER(m, want)                                                                   \
    MUST_COME(is_order((m), (want)), "the manager hears '%s', not '%s'", (m)->order, (want))

static size_t manager_count(struct manager *m, const char *line)
{
    size_t n = 0;

    manager_read(m);
    for (const char *p = m->text; (p = strstr(p, line)); p++)
        n++;
    return n;
}

/* At an abstract address, which leaves no file. */
static struct manager *manager_new(struct it *it)
{
    static struct manager m;
    char name[96];

    if (m.fd > 0)
        close(m.fd);
    snprintf(name, sizeof(name), "@%s/notify", it->dir);
    manager_open(&m, name);
    return &m;
}

static char *control_path(struct server *s)
{
    char *path = peer_alloc(sizeof(s->run) + sizeof("/control"));

    sprintf(path, "%s/control", s->run);
    return path;
}

static char *hook_env(struct it *it)
{
    char *env = peer_alloc(160);

    snprintf(env, 160, "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    return env;
}

/* ---- start, reload, stop ---- */

static void notify__reload_good_bad_and_taken_back__each_ends_ready(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s =
        server_start(it, .binary = "test/echo-arbiter", .conf = "", .env = {m->env, hook_env(it)});

    MUST_HEAR_ORDER(m, "READY ");
    MUST_HEAR(m, "STATUS=serving: revision 1, 2 workers\n");
    server_configure(s, "server: { backlog = 100; };");
    server_signal(s, SIGHUP);
    MUST_HEAR_ORDER(m, "READY RELOADING READY ");
    MUST_HEAR(m, "STATUS=a reload is under way\n");
    MUST_HEAR(m, "STATUS=serving: revision 2, 2 workers\n");
    server_expect(s, "reload refused|configuration|worker died|signal=SEGV|crash");
    server_configure(s, "server: { colour = 1; };");
    server_signal(s, SIGHUP);
    MUST_HEAR_ORDER(m, "READY RELOADING READY RELOADING READY ");
    server_configure(s, "server: { backlog = 200; };");
    it_write(it, "hook", "exit 0");
    server_signal(s, SIGHUP);
    MUST_HEAR_ORDER(m, "READY RELOADING READY RELOADING READY RELOADING READY ");
    unlink(it_path(it, "hook"));
    server_stop_and_check(s, SIGTERM, 0);
    MUST_HEAR_ORDER(m, "READY RELOADING READY RELOADING READY RELOADING READY STOPPING ");
    MUST(manager_count(m, "MAINPID=") == 0 && manager_count(m, "WATCHDOG=") == 0,
         "what nobody wants to know: %s", m->text);
}

/* The fork is no readiness. */
static void notify__workers_not_ready__neither_is_the_server(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s;

    it_write(it, "hook", "wait 2");
    s = server_spawn(it, .binary = "test/echo-arbiter", .conf = "", .env = {m->env, hook_env(it)});
    MUST_HEAR(m, "STATUS=starting\n");
    MUST_COME(server_accepting(s) == 1, "the other worker does not accept");
    MUST_HEAR(m, "EXTEND_TIMEOUT_USEC=");
    MUST(manager_count(m, "READY=1") == 0, "ready: %s", m->text);
    unlink(it_path(it, "hook"));
    server_wait_ready(s);
    MUST_HEAR_ORDER(m, "READY ");
}

static void notify__start_fails__reason_and_never_ready(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);

    server_refuses(it, 69, "192.0.2.1", .args = {"-b", "192.0.2.1:0"}, .env = {m->env});
    MUST_HEAR(m, "STATUS=cannot start: ");
    MUST_HEAR(m, "192.0.2.1");
    MUST_HEAR_ORDER(m, "");
}

static void notify__long_stop__more_time_is_asked_for(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s =
        server_start(it, .conf = "arbiter: { exit_timeout = 500; };", .env = {m->env});
    int fd = peer_connect(s->addr[0]);
    const char *asked;

    peer_send_text(fd, "half a message");
    MUST_COME(server_gauge(s, connections) == 1, "no connection");
    server_signal(s, SIGTERM);
    MUST_HEAR_ORDER(m, "READY STOPPING ");
    MUST_HEAR(m, "STATUS=stopping\n");
    asked = strstr(strstr(m->text, "STOPPING=1"), "EXTEND_TIMEOUT_USEC=");
    MUST(asked && atoll(strchr(asked, '=') + 1) > 490000000 &&
             atoll(strchr(asked, '=') + 1) < 520000000,
         "asked for: %s", m->text);
    peer_close(fd);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end");
}

/* ---- upgrade ---- */

static void notify__upgrade_good_refused_and_turned_back__each_ends_ready(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    char *program = it_copy(it, it_build_path(it, "test/echo-arbiter"), "program", 0);
    struct server *s =
        server_start(it, .binary = program, .conf = "", .env = {m->env, hook_env(it)});
    const char *control = control_path(s);
    struct tool_run r;

    for (int i = 0; i < 2; i++) { /* what the first image was told, the third one knows */
        r = RUN(it, NO_INPUT, "-C", control, "upgrade");
        MUST(r.code == 0, "upgrade: %s", r.err);
    }
    MUST_HEAR_ORDER(m, "READY RELOADING READY RELOADING READY ");
    MUST_HEAR(m, "STATUS=an upgrade is under way\n");
    server_wait_workers(s, 2);
    server_expect(s, "upgrade refused|back to the old program|worker died|crash");
    m->order[0] = '\0';
    it_write(it, "hook", "exit 0");
    r = RUN(it, NO_INPUT, "-C", control, "upgrade");
    MUST(r.code == 78, "upgrade: %d", r.code);
    unlink(it_path(it, "hook"));
    MUST_HEAR_ORDER(m, "RELOADING READY ");
    program = it_copy(it, "/bin/false", "other", 0);
    MUST(rename(program, it_path(it, "program")) == 0, "rename");
    r = RUN(it, NO_INPUT, "-C", control, "upgrade");
    MUST(r.code == 78, "upgrade: %d", r.code);
    MUST_HEAR_ORDER(m, "RELOADING READY RELOADING READY ");
    server_stop_and_check(s, SIGTERM, 0);
    MUST_HEAR_ORDER(m, "RELOADING READY RELOADING READY STOPPING ");
}

/* ---- watchdog ---- */

static void watch_for(const char *period_us)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    setenv("WATCHDOG_USEC", period_us, 1);
}

static void watch_this_process(void)
{
    watch_for("20000");
}

static void watch_patiently(void)
{
    watch_for("60000000");
}

static void notify__watchdog__fed_by_the_loop_of_each_image(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    char *program = it_copy(it, it_build_path(it, "echo-arbiter"), "program", 0);
    struct server *s =
        server_start(it, .binary = program, .in_child = watch_this_process, .env = {m->env});
    size_t before;

    server_expect(s, "the service manager does not hear"); /* if this test reads too slowly */
    MUST_COME(manager_count(m, "WATCHDOG=1\n") > 5, "it is not fed");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    before = manager_count(m, "WATCHDOG=1\n");
    MUST_COME(manager_count(m, "WATCHDOG=1\n") > before + 5, "the new image does not feed it");
    /* A loop that does not turn feeds nobody. */
    kill(s->pid, SIGSTOP);
    MUST_COME(proc_state(s->pid) == 'T', "not stopped");
    before = manager_count(m, "WATCHDOG=1\n");
    usleep(50000);
    MUST(manager_count(m, "WATCHDOG=1\n") == before, "who feeds it?");
    kill(s->pid, SIGCONT);
    MUST_COME(manager_count(m, "WATCHDOG=1\n") > before, "it does not go on");
}

static void notify__another_process_is_watched__silent(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s = server_start(it, .env = {m->env, "WATCHDOG_USEC=2000", "WATCHDOG_PID=1"});

    server_signal(s, SIGHUP);
    MUST_HEAR_ORDER(m, "READY RELOADING READY ");
    MUST(manager_count(m, "WATCHDOG=1") == 0, "it feeds another's watchdog");
}

static void notify__period_is_no_number__warned_of(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s = server_start(it, .env = {m->env, "WATCHDOG_USEC=-5"});

    server_expect(s, "WATCHDOG_USEC is no number of microseconds.* value=-5");
    MUST(server_log_count(s, "level=warning .*WATCHDOG_USEC is no number") == 1, "not said");
}

/* ---- the environment ---- */

static void notify__environment__not_the_workers(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    char *program = it_copy(it, it_build_path(it, "test/echo-arbiter"), "program", 0);
    struct server *s =
        server_start(it, .binary = program, .in_child = watch_patiently, .env = {m->env});
    int fd = peer_connect(s->addr[0]);

    peer_echo(fd, "\x01"
                  "crash environ");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    server_wait_workers(s, 2);
    peer_echo(fd, "\x01"
                  "crash environ");
    peer_close(fd);
}

/* ---- daemon ---- */

static void notify__daemon__says_its_process(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    char log[128], *pid_file = it_path(it, "echo.pid"), text[32] = "";
    struct server *s;
    FILE *f;

    snprintf(log, sizeof(log), "--log-file=%s/server.log", it->dir);
    s = server_spawn(it, .args = {"-D", "-p", pid_file, log}, .in_child = watch_patiently,
                     .env = {m->env});
    MUST(server_wait_exit(s, WAIT_MS) == 0, "the launcher fails");
    MUST_HEAR_ORDER(m, "READY ");
    f = fopen(pid_file, "re");
    MUST(f && fgets(text, sizeof(text), f) && fclose(f) == 0, "no pid file");
    MUST((s->pid = (pid_t)atoi(text)) == m->main_pid, "it says %d, and is %s", (int)m->main_pid,
         text);
    server_wait_ready(s);
    MUST_HEAR(m, "WATCHDOG=1\n");
    server_stop_and_check(s, SIGTERM, 0);
    MUST_HEAR_ORDER(m, "READY STOPPING ");
}

/* ---- managers that do not listen ---- */

/* Until nothing more fits into its queue. */
static size_t fill_queue(struct manager *m)
{
    struct sockaddr_un to;
    socklen_t len = sizeof(to);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t n = 0;

    MUST(fd >= 0 && getsockname(m->fd, (struct sockaddr *)&to, &len) == 0, "%s", strerror(errno));
    while (sendto(fd, "STATUS=x", 8, MSG_NOSIGNAL, (struct sockaddr *)&to, len) == 8)
        n++;
    MUST(errno == EAGAIN, "%s", strerror(errno));
    close(fd);
    return n;
}

static void notify__queue_is_full__server_goes_on_and_says_it_later(void **state)
{
    struct it *it = *state;
    struct manager *m = manager_new(it);
    struct server *s;

    fill_queue(m);
    s = server_spawn(it, .env = {m->env});
    server_expect(s, "the service manager does not hear");
    server_wait_ready(s);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_must_be_well(s, 2);
    MUST(server_log_count(s, "the service manager does not hear") == 1, "said more than once");
    manager_read(m);
    MUST(manager_count(m, "READY=1") == 0, "how?");
    server_signal(s, SIGTTIN); /* any turn of the loop would do */
    MUST_HEAR_ORDER(m, "READY ");
    server_wait_workers(s, 3);
}

static void notify__nobody_there__server_goes_on(void **state)
{
    struct it *it = *state;
    struct server *s = server_spawn(it, .env = {"NOTIFY_SOCKET=/nowhere/notify"});

    server_expect(s, "the service manager does not hear");
    server_wait_ready(s);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
}

static void notify__address_is_none__says_so(void **state)
{
    struct it *it = *state;
    struct server *s = server_spawn(it, .env = {"NOTIFY_SOCKET=vsock:2:1234"});

    server_expect(s, "NOTIFY_SOCKET is no absolute path");
    server_wait_ready(s);
    server_wait_log(s, "NOTIFY_SOCKET is no absolute path.*vsock:2:1234", 1);
}

static void notify__path__heard_until_it_is_gone(void **state)
{
    struct it *it = *state;
    static struct manager m;
    struct server *s;

    manager_open(&m, it_path(it, "notify"));
    s = server_start(it, .env = {m.env});
    MUST_HEAR_ORDER(&m, "READY ");
    unlink(it_path(it, "notify"));
    server_expect(s, "the service manager does not hear");
    server_stop_and_check(s, SIGTERM, 0);
    MUST_HEAR_ORDER(&m, "READY ");
    close(m.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(notify__reload_good_bad_and_taken_back__each_ends_ready),
        IT(notify__workers_not_ready__neither_is_the_server),
        IT(notify__start_fails__reason_and_never_ready),
        IT(notify__long_stop__more_time_is_asked_for),
        IT(notify__upgrade_good_refused_and_turned_back__each_ends_ready),
        IT(notify__watchdog__fed_by_the_loop_of_each_image),
        IT(notify__another_process_is_watched__silent),
        IT(notify__period_is_no_number__warned_of),
        IT(notify__environment__not_the_workers),
        IT(notify__daemon__says_its_process),
        IT(notify__queue_is_full__server_goes_on_and_says_it_later),
        IT(notify__nobody_there__server_goes_on),
        IT(notify__address_is_none__says_so),
        IT(notify__path__heard_until_it_is_gone),
    };

    return it_run(tests);
}
