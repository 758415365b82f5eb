/*
 * The arbiter's processes: fork them in libev's safe order, talk to them, reap them. What a worker
 * does wrong ends that worker, never the arbiter. Knows nobody above it: what processes say, and
 * that they have ended, is reported through struct children_ops.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/oom.h"
#include "base/passed.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"
#include "net/keep_table.h"

/* Descriptors of a worker that are not connections: log, mailbox, epoll, signals, reserve and some
 * air. */
enum { FDS_RESERVED = 24 };

struct revision *children_revision(struct arbiter *a, const struct child *c)
{
    return a->next && a->next->number == c->revision ? a->next : a->live;
}

struct child *children_next(const struct arbiter *a, const struct child *c)
{
    for (uint32_t i = c ? c->proc + 1 : 0; i < a->n_children_used; i++)
        if (a->children[i].pid)
            return &a->children[i];
    return NULL;
}

/* What RLIMIT_NOFILE leaves for connections, or less if the configuration says so. */
static unsigned effective_max_connections(struct arbiter *a, const struct revision *rev)
{
    unsigned wanted = rev->config->max_connections;
    unsigned reserved = FDS_RESERVED + (unsigned)rev->n_listeners;
    struct rlimit rl;
    unsigned room;

    if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
        rl.rlim_cur = 1024;
    room =
        rl.rlim_cur > reserved + 1 ? (unsigned)MIN(rl.rlim_cur, (rlim_t)INT32_MAX) - reserved : 1;
    if (wanted <= room)
        return wanted ? wanted : room;
    log_warning_limited(a->log, "server.max_connections is above what the descriptor limit allows",
                        F_UINT("max_connections", wanted), F_UINT("rlimit_nofile", rl.rlim_cur),
                        F_UINT("effective", room));
    return room;
}

/*
 * What is open already stays open. These children of the arbiter come by another way and stay what
 * it is: the log writer, the parser, a trial and the dry run of an upgrade. They open what only
 * root may open, or are to be what the arbiter will be, and read nothing that a client has sent.
 */
static void drop_privileges(const struct privileges *p, struct log *log)
{
    const char *step;
    const int rc = privileges_drop(p, &step, NULL);

    if (rc == 0)
        return;
    log_error(log, "privileges cannot be dropped", F_STR("user", p->user), F_UINT("uid", p->uid),
              F_STR("group", p->group), F_UINT("gid", p->gid), F_STR("call", step), F_ERR(rc));
    _exit(EX_NOPERM);
}

/* Never returns. Signals are blocked; the worker unblocks them when it can handle them. */
static void __attribute__((noreturn)) become_actor(struct arbiter *a, const struct child *c,
                                                   struct actor_boot *boot, struct revision *rev)
{
    int keep[CONFIG_BIND_MAX + 3], rc;
    size_t n_keep = 0;

    a->children_ops->in_child(a);
    signals_default_all();
    ev_loop_destroy(a->loop);
    title_set(boot->id, actor_state_name(ACTOR_INACTIVE));
    if (child_is_worker(c))
        oom_raise(); /* rather than the arbiter, or a keeper, without which more would be lost */
    rc = scoreboard_narrow(&a->scoreboard, boot->proc);
    if (rc == 0 && a->sources.header)
        rc = sources_narrow(&a->sources, boot->proc, boot->sources != NULL);
    keep[n_keep++] = boot->mailbox_fd;
    keep[n_keep++] = rev->log.fd;
    keep[n_keep++] = boot->keep_table_fd;
    for (size_t i = 0; i < boot->n_listeners; i++)
        keep[n_keep++] = boot->listeners[i]->fd;
    fds_close_all_except(keep, n_keep);
    revision_speak(rev);
    if (rev->config->is_daemon)
        fds_null_stdio(); /* the arbiter keeps them until every worker is ready */
    log_forked(&rev->log, boot->id);
    drop_privileges(&a->privileges, &rev->log);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a change of the user would clear it */
    if (getppid() != boot->arbiter_pid)
        _exit(EX_OK); /* died between fork and prctl: nobody is left to serve for */
    if (rc < 0) {
        log_error(&rev->log, "shared memory cannot be mapped", F_ERR(rc));
        _exit(EX_OSERR);
    }
    _exit(children_kind(a, c->slot)->main(boot));
}

static void fill_boot(struct arbiter *a, struct actor_boot *boot, const struct child *c,
                      struct revision *rev)
{
    *boot = (struct actor_boot){
        .program = a->options->program,
        .own = &a->own,
        .slot = tr_slot_number(c->slot),
        .proc = c->proc,
        .incarnation = c->incarnation,
        .arbiter_pid = getpid(),
        .config = rev->config,
        .keep_table_fd = c->table_fd,
        .scoreboard = &a->scoreboard,
        .log = &rev->log,
        .sandbox = rev->config->sandbox == SANDBOX_OFF ? NULL : &a->sandbox,
    };
    if (child_is_worker(c)) {
        boot->listeners = rev->listeners;
        boot->n_listeners = rev->n_listeners;
        boot->max_connections = effective_max_connections(a, rev);
    } else if (kinds_is_status(&a->kinds, c->slot)) {
        boot->listeners = &rev->status;
        boot->n_listeners = rev->status != NULL;
    } else {
        boot->kind = kinds_row(&a->kinds, c->slot);
    }
    snprintf(boot->id, sizeof(boot->id), "%s", c->id);
}

static void on_message(struct mailbox *mb, struct message *m, int *fds UNUSED, size_t n_fds UNUSED)
{
    struct child *c = container_of(mb, struct child, mailbox);
    struct arbiter *a = c->arbiter;

    /* What it said before it was killed is worth no more than why it was killed. */
    if (c->is_killed)
        return;
    log_debug(a->log, "message", F_STR("from", m->sender), F_STR("command", m->command),
              F_UINT("id", m->id));
    if (strcmp(m->sender, c->id) != 0)
        children_kill(c, LOG_LEVEL_WARNING, "it spoke in another's name");
    else if (a->children_ops->on_message(a, c, m) < 0)
        children_kill(c, LOG_LEVEL_WARNING, "it said what it may not");
}

static int on_data(struct mailbox *mb, const uint8_t *data, size_t len)
{
    struct child *c = container_of(mb, struct child, mailbox);

    return c->arbiter->children_ops->on_data(c->arbiter, c, data, len);
}

static void on_mailbox_close(struct mailbox *mb, int error)
{
    struct child *c = container_of(mb, struct child, mailbox);

    /* End of file: it is about to exit, or has; the sweep tells how. */
    c->disconnected_ms = clock_mono_ms();
    c->arbiter->children_ops->on_closed(c->arbiter, c);
    if (error)
        children_kill(c, LOG_LEVEL_WARNING, "its mailbox broke");
}

const struct actor_kind *children_kind(const struct arbiter *a, uint32_t slot)
{
    if (slot <= TR_SLOTS_MAX)
        return a->options->worker;
    if (kinds_is_keeper(&a->kinds, slot))
        return a->options->keeper;
    if (kinds_is_status(&a->kinds, slot))
        return a->options->status;
    return kinds_row(&a->kinds, slot) ? a->options->other : NULL;
}

/* Without one it serves all the same. */
static void make_table(struct child *c)
{
    struct rlimit rl;
    int fd = getrlimit(RLIMIT_NOFILE, &rl) < 0 ? -errno : keep_table_make(rl.rlim_cur);

    if (fd < 0)
        log_warning_limited(c->arbiter->log, "a worker has no keeper: no shared memory for it",
                            F_STR("worker", c->id), F_ERR(fd));
    c->table_fd = fd < 0 ? -1 : fd;
}

/* A worker with limits per source counts what it has. The arbiter may lack the memory for that from
 * the exec of an upgrade on until the new workers are prepared, if the image before has another
 * layout of it: a worker that has to be replaced meanwhile has no limits. */
static int give_sources(struct arbiter *a, const struct child *c, const struct revision *rev,
                        struct actor_boot *boot)
{
    int rc;

    if (!child_is_worker(c) || !a->sources.header || !config_has_source_limits(rev->config))
        return 0;
    rc = sources_assign(&a->sources, c->proc);
    if (rc == 0)
        boot->sources = &a->sources;
    else
        log_warning_limited(a->log, "connections cannot be counted per source", F_ERR(rc));
    return rc;
}

int children_spawn(struct arbiter *a, const struct tr_action *action)
{
    struct child *c = &a->children[action->proc];
    struct revision *rev;
    struct actor_boot boot;
    sigset_t mask;
    int ends[2];
    pid_t pid;
    int rc;

    if (!children_kind(a, action->slot))
        return -ENOENT;
    if (a->privileges.kind == PRIVILEGES_UNKNOWN)
        return -EAGAIN;
    rc = mailbox_pair(ends);
    if (rc < 0)
        return rc;
    rc = scoreboard_assign(&a->scoreboard, action->proc, action->slot,
                           a->incarnations[action->slot] + 1);
    if (rc < 0) {
        fds_close(&ends[0]);
        fds_close(&ends[1]);
        return rc;
    }
    *c = (struct child){
        .arbiter = a,
        .proc = action->proc,
        .score = scoreboard_record(&a->scoreboard, action->proc),
        .slot = action->slot,
        .incarnation = ++a->incarnations[action->slot],
        .revision = action->revision,
        .forked_ms = clock_mono_ms(),
        .table_fd = -1,
    };
    kinds_id(&a->kinds, c->slot, c->id);
    rev = children_revision(a, c);
    if (child_is_worker(c) && a->kinds.keeper && rev->config->has_keepers)
        make_table(c);
    passed_refuse(ends[0]); /* the arbiter needs no descriptor of a worker's */
    fill_boot(a, &boot, c, rev);
    boot.mailbox_fd = ends[1];
    rc = give_sources(a, c, rev, &boot);
    signals_block_all(&mask);
    pid = rc < 0 ? -1 : fork();
    if (pid == 0)
        become_actor(a, c, &boot, rev);
    if (rc == 0 && pid < 0)
        rc = -errno;
    signals_restore(&mask);
    fds_close(&ends[1]);
    if (pid < 0) {
        fds_close(&ends[0]);
        fds_close(&c->table_fd);
        scoreboard_release(&a->scoreboard, c->proc);
        sources_release(&a->sources, c->proc);
        return rc;
    }
    c->pid = pid;
    counter_set(&scoreboard_identity(&a->scoreboard, c->proc)->pid, (uint64_t)pid);
    a->n_children_used = MAX(a->n_children_used, c->proc + 1);
    mailbox_start(&c->mailbox, a->loop, ends[0], on_message, on_mailbox_close);
    c->mailbox.on_data = on_data;
    return 0;
}

int children_send(struct child *c, const char *command, uint64_t id, json_t *args)
{
    return children_send_fds(c, command, id, args, NULL, 0);
}

int children_send_fds(struct child *c, const char *command, uint64_t id, json_t *args,
                      const int *fds, size_t n_fds)
{
    return mailbox_say(&c->mailbox, c->arbiter->log, "arbiter", c->id, command, id, args, fds,
                       n_fds);
}

void children_kill(struct child *c, enum log_level level, const char *why)
{
    struct log *log = c->arbiter->log;

    if (!c->pid)
        return;
    c->is_killed = true;
    if (kill(c->pid, SIGKILL) < 0)
        log_error_limited(log,
                          child_is_worker(c) ? "worker cannot be killed" : "actor cannot be killed",
                          F_CHILD(c), F_ERR(-errno), F_CAUSE_STR("why", why));
    else
        LOG_AT_(log, level, log_emit_limited, child_is_worker(c) ? "worker killed" : "actor killed",
                F_CHILD(c), F_CAUSE_STR("why", why));
}

void children_inherit(struct arbiter *a, struct child *c, int mailbox_fd)
{
    c->arbiter = a;
    c->is_inherited = true;
    kinds_id(&a->kinds, c->slot, c->id);
    if (mailbox_fd >= 0) {
        mailbox_start(&c->mailbox, a->loop, mailbox_fd, on_message, on_mailbox_close);
        c->mailbox.on_data = on_data;
        return;
    }
    c->mailbox.is_closed = true;
    c->disconnected_ms = clock_mono_ms();
}

struct child *children_find(struct arbiter *a, pid_t pid)
{
    for_each_child (a, c)
        if (c->pid == pid)
            return c;
    return NULL;
}

/* A process that has ended and is not reaped yet: its number is still its own. 0 = there is none.
 */
static pid_t next_ended(void)
{
    siginfo_t info = {0};

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? info.si_pid : 0;
}

void children_reap(struct arbiter *a)
{
    int status;
    pid_t pid;

    while ((pid = next_ended()) > 0) {
        struct child *c = children_find(a, pid);

        /* The last words of a worker may tell that its end was planned. */
        if (c)
            mailbox_finish(&c->mailbox);
        if (waitpid(pid, &status, WNOHANG) != pid)
            break;
        if (!c) {
            a->children_ops->on_other_exit(a, pid, status);
            continue;
        }
        a->children_ops->on_exit(a, c, status);
        scoreboard_release(&a->scoreboard, c->proc);
        sources_release(&a->sources, c->proc);
        fds_close(&c->table_fd);
        c->pid = 0;
    }
    settle_soon(a);
}
