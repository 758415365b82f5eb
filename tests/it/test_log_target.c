/*
 * A log that takes nothing: a full pipe, one without a reader, a full disk. Lines are
 * dropped and counted, nobody waits for the log, and it says so when it goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

/* Every process writes lines: each worker is asked @n times, and answers. */
static void ask_all(const char *control, int n)
{
    char address[128];
    int fd;

    snprintf(address, sizeof(address), "unix:%s", control);
    fd = peer_connect(address);
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

/* What 100 questions make each process write, and has it been lost: so much, by whom? */
static void must_have_counted(struct it *it, struct server *s, const char *control)
{
    const uint64_t of_workers = server_counter(s, log_dropped);
    const uint64_t all = total_dropped(it, control);

    printf("# dropped: %llu lines of the workers, %llu in all\n", (unsigned long long)of_workers,
           (unsigned long long)all);
    MUST(of_workers >= 400 && all >= of_workers + 400, "not every line is counted");
}

/* Each process says so, once, as soon as there is something to read. */
static void must_go_on(const struct fifo *f, const char *control)
{
    static const char *const actors[] = {"arbiter", "worker\\.1", "worker\\.2"};
    char pattern[128];

    read_fifo(f);
    for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
        snprintf(pattern, sizeof(pattern), "actor=%s .*msg=\"log: lines were lost\" count=[1-9]",
                 actors[i]);
        MUST_COME((ask_all(control, 1), read_fifo(f), it_file_has(f->got, pattern)),
                  "%s does not say that it has lost lines", actors[i]);
        MUST(it_count_lines(f->got, pattern) == 1, "%s says it again and again", actors[i]);
    }
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
    must_have_counted(it, s, control);
    must_go_on(&f, control);
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
    must_have_counted(it, s, control);
    open_reader(&f);
    must_go_on(&f, control);
    server_stop_and_check(s, SIGTERM, 0);
    close(f.reader);
}

static void log_target__disk_full__dropped_and_counted(void **state)
{
    struct it *it = *state;
    char *control;
    struct server *s = start_logging_to(it, "/dev/full", &control);

    serve_and_log(s, control, "full disk", NULL);
    must_have_counted(it, s, control);
    server_must_be_well(s, 2);
}

/* A disk that is full for a while: the file goes on in whole lines. */
static void log_target__disk_full_for_a_while__goes_on_in_whole_lines(void **state)
{
    struct it *it = *state;
    struct fifo f = {.reader = -1, .got = it_path(it, "own.log")};
    pid_t tracers[3];
    char *control;
    struct server *s;

    it_need_strace(it);
    s = start_logging_to(it, f.got, &control);
    for (int i = 0; i < 3; i++)
        tracers[i] = it_inject(it, i < 2 ? server_worker(s, (size_t)i) : s->pid, "write",
                               "write:error=ENOSPC");
    ask_all(control, 100);
    for (int i = 0; i < 3; i++)
        it_tool_stop(it, tracers[i]);
    must_have_counted(it, s, control);
    must_go_on(&f, control);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(it_count_lines(f.got, "^ts=") == it_count_lines(f.got, "."), "lines are broken");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(log_target__full_pipe__dropped_counted_and_said),
        IT(log_target__nobody_reads__dropped_counted_and_said),
        IT(log_target__disk_full__dropped_and_counted),
        IT(log_target__disk_full_for_a_while__goes_on_in_whole_lines),
    };

    return it_run(tests);
}
