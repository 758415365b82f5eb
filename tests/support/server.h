/*
 * The integration harness: real servers on ports that the kernel chooses, ready by descriptor, each
 * in its own process group. What every test must leave behind - nothing - is asserted once, by
 * server_stop_and_check and by the teardown.
 */
#ifndef SUPPORT_SERVER_H
#define SUPPORT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "actor/scoreboard.h"
#include "support/it.h"
#include "conformance/must.h"
#include "conformance/peer.h"
#include "support/proc.h"

enum { SERVER_ADDRS_MAX = 8, SERVER_EXPECTED_MAX = 16, SERVER_WORKERS_MAX = 64 };

struct server {
    struct server *next;
    struct it *it;
    pid_t pid; /* the arbiter; 0 = reaped */
    int status; /* of waitpid */
    int ready_fd; /* reading end; -1 = told */
    char addr[SERVER_ADDRS_MAX][128]; /* bound, as the ready line says */
    size_t n_addr;
    char conf[96]; /* paths in it->dir */
    char run[96]; /* its runtime directory, with the control socket */
    char log[96]; /* standard output and error */
    const char *expected[SERVER_EXPECTED_MAX]; /* warnings and errors that may be in the log */
    size_t n_expected;
    size_t n_workers; /* at the start */
    size_t n_others; /* the same: actors of other kinds */
    size_t arbiter_fds; /* when it was ready; 0 = do not compare at the end */
    size_t worker_fds;
    struct scoreboard board;
};

struct server_options {
    const char *conf; /* text of echo.conf; NULL = an empty one */
    const char *args[12]; /* further arguments */
    const char *env[6]; /* NAME=VALUE */
    const char *binary; /* a path, or below the build directory; NULL = echo-arbiter */
    const char *wrapper[8]; /* a command that starts it */
    int passed[4]; /* as by a service manager: listeners, from descriptor 3 on */
    size_t n_passed;
    void (*in_child)(void); /* between fork and exec */
    bool is_daemon; /* what it leaves when it fails is an orphan: reap it */
    bool is_bare; /* no -c, -b, -w, --ready-fd of the harness's */
};

/*
 * server_start - start and wait until it is ready and every worker accepts
 * Without `bind` in the text it listens on 127.0.0.1:0, without `workers` it has two.
 */
#define server_start(it, ...) server_start_with(it, &(struct server_options){__VA_ARGS__})
struct server *server_start_with(struct it *it, const struct server_options *o);

/* server_spawn - only start; server_wait_ready - the rest of server_start */
#define server_spawn(it, ...) server_spawn_with(it, &(struct server_options){__VA_ARGS__})
struct server *server_spawn_with(struct it *it, const struct server_options *o);
void server_wait_ready(struct server *s);

/* server_is_ready_or_ended - wait for either: true = it has said its addresses */
bool server_is_ready_or_ended(struct server *s);

/* server_wait_exit - reap it within @timeout_ms. Returns its exit code, or 128 + signal. */
int server_wait_exit(struct server *s, unsigned timeout_ms);

/* server_refuses - start it, expect @code and @pattern in what it says */
#define server_refuses(it, code, pattern, ...)                                                     \
    server_refuses_with(it, code, pattern, &(struct server_options){__VA_ARGS__})
void server_refuses_with(struct it *it, int code, const char *pattern,
                         const struct server_options *o);

void server_configure(struct server *s, const char *text); /* write its file anew */
void server_signal(struct server *s, int signo);

/* server_expect - lines at warning or error that match this extended expression are no surprise */
void server_expect(struct server *s, const char *pattern);

/* server_log_count - lines that match; server_wait_log - until @n lines do */
size_t server_log_count(struct server *s, const char *pattern);
void server_wait_log(struct server *s, const char *pattern, size_t n);
void server_print_log(struct server *s, size_t max); /* its last @max bytes */

/* server_worker_pids - children that serve or prepare, the oldest first. Returns how many. */
size_t server_worker_pids(struct server *s, pid_t *ret);
size_t server_others(struct server *s); /* living actors of other kinds */
pid_t server_worker(struct server *s, size_t i); /* the i-th of them; breaks if there is none */

/* server_accepting - workers that are alive and accept; server_wait_workers - until exactly @n */
size_t server_accepting(struct server *s);
void server_wait_workers(struct server *s, size_t n);

/* server_log_writer - the process that writes its log; 0 = there is none */
pid_t server_log_writer(struct server *s);

/* server_sum - of a 64-bit field at @offset of each live worker's record */
uint64_t server_sum(struct server *s, size_t offset);
#define server_counter(s, field) server_sum(s, offsetof(struct score_record, counters.field))
#define server_gauge(s, field)   server_sum(s, offsetof(struct score_record, field))

/* server_record, server_identity - of that live worker, or NULL; server_slot_pid - who fills the
 * slot; 0 = nobody */
struct score_record *server_record(struct server *s, pid_t pid);
const struct score_identity *server_identity(struct server *s, pid_t pid);
pid_t server_slot_pid(struct server *s, uint32_t slot);

/* server_must_idle - nothing spins: watched for half a second, with a wide margin */
void server_must_idle(struct server *s);

/* server_must_be_well - all workers accept, 100 new connections are served */
void server_must_be_well(struct server *s, size_t workers);

/*
 * server_stop_and_check - close all peers, wait until descriptors are as before, signal, wait for
 * the end; then assert the exit code and that no process, file or unexpected line is left. The
 * teardown does it with SIGTERM and 0 for each server that still runs.
 */
void server_stop_and_check(struct server *s, int signo, int exit_code);

/* server_problems - the same checks for one that has ended, as text; "" = none */
const char *server_problems(struct server *s);

#endif
