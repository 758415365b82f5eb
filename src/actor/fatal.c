/*
 * The handler for fatal signals. Runs in a process that is broken: memory may be damaged, locks may
 * be held, the loop may be anywhere. So it allocates nothing, takes no lock, and does first what
 * matters most; if it gets stuck, the alarm ends it.
 */
#include "actor/fatal.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "actor/sandbox.h"
#include "actor/scoreboard.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/config.h"

enum { STACK_BYTES = 256 << 10, GUARD_BYTES = 64 << 10, FRAMES_MAX = 48, PATIENCE_S = 2 };

/* What the steps of the handler are told. */
struct crash {
    int signo;
    const siginfo_t *info;
    uintptr_t pc, sp; /* program counter, stack pointer; 0 on a machine that we do not know */
    const struct actor_boot *boot;
    const struct fatal_hooks *hooks;
};

static const struct {
    int signo;
    const char *name;
} fatal_signals[] = {{SIGSEGV, "SEGV"}, {SIGBUS, "BUS"},   {SIGFPE, "FPE"}, {SIGILL, "ILL"},
                     {SIGABRT, "ABRT"}, {SIGTRAP, "TRAP"}, {SIGSYS, "SYS"}};

/* A handler is given no argument of ours. */
static const struct actor_boot *fatal_boot;
static const struct fatal_hooks *fatal_hooks;

static void find_registers(struct crash *c UNUSED, const ucontext_t *context UNUSED)
{
#if defined(__x86_64__)
    c->pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    c->sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    c->pc = (uintptr_t)context->uc_mcontext.pc;
    c->sp = (uintptr_t)context->uc_mcontext.sp;
#endif
}

static bool is_sent(const struct crash *c)
{
    return c->info->si_code <= 0; /* by kill, tgkill or sigqueue: no instruction is at fault */
}

/* The system call that the sandbox has stopped. */
static int64_t forbidden_call(const struct crash *c)
{
    return sandbox_stopped(c->boot->sandbox, c->info);
}

static const char *signal_name(int signo)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(fatal_signals) - 1 && fatal_signals[i].signo != signo)
        i++;
    return fatal_signals[i].name;
}

/* Whatever gets stuck below, the process ends: the default action, although all is blocked. */
static void set_alarm(const struct crash *c UNUSED)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigaction(SIGALRM, &sa, NULL);
    alarm(PATIENCE_S);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static struct score_record *score_of(const struct crash *c)
{
    return scoreboard_record(c->boot->scoreboard, c->boot->proc);
}

static uint64_t uptime_ms(const struct crash *c)
{
    const struct score_identity *id = scoreboard_identity(c->boot->scoreboard, c->boot->proc);

    return (clock_mono_ns() - counter_get(&id->started_ns)) / 1000000u;
}

static struct crash_record *record_of(const struct crash *c)
{
    return &score_of(c)->crash;
}

static void rescue(const struct crash *c)
{
    if (c->hooks)
        c->hooks->rescue(record_of(c));
}

/* NULL = no message is being served. */
static const uint8_t *find_serving(const struct crash *c, int *ret_fd, size_t *ret_len)
{
    const uint8_t *data;

    return c->hooks && c->hooks->serving(ret_fd, &data, ret_len) ? data : NULL;
}

static void record_crash(const struct crash *c)
{
    const struct score_record *score = score_of(c);
    struct crash_record *r = record_of(c);
    size_t len;
    int fd = -1;

    r->code = c->info->si_code;
    r->sender_pid = is_sent(c) ? (uint64_t)c->info->si_pid : 0;
    r->address = is_sent(c) ? 0 : (uint64_t)(uintptr_t)c->info->si_addr;
    r->call = forbidden_call(c);
    r->pc = c->pc;
    r->sp = c->sp;
    r->fd = find_serving(c, &fd, &len) ? fd : -1;
    r->peer_len = r->fd >= 0 && c->hooks->peer ? c->hooks->peer(r->peer) : 0;
    r->requests = counter_get(&score->counters.requests);
    r->connections = counter_get(&score->connections);
    r->uptime_ms = uptime_ms(c);
    r->signo = (uint64_t)c->signo;
}

/* What it points to may be damaged memory: the signal is in the record by then, and in the log. */
static void record_payload(const struct crash *c)
{
    struct crash_record *r = record_of(c);
    size_t len = 0;
    int fd;
    const uint8_t *data = find_serving(c, &fd, &len);

    if (!data || !c->boot->config->has_crash_payload)
        return;
    len = MIN(len, (size_t)CRASH_PAYLOAD_MAX);
    memcpy(r->payload, data, len);
    r->payload_len = len;
}

static void record_stack(const struct crash *c)
{
    struct crash_record *r = record_of(c);
    void *frames[CRASH_FRAMES_MAX];
    const int n = backtrace(frames, CRASH_FRAMES_MAX);

    for (int i = 0; i < n; i++)
        r->frames[i] = (uintptr_t)frames[i];
    r->n_frames = (uint64_t)n;
}

static struct log_field hex_field(const char *key, uint64_t value, char digits[NUM_PUT_LEN])
{
    num_put(mempcpy(digits, "0x", 2), value, 16, 1);
    return F_STR(key, digits);
}

static void log_crash(const struct crash *c)
{
    const struct score_record *r = score_of(c);
    char pc[NUM_PUT_LEN], address[NUM_PUT_LEN];
    struct log_field fields[11], *f = fields;

    *f++ = F_STR("signal", signal_name(c->signo));
    if (is_sent(c)) {
        *f++ = F_UINT("sent_by_pid", c->info->si_pid);
    } else {
        *f++ = F_UINT("code", c->info->si_code);
        *f++ = hex_field("address", (uintptr_t)c->info->si_addr, address);
    }
    if (forbidden_call(c) != SANDBOX_NONE)
        *f++ = F_STR("forbidden_call", sandbox_call_name(c->boot->sandbox, forbidden_call(c)));
    *f++ = hex_field("pc", c->pc, pc);
    *f++ = F_UINT("slot", c->boot->slot);
    *f++ = F_UINT("incarnation", c->boot->incarnation);
    *f++ = F_UINT("uptime_ms", uptime_ms(c));
    *f++ = F_UINT("connections", counter_get(&r->connections));
    *f++ = F_UINT("requests", counter_get(&r->counters.requests));
    *f = (struct log_field){.key = NULL};
    log_emit(c->boot->log, LOG_LEVEL_ERROR, c->boot->kind ? "actor crashes" : "worker crashes",
             fields);
}

/*
 * "NAME+0x1234" or "libc.so.6(abort+0x12)": what addr2line and people understand. As
 * backtrace_symbols_fd, dladdr takes only the linker's own lock, and that one is recursive.
 */
static char *put_frame(char *p, const char *end, void *address)
{
    const char *module;
    Dl_info at;

    if (!dladdr(address, &at))
        at = (Dl_info){0};
    if (end - p < 192)
        return p;
    module = title_module(&at);
    p = mempcpy(p, module, strnlen(module, 64));
    if (at.dli_sname) {
        *p++ = '(';
        p = mempcpy(p, at.dli_sname, strnlen(at.dli_sname, 64));
    }
    *p++ = '+';
    p = num_put(mempcpy(p, "0x", 2),
                (uintptr_t)address - (uintptr_t)(at.dli_sname ? at.dli_saddr : at.dli_fbase), 16,
                1);
    if (at.dli_sname)
        *p++ = ')';
    *p++ = ' ';
    return p;
}

/* Last, because it is the most likely to fail: it walks the stack that may be what is broken. */
static void log_stack(const struct crash *c)
{
    void *frames[FRAMES_MAX];
    char text[LOG_LINE_MAX - 512], *p = text;
    int n = backtrace(frames, FRAMES_MAX), first = 0;

    for (int i = 0; i < n; i++)
        if ((uintptr_t)frames[i] == c->pc)
            first = i; /* what is before it is this handler */
    for (int i = first; i < n; i++)
        p = put_frame(p, text + sizeof(text), frames[i]);
    if (p > text)
        p--;
    *p = '\0';
    log_error(c->boot->log, "backtrace", F_STR("signal", signal_name(c->signo)),
              F_STR("frames", text));
}

/* In this order: the alarm before all else, the most fragile last. */
static void (*const fatal_steps[])(const struct crash *c) = {
    set_alarm, rescue, record_crash, log_crash, record_payload, record_stack, log_stack,
};

/*
 * The disposition is the default again. A signal that was sent is sent once more and arrives as
 * this returns; an instruction that failed fails again, so that a core dump shows it.
 */
static void on_fatal(int signo, siginfo_t *info, void *context)
{
    struct crash crash = {.signo = signo, .info = info, .boot = fatal_boot, .hooks = fatal_hooks};

    find_registers(&crash, context);
    for (size_t i = 0; i < ARRAY_SIZE(fatal_steps); i++)
        fatal_steps[i](&crash);
    /* Behind a breakpoint, a forbidden call or news of bad memory elsewhere the program would go
     * on. */
    if (is_sent(&crash) || signo == SIGSYS || signo == SIGTRAP ||
        (signo == SIGBUS && info->si_code == BUS_MCEERR_AO))
        raise(signo);
}

/* A stack of its own, for the case that the usual one is used up; below it a page that faults. */
static int set_stack(void)
{
    char *p = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    stack_t stack = {.ss_sp = p + GUARD_BYTES, .ss_size = STACK_BYTES};

    if (p == MAP_FAILED)
        return -errno;
    if (mprotect(p, GUARD_BYTES, PROT_NONE) < 0 || sigaltstack(&stack, NULL) < 0)
        return -errno;
    return 0;
}

int fatal_install(const struct actor_boot *boot, const struct fatal_hooks *hooks)
{
    struct sigaction sa = {.sa_sigaction = on_fatal,
                           .sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND)};
    sigset_t ours;
    void *frame;
    int rc = set_stack();

    if (rc < 0)
        return rc;
    fatal_boot = boot;
    fatal_hooks = hooks;
    backtrace(&frame, 1); /* its first call loads a library */
    sigemptyset(&ours);
    sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
        sigaction(fatal_signals[i].signo, &sa, NULL);
        sigaddset(&ours, fatal_signals[i].signo);
    }
    sigprocmask(SIG_UNBLOCK, &ours, NULL);
    return 0;
}
