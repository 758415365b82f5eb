/*
 * Upgrades between this build and those of earlier commits, there and back: what both can speak
 * goes on with everything, what they cannot is refused with nothing changed. Nobody is left without
 * a server.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/upgrade_state.h"
#include "base/util.h"
#include "support/json_schema.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

/* The earlier commits. */
static const struct old {
    const char *commit;
    int state; /* the version that it reads and writes; no server of today can go there */
} olds[] = {
    {"da90f2f1bdd0af64cfa62a593929f5b0079907cc", 1}, /* with other words in it */
    {"62823f692e4ac65520d7c69684ffaea9495e9016", 4}, /* with this state, but for keepers */
    {"a7f849427cc26e2a5da9c54e7db075d28c5f12bc",
     4}, /* with keepers, but without times in the state and the scoreboard */
};

static const char now[] = "";

/* @name below the folder of the build of @commit; one run of checks shares those folders. */
static char *old_path(struct it *it, const char *commit, const char *name)
{
    const char *folder = getenv("ECHO_OLD_BUILDS");
    const size_t size = (folder ? strlen(folder) : 0) + strlen(name) + sizeof("old/123456789012/");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/%.12s/%s", folder ? folder : "old", commit, name);
    return folder ? path : it_build_path(it, path);
}

/* Of the build of @commit, or of this one if it is `now`. */
static char *program_of(struct it *it, const char *commit, const char *name)
{
    const size_t size = strlen(name) + sizeof("build/");
    char *path = peer_alloc(size);

    snprintf(path, size, "build/%s", name);
    return commit == now ? it_build_path(it, name) : old_path(it, commit, path);
}

/* Takes some seconds the first time, and longer than a tool may. */
static void need_build(struct it *it, const char *commit)
{
    char *text;
    int status = -1;
    pid_t pid;

    const char *const argv[] = {"tests/it/old_build.sh", commit, old_path(it, commit, ""), "cc",
                                NULL};
    pid = it_tool(it, "old_build", argv);
    MUST(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
    for (size_t i = 0; i < ARRAY_SIZE(it->tools); i++)
        it->tools[i] = it->tools[i] == pid ? 0 : it->tools[i];
    text = it_read(it_path(it, "old_build"));
    if (*text)
        printf("# %s", text);
    free(text);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    MUST(status == 0, "%s %s: status %d", argv[0], commit, status);
}

static void install(struct it *it, const char *commit, const char *name)
{
    const char *const argv[] = {"cp", program_of(it, commit, name), it_path(it, "new"), NULL};

    MUST(it_tool_run(it, "cp", argv) == 0 &&
             rename(it_path(it, "new"), it_path(it, "echo-arbiter")) == 0,
         "%s: %s", argv[1], strerror(errno));
}

/* A server, and what it is asked. The harness cannot read the records of another build. */
struct served {
    struct server *server;
    char control[128];
    int fd; /* of a connection in the middle of a message */
};

static struct tool_run ask(const struct served *s, const char *command)
{
    return RUN(s->server->it, NO_INPUT, "-C", s->control, "--json", command);
}

static void start(struct it *it, const char *commit, struct served *ret)
{
    char *env = peer_alloc(strlen(it_path(it, "hook")) + sizeof("ECHO_TEST_HOOK="));

    sprintf(env, "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    unlink(it_path(it, "hook"));
    install(it, commit, "test/echo-arbiter");
    ret->server = server_spawn(it, .conf = "", .env = {env}, .binary = it_path(it, "echo-arbiter"));
    MUST(server_is_ready_or_ended(ret->server), "it ended before it was ready");
    server_expect(ret->server,
                  "upgrade refused|back to the old program|worker (killed|died)|crash|backtrace");
    snprintf(ret->control, sizeof(ret->control), "%s/control", ret->server->run);
    ret->fd = peer_connect(ret->server->addr[0]);
    peer_send_text(ret->fd, "one\r\n\r\nhalf");
    peer_expect_text(ret->fd, "one\r\n\r\n");
}

/* Pids of workers, as text; owned by the caller. */
static char *workers_of(const struct served *s)
{
    struct tool_run r = ask(s, "info");
    json_t *info = json_loads(r.out, 0, NULL), *worker, *pids = json_array();
    char *text;
    size_t i;

    MUST(r.code == 0 && info, "info: %s%s", r.err, r.out);
    json_array_foreach(json_object_get(info, "workers"), i, worker)
        json_array_append(pids, json_object_get(worker, "pid"));
    text = json_dumps(pids, 0);
    json_decref(pids);
    json_decref(info);
    return text;
}

static bool has_workers(const struct served *s, const char *expected)
{
    char *pids = workers_of(s);
    const bool has = strcmp(pids, expected) == 0;

    free(pids);
    return has;
}

static void must_serve(struct served *s)
{
    peer_send_text(s->fd, "\r\n\r\nhalf");
    peer_expect_text(s->fd, "half\r\n\r\n");
    MUST(peer_is_served(s->server->addr[0], WAIT_MS), "nobody serves");
}

/* Returns whether the program that is installed has taken over; if not, nothing has changed. */
static bool upgrade(struct served *s, const char *title)
{
    char *before = workers_of(s);
    struct tool_run r = ask(s, "upgrade");
    /* An answer that this client does not know comes from another server than it. */
    const bool is_done = r.code == 0 || r.code == 76;

    printf("# %s: exit code %d: %s%s", title, r.code, r.err, *r.err ? "" : "\n");
    MUST(is_done || (r.code == 78 && strstr(r.err, "everything is as it was before")),
         "exit code %d: %s", r.code, r.err);
    must_serve(s);
    /* One that was killed when the old program came back may be there for a moment. */
    MUST_COME(has_workers(s, before) == !is_done, "the workers were %s, exit code %d", before,
              r.code);
    free(before);
    return is_done;
}

/* Those of an old build were root's. */
static void must_be_nobodys(const struct served *s)
{
    char *text = workers_of(s);
    json_t *pids = json_loads(text, 0, NULL), *pid;
    size_t i;

    json_array_foreach(pids, i, pid)
    {
        const pid_t worker = (pid_t)json_integer_value(pid);

        MUST(proc_status(worker, "NoNewPrivs", 10) == 1, "worker %d may gain rights", (int)worker);
        MUST(geteuid() != 0 || proc_status(worker, "Uid", 10) != 0, "worker %d is root's",
             (int)worker);
    }
    MUST(i > 0, "there are no workers");
    json_decref(pids);
    free(text);
}

static void stop(struct served *s)
{
    peer_close(s->fd);
    server_stop_and_check(s->server, SIGTERM, 0);
}

static void upgrade__from_and_to_an_old_build__goes_on_or_is_refused(void **state)
{
    struct it *it = *state;
    const struct old *old = it->data;
    const bool is_understood = old->state == STATE_VERSION;
    struct served s;
    need_build(it, old->commit);

    start(it, old->commit, &s);
    install(it, now, "test/echo-arbiter");
    it_write(it, "hook", "crash 0");
    MUST(!upgrade(&s, "old to new, whose workers crash"), "upgraded");
    unlink(it_path(it, "hook"));
    MUST(upgrade(&s, "old to new") == is_understood, "expected otherwise");
    if (is_understood)
        must_be_nobodys(&s);
    install(it, old->commit, "test/echo-arbiter");
    if (is_understood)
        MUST(!upgrade(&s, "and to the old again"), "expected otherwise");
    stop(&s);

    start(it, now, &s);
    install(it, old->commit, "test/echo-arbiter");
    it_write(it, "hook", "crash 0");
    MUST(!upgrade(&s, "new to old, whose workers crash"), "upgraded");
    unlink(it_path(it, "hook"));
    MUST(!upgrade(&s, "new to old"), "expected otherwise");
    stop(&s);
}

#define OLD(i)                                                                                     \
    {                                                                                              \
        "upgrade__from_and_to_an_old_build_" #i "__goes_on_or_is_refused",                         \
            upgrade__from_and_to_an_old_build__goes_on_or_is_refused, it_setup, it_teardown,       \
            (void *)(uintptr_t)&olds[i]                                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {OLD(0), OLD(1), OLD(2)};

    json_schema_is_off = true; /* it is that of this build */
    return it_run(tests);
}
