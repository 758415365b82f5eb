/*
 * A log that takes nothing: a full pipe, one without a reader, a full disk, a writer that hangs.
 * Lines are dropped and counted, nobody waits for the log, and it says so when it goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"
#include "support/tool.h"

/* A server that logs each message between its processes to @path, and its control socket. */
static struct server *start_logging_to(struct it *it, const char *path, char **ret_control)
{
    char conf[256];
    struct server *s;

    snprintf(conf, sizeof(conf), "log: { level = \"debug\"; file = \"%s\"; };", path);
    s = server_start(it, .conf = conf);
    *ret_control = peer_alloc(sizeof(s->run) + sizeof("/control"));
    sprintf(*ret_control, "%s/control", s->run);
    return s;
}

/* A pipe by name; what is read from it is appended to a file. */
struct fifo {
    int reader;
    char *path, *got;
};

static void open_reader(struct fifo *f)
{
    f->reader = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    MUST(f->reader >= 0, "open: %s", strerror(errno));
}

static struct fifo make_fifo(struct it *it)
{
    struct fifo f = {.path = it_path(it, "fifo"), .got = it_path(it, "got")};

    MUST(mkfifo(f.path, 0600) == 0, "mkfifo: %s", strerror(errno));
    open_reader(&f);
    return f;
}

static void read_fifo(const struct fifo *f)
{
    static char buf[65536];
    int file = open(f->got, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t n;

    while ((n = read(f->reader, buf, sizeof(buf))) > 0)
        MUST(write(file, buf, (size_t)n) == n, "write: %s", strerror(errno));
    close(file);
}

/* To the last byte: a line, however short, finds no room. */
static void fill(const char *path)
{
    static char lines[4096];
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    MUST(fd >= 0, "open: %s", strerror(errno));
    memset(lines, '\n', sizeof(lines));
    while (write(fd, lines, sizeof(lines)) > 0)
        ;
    while (write(fd, lines, 1) > 0)
        ;
    MUST(errno == EAGAIN, "the pipe: %s", strerror(errno));
    close(fd);
}

static int connect_to(const char *control)
{
    char address[128];

    snprintf(address, sizeof(address), "unix:%s", control);
    return peer_connect(address);
}

/* Every process writes lines: each worker is asked @n times, and answers. */
static void ask_all(const char *control, int n)
{
    int fd = connect_to(control);

    for (int i = 0; i < 2 * n; i++) {
        peer_send_text(fd, i % 2 ? "{\"command\":\"ping\",\"target\":\"worker.1\"}\n"
                                 : "{\"command\":\"ping\",\"target\":\"worker.2\"}\n");
        peer_expect_text(fd, "{\"id\":null,\"result\":\"pong\"}\n");
    }
    peer_close(fd);
}

/* Clients that are served while every process writes lines. @fifo is read meanwhile; NULL = none */
static void serve_and_log(struct server *s, const char *control, const char *title,
                          const struct fifo *fifo)
{
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 16, .depth = 4});

    for (int i = 0; i < 10; i++) {
        load_run(l, 20);
        ask_all(control, 10);
        if (fifo)
            read_fifo(fifo);
    }
    load_finish(l);
    load_print(l, title);
    MUST(load_report(l)->reset == 0 && load_report(l)->ended == 0, "connections were lost");
    load_free(l);
}

static uint64_t total_dropped(struct it *it, const char *control)
{
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "--json", "info");
    json_t *info = json_loads(r.out, 0, NULL);
    json_t *value = json_object_get(json_object_get(info, "totals"), "log_dropped");
    uint64_t n = (uint64_t)json_integer_value(value);

    MUST(json_is_integer(value), "no log_dropped: %s%s", r.out, r.err);
    json_decref(info);
    return n;
}

/* More lines than the pipe to the writer holds. */
static void overflow(struct server *s, const char *control)
{
    MUST_COME((ask_all(control, 100), server_counter(s, log_dropped) > 0), "nothing is dropped");
    ask_all(control, 100);
}

/* The writer's own loss comes as a report. */
static void must_have_counted(struct it *it, const char *control, uint64_t least)
{
    uint64_t n;

    MUST_COME((n = total_dropped(it, control)) >= least, "%llu lines are counted, at least %llu",
              (unsigned long long)n, (unsigned long long)least);
    printf("# dropped: %llu lines\n", (unsigned long long)n);
}

/* @actor says so, once, as soon as there is something to read. */
static void must_go_on(const struct fifo *f, const char *control, const char *actor)
{
    char pattern[128];

    snprintf(pattern, sizeof(pattern), "actor=%s .*msg=\"log: lines were lost\" count=[1-9]",
             actor);
    MUST_COME((ask_all(control, 1), read_fifo(f), it_file_has(f->got, pattern)),
              "%s does not say that it has lost lines", actor);
    MUST(it_count_lines(f->got, pattern) == 1, "%s says it again and again", actor);
}

static void log_target__full_pipe__dropped_counted_and_said(void **state)
{
    struct it *it = *state;
    struct fifo f = make_fifo(it);
    char *control;
    struct server *s = start_logging_to(it, f.path, &control);

    serve_and_log(s, control, "pipe that is read", &f);
    MUST(server_counter(s, log_dropped) == 0, "lines were lost");
    fill(f.path);
    serve_and_log(s, control, "full pipe", NULL);
    overflow(s, control);
    must_have_counted(it, control, 100);
    must_go_on(&f, control, "arbiter");
    must_go_on(&f, control, "worker\\.1");
    must_go_on(&f, control, "worker\\.2");
    server_stop_and_check(s, SIGTERM, 0);
    close(f.reader);
}

static void log_target__nobody_reads__dropped_counted_and_said(void **state)
{
    struct it *it = *state;
    struct fifo f = make_fifo(it);
    char *control;
    struct server *s = start_logging_to(it, f.path, &control);

    close(f.reader);
    serve_and_log(s, control, "pipe without a reader", NULL);
    must_have_counted(it, control, 800);
    open_reader(&f);
    must_go_on(&f, control, "log");
    server_stop_and_check(s, SIGTERM, 0);
    close(f.reader);
}

static void log_target__disk_full__dropped_and_counted(void **state)
{
    struct it *it = *state;
    char *control;
    struct server *s = start_logging_to(it, "/dev/full", &control);

    serve_and_log(s, control, "full disk", NULL);
    must_have_counted(it, control, 800);
    server_must_be_well(s, 2);
}

/* A disk that is full for a while: the file goes on in whole lines. */
static void log_target__disk_full_for_a_while__goes_on_in_whole_lines(void **state)
{
    struct it *it = *state;
    struct fifo f = {.reader = -1, .got = it_path(it, "own.log")};
    pid_t tracer;
    char *control;
    struct server *s;

    it_need_strace(it);
    s = start_logging_to(it, f.got, &control);
    tracer = it_inject(it, server_log_writer(s), "write", "write:error=ENOSPC");
    ask_all(control, 100);
    must_have_counted(it, control, 800);
    it_tool_stop(it, tracer);
    must_go_on(&f, control, "log");
    server_stop_and_check(s, SIGTERM, 0);
    MUST(it_count_lines(f.got, "^ts=") == it_count_lines(f.got, "."), "lines are broken");
}

/* As on a file system that is frozen: the writer is in a call that does not return. */
static void log_target__writer_hangs__served_counted_and_stopped(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log");
    struct server *s = start_logging_to(it, path, &control);
    struct tool_run r;

    server_expect(s, "log: lines were lost");
    kill(server_log_writer(s), SIGSTOP);
    serve_and_log(s, control, "hanging log", NULL);
    overflow(s, control);
    must_have_counted(it, control, 100);
    /* What waits for the log alone says so; what does not, goes on. */
    r = RUN(it, NO_INPUT, "-C", control, "reopen-logs");
    tool_must_fail(&r, 75, "log's writer does not answer");
    r = RUN(it, NO_INPUT, "-C", control, "scale", "3");
    MUST(r.code == 0, "scale: %s", r.err);
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    MUST(r.code == 0, "reload: %s", r.err);
    r = RUN(it, NO_INPUT, "-C", control, "upgrade");
    MUST(r.code == 0, "upgrade: %s", r.err);
    server_must_be_well(s, 2);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(server_log_count(s, "actor=log .*lines were lost\" count=[1-9].*own.log") == 1,
         "nobody hears that lines were lost");
}

static void log_target__hangs_for_a_while__nothing_that_is_queued_is_lost(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log");
    struct server *s = start_logging_to(it, path, &control);
    pid_t writer = server_log_writer(s);

    kill(writer, SIGSTOP);
    ask_all(control, 20);
    kill(writer, SIGCONT);
    MUST(it_count_lines(path, "actor=worker.* msg=\"message\" .*command=ping") == 40,
         "%zu lines of 40", it_count_lines(path, "actor=worker.* msg=\"message\" .*command=ping"));
    MUST(server_counter(s, log_dropped) == 0, "lines were lost");
}

/* Its workers log on; the writer ends with the last of them, although it is stuck. */
static void log_target__arbiter_killed_and_pipe_full__writer_ends(void **state)
{
    struct it *it = *state;
    struct fifo f = make_fifo(it);
    char *control;
    struct server *s = start_logging_to(it, f.path, &control);

    fill(f.path);
    ask_all(control, 10);
    server_expect(s, "the arbiter is gone");
    server_signal(s, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    it_wait_orphans(it);
    close(f.reader);
}

static void log_target__writer_dies__another_goes_on(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log");
    struct server *s = start_logging_to(it, path, &control);
    pid_t first = server_log_writer(s), second = 0;

    for (int i = 0; i < 2; i++) {
        kill(first, SIGKILL);
        ask_all(control, 10);
        MUST_COME((second = server_log_writer(s)) && second != first, "there is no other writer");
        first = second;
        MUST_COME((int)it_count_lines(path, "its writer has died") == i + 1, "it is not said");
    }
    MUST(it_count_lines(path, "actor=worker.* msg=\"message\" .*command=ping") == 40,
         "lines were lost");
    MUST(it_count_lines(path, "^ts=") == it_count_lines(path, "."), "lines are broken");
    server_must_be_well(s, 2);
}

static void log_target__upgrade__a_writer_of_the_new_program_goes_on(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log");
    struct server *s = start_logging_to(it, path, &control);
    pid_t first = server_log_writer(s), second = 0;
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "upgrade");

    MUST(r.code == 0, "upgrade: %s", r.err);
    MUST_COME((second = server_log_writer(s)) && second != first, "the old writer stays");
    ask_all(control, 10);
    MUST_COME(it_count_lines(path, "actor=worker.* msg=\"message\" .*command=ping") == 20,
              "lines were lost");
    MUST(it_count_lines(path, "upgraded") == 1, "it is not said that it was upgraded");
    MUST(it_count_lines(path, "writer has died") == 0, "it was taken for a death");
}

/* The answer says so, and so does standard error. What nobody looks at any more does not. */
static void log_target__cannot_be_reopened__answer_says_why(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log"), *old = it_path(it, "own.log.1");
    struct server *s = start_logging_to(it, path, &control);
    struct tool_run r;

    server_expect(s, "log: the file cannot be opened\" .*own.log reason=\"Is a directory\"");
    MUST(rename(path, old) == 0 && mkdir(path, 0700) == 0, "%s", strerror(errno));
    r = RUN(it, NO_INPUT, "-C", control, "reopen-logs");
    tool_must_fail(&r, 73, "own.log: Is a directory; lines go on into the file that was open");
    MUST(server_log_count(s, "log: the file cannot be opened") == 1, "standard error is silent");
    ask_all(control, 1);
    MUST(!it_file_has(old, "cannot be opened"), "it is said where nobody looks");
    MUST_COME(it_file_has(old, "actor=worker.* msg=\"message\" .*command=ping"), "lines were lost");
    MUST(rmdir(path) == 0, "rmdir: %s", strerror(errno));
    r = RUN(it, NO_INPUT, "-C", control, "reopen-logs");
    MUST(r.code == 0 && strstr(r.out, "own.log"), "reopen-logs: %s%s", r.out, r.err);
    MUST_COME(it_file_has(path, "msg=\"log reopened\""), "no new file");
}

/* The writer of the log that was asked for hangs; nobody needs its answer any more. */
static void log_target__reload_names_another_meanwhile__asker_hears_it(void **state)
{
    struct it *it = *state;
    char *control, conf[256];
    struct server *s = start_logging_to(it, it_path(it, "own.log"), &control);
    pid_t writer = server_log_writer(s);
    int fd = connect_to(control);
    struct tool_run r;

    kill(writer, SIGSTOP);
    peer_send_text(fd, "{\"id\":1,\"command\":\"reopen_logs\"}\n{\"command\":\"ping\"}\n");
    peer_expect_text(fd, "{\"id\":null,\"result\":\"pong\"}\n");
    snprintf(conf, sizeof(conf), "log: { level = \"debug\"; file = \"%s/other.log\"; };", it->dir);
    server_configure(s, conf);
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    MUST(r.code == 0, "reload: %s", r.err);
    peer_expect_text(fd,
                     "{\"id\":1,\"error\":{\"code\":\"superseded\",\"message\":\"superseded by a "
                     "reload: the log goes elsewhere now\"}}\n");
    peer_close(fd);
    kill(writer, SIGCONT);
    server_must_be_well(s, 2);
}

static void log_target__rotated_by_many_at_once__all_answered_and_no_line_lost(void **state)
{
    enum { CLIENTS = 8, ROUNDS = 20 };
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log"), old[256];
    struct server *s = start_logging_to(it, path, &control);
    int fds[CLIENTS];
    size_t n = 0;

    for (int i = 0; i < CLIENTS; i++)
        fds[i] = connect_to(control);
    for (int i = 0; i < ROUNDS * CLIENTS; i++) {
        snprintf(old, sizeof(old), "%s.%d", path, i);
        if (rename(path, old) < 0)
            MUST(errno == ENOENT, "rename: %s", strerror(errno));
        peer_send_text(fds[i % CLIENTS], "{\"command\":\"reopen_logs\"}\n");
        if (i % CLIENTS < CLIENTS - 1)
            continue;
        for (int j = 0; j < CLIENTS; j++) {
            peer_expect_text(fds[j], "{\"id\":null,\"result\":{\"reopened\":true,\"to\":\"");
            peer_expect_text(fds[j], path);
            peer_expect_text(fds[j], "\"}}\n");
        }
        MUST(access(path, F_OK) == 0, "answered before it was open");
        ask_all(control, 1);
    }
    for (int i = 0; i < CLIENTS; i++)
        peer_close(fds[i]);
    server_stop_and_check(s, SIGTERM, 0);
    for (int i = 0; i < ROUNDS * CLIENTS; i++) {
        snprintf(old, sizeof(old), "%s.%d", path, i);
        n += access(old, F_OK) == 0 ? it_count_lines(old, "actor=worker.* .*command=ping") : 0;
    }
    n += it_count_lines(path, "actor=worker.* .*command=ping");
    MUST(n == 2 * ROUNDS, "%zu lines of %d", n, 2 * ROUNDS);
}

static void log_target__not_a_file__reopening_says_so(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "-C", control, "reopen-logs");
    MUST(r.code == 0 && strstr(r.out, "goes to standard error: there is no file"), "%s", r.out);
}

/* Another file by a reload: it has to be there before anything changes. */
static void log_target__reload_to_another__opened_first(void **state)
{
    struct it *it = *state;
    char *control, *path = it_path(it, "own.log"), conf[256];
    struct server *s = start_logging_to(it, path, &control);
    struct tool_run r;

    snprintf(conf, sizeof(conf), "log: { file = \"%s\"; };", it->dir);
    server_configure(s, conf);
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    tool_must_fail(&r, 78, "echo0.conf:1: log.file: ");
    tool_must_fail(&r, 78, ": Is a directory");
    MUST_COME(it_file_has(path, "reload refused: nothing has changed"), "the old log is silent");
    snprintf(conf, sizeof(conf), "log: { file = \"%s/other.log\"; };", it->dir);
    server_configure(s, conf);
    r = RUN(it, NO_INPUT, "-C", control, "reload");
    MUST(r.code == 0, "reload: %s", r.err);
    MUST_COME(it_file_has(it_path(it, "other.log"), "msg=\"reloaded\""), "the new log is silent");
    server_must_be_well(s, 2);
}

/* ---- sockets ---- */

static char socket_path[128];

/* As a service manager does: standard output and standard error are a socket. */
static void join_socket(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(un.sun_path, socket_path);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && dup2(fd, 1) == 1)
        dup2(fd, 2);
    close(fd);
}

static int listen_for_logs(struct it *it)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(socket_path, sizeof(socket_path), "%s/journal", it->dir);
    strcpy(un.sun_path, socket_path);
    MUST(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(fd, 8) == 0, "journal: %s",
         strerror(errno));
    return fd;
}

static void read_socket(int listener, const char *path)
{
    struct fifo f = {.reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK),
                     .got = (char *)(uintptr_t)path};

    MUST(f.reader >= 0, "accept: %s", strerror(errno));
    read_fifo(&f);
    close(f.reader);
}

static void log_target__dev_stderr_is_a_socket__logs_to_it(void **state)
{
    struct it *it = *state;
    int listener = listen_for_logs(it);
    char *got = it_path(it, "got");
    struct server *s =
        server_start(it, .in_child = join_socket, .args = {"--log-file=/dev/stderr"});

    unlink(socket_path);
    server_must_be_well(s, 2);
    server_stop_and_check(s, SIGTERM, 0);
    read_socket(listener, got);
    MUST_COME(it_file_has(got, "msg=\"serving\"") && it_file_has(got, "msg=\"stopped\""),
              "no lines");
    close(listener);
}

static void log_target__another_socket__refused_with_a_hint(void **state)
{
    struct it *it = *state;
    int listener = listen_for_logs(it);
    char *got = it_path(it, "got");
    struct server *s =
        server_spawn(it, .in_child = join_socket, .args = {"--log-file=/dev/stdout"});

    MUST(server_wait_exit(s, WAIT_MS) == 73, "exit code");
    read_socket(listener, got);
    MUST_COME(it_file_has(got, "log.file: /dev/stdout: it is a socket.*leave log.file empty for"),
              "no hint");
    close(listener);
    unlink(socket_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(log_target__full_pipe__dropped_counted_and_said),
        IT(log_target__nobody_reads__dropped_counted_and_said),
        IT(log_target__disk_full__dropped_and_counted),
        IT(log_target__disk_full_for_a_while__goes_on_in_whole_lines),
        IT(log_target__writer_hangs__served_counted_and_stopped),
        IT(log_target__hangs_for_a_while__nothing_that_is_queued_is_lost),
        IT(log_target__arbiter_killed_and_pipe_full__writer_ends),
        IT(log_target__writer_dies__another_goes_on),
        IT(log_target__upgrade__a_writer_of_the_new_program_goes_on),
        IT(log_target__cannot_be_reopened__answer_says_why),
        IT(log_target__reload_names_another_meanwhile__asker_hears_it),
        IT(log_target__rotated_by_many_at_once__all_answered_and_no_line_lost),
        IT(log_target__not_a_file__reopening_says_so),
        IT(log_target__reload_to_another__opened_first),
        IT(log_target__dev_stderr_is_a_socket__logs_to_it),
        IT(log_target__another_socket__refused_with_a_hint),
    };

    return it_run(tests);
}
