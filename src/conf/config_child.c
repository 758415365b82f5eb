/*
 * The child that parses, as its parent sees it: fork, deadline, answer.
 */
#include "conf/config_file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/answerer.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/http_library.h"
#include "base/json_text.h"
#include "base/reap.h"
#include "base/util.h"
#include "conf/config_codec.h"
#include "conf/config_owner.h"

/* How the child ends; libconfig itself exits with small numbers. */
enum { EXIT_ANSWERED = 0, EXIT_NO_MEMORY = 101, EXIT_MEMORY_LIMIT, EXIT_NOT_WRITTEN };

/* ---- in the child ---- */

static long resident_max_kib;

static long resident_kib(void)
{
    struct rusage usage = {.ru_maxrss = 0};

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void on_cpu_time(int signo UNUSED)
{
    if (resident_kib() > resident_max_kib)
        _exit(EXIT_MEMORY_LIMIT);
}

/*
 * Only what is resident counts: some allocators reserve terabytes of addresses and use little of
 * them, so that a limit on addresses would refuse them everything. Memory is used by whoever uses
 * time, hence the timer counts the child's own.
 */
static void watch_memory(void)
{
    const struct itimerval often = {.it_interval = {0, 10000}, .it_value = {0, 10000}};
    struct sigaction sa = {.sa_handler = on_cpu_time, .sa_flags = SA_RESTART};

    resident_max_kib = resident_kib() + CONFIG_PARSE_MEMORY_MIB * 1024L;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGPROF, &sa, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
}

static void limit_self(void)
{
    const struct itimerval deadline = {
        .it_value = {CONFIG_PARSE_TIMEOUT_MS / 1000, CONFIG_PARSE_TIMEOUT_MS % 1000 * 1000}};
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    watch_memory();
    setitimer(ITIMER_REAL, &deadline, NULL);
}

/* What was found and what is wrong, as one text; NULL without memory. */
static char *encode_answer(json_t *values, json_t *owners, const struct config_errors *errors,
                           bool is_unclear)
{
    json_t *list = json_array(), *answer;
    char *text = NULL;

    for (size_t i = 0; list && i < errors->n; i++)
        if (json_array_append_new(list, json_pack("{s:I,s:o}", "line", (json_int_t)errors->line[i],
                                                  "text", json_text(errors->text[i]))) < 0)
            return NULL;
    answer = json_pack("{s:o,s:o,s:o,s:I,s:b}", "values", values, "owners", owners, "errors", list,
                       "dropped", (json_int_t)errors->n_dropped, "unclear", is_unclear);
    if (answer)
        text = json_dumps(answer, JSON_COMPACT);
    return text;
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
            config_errors_add(errors, "command line", 0, "%s%s%s",
                              overrides[i].option ? overrides[i].option : "",
                              overrides[i].option ? ": " : "", why);
    }
    return 0;
}

/* What a child has to read, and what its parent will put on top. */
struct job {
    const struct config_schema *schema;
    const char *path; /* NULL = no file */
    const struct config_override *overrides;
    size_t n_overrides;
};

/* Without the library the configuration is refused here; else the status actor could not start. */
static void try_http(const struct config *c, const char *path, struct config_errors *errors)
{
    const struct config_origin *origin = &c->origin[CONFIG_STATUS_BIND];
    const bool is_of_file = origin->kind == ORIGIN_FILE;
    struct http_library library;
    char why[HTTP_LIBRARY_WHY_LEN];

    if (*c->status_bind && http_library_load(&library, why) < 0)
        config_errors_add(errors, is_of_file ? path : "command line", is_of_file ? origin->line : 0,
                          "%s: %s", c->schema->rows[CONFIG_STATUS_BIND].name, why);
}

/* Of the values what only the system knows: users and groups, and whether there is a library. What
 * else is wrong with them is the parent's to say, who sets them once more. */
static json_t *ask_system_of(const struct job *job, const json_t *values,
                             struct config_errors *errors)
{
    struct config_errors ignored = {.n = 0};
    struct config *c = config_new(job->schema);

    if (!c || config_decode(c, values, "", &ignored) < 0 ||
        apply_overrides(c, job->overrides, job->n_overrides, &ignored) < 0)
        return NULL;
    try_http(c, job->path, errors);
    return config_owners_look_up(c);
}

/* Nobody but _exit ends this process in order: the parent's atexit functions are not ours to call.
 */
static void child_main(const void *data, int fd)
{
    const struct job *job = data;
    struct config_errors errors = {.n = 0};
    json_t *values, *owners;
    char *answer;
    int r;

    limit_self();
    fds_close_all_except(&fd, 1);
    /* libconfig's scanner prints before it exits, and exit() flushes what the parent had not. */
    fds_null_stdio();
    values = json_array();
    r = values ? 0 : -ENOMEM;
    if (r == 0 && job->path)
        r = config_file_read(job->schema, job->path, values, &errors);
    owners = r == -ENOMEM ? NULL : r < 0 ? json_object() : ask_system_of(job, values, &errors);
    if (!owners || !(answer = encode_answer(values, owners, &errors, r == CONFIG_FILE_UNCLEAR)))
        _exit(EXIT_NO_MEMORY);
    _exit(fds_write_all(fd, answer, strlen(answer)) < 0 ? EXIT_NOT_WRITTEN : EXIT_ANSWERED);
}

/* ---- in the parent ---- */

int config_child_start(const struct config_schema *schema, const char *path,
                       const struct config_override *overrides, size_t n_overrides, pid_t *ret_pid,
                       int *ret_fd)
{
    const struct job job = {schema, path && *path ? path : NULL, overrides, n_overrides};

    return answerer_start(child_main, &job, ret_pid, ret_fd);
}

int config_override_read(const struct config_schema *schema, const char *text,
                         struct config_override *ret, char *why, size_t why_size)
{
    const char *value = strchr(text, '=');
    char name[CONFIG_NAME_MAX + 2];
    int key;

    if (!value) {
        snprintf(why, why_size, "no value, allowed: GROUP.KEY=VALUE");
        return -EINVAL;
    }
    /* One that is too long is cut, and is still too long to be a key's. */
    snprintf(name, sizeof(name), "%.*s", (int)MIN(value - text, (ptrdiff_t)sizeof(name)), text);
    key = config_find(schema, name);
    if (key < 0) {
        config_name_explain(schema, name, why, why_size);
        return -EINVAL;
    }
    *ret = (struct config_override){.key = key, .text = value + 1, .option = "-o"};
    return 0;
}

/* What is known when the values of the file are there: overrides, owners and cross-checks. */
static int finish(struct config *c, const char *path, const struct config_override *overrides,
                  size_t n, const json_t *owners, struct config_errors *errors)
{
    char why[CONFIG_WHY_LEN + CONFIG_WHERE_LEN];
    int r = apply_overrides(c, overrides, n, errors);

    if (r < 0)
        return r;
    if (errors->n == 0)
        config_owners_apply(c, owners, errors);
    if (errors->n == 0 && config_check(c, why, sizeof(why)) < 0)
        config_errors_add_text(errors, 0, why);
    config_errors_close(errors, path);
    return errors->n ? -EINVAL : 0;
}

static int decode_error(const json_t *error, struct config_errors *errors)
{
    json_t *content;
    json_int_t line;
    char *text;
    int r;

    if (json_unpack((json_t *)(uintptr_t)error, "{s:I,s:o!}", "line", &line, "text", &content) <
            0 ||
        line < 0 || line > UINT32_MAX || json_string_length(content) == 0)
        return -EBADMSG;
    r = json_text_read(content, &text);
    if (r < 0)
        return r;
    config_errors_add_text(errors, (unsigned)line, text);
    free(text);
    return 0;
}

/* Returns 0, -EBADMSG or -ENOMEM. @c may be half filled, @errors takes what the child has found. */
static int decode_answer(const char *data, size_t len, const char *path, struct config *c,
                         json_t **ret_owners, struct config_errors *errors)
{
    json_t *answer = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL), *values, *list, *owners;
    json_int_t n_dropped;
    int is_unclear;
    int r = json_unpack(answer, "{s:o,s:o,s:o,s:I,s:b!}", "values", &values, "owners", &owners,
                        "errors", &list, "dropped", &n_dropped, "unclear", &is_unclear) < 0 ||
                    !json_is_array(list) || n_dropped < 0 || n_dropped > UINT32_MAX
                ? -EBADMSG
                : 0;

    for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
        r = decode_error(json_array_get(list, i), errors);
    if (r == 0)
        r = config_decode(c, values, path, errors);
    for (int key = 0; r == 0 && key < c->schema->n_keys; key++)
        if (c->origin[key].kind == ORIGIN_COMMAND_LINE)
            r = -EBADMSG; /* a file has lines */
    if (r == 0)
        errors->n_dropped += (unsigned)n_dropped;
    if (r == 0 && is_unclear && errors->n == 0)
        config_errors_add(
            errors, path, 0,
            "can be read in more than one way, allowed: GROUP = { KEY = VALUE; ... };");
    if (r == 0)
        *ret_owners = json_incref(owners);
    json_decref(answer);
    return r;
}

/* Without a file all that is no default is from the command line. */
static const char *source_name(const char *path)
{
    return path && *path ? path : "command line";
}

static const char *explain_exit(int code, char *buf, size_t size)
{
    switch (code) {
    case EXIT_ANSWERED:
        return "its answer is not complete or not understood";
    case EXIT_NO_MEMORY:
        return "it found no memory";
    case EXIT_MEMORY_LIMIT:
        snprintf(buf, size, "it took more than %d MiB of memory", CONFIG_PARSE_MEMORY_MIB);
        return buf;
    default:
        snprintf(buf, size, "it ended of itself, with exit status %d", code);
        return buf;
    }
}

/* Why there is no answer. Returns @buf, or a constant. */
static const char *explain_end(int status, char *buf, size_t size)
{
    const int signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (signo == 0)
        return explain_exit(WEXITSTATUS(status), buf, size);
    if (signo == SIGALRM)
        snprintf(buf, size, "it took longer than %g s", CONFIG_PARSE_TIMEOUT_MS / 1e3);
    else if (signo == SIGKILL)
        snprintf(buf, size, "it was killed, perhaps by the kernel because memory ran out");
    else
        snprintf(buf, size, "it crashed with signal %d (%s)", signo, strsignal(signo));
    return buf;
}

int config_child_result(const struct config_schema *schema, const char *path, const char *data,
                        size_t len, int status, const struct config_override *overrides,
                        size_t n_overrides, struct config **ret, struct config_errors *errors)
{
    const char *name = source_name(path);
    struct config *c = config_new(schema);
    json_t *owners = NULL;
    char end[128];
    int r = c ? 0 : -ENOMEM;

    if (c && path && *path)
        r = config_path_absolute(path, c->path, sizeof(c->path));
    if (r == 0)
        r = decode_answer(data, len, name, c, &owners, errors);
    else if (r != -ENOMEM)
        config_errors_add(errors, name, 0, "the path is too long, allowed: %d bytes",
                          CONFIG_PATH_MAX - 1);
    if (r == -EBADMSG) {
        config_errors_fini(errors);
        config_errors_add(errors, name, 0, "the parser failed: %s",
                          explain_end(status, end, sizeof(end)));
    } else if (r != -ENOMEM) {
        r = finish(c, name, overrides, n_overrides, owners, errors);
    }
    json_decref(owners);
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

int config_load_within(const struct config_schema *schema, const char *path,
                       const struct config_override *overrides, size_t n_overrides,
                       unsigned timeout_ms, struct config **ret, struct config_errors *errors)
{
    const char *name = source_name(path);
    uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
    char *data = malloc(CONFIG_ANSWER_MAX_BYTES);
    size_t len = 0;
    int fd = -1, status = SIGKILL, r;
    pid_t pid;

    r = data ? config_child_start(schema, path, overrides, n_overrides, &pid, &fd) : -ENOMEM;
    if (r < 0) {
        free(data);
        return r;
    }
    r = read_answer(fd, deadline_ms, data, CONFIG_ANSWER_MAX_BYTES, &len);
    fds_close(&fd);
    if (r < 0 || !reap_by(pid, deadline_ms, &status))
        reap_killed(pid, &status);
    if (r == 0) {
        r = config_child_result(schema, path, data, len, status, overrides, n_overrides, ret,
                                errors);
    } else if (r == -ETIMEDOUT) {
        config_errors_add(errors, name, 0, "the parser failed: it took longer than %g s",
                          timeout_ms / 1e3);
        r = -EINVAL;
    } else {
        config_errors_add(errors, name, 0, "the parser failed: its answer cannot be read: %s",
                          strerror(-r));
        r = -EINVAL;
    }
    free(data);
    return r;
}

int config_load(const struct config_schema *schema, const char *path,
                const struct config_override *overrides, size_t n_overrides, struct config **ret,
                struct config_errors *errors)
{
    return config_load_within(schema, path, overrides, n_overrides, CONFIG_PARSE_TIMEOUT_MS, ret,
                              errors);
}
