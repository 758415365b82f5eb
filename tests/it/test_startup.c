/*
 * Starting: what cannot be had is named, with its exit code, and nothing is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

static void startup__wrong_usage__64(void **state)
{
    struct it *it = *state;
    server_refuses(it, 64, "no-such-option", .is_bare = true, .args = {"--no-such-option"});
    server_refuses(it, 64, "surplus", .is_bare = true, .args = {"surplus"});
    server_refuses(it, 64, "ready-fd", .is_bare = true, .args = {"--ready-fd", "77"});
    server_refuses(it, 64, "ready-fd", .is_bare = true, .args = {"--ready-fd", "three"});
}

static void startup__option_of_a_key__last_one_wins_and_errors_name_it(void **state)
{
    struct it *it = *state;
    const char *conf = "server: { keep_alive = 7; backlog = 9; };";
    server_refuses(it, 0, "keep_alive = 0.5;  # command line", .conf = conf,
                   .args = {"-o", "server.keep_alive=3", "--option=server.keep_alive=0.5", "-T"});
    server_refuses(it, 0, "level = \"error\";  # command line", .conf = conf,
                   .args = {"-o", "log.level=debug", "-l", "error", "-T"});
    server_refuses(it, 0, "backlog = 9;  # .*echo2.conf:1", .conf = conf,
                   .args = {"-o", "server.keep_alive=3", "-T"});
    server_refuses(it, 78, "command line: -o: server.backlog: 0 is out of range, allowed: a whole",
                   .args = {"-o", "server.backlog=0"});
    server_refuses(it, 64, "-o backlog=1: there is no key 'backlog': write server.backlog",
                   .args = {"-o", "backlog=1"});
    server_refuses(it, 64, "-o server.backlog: no value, allowed: GROUP.KEY=VALUE",
                   .args = {"-o", "server.backlog"});
}

static void startup__protocol_of_an_address__default_by_name_or_unknown(void **state)
{
    struct it *it = *state;
    server_refuses(it, 0, "bind = .\"127.0.0.1:0\".;  # ", .is_bare = true,
                   .args = {"-b", "echo@127.0.0.1:0", "-T"});
    server_refuses(it, 78, "server.bind: \"pubsub@:1\": there is no such protocol, but echo",
                   .args = {"-b", "pubsub@:1"});
    server_refuses(it, 78, "conf:2: server.bind: protocol: \"pubsub\" is not known, allowed: echo",
                   .conf =
                       "server: { bind = ( { address = \":1\";\nprotocol = \"pubsub\"; } ); };");
}

static void startup__wrong_configuration__78_and_all_errors(void **state)
{
    struct it *it = *state;
    const char *conf = "server: {\n backlog = 0;\n colour = 1;\n keep_alive = \"x\";\n};";
    server_refuses(it, 78, "echo0.conf:2: server.backlog", .conf = conf);
    server_refuses(it, 78, "echo1.conf:3: server.colour", .conf = conf);
    server_refuses(it, 78, "echo2.conf:4: server.keep_alive", .conf = conf);
    server_refuses(it, 78, "workers", .args = {"-w", "4294967297"});
    server_refuses(it, 78, "nowhere.conf", .is_bare = true, .args = {"-c", "/nowhere.conf"});
}

static void startup__check__binds_nothing(void **state)
{
    struct it *it = *state;
    struct server *first = server_start(it, .conf = "");
    char conf[256];
    snprintf(conf, sizeof(conf), "server: { bind = [\"%s\"]; };", first->addr[0]);
    server_refuses(it, 0, "is valid", .conf = conf, .args = {"-t"});
    server_refuses(it, 78, "backlog", .conf = "server: { backlog = -1; };", .args = {"-t"});
}

static void startup__show__can_be_read_back(void **state)
{
    struct it *it = *state;
    const char *conf = "server: { separator = \"\\n\"; keep_alive = 0.25; };";
    server_refuses(it, 0, "keep_alive *= *0.25.*echo0.conf:1", .conf = conf, .args = {"-T"});
    server_refuses(it, 0, "workers *= *2.*command line", .conf = conf, .args = {"-T"});
    server_refuses(it, 0, "backlog *= *2048.*default", .conf = conf, .args = {"-T"});
    server_refuses(it, 0, "is valid", .is_bare = true, .args = {"-t", "-c", it->servers->log});
}

static void startup__address_taken__69_and_first_unaffected(void **state)
{
    struct it *it = *state;
    struct server *first = server_start(it, .conf = "");
    server_refuses(it, 69, "address|in use", .args = {"-b", first->addr[0]});
    server_refuses(it, 69, "192.0.2.1", .args = {"-b", "192.0.2.1:0"});
    MUST(peer_is_served(first->addr[0], WAIT_MS), "the first is no longer served");
}

static void startup__pid_file_held__75_with_the_holder(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "echo.pid"), holder[64];
    struct server *first = server_start(it, .args = {"-p", path});
    snprintf(holder, sizeof(holder), "^%d$", (int)first->pid);
    MUST_COME(it_file_has(path, holder), "the pid file does not hold %d", (int)first->pid);
    snprintf(holder, sizeof(holder), "process %d", (int)first->pid);
    server_refuses(it, 75, holder, .args = {"-p", path});
    MUST(access(path, F_OK) == 0, "the pid file is gone");
    MUST(peer_is_served(first->addr[0], WAIT_MS), "the first is no longer served");
}

static void startup__pid_file_of_the_dead__is_taken_over(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "echo.pid"), own[64];
    it_write(it, "echo.pid", "1\n");
    struct server *s = server_start(it, .args = {"-p", path});
    snprintf(own, sizeof(own), "^%d$", (int)s->pid);
    MUST_COME(it_file_has(path, own), "the pid file does not hold %d", (int)s->pid);
}

static void startup__pid_file_impossible__73_and_target_intact(void **state)
{
    struct it *it = *state;
    char *link = it_path(it, "link"), *fifo = it_path(it, "fifo"), *dir = it_path(it, "dir");
    it_write(it, "precious", "do not touch\n");
    MUST(symlink(it_path(it, "precious"), link) == 0, "symlink: %s", strerror(errno));
    MUST(mkfifo(fifo, 0600) == 0 && mkdir(dir, 0700) == 0, "fixtures: %s", strerror(errno));
    server_refuses(it, 73, "holds something else than one process id",
                   .args = {"-p", it_path(it, "precious")});
    server_refuses(it, 73, "symbolic link", .args = {"-p", link});
    server_refuses(it, 73, "not a regular file", .args = {"-p", fifo});
    server_refuses(it, 73, "directory", .args = {"-p", dir});
    server_refuses(it, 73, "nowhere", .args = {"-p", "/nowhere/echo.pid"});
    struct stat st;
    MUST_COME(it_file_has(it_path(it, "precious"), "^do not touch$"), "the target was changed");
    MUST(lstat(link, &st) == 0 && S_ISLNK(st.st_mode), "the link is gone");
    MUST(lstat(fifo, &st) == 0 && S_ISFIFO(st.st_mode), "the FIFO is gone");
}

static void startup__no_permission__77(void **state)
{
    struct it *it = *state;
    char *dir = it_path(it, "locked");
    MUST(mkdir(dir, 0500) == 0, "mkdir: %s", strerror(errno));
    server_refuses(it, 77, "denied", .in_child = it_obey_permissions,
                   .args = {"-p", it_path(it, "locked/echo.pid")});
}

static void close_stdio(void)
{
    for (int fd = 0; fd < 3; fd++)
        close(fd);
}

static void startup__stdio_closed__no_client_gets_a_log_line(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "log: { level = \"debug\"; };", .in_child = close_stdio);
    char list[4096];
    proc_list_fds(server_worker(s, 0), list, sizeof(list));
    MUST(strstr(list, "0 /dev/null") && strstr(list, "1 /dev/null") && strstr(list, "2 /dev/null"),
         "0, 1 and 2 are:\n%s", list);
    int fd = peer_connect(s->addr[0]);
    server_signal(s, SIGUSR1);
    peer_send_text(fd, "half");
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    peer_send_text(fd, "\r\n\r\n");
    peer_expect_text(fd, "half\r\n\r\n");
    peer_half_close(fd);
    peer_expect_eof(fd);
}

static void ready_on_stdout(void)
{
    dup2(3, 1);
    close(3);
}

static void startup__ready_on_stdout__no_client_becomes_stdout(void **state)
{
    struct it *it = *state;
    struct server *s = server_spawn(it, .is_bare = true, .in_child = ready_on_stdout,
                                    .args = {"-b", "127.0.0.1:0", "-w", "1", "--ready-fd", "1"});
    char list[4096];
    MUST(server_is_ready_or_ended(s), "it does not become ready");
    MUST_COME((proc_list_fds(s->pid, list, sizeof(list)), strstr(list, "1 /dev/null")),
              "1 is no longer open:\n%s", list);
    server_must_be_well(s, 1);
}

static void open_fifty(void)
{
    for (int fd = 100; fd < 150; fd++)
        dup2(2, fd);
}

/* What a worker may hold: nothing but this; of /proc what says how big it is. */
static bool is_listed(const char *link)
{
    static const char *const golden[] = {
        "/dev/null",           "/log0",  "socket:[", "anon_inode:[event",
        "anon_inode:[timerfd", "pipe:[", "/statm",   "/fd"};
    for (size_t i = 0; i < ARRAY_SIZE(golden); i++) {
        if (strstr(link, golden[i]))
            return true;
    }
    return false;
}

static void startup__inherited_descriptors__workers_hold_none(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "", .in_child = open_fifty);
    char list[8192], *save;
    size_t sockets = 0, all = 0;
    proc_list_fds(server_worker(s, 0), list, sizeof(list));
    printf("# a worker holds:\n%s", list);
    for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        MUST(atoi(line) < 100, "inherited: %s", line);
        MUST(is_listed(line), "not on the list: %s", line);
        sockets += strstr(line, "socket:[") != NULL;
        all++;
    }
    MUST(sockets == 3, "%zu sockets; expected listener, mailbox and the pair with its keeper",
         sockets);
    MUST(all <= 14, "%zu descriptors", all);
}

static void startup__environment__does_not_steer(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(
        it, .env = {"LIBEV_FLAGS=1", "LISTEN_PID=1", "LISTEN_FDS=3", "NOTIFY_SOCKET=/nowhere"});
    server_expect(s, "the service manager does not hear|LISTEN_PID=1 is not this process");
    MUST(proc_find_fd(server_worker(s, 0), "[eventpoll]") >= 0, "LIBEV_FLAGS chose the backend");
    server_must_be_well(s, 2);
}

/* The launcher has ended; the daemon, an orphan, is ours now. */
static void take_daemon(struct server *s, const char *pid_file)
{
    char text[32] = "";
    FILE *f = fopen(pid_file, "re");
    MUST(f && fgets(text, sizeof(text), f), "no pid file: %s", strerror(errno));
    fclose(f);
    s->pid = (pid_t)atoi(text);
}

static void startup__daemon__launcher_waits_until_it_serves(void **state)
{
    struct it *it = *state;
    char log[128], *pid_file = it_path(it, "echo.pid");
    snprintf(log, sizeof(log), "--log-file=%s/server.log", it->dir);
    struct server *s = server_spawn(it, .args = {"-D", "-p", pid_file, log});
    MUST(server_wait_exit(s, WAIT_MS) == 0, "the launcher fails");
    take_daemon(s, pid_file);
    server_wait_ready(s);
    MUST(getsid(s->pid) == s->pid, "it has no session of its own");
    MUST_COME(proc_find_fd(s->pid, "/log0") < 0, "it still holds the terminal");
    MUST(proc_find_fd(server_worker(s, 0), "/log0") < 0, "a worker still holds the terminal");
    server_must_be_well(s, 2);
    server_stop_and_check(s, SIGTERM, 0);
    MUST_COME(it_file_has(it_path(it, "server.log"), "level=info .*stopped"), "no log");
}

static void startup__daemon_fails__launcher_says_so(void **state)
{
    struct it *it = *state;
    char log[256];
    snprintf(log, sizeof(log), "log: { file = \"%s/server.log\"; };", it->dir);
    struct server *first = server_start(it, .conf = "");
    server_refuses(it, 69, "cannot start", .conf = log, .is_daemon = true,
                   .args = {"-D", "-b", first->addr[0]});
    server_refuses(it, 73, "cannot start", .conf = log, .is_daemon = true,
                   .args = {"-D", "-p", "/nowhere/echo.pid"});
    if (access("/dev/log", F_OK) < 0)
        server_refuses(it, 73,
                       "a daemon logs to syslog .* nothing listens at /dev/log .*--log-file",
                       .is_daemon = true, .args = {"-D"});
    server_refuses(it, 78, "backlog", .conf = "server: { backlog = 0; };", .is_daemon = true,
                   .args = {"-D"});
}

static char run_dir[64];

static void enter_dir(void)
{
    if (chdir(run_dir) < 0)
        _exit(1);
}

static void startup__relative_path__found_again_by_a_reload(void **state)
{
    struct it *it = *state;
    snprintf(run_dir, sizeof(run_dir), "%s", it->dir);
    it_write(it, "here.conf", "server: { bind = [\"127.0.0.1:0\"]; }; arbiter: { workers = 1; };");
    struct server *s = server_spawn(it, .is_bare = true, .in_child = enter_dir,
                                    .args = {"-c", "here.conf", "--ready-fd", "3"});
    server_wait_ready(s);
    it_write(it, "here.conf", "server: { bind = [\"127.0.0.1:0\"]; }; arbiter: { workers = 3; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 3);
}

/* A working directory below run_dir whose path has @len bytes. */
static void enter_path_of(size_t len)
{
    char name[201];
    size_t left = len - strlen(run_dir);
    enter_dir();
    while (left > 1) {
        size_t n = left - 1 > sizeof(name) - 1 ? sizeof(name) - 1 : left - 1;
        if (left - 1 - n == 1)
            n--; /* a last name needs a slash and a byte */
        memset(name, 'd', n);
        name[n] = '\0';
        if ((mkdir(name, 0700) < 0 && errno != EEXIST) || chdir(name) < 0)
            _exit(1);
        left -= n + 1;
    }
}

static void enter_103(void)
{
    enter_path_of(103);
}

static void enter_600(void)
{
    enter_path_of(600);
}

static void enter_4000(void)
{
    enter_path_of(4000);
}

static void startup__long_working_directory__serves_or_says_so(void **state)
{
    static void (*const enter[])(void) = {enter_103, enter_600, enter_4000};
    struct it *it = *state;
    snprintf(run_dir, sizeof(run_dir), "%s", it->dir);
    for (size_t i = 0; i < ARRAY_SIZE(enter); i++) {
        struct server *s = server_start(it, .in_child = enter[i]);
        server_signal(s, SIGHUP);
        server_wait_log(s, "msg=\"reloaded\"", 1);
        server_must_be_well(s, 2);
        server_refuses(it, 0, "is valid", .in_child = enter[i], .args = {"-t"});
    }
    server_refuses(it, 78, "-c relative.conf: is too long as an absolute path",
                   .in_child = enter_4000, .is_bare = true, .args = {"-c", "relative.conf"});
    server_refuses(it, 78, "arbiter.pid_file: .echo.pid. is too long as an absolute path",
                   .in_child = enter_600, .args = {"-p", "echo.pid"});
    server_refuses(it, 78, "arbiter.control: \"c\" is too long for a socket", .in_child = enter_600,
                   .conf = "arbiter: { control = \"c\"; };");
    server_refuses(it, 78, "unix:s.: too long as an absolute path", .in_child = enter_600,
                   .args = {"-b", "unix:s"});
}

static void startup__runtime_directory_too_long__serves_without_control(void **state)
{
    struct it *it = *state;
    char variable[200];
    memset(variable, 'd', sizeof(variable) - 1);
    variable[sizeof(variable) - 1] = '\0';
    memcpy(variable, "RUNTIME_DIRECTORY=/", strlen("RUNTIME_DIRECTORY=/"));
    struct server *s = server_start(it, .env = {variable});
    server_expect(s, "no control socket");
    server_wait_log(s, "no control socket.*longer than 107 bytes: give arbiter.control", 1);
    server_must_be_well(s, 2);
}

static void enter_new(void)
{
    enter_dir();
    if (mkdir("new", 0700) < 0 || chdir("new") < 0)
        _exit(1);
}

static void startup__working_directory_moves_and_goes__reloads_all_the_same(void **state)
{
    struct it *it = *state;
    char name[201], *to;
    snprintf(run_dir, sizeof(run_dir), "%s", it->dir);
    struct server *s = server_start(it, .in_child = enter_new);
    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    to = it_path(it, name);
    MUST(rename(it_path(it, "new"), to) == 0, "rename: %s", strerror(errno));
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    MUST(rmdir(to) == 0, "rmdir: %s", strerror(errno));
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 2);
    server_must_be_well(s, 2);
    /* What is relative has no place any more: the reload says so, and nothing changes. */
    server_expect(s, "reload refused|configuration");
    server_configure(s, "log: { file = \"here.log\"; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "log.file: .*here.log.* the working directory is not known", 1);
    server_configure(s, "");
    server_must_be_well(s, 2);
}

static void startup__check__files_that_cannot_be_made__as_a_start_would_say(void **state)
{
    struct it *it = *state;
    char *dir = it_path(it, "locked");
    MUST(mkdir(dir, 0500) == 0, "mkdir: %s", strerror(errno));
    server_refuses(it, 73, "echo0.conf:1: log.file: /nowhere/echo.log: .*No such file",
                   .conf = "log: { file = \"/nowhere/echo.log\"; };", .args = {"-t"});
    server_refuses(it, 73, "command line: arbiter.pid_file: /nowhere/echo.pid: .*No such file",
                   .args = {"-t", "-p", "/nowhere/echo.pid"});
    server_refuses(it, 73, "Is a directory", .args = {"-t", "-p", dir});
    server_refuses(it, 77, "Permission denied", .in_child = it_obey_permissions,
                   .args = {"-t", "-p", it_path(it, "locked/echo.pid")});
    server_refuses(it, 0, "is valid", .args = {"-t", "-p", it_path(it, "new.pid")});
    MUST(access(it_path(it, "new.pid"), F_OK) < 0, "-t makes a file");
}

static struct limit {
    int resource;
    rlim_t soft, hard;
} limit;

static void set_limit(void)
{
    setrlimit((__rlimit_resource_t)limit.resource, &(struct rlimit){limit.soft, limit.hard});
}

static void startup__limit_too_low__71_and_one_line_with_both_numbers(void **state)
{
    static const struct {
        struct limit limit;
        const char *says;
    } table[] = {
        {{RLIMIT_NOFILE, 8, 8}, "cannot start.*RLIMIT_NOFILE is 8, which leaves 3 .* needed: 37"},
        {{RLIMIT_NOFILE, 10, 10}, "cannot start.*RLIMIT_NOFILE is 10, .* needed: 37"},
        {{RLIMIT_NOFILE, 16, 16}, "cannot start.*RLIMIT_NOFILE is 16, .* needed: 37"},
        {{RLIMIT_FSIZE, 1 << 20, 1 << 20},
         "cannot start.*scoreboard: [0-9]* bytes.*File too large: RLIMIT_FSIZE is 1048576 bytes"},
        {{RLIMIT_STACK, 64 << 10, 64 << 10}, "RLIMIT_STACK is 65536 bytes, needed: 524288"},
        {{RLIMIT_STACK, 128 << 10, 128 << 10}, "RLIMIT_STACK is 131072 bytes, needed: 524288"},
    };
    struct it *it = *state;
    if (it_is_sanitized())
        skip(); /* a sanitizer needs more of all of them before main */
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        limit = table[i].limit;
        server_refuses(it, 71, table[i].says, .in_child = set_limit);
        MUST(server_log_count(it->servers, ".") == 1, "more than one line");
    }
}

static void startup__soft_limit_low__raised_and_serves(void **state)
{
    static const struct limit table[] = {
        {RLIMIT_NOFILE, 8, 1024}, {RLIMIT_FSIZE, 0, 1 << 30}, {RLIMIT_STACK, 64 << 10, 8 << 20}};
    struct it *it = *state;
    if (it_is_sanitized())
        skip();
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        limit = table[i];
        struct server *s = server_start(it, .in_child = set_limit);
        server_must_be_well(s, 2);
        server_stop_and_check(s, SIGTERM, 0);
    }
}

static void hide_devices(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/dev", "tmpfs", 0, NULL) < 0)
        _exit(99);
}

static void startup__no_null_device__71_and_named(void **state)
{
    struct it *it = *state;
    struct server *s = server_spawn(it, .in_child = hide_devices);
    int code = server_wait_exit(s, WAIT_MS);
    if (code == 99)
        skip(); /* who is not root cannot hide it */
    server_expect(s, "cannot start");
    MUST(code == 71, "exit code %d", code);
    MUST(server_log_count(s, "cannot start.*/dev/null: open: No such file") == 1, "not named");
}

/* Let the @n-th @call of the start fail; false when it no longer has that many. */
static bool fail_call(struct it *it, const char *call, unsigned n)
{
    char inject[128], trace[64], asan[512];
    const char *inherited = getenv("ASAN_OPTIONS");
    snprintf(asan, sizeof(asan), "ASAN_OPTIONS=%s:detect_leaks=0", inherited ? inherited : "");
    snprintf(trace, sizeof(trace), "trace=%s", call);
    snprintf(inject, sizeof(inject), "inject=%s:error=EPERM:when=%u", call, n);
    struct server *s =
        server_spawn(it, .wrapper = {"strace", "-qq", "-o", "/dev/null", "-e", trace, "-e", inject},
                     .env = {asan}); /* leaks cannot be looked for under ptrace */
    int code = -1;
    if (server_is_ready_or_ended(s)) {
        /* It serves all the same: the call was not needed, or there is no such call. */
        pid_t child;
        MUST(proc_children(s->pid, &child, 1) == 1, "strace has no child");
        kill(child, SIGTERM);
        code = server_wait_exit(s, WAIT_MS);
        MUST(code == 0, "%s, %u: it serves, but ends with %d", call, n, code);
    } else {
        code = server_wait_exit(s, WAIT_MS);
        MUST(code == 69 || code == 71 || code == 73 || code == 77, "%s, %u: exit code %d", call, n,
             code);
        MUST(server_log_count(s, "cannot start|echo-arbiter:") == 1,
             "%s, %u: not one line that says why", call, n);
        MUST(server_log_count(s, "cannot start.*Operation not permitted") == 1 ||
                 server_log_count(s, "echo-arbiter:.*Operation not permitted") == 1,
             "%s, %u: not its cause", call, n);
    }
    server_expect(s, ".");
    it_wait_orphans(it);
    const char *problems = server_problems(s);
    MUST(!*problems, "%s, %u: %s", call, n, problems);
    return code != 0;
}

static void startup__nth_call_fails__says_so_and_leaves_nothing(void **state)
{
    static const char *const calls[] = {"socket",      "bind",          "listen", "setsockopt",
                                        "getsockname", "epoll_create1", "flock",  "memfd_create",
                                        "socketpair",  "eventfd2",      "pipe2",  "ftruncate"};
    struct it *it = *state;
    it_need_strace(it);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        unsigned n = 1, failed = 0;
        for (; n <= 4; n++)
            failed += fail_call(it, calls[i], n);
        printf("# %s: %u of 4 failures refuse the start\n", calls[i], failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(startup__wrong_usage__64),
        IT(startup__option_of_a_key__last_one_wins_and_errors_name_it),
        IT(startup__protocol_of_an_address__default_by_name_or_unknown),
        IT(startup__wrong_configuration__78_and_all_errors),
        IT(startup__check__binds_nothing),
        IT(startup__show__can_be_read_back),
        IT(startup__address_taken__69_and_first_unaffected),
        IT(startup__pid_file_held__75_with_the_holder),
        IT(startup__pid_file_of_the_dead__is_taken_over),
        IT(startup__pid_file_impossible__73_and_target_intact),
        IT(startup__no_permission__77),
        IT(startup__stdio_closed__no_client_gets_a_log_line),
        IT(startup__ready_on_stdout__no_client_becomes_stdout),
        IT(startup__inherited_descriptors__workers_hold_none),
        IT(startup__environment__does_not_steer),
        IT(startup__daemon__launcher_waits_until_it_serves),
        IT(startup__daemon_fails__launcher_says_so),
        IT(startup__relative_path__found_again_by_a_reload),
        IT(startup__long_working_directory__serves_or_says_so),
        IT(startup__runtime_directory_too_long__serves_without_control),
        IT(startup__working_directory_moves_and_goes__reloads_all_the_same),
        IT(startup__check__files_that_cannot_be_made__as_a_start_would_say),
        IT(startup__limit_too_low__71_and_one_line_with_both_numbers),
        IT(startup__soft_limit_low__raised_and_serves),
        IT(startup__no_null_device__71_and_named),
        IT(startup__nth_call_fails__says_so_and_leaves_nothing),
    };
    return it_run(tests);
}
