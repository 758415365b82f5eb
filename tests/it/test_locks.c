/*
 * Locks: any local user can hold one on whatever may be opened for reading. None of them stops a
 * start or a reload.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/util.h"
#include "support/server.h"

enum { NOBODY = 65534 };

/* As another user, if we are root. Returns what holds the lock, or -1. */
static int lock_as_stranger(const char *path)
{
    const uid_t uid = geteuid();

    MUST(uid != 0 || seteuid(NOBODY) == 0, "seteuid");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        fds_close(&fd);
    MUST(uid != 0 || seteuid(0) == 0, "seteuid");
    return fd;
}

static void must_be_private(const char *path)
{
    struct stat st;

    MUST(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "%s: mode %o", path,
         st.st_mode & 07777);
}

static void locks__directories_locked_by_a_stranger__start_and_reload_work(void **state)
{
    struct it *it = *state;
    char conf[256], env[128];

    MUST(chmod(it->dir, 0755) == 0, "chmod");
    int stranger = lock_as_stranger(it->dir);
    MUST(stranger >= 0, "the directory cannot be locked");
    snprintf(env, sizeof(env), "RUNTIME_DIRECTORY=%s", it->dir);
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s/a\"]; };", it->dir);
    struct server *s =
        server_start(it, .conf = conf, .env = {env}, .args = {"-p", it_path(it, "pid")});
    MUST(server_log_count(s, "no control socket") == 0, "there is no control socket");
    MUST(access(it_path(it, "control"), F_OK) == 0, "the control socket is missing");
    must_be_private(it_path(it, "pid"));
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s/a\", \"unix:%s/b\"]; };", it->dir,
             it->dir);
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    snprintf(conf, sizeof(conf), "unix:%s/b", it->dir);
    MUST(peer_is_served(conf, WAIT_MS), "the new socket is not served");
    MUST(access(it_path(it, "a.lock"), F_OK) < 0 && access(it_path(it, "b.lock"), F_OK) < 0 &&
             access(it_path(it, "control.lock"), F_OK) < 0,
         "a lock file is left");
    s->arbiter_fds = s->worker_fds = 0; /* one listener more */
    server_stop_and_check(s, SIGTERM, 0);
    MUST(access(it_path(it, "pid"), F_OK) < 0, "the pid file is left");
    fds_close(&stranger);
}

/* What a killed server has left is as private as before. */
static void locks__stale_pid_file__no_stranger_can_lock_it(void **state)
{
    struct it *it = *state;

    if (geteuid() != 0)
        skip(); /* there is no other user */
    MUST(chmod(it->dir, 0755) == 0, "chmod");
    struct server *s = server_start(it, .conf = "", .args = {"-p", it_path(it, "pid")});
    server_expect(s, "the arbiter is gone");
    kill(s->pid, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "not killed");
    it_wait_orphans(it);
    MUST(lock_as_stranger(it_path(it, "pid")) < 0, "it could be locked");
    server_start(it, .conf = "", .args = {"-p", it_path(it, "pid")});
}

/* One that somebody has made for us, and others may read: what the server says helps. */
static void locks__pid_file_of_wide_mode_locked__says_what_to_do(void **state)
{
    struct it *it = *state;
    char who[96], *path = it_path(it, "pid");

    MUST(chmod(it->dir, 0755) == 0, "chmod");
    it_write(it, "pid", "4711\n");
    MUST(chmod(path, 0644) == 0, "chmod");
    int stranger = lock_as_stranger(path);
    MUST(stranger >= 0, "it cannot be locked");
    snprintf(who, sizeof(who), "locked by process %d \\(.*remove the file", (int)getpid());
    server_refuses(it, 75, who, .args = {"-p", path});
    MUST(unlink(path) == 0, "unlink");
    server_start(it, .conf = "", .args = {"-p", path});
    must_be_private(path);
    fds_close(&stranger);
}

/* In a directory that all may write, anybody can make the file first. */
static void locks__lock_file_of_a_stranger__named_with_what_to_do(void **state)
{
    struct it *it = *state;
    char conf[256], *path = it_path(it, "u.lock");

    if (geteuid() != 0)
        skip(); /* there is no other user */
    MUST(chmod(it->dir, 01777) == 0, "chmod");
    it_write(it, "u.lock", "");
    MUST(chmod(path, 0600) == 0 && chown(path, NOBODY, NOBODY) == 0, "chown");
    struct server *s = server_start(it, .conf = "server: { bind = [\"127.0.0.1:0\"]; };");
    server_expect(s, "belongs to user 65534");
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s/u\"]; };", it->dir);
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused.*u.lock.*belongs to user 65534.*root remove it", 1);
    MUST(unlink(path) == 0, "it has been removed");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(locks__directories_locked_by_a_stranger__start_and_reload_work),
        IT(locks__stale_pid_file__no_stranger_can_lock_it),
        IT(locks__lock_file_of_a_stranger__named_with_what_to_do),
        IT(locks__pid_file_of_wide_mode_locked__says_what_to_do),
    };
    return it_run(tests);
}
