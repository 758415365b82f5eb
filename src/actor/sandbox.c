/*
 * seccomp and Landlock. A call that is not in the list below ends the process with SIGSYS, whose
 * handler (actor/fatal) writes a record with the call's name. Runs in the arbiter and a child of
 * it, but for sandbox_enter and sandbox_call_name.
 */
#include "actor/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/passed.h"
#include "base/reap.h"
#include "base/signals.h"
#include "base/util.h"

/* ---- the list ---- */

/* Stands in the rules where a process has its own pid. Above any that there can be. */
#define OWN_PID 0x7ace51d1u

/* What an argument has to be; each row is one more way in which a call is allowed. */
struct condition {
    enum { ANYTHING, EQUAL, WITHOUT } is;
    unsigned argument;
    uint64_t value; /* the bits themselves, or bits that are not set */
};

struct rule {
    const char *call;
    enum { WORKER = 1, KEEPER = 2, STATUS = 4, SERVING = WORKER | STATUS, ALL = 7 } who;
    struct condition condition;
    const char *rare; /* why it is there, if a usual run does not make it */
};

#define ARGUMENT(n, bits)                                                                          \
    {                                                                                              \
        EQUAL, n, bits                                                                             \
    }
#define LACKS(n, bits)                                                                             \
    {                                                                                              \
        WITHOUT, n, bits                                                                           \
    }
#define ANY                                                                                        \
    {                                                                                              \
        ANYTHING, 0, 0                                                                             \
    }

/* clang-format off */
static const struct rule rules[] = {
    /* Our own. Calls of each message have no condition: only then does the kernel remember the
     * answer, which saves a half of the cost. So sendto with MSG_FASTOPEN is let through. */
    {"epoll_wait", ALL, ANY, NULL},
    {"epoll_ctl", ALL, ANY, NULL},
    {"recvfrom", SERVING, ANY, NULL},
    {"sendto", SERVING, ANY, NULL},
    {"accept4", SERVING, ANY, NULL},
    {"close", ALL, ANY, NULL},
    {"shutdown", SERVING, ANY, NULL},
    {"read", WORKER, ANY, NULL},
    {"read", KEEPER | STATUS, ANY, "a SIGTERM has come, as when the arbiter is gone"},
    {"readv", WORKER, ANY, NULL},
    {"write", ALL, ANY, NULL},
    {"writev", WORKER, ANY, NULL},
    {"recvmsg", ALL, ANY, NULL},
    {"sendmsg", ALL, ANY, NULL},
    {"getsockopt", WORKER, ANY, NULL},
    {"setsockopt", SERVING, ANY, NULL},
    {"setsockopt", KEEPER, ANY, "as futex"},
    {"getpeername", WORKER, ANY, "a line of the log names a peer"},
    {"getsockname", WORKER, ANY, "connections are listed: to which address are they?"},
    {"connect", WORKER, ARGUMENT(2, sizeof(sa_family_t)), "a kept connection is reset by AF_UNSPEC, which has no address"},
    {"ioctl", WORKER, ARGUMENT(1, FIONREAD), "a batch of connections that is too large for a message"},
    {"ioctl", WORKER, ARGUMENT(1, SIOCOUTQ), "server.max_buffered is used up: who has most unsent?"},
    {"fcntl", ALL, ARGUMENT(1, F_GET_SEALS), NULL},
    {"fcntl", WORKER, ARGUMENT(1, F_ADD_SEALS), NULL},
    {"fcntl", ALL, ARGUMENT(1, F_DUPFD_CLOEXEC), "the mailbox is full, and a message with descriptors waits"},
    {"fcntl", WORKER, ARGUMENT(1, F_SETPIPE_SZ), "as pipe2"},
    {"pipe2", WORKER, ANY, "connections move where memfd_create is refused"},
    {"memfd_create", WORKER, ANY, NULL},
    {"pread64", ALL, ANY, NULL}, /* its memory, once a second */
    {"poll", WORKER, ANY, NULL},
    {"poll", KEEPER | STATUS, ANY, "its mailbox is full when it ends"},
    {"getpid", ALL, ANY, NULL},
    {"getppid", WORKER, ANY, NULL},
    {"getppid", KEEPER | STATUS, ANY, "is the arbiter gone?"},
    {"sched_getaffinity", ALL, ARGUMENT(0, 0), NULL},
    {"exit_group", ALL, ANY, NULL},
    /* Of the handler of fatal signals. */
    {"alarm", ALL, ANY, NULL},
    {"tgkill", ALL, ARGUMENT(0, OWN_PID), NULL},
    /* Of the thread that closes what peers pass (base/passed). */
    {"futex", ALL, ANY, "before Linux 6.16 there is such a thread"},
    {"timer_settime", ALL, ANY, "as futex"},

    /* Of the C library and libev. */
    {"gettid", ALL, ANY, NULL},
    {"rt_sigaction", ALL, ANY, NULL},
    {"rt_sigprocmask", ALL, ANY, NULL},
    {"rt_sigreturn", ALL, ANY, NULL},
    {"newfstatat", ALL, ARGUMENT(3, AT_EMPTY_PATH), "fstat of some C libraries, once a second: its descriptors"},
    {"mmap", ALL, LACKS(2, PROT_EXEC), NULL},
    {"munmap", ALL, ANY, NULL},
    {"brk", ALL, ANY, "malloc"},
    {"uname", WORKER, ANY, NULL},
    {"mremap", ALL, ANY, "realloc of a large block"},
    {"madvise", ALL, ANY, "memory is given back"},
    {"mprotect", ALL, LACKS(2, PROT_EXEC), "other allocators than glibc's"},
    {"epoll_create1", ALL, ANY, "libev builds its set anew"},
    {"eventfd2", ALL, ANY, "libev builds its set anew"},
    {"restart_syscall", ALL, ANY, "the kernel's own, when a stopped process goes on"},
    {"getrandom", ALL, ANY, "seeds of hash tables and allocators"},
    {"clock_gettime", ALL, ANY, "without a vDSO, as some virtual machines are"},
    {"gettimeofday", ALL, ANY, "without a vDSO"},
    {"fstat", ALL, ANY, "fstat of other C libraries"},
    {"epoll_pwait", ALL, ANY, "machines without epoll_wait"},
    {"ppoll", ALL, ANY, "machines without poll"},
    {"setitimer", ALL, ANY, "machines without alarm"},
    {"exit", ALL, ANY, "the end of a thread"},

    /* Of harmless functions that code of protocols may well call. */
    {"ioctl", WORKER, ARGUMENT(1, TCGETS), "printf, if standard output is a terminal"},
    {"lseek", WORKER, ANY, "stdio"},
    {"sysinfo", WORKER, ANY, "qsort"},
    {"clock_nanosleep", WORKER, ANY, "sleep"},
};
/* clang-format on */

bool sandbox_rule(size_t i, struct sandbox_rule *ret)
{
    if (i >= ARRAY_SIZE(rules))
        return false;
    *ret = (struct sandbox_rule){
        .call = rules[i].call,
        .may = {[SANDBOX_WORKER] = rules[i].who & WORKER,
                [SANDBOX_KEEPER] = rules[i].who & KEEPER,
                [SANDBOX_STATUS] = rules[i].who & STATUS},
        .is_conditional = rules[i].condition.is != ANYTHING,
        .rare = rules[i].rare,
    };
    return true;
}

/* ---- its filters ---- */

bool sandbox_knows_call(const char *name)
{
    return strcmp(name, "*") == 0 || seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR;
}

static bool is_further(const char *const *further, const char *name)
{
    for (; further && *further; further++)
        if (strcmp(*further, name) == 0)
            return true;
    return false;
}

static int add_rule(scmp_filter_ctx ctx, const struct rule *r)
{
    const int call = seccomp_syscall_resolve_name(r->call);
    const struct condition *c = &r->condition;
    int rc;

    if (c->is == ANYTHING)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 0);
    else if (c->is == EQUAL)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
                              SCMP_CMP64(c->argument, SCMP_CMP_EQ, c->value, 0));
    else
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
                              SCMP_CMP64(c->argument, SCMP_CMP_MASKED_EQ, c->value, 0));
    return rc == -EDOM ? 0 : rc; /* this machine has no such call */
}

/*
 * A call's number is -1 where a tracer has taken the call back, as strace does to make it fail: the
 * kernel then does nothing, and the tracer gives the result.
 */
static int add_rules(scmp_filter_ctx ctx, unsigned who, const char *const *further)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_API_TSKIP, 1);

    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP);
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, -1, 0);
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(rules); i++)
        if (rules[i].who & who && !is_further(further, rules[i].call))
            rc = add_rule(ctx, &rules[i]);
    for (; rc == 0 && further && *further; further++)
        rc = add_rule(ctx, &(struct rule){.call = *further});
    return rc;
}

/* libseccomp writes its program to a descriptor and nowhere else. @code has room for the longest.
 */
static int read_program(scmp_filter_ctx ctx, struct sock_filter *code, unsigned short *ret_len)
{
    int ends[2] = {-1, -1}, rc = 0;
    ssize_t size;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    rc = seccomp_export_bpf(ctx, ends[1]);
    size = rc == 0 ? read(ends[0], code, BPF_MAXINSNS * sizeof(*code)) : 0; /* a pipe holds more */
    if (rc == 0 && (size <= 0 || (size_t)size % sizeof(*code) != 0))
        rc = -EIO;
    if (rc == 0)
        *ret_len = (unsigned short)((size_t)size / sizeof(*code));
    fds_close(&ends[0]);
    fds_close(&ends[1]);
    return rc;
}

static int build_filter(struct sock_filter *code, unsigned short *ret_len, unsigned who,
                        const char *const *further)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    int rc = ctx ? add_rules(ctx, who, further) : -ENOMEM;

    if (rc == 0)
        rc = read_program(ctx, code, ret_len);
    seccomp_release(ctx);
    return rc;
}

static void find_names(struct sandbox *s)
{
    s->arch = seccomp_arch_native();
    for (int i = 0; i < SANDBOX_NAMES_MAX; i++)
        s->names[i] = seccomp_syscall_resolve_num_arch(s->arch, i);
}

int64_t sandbox_stopped(const struct sandbox *s, const siginfo_t *info)
{
    const bool is_ours = s && info->si_signo == SIGSYS && info->si_code == SANDBOX_SYS_SECCOMP;

    if (!is_ours)
        return SANDBOX_NONE;
    return info->si_arch == s->arch ? info->si_syscall : SANDBOX_FOREIGN;
}

const char *sandbox_call_name(const struct sandbox *s, int64_t number)
{
    if (number == SANDBOX_FOREIGN)
        return "of another machine";
    return s && number >= 0 && number < SANDBOX_NAMES_MAX && s->names[number] ? s->names[number]
                                                                              : "?";
}

/* ---- to enter it ---- */

/* As the kernel's headers know it from ABI 6 on. */
struct landlock_rules {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

/* What is named here and allowed by no rule, as there is none, is forbidden. */
static struct landlock_rules forbid_all(int abi)
{
    enum { FS_FIRST = 13, FS_REFER = 1, FS_TRUNCATE = 1, FS_IOCTL_DEV = 1, NET = 2, SCOPES = 2 };
    const int n_fs = FS_FIRST + (abi >= 2 ? FS_REFER : 0) + (abi >= 3 ? FS_TRUNCATE : 0) +
                     (abi >= 5 ? FS_IOCTL_DEV : 0);

    return (struct landlock_rules){
        .handled_access_fs = (UINT64_C(1) << n_fs) - 1,
        .handled_access_net = abi >= 4 ? (1u << NET) - 1 : 0, /* bind and connect of TCP */
        .scoped = abi >= 6 ? (1u << SCOPES) - 1 : 0, /* abstract sockets and signals */
    };
}

static int landlock_find_abi(void)
{
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < 0 ? -errno : (int)abi;
}

static int enter_landlock(int abi)
{
    const struct landlock_rules rules_of_abi = forbid_all(abi);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules_of_abi, sizeof(rules_of_abi), 0);
    int rc = fd < 0 ? -errno : 0;

    if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        rc = -errno;
    fds_close(&fd);
    return rc;
}

static void put_own_pid(struct sandbox_filter *f)
{
    for (unsigned i = 0; i < f->len; i++)
        if (f->code[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && f->code[i].k == OWN_PID)
            f->code[i].k = (uint32_t)getpid();
}

/* All threads, if the program has made any. */
static int enter_seccomp(struct sandbox_filter *f)
{
    const struct sock_fprog program = {f->len, f->code};
    long rc;

    put_own_pid(f);
    rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
    if (rc > 0)
        return -EBUSY; /* that thread has a filter of its own */
    return rc < 0 ? -errno : 0;
}

bool sandbox_has_seccomp(const struct sandbox *s)
{
    return s->has_seccomp && s->filters[SANDBOX_WORKER].code;
}

int sandbox_landlock(const struct sandbox *s)
{
    return s->has_further ? 0 : s->landlock_abi;
}

int sandbox_enter(struct sandbox *s, enum sandbox_who who, const char **ret_step)
{
    const char *step = "no_new_privs";
    int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;

    tzset(); /* reads a file, for whoever asks for the local time later */
    if (rc == 0 && s->landlock_abi > 0 && !(who == SANDBOX_WORKER && s->has_further)) {
        step = "landlock";
        rc = enter_landlock(s->landlock_abi);
    }
    passed_prepare(); /* may start a thread, which is under Landlock then as well */
    if (rc == 0 && s->has_seccomp && s->filters[who].code) {
        step = "seccomp";
        rc = enter_seccomp(&s->filters[who]);
    }
    if (rc < 0)
        *ret_step = step;
    return rc;
}

/* ---- what can be had ---- */

enum { ATTEMPT_MS = 2000 }; /* it takes a few, unless somebody stops it */

/*
 * What a child has found, in memory that both have. A filter of a container may refuse each of
 * these calls, which nothing but an attempt shows, or kill who makes it: libseccomp itself asks the
 * kernel what it knows. So nothing of all that happens in the arbiter.
 */
struct attempt {
    /* of the child */
    const char *const *further;
    bool has_worker; /* it is confined */
    /* by the child */
    int built; /* 0 or -errno: not even the filters could be had */
    int entered; /* 0 or -errno */
    int abi; /* of Landlock, or -errno */
    unsigned short len[SANDBOX_WHO];
    struct sock_filter code[SANDBOX_WHO][BPF_MAXINSNS];
};

static void attempt_landlock(struct attempt *t)
{
    t->abi = landlock_find_abi();
    if (t->abi > 0)
        t->entered = enter_landlock(t->abi);
}

static void attempt_seccomp(struct attempt *t)
{
    static struct sock_filter own[BPF_MAXINSNS]; /* gets the pid of this process */
    struct sandbox_filter f;

    if (t->has_worker)
        t->built =
            build_filter(t->code[SANDBOX_WORKER], &t->len[SANDBOX_WORKER], WORKER, t->further);
    if (t->built == 0)
        t->built = build_filter(t->code[SANDBOX_KEEPER], &t->len[SANDBOX_KEEPER], KEEPER, NULL);
    if (t->built == 0)
        t->built = build_filter(t->code[SANDBOX_STATUS], &t->len[SANDBOX_STATUS], STATUS, NULL);
    if (t->built < 0)
        return;
    f = (struct sandbox_filter){own, t->len[SANDBOX_KEEPER]};
    memcpy(own, t->code[SANDBOX_KEEPER], f.len * sizeof(own[0]));
    t->entered = enter_seccomp(&f);
}

/* Signals stay blocked: they are the arbiter's. One that a filter sends comes all the same. */
static void __attribute__((noreturn))
attempt_main(void (*attempt)(struct attempt *t), struct attempt *t, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* its end is no crash that anybody should look at */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (getppid() == parent)
        attempt(t);
    _exit(0);
}

/* Returns 0, -errno, or the signal that has ended the attempt. */
static int attempt_run(void (*attempt)(struct attempt *t), struct attempt *t, uint64_t deadline_ms)
{
    const pid_t parent = getpid();
    int status = 0, rc;
    sigset_t mask;
    pid_t pid;

    signals_block_all(&mask);
    pid = fork();
    if (pid == 0)
        attempt_main(attempt, t, parent);
    rc = pid < 0 ? -errno : 0;
    signals_restore(&mask);
    if (rc < 0)
        return rc;
    if (reap_by(pid, deadline_ms, &status))
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    reap_killed(pid, NULL);
    return -ETIMEDOUT;
}

static void __attribute__((format(printf, 2, 3)))
say_lack(struct sandbox *s, const char *format, ...)
{
    const size_t len = strlen(s->lacks);
    va_list values;

    va_start(values, format);
    if (len > 0)
        snprintf(s->lacks + len, sizeof(s->lacks) - len, "; ");
    vsnprintf(s->lacks + strlen(s->lacks), sizeof(s->lacks) - strlen(s->lacks), format, values);
    va_end(values);
}

static void say_killed(struct sandbox *s, const char *what, int signal)
{
    say_lack(s, "no %s: a process that tries it is killed: %s", what, strsignal(signal));
    s->is_denied = true;
}

static int find_landlock(struct sandbox *s, struct attempt *t, uint64_t deadline_ms)
{
    const int rc = attempt_run(attempt_landlock, t, deadline_ms);

    if (rc > 0)
        say_killed(s, "Landlock", rc);
    if (rc != 0)
        return MIN(rc, 0);
    if (t->abi < 0) {
        s->is_denied |= t->abi != -ENOSYS && t->abi != -EOPNOTSUPP;
        say_lack(s, "no Landlock: %s",
                 t->abi == -ENOSYS       ? "the kernel has none"
                 : t->abi == -EOPNOTSUPP ? "the kernel was started without it"
                                         : strerror(-t->abi));
    } else if (t->entered < 0) {
        s->is_denied = true;
        say_lack(s, "no Landlock: landlock_restrict_self: %s", strerror(-t->entered));
    } else {
        s->landlock_abi = t->abi;
    }
    return 0;
}

static int copy_filter(struct sandbox *s, const struct attempt *t, enum sandbox_who who)
{
    const size_t size = t->len[who] * sizeof(t->code[who][0]);

    if (size == 0)
        return 0;
    s->filters[who].code = malloc(size);
    if (!s->filters[who].code)
        return -ENOMEM;
    memcpy(s->filters[who].code, t->code[who], size);
    s->filters[who].len = t->len[who];
    return 0;
}

static int find_seccomp(struct sandbox *s, struct attempt *t, uint64_t deadline_ms)
{
    int rc = attempt_run(attempt_seccomp, t, deadline_ms);

    if (rc > 0) {
        say_killed(s, "seccomp", rc);
        return 0;
    }
    if (rc == 0)
        rc = t->built;
    for (enum sandbox_who who = 0; rc == 0 && who < SANDBOX_WHO; who++)
        rc = copy_filter(s, t, who);
    if (rc < 0)
        return rc;
    s->has_seccomp = t->entered == 0;
    if (t->entered < 0) {
        s->is_denied = true;
        say_lack(s, "no seccomp: %s", strerror(-t->entered));
    }
    return 0;
}

static int try_sandbox(struct sandbox *s, const char *const *further)
{
    const uint64_t deadline_ms = clock_mono_ms() + ATTEMPT_MS;
    struct attempt *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (t == MAP_FAILED)
        return -errno;
    rc = find_landlock(s, t, deadline_ms);
    t->entered = 0;
    t->further = further;
    t->has_worker = !is_further(further, "*");
    if (rc == 0)
        rc = find_seccomp(s, t, deadline_ms);
    munmap(t, sizeof(*t));
    return rc;
}

/* Why this process can have none, and need not be told; NULL = it can. */
static const char *find_exemption(void)
{
#ifdef ARB_SANITIZED
    return "it was built with a sanitizer";
#else
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded && strstr(preloaded, "vgpreload") ? "it runs under valgrind" : NULL;
#endif
}

int sandbox_init(struct sandbox *s, const char *const *further)
{
    const char *exemption = find_exemption();
    int rc;

    s->is_known = true;
    s->has_further = further && *further;
    if (exemption) {
        say_lack(s, "%s", exemption);
        return 0;
    }
    if (is_further(further, "*"))
        say_lack(s, "the program's workers may make every system call");
    find_names(s);
    rc = try_sandbox(s, further);
    if (rc < 0)
        sandbox_fini(s);
    return rc;
}

void sandbox_fini(struct sandbox *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(s->filters); i++)
        free(s->filters[i].code);
    for (size_t i = 0; i < ARRAY_SIZE(s->names); i++)
        free(s->names[i]);
    *s = (struct sandbox){.is_known = false};
}
