/*
 * A line that is written over, signals, descriptors. Only the tool.
 */
#include "cmd/echo_client_live.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "client/human.h"

enum { FILES_RESERVE = 32 };

void live_init(struct live *l)
{
    const char *term = getenv("TERM");
    struct winsize size;

    *l = (struct live){.is_on = isatty(STDERR_FILENO) && term && *term &&
                                strcmp(term, "dumb") != 0 &&
                                ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0};
}

void live_show(struct live *l, const char *format, ...)
{
    struct winsize size;
    char text[512];
    size_t width = 0;
    va_list ap;

    if (!l->is_on)
        return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col - 1u; /* a full line would wrap */
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    text[MIN(width, sizeof(text) - 1)] = '\0';
    fprintf(stderr, "\r%s\033[K", text);
    fflush(stderr);
    l->is_shown = true;
}

const char *live_left(double share, double seconds, char *buf)
{
    char left[HUMAN_LEN];

    buf[0] = '\0';
    if (share > 0)
        snprintf(buf, LIVE_LEFT_LEN, "%.0f %%, %s left  ", MIN(share, 1.0) * 100,
                 human_duration(MAX(1 / share - 1, 0.0) * seconds, left));
    return buf;
}

void live_clear(struct live *l)
{
    if (l->is_shown)
        fputs("\r\033[K", stderr);
    l->is_shown = false;
}

static int stop_signo; /* the first that came; 0 = none */
static unsigned n_stops;

static sigset_t stop_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

void stop_watch(void)
{
    const sigset_t set = stop_signals();

    sigprocmask(SIG_BLOCK, &set, NULL);
}

unsigned stop_count(void)
{
    const sigset_t set = stop_signals();
    const struct timespec at_once = {0};
    int signo;

    while ((signo = sigtimedwait(&set, NULL, &at_once)) > 0) {
        stop_signo = stop_signo ? stop_signo : signo;
        n_stops++;
    }
    return n_stops;
}

int stop_exit(int rc)
{
    return stop_signo ? 128 + stop_signo : rc;
}

int files_allow(const char *command, unsigned n)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 0;
    if (r.rlim_cur < n + FILES_RESERVE && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = MIN((rlim_t)n + FILES_RESERVE, r.rlim_max);
        setrlimit(RLIMIT_NOFILE, &r);
    }
    if (r.rlim_cur >= n + FILES_RESERVE)
        return 0;
    fprintf(stderr,
            "echo-client: %s: %u connections need more descriptors than this shell allows: see "
            "ulimit -n\n",
            command, n);
    return EX_OSERR;
}
