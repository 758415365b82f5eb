/*
 * Signal masks and dispositions around fork.
 */
#include "base/signals.h"

#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>
#include "base/util.h"

void signals_block_all(sigset_t *ret_old)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, ret_old);
}

void signals_restore(const sigset_t *old)
{
    sigprocmask(SIG_SETMASK, old, NULL);
}

void signals_unblock_all(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* glibc keeps the signals between SIGSYS and SIGRTMIN for itself and refuses them: no error of
 * ours. */
static void set_disposition(int signo, void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler};

    sigemptyset(&sa.sa_mask);
    sigaction(signo, &sa, NULL);
}

void signals_default_all(void)
{
    for (int signo = 1; signo < NSIG; signo++)
        set_disposition(signo, SIG_DFL);
}

static bool is_left_alone(int signo)
{
    static const int signals[] = {SIGKILL, SIGSTOP, SIGCONT, SIGTSTP, SIGCHLD, SIGTERM, SIGSEGV,
                                  SIGBUS,  SIGFPE,  SIGILL,  SIGABRT, SIGSYS,  SIGTRAP};

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (signals[i] == signo)
            return true;
    return false;
}

static bool has_handler(int signo)
{
    struct sigaction sa;

    return sigaction(signo, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN;
}

void signals_ignore_strays(void)
{
    for (int signo = 1; signo < NSIG; signo++)
        if (!is_left_alone(signo) && !has_handler(signo))
            set_disposition(signo, SIG_IGN);
}

static void on_deadly(int signo)
{
    _exit(128 + signo);
}

void signals_end_first_process(void)
{
    static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

    for (size_t i = 0; getpid() == 1 && i < ARRAY_SIZE(deadly); i++)
        signal(deadly[i], on_deadly);
}
