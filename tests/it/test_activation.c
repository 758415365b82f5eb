/*
 * Socket activation: a service manager, which is this test, has made the listeners, keeps a copy of
 * each, and passes them. What it has is never closed, shut down or unlinked.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

/* ---- the manager's sockets ---- */

struct passed {
    int fd;
    char addr[ADDR_TEXT_LEN];
};

static struct passed make_socket(const char *text, int type, bool listens)
{
    struct passed p;
    struct sockaddr_storage ss;
    const char *why;
    struct addr a;
    socklen_t len;

    MUST(addr_parse(text, &a, &why) == 0 && addr_to_sockaddr(&a, &ss, &len) == 0, "%s", text);
    p.fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);
    MUST(p.fd >= 0 && bind(p.fd, (struct sockaddr *)&ss, len) == 0, "%s: %s", text,
         strerror(errno));
    MUST(!listens || listen(p.fd, 64) == 0, "listen: %s", strerror(errno));
    len = sizeof(ss);
    MUST(getsockname(p.fd, (struct sockaddr *)&ss, &len) == 0, "getsockname");
    addr_format((struct sockaddr *)&ss, len, p.addr);
    return p;
}

static struct passed make_listener(const char *text)
{
    return make_socket(text, SOCK_STREAM, true);
}

static struct passed make_unix(struct it *it)
{
    char text[96];

    snprintf(text, sizeof(text), "unix:%s", it_path(it, "passed.sock"));
    return make_listener(text);
}

/* Somebody connects, and the manager's copy is what takes it: it lives. */
static void must_wait_at_manager(const struct passed *p)
{
    int peer = peer_connect(p->addr), fd;
    struct pollfd f = {.fd = p->fd, .events = POLLIN};

    MUST(poll(&f, 1, (int)WAIT_MS) == 1 && (f.revents & POLLIN), "%s: nobody waits there", p->addr);
    fd = accept(p->fd, NULL, NULL);
    MUST(fd >= 0, "%s: accept: %s", p->addr, strerror(errno));
    close(fd);
    peer_close(peer);
}

static char *conf_of(const char *binds)
{
    char *text = peer_alloc(512);

    snprintf(text, 512, "server: { bind = [%s]; };", binds);
    return text;
}

static char *quoted(const char *first, const char *second, const char *third)
{
    char *text = peer_alloc(512);

    snprintf(text, 512, "\"%s\"%s%s%s%s%s%s", first, second ? ", \"" : "", second ? second : "",
             second ? "\"" : "", third ? ", \"" : "", third ? third : "", third ? "\"" : "");
    return text;
}

/* ---- what is right ---- */

/* By address, whatever the order; what is not passed is bound. */
static void activation__tcp_and_unix_and_one_of_its_own__all_served(void **state)
{
    struct it *it = *state;
    struct passed tcp = make_listener("127.0.0.1:0"), local = make_unix(it);
    struct server *s =
        server_start(it, .conf = conf_of(quoted(local.addr, "127.0.0.1:0", tcp.addr)),
                     .passed = {tcp.fd, local.fd}, .n_passed = 2, .env = {"LISTEN_FDNAMES=a:b"});
    struct stat st;

    MUST(s->n_addr == 3, "%zu addresses", s->n_addr);
    for (size_t i = 0; i < 3; i++)
        MUST(peer_is_served(s->addr[i], WAIT_MS), "%s is not served", s->addr[i]);
    MUST(strcmp(s->addr[0], local.addr) == 0 && strcmp(s->addr[2], tcp.addr) == 0, "addresses");
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end in order");
    must_wait_at_manager(&tcp);
    must_wait_at_manager(&local);
    MUST(stat(it_path(it, "passed.sock"), &st) == 0, "the manager's file is gone");
    unlink(it_path(it, "passed.sock"));
    close(tcp.fd);
    close(local.fd);
}

static void activation__all_interfaces__found(void **state)
{
    struct it *it = *state;
    struct passed any = make_listener(":0");
    char addr[16];
    struct server *s;

    snprintf(addr, sizeof(addr), "%s", strrchr(any.addr, ':'));
    s = server_start(it, .conf = conf_of(quoted(addr, NULL, NULL)), .passed = {any.fd},
                     .n_passed = 1);
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
    close(any.fd);
}

/* Who connects between two servers waits, and is served by the second. */
static void activation__stop_and_start__client_waits_and_is_served(void **state)
{
    struct it *it = *state;
    struct passed tcp = make_listener("127.0.0.1:0");
    const char *conf = conf_of(quoted(tcp.addr, NULL, NULL));
    struct server *s = server_start(it, .conf = conf, .passed = {tcp.fd}, .n_passed = 1);
    int fd;

    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end in order");
    fd = peer_connect(tcp.addr);
    peer_send_text(fd, "early\r\n\r\n");
    conf = conf_of(quoted(tcp.addr, NULL, NULL));
    s = server_start(it, .conf = conf, .passed = {tcp.fd}, .n_passed = 1);
    s->arbiter_fds = 0; /* with that connection, perhaps */
    peer_expect_text(fd, "early\r\n\r\n");
    peer_close(fd);
    close(tcp.fd);
}

static void activation__reload_and_upgrades__survives(void **state)
{
    struct it *it = *state;
    char *program = it_copy(it, it_build_path(it, "test/echo-arbiter"), "program", 0);
    struct passed tcp = make_listener("127.0.0.1:0"), local = make_unix(it);
    const char *binds = quoted(tcp.addr, local.addr, NULL);
    struct server *s = server_start(it, .binary = program, .conf = conf_of(binds),
                                    .passed = {tcp.fd, local.fd}, .n_passed = 2);
    int fd = peer_connect(tcp.addr);

    server_configure(s, conf_of(binds));
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    for (size_t i = 1; i <= 2; i++) {
        server_signal(s, SIGUSR2);
        server_wait_log(s, "msg=\"upgraded\"", i);
        server_wait_workers(s, 2);
        MUST(peer_is_served(local.addr, WAIT_MS) && peer_is_served(tcp.addr, WAIT_MS),
             "not served after upgrade %zu", i);
    }
    peer_echo(fd, "\x01"
                  "crash environ");
    peer_close(fd);
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end in order");
    must_wait_at_manager(&tcp);
    must_wait_at_manager(&local);
    unlink(it_path(it, "passed.sock"));
    close(tcp.fd);
    close(local.fd);
}

/* The reload ends this server's copy; who connects then waits for the manager. */
static void activation__address_removed_by_reload__manager_keeps_it(void **state)
{
    struct it *it = *state;
    struct passed kept = make_listener("127.0.0.1:0"), removed = make_listener("127.0.0.1:0");
    struct server *s = server_start(it, .conf = conf_of(quoted(kept.addr, removed.addr, NULL)),
                                    .passed = {kept.fd, removed.fd}, .n_passed = 2);
    int fd = peer_connect(removed.addr);

    peer_echo(fd, "before");
    server_expect(s, "still listens at a removed address");
    server_configure(s, conf_of(quoted(kept.addr, NULL, NULL)));
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 2);
    MUST_COME(server_log_count(s, "worker ended") == 2, "the old workers have not ended");
    peer_echo(fd, "after");
    must_wait_at_manager(&removed);
    MUST(server_log_count(s, "still listens at a removed address.*address=127.0.0.1:") == 1,
         "no warning");
    MUST(peer_is_served(kept.addr, WAIT_MS), "the other is not served");
    peer_close(fd);
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end in order");
    close(kept.fd);
    close(removed.fd);
}

/* Under the umask of a service it would be less than the manager's. */
static void activation__socket_file_removed__made_anew_with_its_mode(void **state)
{
    struct it *it = *state;
    const struct passed local = make_unix(it);
    const char *path = it_path(it, "passed.sock"), *conf = conf_of(quoted(local.addr, NULL, NULL));
    struct server *s;
    struct stat st;

    MUST(chmod(path, 0606) == 0, "chmod");
    s = server_start(it, .conf = conf, .passed = {local.fd}, .n_passed = 1);
    server_expect(s, "the file of a socket that the service manager has passed was gone");
    unlink(path);
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 2);
    MUST(server_log_count(s, "has passed was gone.*address=unix:") == 1, "no warning");
    MUST(server_log_count(s, "removed address") == 0, "it is not removed");
    MUST(stat(path, &st) == 0 && (st.st_mode & 07777) == 0606, "its mode is %o",
         (unsigned)st.st_mode & 07777);
    MUST(peer_is_served(local.addr, WAIT_MS), "not served");
    close(local.fd);
}

static void activation__meant_for_another_process__ignored(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .env = {"LISTEN_FDS=1", "LISTEN_PID=1"});

    server_expect(s, "not taken\" reason=\"LISTEN_PID=1 is not this process \\([0-9]+\\)");
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
    MUST(server_log_count(s, "LISTEN_PID=1 is not this process") == 1, "no warning");
}

static void activation__daemon__has_them(void **state)
{
    struct it *it = *state;
    struct passed tcp = make_listener("127.0.0.1:0");
    char log[128], text[32] = "", *pid_file = it_path(it, "echo.pid");
    struct server *s;
    FILE *f;

    snprintf(log, sizeof(log), "--log-file=%s/server.log", it->dir);
    s = server_spawn(it, .conf = conf_of(quoted(tcp.addr, NULL, NULL)), .passed = {tcp.fd},
                     .n_passed = 1, .args = {"-D", "-p", pid_file, log});
    MUST(server_wait_exit(s, WAIT_MS) == 0, "the launcher fails");
    f = fopen(pid_file, "re");
    MUST(f && fgets(text, sizeof(text), f) && fclose(f) == 0, "no pid file");
    s->pid = (pid_t)atoi(text);
    server_wait_ready(s);
    MUST(peer_is_served(tcp.addr, WAIT_MS), "not served");
    close(tcp.fd);
}

/* ---- what is wrong ---- */

static void activation__nowhere_configured__refused_by_name(void **state)
{
    struct it *it = *state;
    struct passed used = make_listener("127.0.0.1:0"), unused = make_listener("127.0.0.1:0");
    char want[ADDR_TEXT_LEN + 96];

    snprintf(want, sizeof(want),
             "descriptor 4 \\(second\\) listens at %s, which is not in server.bind", unused.addr);
    server_refuses(it, 78, want, .conf = conf_of(quoted(used.addr, NULL, NULL)),
                   .passed = {used.fd, unused.fd}, .n_passed = 2,
                   .env = {"LISTEN_FDNAMES=first:second"});
    server_refuses(it, 78, "descriptor 4 \\(no name\\) listens at .*passed twice",
                   .conf = conf_of(quoted(used.addr, NULL, NULL)), .passed = {used.fd, used.fd},
                   .n_passed = 2, .env = {"LISTEN_FDNAMES=first"});
    must_wait_at_manager(&used);
    close(used.fd);
    close(unused.fd);
}

/* A shell in between has the number that LISTEN_PID says, and the sockets are there all the same.
 */
static void activation__started_by_another__warned_and_not_blamed(void **state)
{
    struct it *it = *state;
    struct passed tcp = make_listener("127.0.0.1:0");
    char binds[ADDR_TEXT_LEN + 32], want[256];

    snprintf(binds, sizeof(binds), "\"%s\"", tcp.addr);
    snprintf(want, sizeof(want),
             "it is process %d \\(test_activation\\); this process has inherited it",
             (int)getpid());
    server_refuses(it, 69, want, .conf = conf_of(binds), .passed = {tcp.fd}, .n_passed = 1,
                   .env = {"LISTEN_PID=abc"});
    server_refuses(it, 69, "not taken\" reason=\"LISTEN_PID=abc is not this process",
                   .conf = conf_of(binds), .passed = {tcp.fd}, .n_passed = 1,
                   .env = {"LISTEN_PID=abc"});
    close(tcp.fd);
}

static void activation__wrong_kind__says_what_it_is(void **state)
{
    struct it *it = *state;
    const struct {
        int fd;
        const char *why;
    } table[] = {
        {make_socket("127.0.0.1:0", SOCK_DGRAM, false).fd, "at 127.0.0.1:.* is a datagram socket"},
        {make_socket("127.0.0.1:0", SOCK_STREAM, false).fd, "at 127.0.0.1:.* does not listen"},
        {dup(0), "descriptor 3 \\(no name\\) is no socket"},
        {socket(AF_NETLINK, SOCK_RAW, 0), "is a socket of family 16, allowed: TCP and unix"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        server_refuses(it, 78, table[i].why, .passed = {table[i].fd}, .n_passed = 1);
        close(table[i].fd);
    }
}

static void claim_too_many(void)
{
    setenv("LISTEN_FDS", "65", 1);
}

static void activation__count_is_wrong__refused(void **state)
{
    struct passed tcp = make_listener("127.0.0.1:0");

    server_refuses(*state, 78, "LISTEN_FDS is .*65.*, allowed: 0 to 64", .passed = {tcp.fd},
                   .n_passed = 1, .in_child = claim_too_many);
    close(tcp.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(activation__tcp_and_unix_and_one_of_its_own__all_served),
        IT(activation__all_interfaces__found),
        IT(activation__stop_and_start__client_waits_and_is_served),
        IT(activation__reload_and_upgrades__survives),
        IT(activation__address_removed_by_reload__manager_keeps_it),
        IT(activation__socket_file_removed__made_anew_with_its_mode),
        IT(activation__meant_for_another_process__ignored),
        IT(activation__daemon__has_them),
        IT(activation__nowhere_configured__refused_by_name),
        IT(activation__started_by_another__warned_and_not_blamed),
        IT(activation__wrong_kind__says_what_it_is),
        IT(activation__count_is_wrong__refused),
    };

    return it_run(tests);
}
