/*
 * A test's surroundings: a directory of its own, programs beside the servers, and a teardown that
 * leaves nothing. A test is a cmocka function whose *state is a `struct it`; what a server is, is
 * in server.h.
 */
#ifndef SUPPORT_IT_H
#define SUPPORT_IT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

struct it {
    char dir[64]; /* the test's own; removed at the end */
    struct server *servers; /* owned; all that it has started */
    struct it_block *blocks; /* owned; released at the end */
    const void *data; /* borrowed: the initial_state of the test */
    pid_t tools[8]; /* strace and the like, still running */
    bool has_failed; /* a MUST was broken */
};

#define IT(test)      cmocka_unit_test_setup_teardown(test, it_setup, it_teardown)
#define it_run(tests) (it_init(), cmocka_run_group_tests_name(__FILE__, (tests), NULL, NULL))

void it_init(void);
int it_setup(void **state);
int it_teardown(void **state);

/* it_is_soak - many repetitions are wanted; it_seed - printed, or taken from ECHO_SEED */
bool it_is_soak(void);
uint64_t it_seed(void);

/* it_is_sanitized - built so: what is measured means nothing */
bool it_is_sanitized(void);

/* it_path - DIR/NAME, lives until the end of the test; it_write - that file, made anew */
char *it_path(struct it *it, const char *name);
void it_write(struct it *it, const char *name, const char *text);
char *it_build_path(struct it *it, const char *name); /* below the build directory */
/* it_copy - the first @len bytes of the file @from, 0 = all, as the program DIR/NAME. Returns its
 * path. */
char *it_copy(struct it *it, const char *from, const char *name, size_t len);

/* it_tool - run a program beside the server; its output goes to @log in dir */
pid_t it_tool(struct it *it, const char *log, const char *const *argv);
void it_tool_stop(struct it *it, pid_t pid);
int it_tool_run(struct it *it, const char *log,
                const char *const *argv); /* exit code, 128 + signal */

/* it_wait_orphans - until no process is left but those that the test knows */
void it_wait_orphans(struct it *it);

/* it_count_lines - that match; it_file_has - at least one does */
size_t it_count_lines(const char *path, const char *pattern);
bool it_file_has(const char *path, const char *pattern);

/*
 * it_inject - strace @pid, attached on return
 * @trace   calls to be recorded, "accept4,epoll_wait"
 * @inject  "accept4:error=EMFILE:when=1+2", with calls of @trace
 */
pid_t it_inject(struct it *it, pid_t pid, const char *trace, const char *inject);

/* it_traced - lines that match in what was recorded of @pid so far */
size_t it_traced(struct it *it, pid_t pid, const char *pattern);

/* it_obey_permissions - as in_child: even root may only do what a file's mode allows */
void it_obey_permissions(void);

/* it_need_strace - skip the test, saying why, unless strace can be attached here */
void it_need_strace(struct it *it);

#endif
