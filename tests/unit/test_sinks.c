/*
 * Targets of logs: which request to open them anew an answer belongs to, and what becomes of a
 * target whose writer ends. The test plays the writers: log_writer_start, and what the end of a
 * process is seen by, are wrapped, see the Makefile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "log_writer/log_writer.h"
#include "arbiter/sinks.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum { FIRST_PID = 1 << 24 }; /* above any process's */

/* One that "hangs" does not even end when it is killed. */
static struct {
    struct log_writer_options options; /* of the last start */
    pid_t pid;
    int fd; /* the writer's end of its socket; -1 = it has ended */
    bool hangs;
    unsigned n_kills;
    uint64_t waited_ms;
} played;

int __wrap_log_writer_start(const struct log_writer_options *o, pid_t *pid, int *fd);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __wrap_kill(pid_t pid, int signo);
int __wrap_poll(struct pollfd *p, nfds_t n, int ms);
int __real_poll(struct pollfd *p, nfds_t n, int ms);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_log_writer_start(const struct log_writer_options *o, pid_t *pid, int *fd)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    fds_close(&played.fd);
    played.options = *o;
    played.fd = pair[1];
    *pid = played.pid = played.pid ? played.pid + 1 : FIRST_PID;
    *fd = pair[0];
    return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status UNUSED, int options UNUSED)
{
    return played.hangs ? 0 : pid;
}

int __wrap_kill(pid_t pid, int signo)
{
    assert_true(pid >= FIRST_PID && signo == SIGKILL);
    played.n_kills++;
    return 0;
}

/* Whoever sleeps makes the time pass. */
int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
    played.waited_ms += n == 0 ? (uint64_t)ms : 0;
    return n == 0 ? 0 : __real_poll(p, n, ms);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int rc = __real_clock_gettime(clock, ret);

    if (played.hangs)
        *ret = (struct timespec){.tv_sec = (time_t)(played.waited_ms / 1000),
                                 .tv_nsec = (long)(played.waited_ms % 1000) * 1000000};
    return rc;
}

/* ---- the owner ---- */

struct owner {
    struct sinks sinks;
    struct log *log;
    struct log silent;
    counter_t lost;
    unsigned n_ready, n_reopened;
};

static void on_opened(struct sinks *sinks, struct sink *s UNUSED)
{
    container_of(sinks, struct owner, sinks)->n_ready++;
}

static void on_reopened(struct sinks *sinks, struct sink *s UNUSED)
{
    container_of(sinks, struct owner, sinks)->n_reopened++;
}

static int owner_init(void **state)
{
    static const struct sinks_ops ops = {on_opened, on_reopened};
    static struct owner o;

    memset(&played, 0, sizeof(played));
    played.fd = -1;
    o = (struct owner){.silent = {.fd = -1}, .log = &o.silent};
    o.sinks = (struct sinks){
        .loop = ev_loop_new(EVBACKEND_EPOLL), .log = &o.log, .lost = &o.lost, .ops = &ops};
    list_init(&o.sinks.list);
    *state = &o;
    return o.sinks.loop ? 0 : -1;
}

static int owner_fini(void **state)
{
    struct owner *o = *state;

    sinks_fini(&o->sinks, clock_mono_ms() + SINKS_END_MIN_MS);
    ev_loop_destroy(o->sinks.loop);
    fds_close(&played.fd);
    return list_is_empty(&o->sinks.list) ? 0 : -1;
}

/* ---- the writer ---- */

static void writer_says(struct owner *o, const char *text)
{
    assert_int_equal(send(played.fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    ev_run(o->sinks.loop, EVRUN_NOWAIT);
}

static void writer_hears(const char *want)
{
    char text[LOG_WRITER_MESSAGE_MAX + 1];
    const ssize_t n = recv(played.fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n > 0 ? n : 0] = '\0';
    assert_string_equal(text, want);
}

static void writer_ends(struct owner *o, int status)
{
    fds_close(&played.fd);
    assert_true(sinks_on_exit(&o->sinks, played.pid, status));
}

static void must_start_another(struct owner *o)
{
    const pid_t before = played.pid;

    while (played.pid == before)
        ev_run(o->sinks.loop, EVRUN_ONCE);
}

static struct sink *take(struct owner *o, const char *path)
{
    struct sink *s = NULL;
    char why[256];

    assert_int_equal(sinks_take(&o->sinks, path, false, &s, why, sizeof(why)), 0);
    return s;
}

static struct sink *take_ready(struct owner *o, const char *path)
{
    struct sink *s = take(o, path);

    writer_says(o, "opened 1 0 ");
    assert_true(s->is_ready);
    return s;
}

/* ---- what must be ---- */

static void sinks_take__target_cannot_be_opened__owner_hears_why(void **state)
{
    struct owner *o = *state;
    struct sink *s = take(o, "x");

    assert_true(played.options.is_first && o->n_ready == 0);
    writer_says(o, "opened 1 21 Is a directory");
    assert_int_equal(o->n_ready, 1);
    assert_int_equal(s->error, -EISDIR);
    assert_string_equal(s->why, "Is a directory");
    writer_ends(o, 73 << 8);
    sinks_release(s);
    assert_true(list_is_empty(&o->sinks.list));
}

static void sinks_reopen__asked_again_before_the_answer__each_request_has_its_own(void **state)
{
    struct owner *o = *state;
    struct sink *s = take_ready(o, "x");

    sinks_reopen(&o->sinks);
    assert_int_equal(s->wanted, 2);
    writer_hears("reopen 2");
    sinks_reopen(&o->sinks);
    sinks_reopen(&o->sinks);
    writer_hears(""); /* the second question has to come after its answer */
    writer_says(o, "opened 2 21 Is a directory");
    assert_int_equal(s->answered, 2);
    assert_int_equal(o->n_reopened, 1);
    writer_hears("reopen 4");
    writer_says(o, "opened 4 0 ");
    assert_int_equal(s->answered, 4);
    assert_int_equal(s->error, 0);
    assert_int_equal(o->n_reopened, 2);
    writer_hears("");
}

static void sinks_reopen__writer_tries_again_of_itself__no_answer_to_who_asks_now(void **state)
{
    struct owner *o = *state;
    struct sink *s = take_ready(o, "x");

    sinks_reopen(&o->sinks);
    writer_says(o, "opened 2 21 Is a directory");
    sinks_reopen(&o->sinks);
    writer_says(o, "opened 2 21 Is a directory"); /* before it has read "reopen 3" */
    assert_int_equal(s->answered, 2);
    assert_int_equal(o->n_reopened, 1);
    writer_says(o, "opened 2 0 "); /* healed: worth a line, and no answer */
    assert_int_equal(s->answered, 2);
    assert_int_equal(o->n_reopened, 2);
    writer_says(o, "opened 3 0 ");
    assert_int_equal(s->answered, 3);
    assert_int_equal(o->n_reopened, 3);
}

static void sinks_reopen__writer_dies__the_next_one_answers(void **state)
{
    struct owner *o = *state;
    struct sink *s = take_ready(o, "x");

    sinks_reopen(&o->sinks);
    s->started_ms = 0; /* long ago: another follows at once */
    writer_ends(o, SIGKILL);
    sinks_reopen(&o->sinks);
    must_start_another(o);
    assert_int_equal(played.options.question, 3);
    assert_false(played.options.is_first);
    writer_hears("");
    writer_says(o, "opened 3 0 ");
    assert_int_equal(s->answered, 3);
    assert_int_equal(o->n_reopened, 1);
}

static void sinks_reopen__writer_of_another_image__leaves_and_the_next_one_answers(void **state)
{
    struct owner *o = *state;
    const int no_ends[2] = {-1, -1};
    struct sink *s;
    pid_t pid;
    int ends[2], fd;

    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    __wrap_log_writer_start(&(struct log_writer_options){0}, &pid, &fd);
    assert_int_equal(sinks_inherit(&o->sinks, "x", false, ends, fd, pid), 0);
    assert_int_equal(sinks_inherit(&o->sinks, "y", false, no_ends, -1, pid + 100), 0);
    sinks_attach(&o->sinks);
    s = take(o, "x");
    writer_says(o, "opened 2 0 "); /* in that image's numbers */
    sinks_reopen(&o->sinks);
    writer_hears("leave");
    assert_int_equal(s->answered, 1);
    assert_int_equal(o->n_reopened, 0);
    writer_ends(o, 0);
    must_start_another(o);
    writer_says(o, "opened 2 0 ");
    assert_int_equal(s->answered, 2);
    assert_int_equal(o->n_reopened, 1);
    sinks_on_exit(&o->sinks, pid + 100, 0);
}

/* Workers that end may log to it still; what is in the pipe is not lost with the writer. */
static void sinks_release__its_writer_dies__another_goes_on_to_the_end(void **state)
{
    struct owner *o = *state;
    struct sink *s = take_ready(o, "x");
    char line[8];
    int end = dup(s->ends[1]);

    sinks_release(s);
    assert_int_equal(write(end, "line\n", 5), 5);
    close(end);
    s->started_ms = 0;
    writer_ends(o, SIGKILL);
    must_start_another(o);
    assert_int_equal(read(played.options.pipe_fd, line, sizeof(line)), 5);
    assert_int_equal(read(played.options.pipe_fd, line, sizeof(line)), 0);
    writer_says(o, "lost 7");
    assert_int_equal(counter_get(&o->lost), 7);
    writer_ends(o, 0);
    assert_true(list_is_empty(&o->sinks.list));
}

static void sinks_fini__lines_are_left__a_last_writer_says_how_many(void **state)
{
    struct owner *o = *state;
    struct sink *s = take_ready(o, "x");

    assert_int_equal(write(s->ends[1], "line\n", 5), 5);
    sinks_fini(&o->sinks, clock_mono_ms() + SINKS_END_MIN_MS);
    assert_true(played.options.is_last);
    assert_int_equal(played.pid, FIRST_PID + 1);
}

/* An upgrade has told it to leave, and the stop comes before its successor. */
static void sinks_fini__writer_of_another_image_leaves__another_writes_the_rest(void **state)
{
    struct owner *o = *state;
    int ends[2], fd;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    __wrap_log_writer_start(&(struct log_writer_options){0}, &pid, &fd);
    assert_int_equal(sinks_inherit(&o->sinks, "x", false, ends, fd, pid), 0);
    sinks_attach(&o->sinks);
    sinks_renew(&o->sinks);
    assert_int_equal(write(ends[1], "line\n", 5), 5);
    sinks_fini(&o->sinks, clock_mono_ms() + SINKS_END_MIN_MS);
    /* The one that is played does not read: only after it is there one that counts what is lost. */
    assert_true(played.options.is_last);
    assert_int_equal(played.pid, FIRST_PID + 2);
}

static void sinks_fini__all_writers_hang__ended_together(void **state)
{
    struct owner *o = *state;
    char path[] = "a";

    for (; path[0] < 'a' + SINKS_MAX; path[0]++)
        take_ready(o, path);
    played.hangs = true;
    sinks_fini(&o->sinks, clock_mono_ms() + SINKS_END_MIN_MS);
    played.hangs = false;
    assert_true(played.n_kills >= SINKS_MAX);
    assert_true(played.waited_ms <= SINKS_END_MIN_MS);
}

#define OWNED(test) cmocka_unit_test_setup_teardown(test, owner_init, owner_fini)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNED(sinks_take__target_cannot_be_opened__owner_hears_why),
        OWNED(sinks_reopen__asked_again_before_the_answer__each_request_has_its_own),
        OWNED(sinks_reopen__writer_tries_again_of_itself__no_answer_to_who_asks_now),
        OWNED(sinks_reopen__writer_dies__the_next_one_answers),
        OWNED(sinks_reopen__writer_of_another_image__leaves_and_the_next_one_answers),
        OWNED(sinks_release__its_writer_dies__another_goes_on_to_the_end),
        OWNED(sinks_fini__lines_are_left__a_last_writer_says_how_many),
        OWNED(sinks_fini__writer_of_another_image_leaves__another_writes_the_rest),
        OWNED(sinks_fini__all_writers_hang__ended_together),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
