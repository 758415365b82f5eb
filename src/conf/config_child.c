/*
 * The child that parses, as its parent sees it: fork, deadline, answer.
 */
#include "conf/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fds.h"
#include "base/signals.h"
#include "base/util.h"
#include "conf/config_answer.h"
#include "conf/config_path.h"

/* ---- in the child ---- */

static void limit_self(void)
{
    const struct itimerval deadline = {
        .it_value = {CONFIG_PARSE_TIMEOUT_MS / 1000, CONFIG_PARSE_TIMEOUT_MS % 1000 * 1000}};
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
#if !HAS_SHADOW_MEMORY
    const struct rlimit memory = {1u << 30, 1u << 30};
    setrlimit(RLIMIT_AS, &memory);
#endif
    setitimer(ITIMER_REAL, &deadline, NULL);
}

/* libconfig's scanner prints before it exits, and exit() flushes what the parent had not written
 * yet. */
static void hide_stdio(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = 0; i <= 2; i++)
        dup2(fd, i);
    if (fd > 2)
        fds_close(&fd);
}

/* Nobody but _exit ends this process in order: the parent's atexit functions are not ours to call.
 */
__attribute__((noreturn)) static void child_main(const char *path, int fd, pid_t parent)
{
    struct config_errors errors = {.n = 0};
    struct config *c;
    char *answer;
    size_t len;

    signals_default_all();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    limit_self();
    signals_unblock_all();
    fds_close_all_except(&fd, 1);
    hide_stdio();
    c = config_new();
    if (!c || config_file_read(path, c, &errors) == -ENOMEM ||
        config_answer_encode(c, &errors, &answer, &len) < 0)
        _exit(1);
    _exit(fds_write_all(fd, answer, len) < 0);
}

/* ---- in the parent ---- */

int config_child_start(const char *path, pid_t *ret_pid, int *ret_fd)
{
    pid_t parent = getpid(), pid;
    sigset_t mask;
    int fd[2], r;

    if (pipe2(fd, O_CLOEXEC) < 0)
        return -errno;
    r = fds_set_nonblock(fd[0]);
    signals_block_all(&mask);
    pid = r == 0 ? fork() : -1;
    if (r == 0 && pid < 0)
        r = -errno;
    if (pid == 0)
        child_main(path, fd[1], parent);
    signals_restore(&mask);
    fds_close(&fd[1]);
    if (r < 0) {
        fds_close(&fd[0]);
        return r;
    }
    *ret_pid = pid;
    *ret_fd = fd[0];
    return 0;
}

static int apply_overrides(struct config *c, const struct config_override *overrides, size_t n,
                           struct config_errors *errors)
{
    for (size_t i = 0; i < n; i++) {
        struct config_origin origin = {ORIGIN_COMMAND_LINE, 0};
        char why[CONFIG_WHY_LEN];
        int r = config_set(c, overrides[i].key, overrides[i].text, origin, why, sizeof(why));

        if (r == -ENOMEM)
            return r;
        if (r < 0)
            config_errors_add(errors, "command line", 0, "%s", why);
    }
    return 0;
}

/* Overrides and cross-checks, for values from the file as well as for the defaults alone. */
static int finish(struct config *c, const struct config_override *overrides, size_t n,
                  struct config_errors *errors)
{
    char why[CONFIG_WHY_LEN + CONFIG_WHERE_LEN];
    int r = apply_overrides(c, overrides, n, errors);

    if (r < 0)
        return r;
    if (errors->n == 0 && config_check(c, why, sizeof(why)) < 0)
        config_errors_add_text(errors, why);
    return errors->n ? -EINVAL : 0;
}

int config_child_result(const char *path, const char *data, size_t len,
                        const struct config_override *overrides, size_t n_overrides,
                        struct config **ret, struct config_errors *errors)
{
    struct config *c = config_new();
    int r = c ? config_path_absolute(path, c->path, sizeof(c->path)) : -ENOMEM;

    if (r == 0)
        r = config_answer_decode(data, len, c, errors);
    else if (r != -ENOMEM)
        config_errors_add(errors, path, 0, "the path is too long, allowed: %d bytes",
                          CONFIG_PATH_MAX - 1);
    if (r == -EBADMSG) {
        config_errors_fini(errors);
        config_errors_add(errors, path, 0, "%s",
                          len ? "the parser's answer is not complete or not understood"
                              : "the parser ended without an answer: it crashed or took too long");
    } else if (r != -ENOMEM) {
        r = finish(c, overrides, n_overrides, errors);
    }
    if (r == 0) {
        *ret = c;
        return 0;
    }
    config_free(c);
    return r == -ENOMEM ? r : -EINVAL;
}

/* Reads to end of file. Returns 0, -ETIMEDOUT, -EMSGSIZE or -errno. */
static int read_answer(int fd, uint64_t deadline_ms, char *data, size_t size, size_t *ret_len)
{
    size_t len = 0;

    for (;;) {
        ssize_t n = read(fd, data + len, size - len);
        uint64_t now = clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (n == 0) {
            *ret_len = len;
            return 0;
        }
        if (n > 0)
            len += (size_t)n;
        if (len == size)
            return -EMSGSIZE;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (now >= deadline_ms)
            return -ETIMEDOUT;
        poll(&p, 1, (int)(deadline_ms - now));
    }
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int load_file(const char *path, const struct config_override *overrides, size_t n_overrides,
                     unsigned timeout_ms, struct config **ret, struct config_errors *errors)
{
    uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
    char *data = malloc(CONFIG_ANSWER_MAX_BYTES);
    size_t len = 0;
    int fd = -1, r;
    pid_t pid;

    r = data ? config_child_start(path, &pid, &fd) : -ENOMEM;
    if (r < 0) {
        free(data);
        return r;
    }
    r = read_answer(fd, deadline_ms, data, CONFIG_ANSWER_MAX_BYTES, &len);
    fds_close(&fd);
    reap(pid);
    if (r == 0) {
        r = config_child_result(path, data, len, overrides, n_overrides, ret, errors);
    } else {
        config_errors_add(errors, path, 0, "the parser was stopped: %s",
                          r == -ETIMEDOUT ? "it took too long" : strerror(-r));
        r = -EINVAL;
    }
    free(data);
    return r;
}

int config_load_within(const char *path, const struct config_override *overrides,
                       size_t n_overrides, unsigned timeout_ms, struct config **ret,
                       struct config_errors *errors)
{
    struct config *c;
    int r;

    if (path && *path)
        return load_file(path, overrides, n_overrides, timeout_ms, ret, errors);
    c = config_new();
    r = c ? finish(c, overrides, n_overrides, errors) : -ENOMEM;
    if (r < 0) {
        config_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int config_load(const char *path, const struct config_override *overrides, size_t n_overrides,
                struct config **ret, struct config_errors *errors)
{
    return config_load_within(path, overrides, n_overrides, CONFIG_PARSE_TIMEOUT_MS, ret, errors);
}
