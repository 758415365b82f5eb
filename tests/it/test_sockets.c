/*
 * Who may connect to unix sockets: mode, owner and group of those that are served, of the control
 * socket, and what its two groups may do there.
 */
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/control.h"
#include "base/util.h"
#include "support/server.h"
#include "support/stranger.h"
#include "support/tool.h"

/* Numbers that nobody else has: no name is needed for them. */
enum { USER = 24321, ASK_GROUP = 24322, STEER_GROUP = 24323, DAEMON_GROUP = 1 };

static const struct identity stranger = {USER, USER, 0}, asker = {USER, USER, ASK_GROUP},
                             steerer = {USER, ASK_GROUP, STEER_GROUP};

/* It lives as long as the test. */
static char *__attribute__((format(printf, 1, 2))) make_text(const char *format, ...)
{
    char *text = peer_alloc(2048);
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, 2048, format, ap);
    va_end(ap);
    return text;
}

static void must_be(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st;

    MUST(lstat(path, &st) == 0 && S_ISSOCK(st.st_mode), "%s: no socket", path);
    MUST((st.st_mode & 07777) == mode && st.st_uid == uid && st.st_gid == gid,
         "%s: mode %04o of %u:%u, not %04o of %u:%u", path, st.st_mode & 07777, st.st_uid,
         st.st_gid, mode, uid, gid);
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    MUST(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
    return st.st_ino;
}

static char *control_of(struct server *s)
{
    return make_text("%s/control", s->run);
}

static void reload(struct server *s, const char *conf)
{
    struct tool_run r;

    if (conf)
        server_configure(s, conf);
    r = RUN(s->it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 0, "reload: %s", r.err);
}

static void no_rights_for_anybody(void)
{
    umask(0777);
}

static void all_rights_for_everybody(void)
{
    umask(0);
}

/* ---- sockets that are served ---- */

static void bind__other_user_from_the_first_moment__never_gets_in(void **state)
{
    struct it *it = *state;
    const int starts = it_is_soak() ? 200 : 8;
    struct stranger *r;
    char *path;

    stranger_need_root();
    path = stranger_public_path(it);
    r = stranger_send(it, path, &stranger);
    for (int i = 0; i < starts; i++) {
        const unsigned refused = r->refused;
        struct server *s =
            server_start(it,
                         .conf = make_text(
                             "server: { bind = ( { address = \"unix:%s\"; mode = \"0660\"; group = "
                             "\"%d\"; } ); }; arbiter: { workers = 1; keepers = false; };",
                             path, ASK_GROUP),
                         .in_child = i % 2 ? all_rights_for_everybody : no_rights_for_anybody);

        must_be(path, 0660, 0, ASK_GROUP);
        if (proc_is_alive(r->pid))
            MUST_COME(r->refused > refused, "the stranger does not knock");
        server_stop_and_check(s, SIGTERM, 0);
    }
    stranger_call_back(it, r);
    printf("# %d starts, %u refused, %u connected\n", starts, r->refused, r->connected);
    MUST(r->odd == 0, "connect: %s", strerror((int)r->error));
    MUST(r->connected == 0, "it got in");
}

static void bind__members_of_its_group__get_in(void **state)
{
    struct it *it = *state;
    char *path;

    stranger_need_root();
    path = stranger_public_path(it);
    server_start(it,
                 .conf = make_text("server: { bind = ( { address = \"unix:%s\"; group = \"%d\"; } "
                                   "); };",
                                   path, ASK_GROUP));
    must_be(path, 0660, 0, ASK_GROUP);
    MUST(strcmp(stranger_ask(it, path, &asker, "hello\r\n\r\n"), "hello\r\n\r\n") == 0,
         "a member is not served");
    MUST(strcmp(stranger_ask(it, path, &stranger, "hello\r\n\r\n"), "connect: Permission denied") ==
             0,
         "a stranger is not refused");
}

/* The socket is the same, and who waits in its queue is served. */
static void reload__only_the_access_changed__queue_and_connections_stay(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "place/served"), *address = make_text("unix:%s", path);
    const bool is_root = geteuid() == 0;
    const uid_t uid = is_root ? USER : geteuid();
    const gid_t gid = is_root ? ASK_GROUP : getegid();
    struct server *s;
    int old, waiting;
    pid_t pids[SERVER_WORKERS_MAX];
    ino_t inode;
    size_t n;

    MUST(mkdir(it_path(it, "place"), 0700) == 0, "mkdir");
    s = server_start(it, .conf = make_text("server: { bind = [\"%s\"]; };", address),
                     .in_child = all_rights_for_everybody);
    must_be(path, 0666, geteuid(), getegid());
    inode = inode_of(path);
    old = peer_connect(address);
    peer_send_text(old, "one\r\n\r\nhalf");
    peer_expect_text(old, "one\r\n\r\n");
    n = server_worker_pids(s, pids);
    for (size_t i = 0; i < n; i++)
        kill(pids[i], SIGSTOP);
    waiting = peer_connect(address);
    peer_send_text(waiting, "waits\r\n\r\n");
    reload(s, make_text(
                  "server: { bind = ( { address = \"%s\"; mode = \"0606\"; owner = \"%u\"; group = "
                  "\"%u\"; } ); };",
                  address, uid, gid));
    must_be(path, 0606, uid, gid);
    MUST(inode_of(path) == inode, "it is another file");
    peer_expect_text(waiting, "waits\r\n\r\n");
    for (size_t i = 0; i < n; i++)
        kill(pids[i], SIGCONT);
    peer_send_text(old, "\r\n\r\n");
    peer_expect_text(old, "half\r\n\r\n");
    server_wait_workers(s, 2);
    /* What is said no more has its default again. */
    reload(s, make_text("server: { bind = [\"%s\"]; };", address));
    must_be(path, 0666, geteuid(), getegid());
    MUST(inode_of(path) == inode, "it is another file");
    peer_echo(old, "again");
}

static void reload__new_workers_fail__access_as_it_was(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "place/served"), *control = it_path(it, "place/control"),
         *hook = it_path(it, "hook");
    struct server *s;
    struct tool_run r;

    MUST(mkdir(it_path(it, "place"), 0700) == 0, "mkdir");
    s = server_start(it,
                     .conf = make_text("server: { bind = [\"unix:%s\"]; }; "
                                       "arbiter: { control = \"%s\"; };",
                                       path, control),
                     .binary = "test/echo-arbiter", .env = {make_text("ECHO_TEST_HOOK=%s", hook)},
                     .in_child = all_rights_for_everybody);
    server_expect(s, "reload refused|worker died");
    it_write(it, "hook", "exit 0\n");
    server_configure(
        s, make_text("server: { bind = ( { address = \"unix:%s\"; mode = \"0606\"; } ); }; "
                     "arbiter: { control = \"%s\"; control_mode = \"0620\"; };",
                     path, control));
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    MUST(r.code == 78, "reload: exit code %d: %s", r.code, r.err);
    must_be(path, 0666, geteuid(), getegid());
    must_be(control, 0600, geteuid(), getegid());
    unlink(hook);
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    MUST(r.code == 0, "reload: %s", r.err);
    must_be(path, 0606, geteuid(), getegid());
    must_be(control, 0620, geteuid(), getegid());
}

static struct it *the_it;

static void become_ordinary(void)
{
    if (getuid() == 0 &&
        (chown(the_it->dir, USER, USER) < 0 || chown(getenv("RUNTIME_DIRECTORY"), USER, USER) < 0))
        _exit(99);
    if (getuid() == 0)
        stranger_become(&asker);
}

/* What a test allocates is gone when it stops a server. */
static char *conf_of_served(const char *path, const char *more)
{
    return make_text("server: { bind = ( { address = \"unix:%s\"; mode = \"0660\"; %s } ); };",
                     path, more);
}

/* To a group that is not his, as any ordinary user. */
static void ordinary_user__gives_a_socket_away__refused_and_nothing_changed(void **state)
{
    static const char foreign[] = "group = \"0\";";
    struct it *it = *state;
    char *path = it_path(it, "served"), *binary, *own;
    const uid_t uid = geteuid() == 0 ? USER : geteuid();
    const gid_t gid = geteuid() == 0 ? ASK_GROUP : getegid();
    struct server *s;
    struct tool_run r;

    the_it = it;
    binary = it_copy(it, it_build_path(it, "echo-arbiter"), "echo-arbiter", 0);
    s = server_start(it, .conf = conf_of_served(path, make_text("group = \"%u\";", gid)),
                     .binary = binary, .in_child = become_ordinary);
    must_be(path, 0660, uid, gid);
    server_expect(s, "configuration|reload refused");
    server_configure(s, conf_of_served(path, foreign));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78 && strstr(r.err, "chown: ") && strstr(r.err, "only root may give a socket"),
         "exit code %d: %s", r.code, r.err);
    must_be(path, 0660, uid, gid);
    own = conf_of_served(path, "");
    server_configure(s, make_text("%s arbiter: { control_group = \"0\"; };", own));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78 && strstr(r.err, "arbiter.control_group: unix:") && strstr(r.err, "chown: "),
         "exit code %d: %s", r.code, r.err);
    must_be(control_of(s), 0600, uid, geteuid() == 0 ? USER : getegid());
    must_be(path, 0660, uid, gid);
    MUST(peer_is_served(make_text("unix:%s", path), WAIT_MS), "it does not serve");
    server_stop_and_check(s, SIGTERM, 0);
    server_refuses(
        it, 77, "cannot start\" reason=\".*server.bind: unix:.*chown: .*only root may give",
        .conf = conf_of_served(path, foreign), .binary = binary, .in_child = become_ordinary);
    MUST(access(path, F_OK) < 0, "a socket is left");
}

static void replace_by_stale(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    MUST(unlink(path) == 0 && bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0, "bind: %s",
         strerror(errno));
    close(fd);
}

static void remove_it(const char *path)
{
    MUST(unlink(path) == 0, "unlink: %s", strerror(errno));
}

static void reload__file_removed_or_replaced__made_anew_and_connections_kept(void **state)
{
    static void (*const harms[])(const char *path) = {remove_it, replace_by_stale};
    struct it *it = *state;
    char *path = it_path(it, "place/served"), *control = it_path(it, "place/control"),
         *address = make_text("unix:%s", path);
    struct server *s;
    int old;

    MUST(mkdir(it_path(it, "place"), 0700) == 0, "mkdir");
    s = server_start(
        it, .conf = make_text("server: { bind = ( { address = \"%s\"; mode = \"0606\"; } ); }; "
                              "arbiter: { control = \"%s\"; control_mode = \"0620\"; };",
                              address, control));
    old = peer_connect(address);
    peer_echo(old, "before");
    for (size_t i = 0; i < ARRAY_SIZE(harms); i++) {
        harms[i](path);
        harms[i](control);
        server_signal(s, SIGHUP);
        server_wait_log(s, "control socket was missing: made anew", i + 1);
        must_be(path, 0606, geteuid(), getegid());
        must_be(control, 0620, geteuid(), getegid());
        MUST(peer_is_served(address, WAIT_MS), "the new socket is not served");
        peer_echo(old, "after");
        MUST(RUN(it, NO_INPUT, "-C", control, "info").code == 0, "no command reaches it");
    }
    server_must_be_well(s, 2);
}

/* ---- the control socket ---- */

static char *conf_of_groups(const char *path, const char *ask, const char *steer)
{
    return make_text(
        "arbiter: { control = \"%s\"; control_group = \"%s\"; steer_group = \"%s\"; };", path, ask,
        steer);
}

static bool is_refused(const char *answer)
{
    return strstr(answer, "\"not_allowed\"") != NULL;
}

/* Every command of the table, with an argument that none has: nothing is done. */
static void control__each_command__by_who_may_give_it(void **state)
{
    struct it *it = *state;
    char *path;
    struct server *s;
    struct tool_run r;
    json_t *commands, *row;
    size_t i, n_asked = 0, n_steered = 0;

    stranger_need_root();
    path = stranger_public_path(it);
    s = server_start(
        it, .conf = conf_of_groups(path, make_text("%d", ASK_GROUP), make_text("%d", STEER_GROUP)),
        .in_child = no_rights_for_anybody);
    server_expect(s, "control: a command is refused");
    must_be(path, 0660, 0, ASK_GROUP);
    r = RUN(it, NO_INPUT, "-C", path, "--json", "commands");
    commands = json_loads(r.out, 0, NULL);
    MUST(json_is_array(commands), "commands: %s", r.err);
    json_array_foreach(commands, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *right = json_string_value(json_object_get(row, "right"));
        const char *target = json_is_true(json_object_get(row, "arbiter")) ? "arbiter" : "workers";
        char *request = make_text(
            "{\"command\":\"%s\",\"target\":\"%s\",\"args\":{\"no such\":1}}\n", name, target);
        const bool asks = strcmp(right, "ask") == 0;
        char *asked = stranger_ask(it, path, &asker, request),
             *steered = stranger_ask(it, path, &steerer, request);

        MUST(strstr(steered, "\"bad_argument\""), "%s by a steerer: %s", name, steered);
        MUST(is_refused(asked) != asks && (asks || strstr(asked, name)), "%s by an asker: %s", name,
             asked);
        MUST(asks || strstr(asked, "arbiter.steer_group"), "%s", asked);
        n_asked += asks;
        n_steered += !asks;
    }
    json_decref(commands);
    MUST(n_asked >= 7 && n_steered >= 9, "%zu ask, %zu steer", n_asked, n_steered);
    MUST(strcmp(stranger_ask(it, path, &stranger, "{}\n"), "connect: Permission denied") == 0,
         "a stranger is not refused");
    MUST(server_log_count(
             s, make_text("level=warning .*a command is refused.* uid=%d peer_pid=[1-9]", USER)) >=
             1,
         "the refusal is not logged");
    MUST(server_log_count(s, "a command is refused") <= 3, "it floods the log");
    MUST(strstr(stranger_ask(it, path, &asker, "{\"command\":\"stop\",\"target\":\"worker.1\"}\n"),
                "not_allowed"),
         "a worker is stopped by who may ask");
}

/* In a child: connections that stay, the last of which is answered. Returns an exit code. */
static int besiege(const char *path, int n)
{
    static const char ping[] = "{\"command\":\"ping\"}\n";
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char text[64];
    int fd = -1;

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    for (int i = 0; i < n; i++) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
            return 3;
    }
    return send(fd, ping, strlen(ping), MSG_NOSIGNAL) > 0 && recv(fd, text, sizeof(text), 0) > 0
               ? 0
               : 4;
}

static void control__besieged_by_an_asker__operators_keep_their_place(void **state)
{
    enum { OPERATORS = CONTROL_CLIENTS_MAX - CONTROL_ASKERS_MAX };
    struct it *it = *state;
    int fds[OPERATORS], status;
    char *path;
    pid_t pid;

    stranger_need_root();
    path = stranger_public_path(it);
    server_start(it, .conf = conf_of_groups(path, make_text("%d", ASK_GROUP), ""));
    for (int i = 0; i < OPERATORS; i++)
        fds[i] = peer_connect(make_text("unix:%s", path));
    pid = fork();
    MUST(pid >= 0, "fork");
    if (pid == 0) {
        stranger_become(&asker);
        alarm(WAIT_MS / 1000 + 1);
        _exit(besiege(path, 3 * CONTROL_CLIENTS_MAX));
    }
    it->tools[0] = pid;
    MUST(waitpid(pid, &status, 0) == pid && status == 0, "the siege: status %d", status);
    it->tools[0] = 0;
    for (int i = 0; i < OPERATORS; i++)
        MUST(!peer_has_ended(fds[i]), "operator %d has been pushed out", i);
    peer_send_text(fds[0], "{\"command\":\"ping\",\"id\":7}\n");
    peer_expect_text(fds[0], "{\"id\":7,\"result\":\"pong\"}\n");
}

/* The exit status of the tool, and the way back. */
static void control__tool_of_an_asker__refused_with_77(void **state)
{
    struct it *it = *state;
    char *path, *tool;
    struct server *s;
    const char *const log = "asked";

    stranger_need_root();
    path = stranger_public_path(it);
    tool = it_copy(it, it_build_path(it, "echo-client"), "echo-client", 0);
    s = server_start(it, .conf = conf_of_groups(path, make_text("%d", ASK_GROUP), ""));
    server_expect(s, "control: a command is refused");
    const char *const info[] = {"setpriv",
                                make_text("--reuid=%d", USER),
                                make_text("--regid=%d", USER),
                                make_text("--groups=%d", ASK_GROUP),
                                tool,
                                "-C",
                                path,
                                "info",
                                NULL};
    const char *const scale[] = {info[0], info[1], info[2], info[3], tool,
                                 "-C",    path,    "scale", "3",     NULL};
    MUST(it_tool_run(it, log, info) == 0, "info is refused");
    MUST(it_tool_run(it, log, scale) == 77, "scale is not refused");
    MUST(it_file_has(it_path(it, log), "scale steers the server, and you may only ask"),
         "it does not say why");
    server_wait_workers(s, 2);
}

/* In a mount namespace, which has a /run of its own. */
static void control__tool_of_an_asker__finds_the_systems_server(void **state)
{
    static const char script[] = "mount -t tmpfs run /run && umask 077 && exec \"$0\" \"$@\"";
    struct it *it = *state;
    const char *const probe[] = {"unshare", "-m", "sh", "-c", script, "true", NULL};
    char *tool;
    struct server *s;

    stranger_need_root();
    if (it_tool_run(it, "probe", probe) != 0) {
        printf("# skipped: no mount namespace can be had\n");
        skip();
    }
    MUST(chmod(it->dir, 0711) == 0, "chmod");
    tool = it_copy(it, it_build_path(it, "echo-client"), "echo-client", 0);
    s = server_start(it, .conf = make_text("arbiter: { control_group = \"%d\"; };", ASK_GROUP),
                     .env = {"RUNTIME_DIRECTORY="},
                     .wrapper = {"unshare", "-m", "sh", "-c", script});
    for (int member = 0; member <= 1; member++) {
        char *groups = make_text("--groups=%d", member ? ASK_GROUP : USER);
        const char *const info[] = {"nsenter",
                                    "-m",
                                    "-t",
                                    make_text("%d", s->pid),
                                    "env",
                                    "-u",
                                    "RUNTIME_DIRECTORY",
                                    "XDG_RUNTIME_DIR=/none",
                                    "setpriv",
                                    make_text("--reuid=%d", USER),
                                    make_text("--regid=%d", USER),
                                    groups,
                                    tool,
                                    "info",
                                    NULL};

        MUST(it_tool_run(it, "found", info) == (member ? 0 : 77), "%s: it is %sserved", groups,
             member ? "not " : "");
    }
    MUST(it_file_has(it_path(it, "found"), "/run/echo-arbiter/control: .*arbiter.control_group"),
         "it does not say what is missing");
}

/* A right that is taken away is gone for connections that are open, and one that is given is there;
 * an upgrade changes nothing of that. Names are of a group that every system has. */
static void control__rights_changed_by_reload_and_kept_by_upgrade(void **state)
{
    static const char ping[] = "{\"command\":\"ping\"}\n", scale[] = "{\"command\":\"scale\"}\n";
    const struct identity member = {USER, USER, DAEMON_GROUP};
    struct it *it = *state;
    char *path;
    struct server *s;

    stranger_need_root();
    path = stranger_public_path(it);
    s = server_start(it, .conf = conf_of_groups(path, "daemon", ""));
    server_expect(s, "control: a (command|peer of another user) is refused");
    must_be(path, 0660, 0, DAEMON_GROUP);
    MUST(strstr(stranger_ask(it, path, &member, ping), "pong"), "a member may not ask");
    MUST(is_refused(stranger_ask(it, path, &member, scale)), "a member may steer");
    MUST(RUN(it, NO_INPUT, "-C", path, "upgrade").code == 0, "no upgrade");
    MUST(strstr(stranger_ask(it, path, &member, ping), "pong"), "a member may not ask any more");
    MUST(is_refused(stranger_ask(it, path, &member, scale)), "an upgrade lets a member steer");
    server_configure(s, conf_of_groups(path, "", "daemon"));
    MUST(RUN(it, NO_INPUT, "-C", path, "reload").code == 0, "no reload");
    must_be(path, 0660, 0, DAEMON_GROUP);
    MUST(strstr(stranger_ask(it, path, &member, scale), "scale needs workers"),
         "a member may not steer");
    server_configure(s, conf_of_groups(path, "", ""));
    MUST(RUN(it, NO_INPUT, "-C", path, "reload").code == 0, "no reload");
    must_be(path, 0600, 0, 0);
    MUST(chmod(path, 0666) == 0, "chmod");
    MUST(is_refused(stranger_ask(it, path, &member, ping)), "who was a member may still ask");
}

static void become_unmapped(void)
{
    become_ordinary();
    if (unshare(CLONE_NEWUSER) < 0)
        _exit(99);
}

/* There every user is shown as the same one, the server's own as well. */
static void control__server_in_an_unmapped_namespace__knows_nobody(void **state)
{
    struct it *it = *state;
    const char *const probe[] = {"setpriv", make_text("--reuid=%d", USER), "unshare", "-U", "true",
                                 NULL};
    struct tool_run r;
    struct server *s;

    stranger_need_root();
    if (it_tool_run(it, "probe", probe) != 0) {
        printf("# skipped: no user namespace can be had\n");
        skip();
    }
    the_it = it;
    s = server_start(it,
                     .binary = it_copy(it, it_build_path(it, "echo-arbiter"), "echo-arbiter", 0),
                     .in_child = become_unmapped);
    server_expect(s, "control: a peer of another user is refused");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "info");
    MUST(r.code == 77 && strstr(r.err, "may connect"), "exit code %d: %s", r.code, r.err);
    server_wait_log(s, "a peer of another user is refused\" uid=65534 ", 1);
}

/* ---- the accept queue ---- */

static void backlog__more_than_somaxconn__warned_with_both(void **state)
{
    struct it *it = *state;
    static const char script[] = "echo 100 >/proc/sys/net/core/somaxconn && exec \"$0\" \"$@\"";
    const char *const probe[] = {"unshare", "-n", "sh", "-c", script, "true", NULL};
    struct server *s;

    if (it_tool_run(it, "probe", probe) != 0) {
        printf("# skipped: no network namespace with a limit of its own can be had\n");
        skip();
    }
    s = server_start(it, .conf = "server: { bind = [\":0\"]; };",
                     .wrapper = {"unshare", "-n", "sh", "-c", script});
    server_wait_log(s, "level=warning .*fewer connections can wait.* backlog=2048 somaxconn=100",
                    1);
    reload(s, make_text("server: { bind = [\"unix:%s\"]; };", it_path(it, "served")));
    server_wait_log(s, "fewer connections can wait.* backlog=2048 somaxconn=100", 2);
    reload(s,
           make_text("server: { bind = [\"unix:%s\"]; backlog = 100; };", it_path(it, "served")));
    MUST(server_log_count(s, "fewer connections can wait") == 2, "it warns of what it can have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(bind__other_user_from_the_first_moment__never_gets_in),
        IT(bind__members_of_its_group__get_in),
        IT(reload__only_the_access_changed__queue_and_connections_stay),
        IT(reload__new_workers_fail__access_as_it_was),
        IT(ordinary_user__gives_a_socket_away__refused_and_nothing_changed),
        IT(reload__file_removed_or_replaced__made_anew_and_connections_kept),
        IT(control__each_command__by_who_may_give_it),
        IT(control__besieged_by_an_asker__operators_keep_their_place),
        IT(control__tool_of_an_asker__refused_with_77),
        IT(control__tool_of_an_asker__finds_the_systems_server),
        IT(control__rights_changed_by_reload_and_kept_by_upgrade),
        IT(control__server_in_an_unmapped_namespace__knows_nobody),
        IT(backlog__more_than_somaxconn__warned_with_both),
    };

    return it_run(tests);
}
