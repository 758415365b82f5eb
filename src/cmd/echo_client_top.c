/*
 * echo-client top: a live view of the workers. One loop waits for the server's answers, keys,
 * signals and the next turn at once, so that nothing keeps it from redrawing and from quitting.
 * On a terminal it redraws in place, elsewhere it writes lines; a lost server is waited for.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/std_streams.h"
#include "base/util.h"
#include "client/human.h"
#include "measure/info_text.h"
#include "cmd/echo_client_operator.h"

/* ---- a terminal taken over: its second screen, no cursor, keys as they are pressed ---- */

/* Sequences that every terminal understands (ECMA-48, and xterm's second screen). */
#define SECOND_SCREEN "\033[?1049h\033[?25l"
#define FIRST_SCREEN  "\033[?25h\033[?1049l"
#define HOME          "\033[H"
#define CLEAR_RIGHT   "\033[K"
#define CLEAR_BELOW   "\033[J"

struct screen {
    bool is_on;
    bool has_keys; /* the standard input is the terminal, and `saved` its settings */
    bool has_colour;
    struct termios saved;
};

static void screen_put(const char *text)
{
    std_stream_write(STDOUT_FILENO, text, strlen(text));
}

static bool screen_is_usable(void)
{
    const char *term = getenv("TERM");
    struct winsize size;

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0 &&
           ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
}

static void screen_enter(struct screen *s)
{
    const char *no_colour = getenv("NO_COLOR");
    struct termios raw;

    if (s->is_on)
        return;
    s->is_on = true;
    s->has_colour = !no_colour || !*no_colour;
    s->has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->saved) == 0;
    if (s->has_keys) {
        raw = s->saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C and Ctrl-Z stay signals */
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    screen_put(SECOND_SCREEN);
}

static void screen_leave(struct screen *s)
{
    if (!s->is_on)
        return;
    s->is_on = false;
    screen_put(FIRST_SCREEN);
    if (s->has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
}

static void screen_size(size_t *ret_width, size_t *ret_height)
{
    struct winsize size;

    *ret_width = 80;
    *ret_height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
        return;
    *ret_width = size.ws_col;
    *ret_height = size.ws_row;
}

static int screen_draw(const char *text)
{
    char *all = NULL;
    const char *newline;
    size_t len;
    FILE *f = open_memstream(&all, &len);
    int rc;

    if (!f)
        return -ENOMEM;
    /* One write, so that nobody sees half of it. Cleared before it is written: behind a full line
     * the cursor still stands on its last cell. */
    fputs(HOME, f);
    for (newline = strchr(text, '\n'); newline; newline = strchr(text, '\n')) {
        fprintf(f, CLEAR_RIGHT "%.*s\r\n", (int)(newline - text), text);
        text = newline + 1;
    }
    fprintf(f, CLEAR_BELOW "%s", text);
    rc = fclose(f) == 0 ? std_stream_write(STDOUT_FILENO, all, len) : -ENOMEM;
    free(all);
    return rc;
}

/* ---- what is shown ---- */

#define TOP_SECOND_NS UINT64_C(1000000000)

/* Not an exit code: the loop goes on. */
enum { TOP_GO_ON = -1 };

struct top {
    struct operator op;
    uint64_t interval_ms;
    uint64_t count; /* views to show; 0 = no end */
    uint64_t n_shown;
    json_t *now; /* owned: the last answer of `info`, with its rates; NULL = none yet */
    uint64_t now_ns; /* when it came */
    bool has_rates; /* there was one before it */
    bool is_asked; /* an answer is awaited */
    bool has_answered; /* on this connection */
    bool is_lines; /* no screen: a line per worker */
    uint64_t asked_ns, turn_ns, retry_ns; /* when asked, to ask next, to connect next */
    uint64_t lost_ns; /* since when there is no server; 0 = there is one */
    int lost_why;
    struct screen screen;
    int signal_fd; /* owned; -1 = signals do what they always do */
    bool is_deaf; /* no more keys will come */
    int signo; /* that ends us */
};

static int top_fail(struct top *t, int outcome)
{
    screen_leave(&t->screen);
    return operator_fail(&t->op, outcome);
}

static bool top_is_waiting(const struct top *t, uint64_t now_ns)
{
    return t->is_asked && now_ns - t->asked_ns >= TOP_SECOND_NS;
}

/* The reason why no newer answer is shown, or NULL. */
static const char *describe_trouble(const struct top *t, uint64_t now, char *buf, size_t size)
{
    char age[HUMAN_LEN];

    if (t->lost_ns) {
        human_duration((double)(now - t->lost_ns) / 1e9, age);
        snprintf(buf, size, "waiting for %s: %s (%s)", t->op.path,
                 t->lost_why == ARB_REFUSED ? "no server there" : arb_strerror(t->lost_why), age);
    } else if (top_is_waiting(t, now)) {
        human_duration((double)(now - t->asked_ns) / 1e9, age);
        snprintf(buf, size, "waiting for an answer (%s)", age);
    } else {
        return NULL;
    }
    return buf;
}

static int top_draw(struct top *t)
{
    struct info_look look = {.has_colour = t->screen.has_colour};
    char trouble[256], *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    int rc = 0;

    if (!f)
        return top_fail(t, -ENOMEM);
    screen_size(&look.width, &look.height);
    look.trouble = describe_trouble(t, clock_mono_ns(), trouble, sizeof(trouble));
    if (t->now)
        rc = info_frame(f, t->now, &look);
    else if (look.trouble)
        fprintf(f, "%.*s", (int)look.width, look.trouble);
    if (fclose(f) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        rc = screen_draw(text);
    free(text);
    return rc ? top_fail(t, rc) : TOP_GO_ON;
}

/* What the second screen has shown last, where it can be read afterwards. */
static int top_leave_view(const struct top *t)
{
    struct info_look look = {.has_colour = t->screen.has_colour};
    int rc;

    screen_size(&look.width, &look.height);
    rc = info_frame(stdout, t->now, &look);
    return rc ? rc : out_line("", 0);
}

static int top_print_lines(struct top *t)
{
    const uint64_t now_ns = wall_time_ns();
    const time_t now = (time_t)(now_ns / 1000000000u);
    struct tm tm;
    char clock[WALL_TIME_LEN];
    int rc;

    if (t->op.tool->is_json) {
        json_object_set_new(t->now, "time", json_string(wall_time_utc(now_ns, clock)));
        rc = operator_print(&t->op, t->now, NULL);
    } else {
        localtime_r(&now, &tm);
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        rc = info_lines(stdout, t->now, clock, t->n_shown == 0);
        rc = rc ? top_fail(t, rc) : 0;
    }
    if (rc == 0)
        rc = out_flush();
    return rc ? rc : TOP_GO_ON;
}

/* The first answer has no rates yet: only a screen shows it. */
static int top_show(struct top *t)
{
    int rc = TOP_GO_ON;

    if (!t->is_lines)
        rc = top_draw(t);
    if (!t->has_rates)
        return rc;
    if (t->is_lines)
        rc = top_print_lines(t);
    t->n_shown++;
    return rc == TOP_GO_ON && t->count > 0 && t->n_shown == t->count ? 0 : rc;
}

/* ---- the server ---- */

/* The server is gone, or silent: say so once, try again each second. What is no matter of time ends
 * us. */
static int lose(struct top *t, int why)
{
    const struct tool *tool = t->op.tool;
    uint64_t now = clock_mono_ns();

    if (why < 0)
        return top_fail(t, why);
    control_call_close(&t->op.call);
    t->is_asked = t->has_answered = false;
    t->lost_why = why;
    t->retry_ns = now + MIN(t->interval_ms * UINT64_C(1000000), TOP_SECOND_NS);
    if (!t->lost_ns) {
        t->lost_ns = now;
        if (t->is_lines)
            fprintf(stderr, "echo-client: waiting for %s: %s\n", t->op.path, arb_strerror(why));
    }
    if (tool->has_timeout && tool->timeout_ms &&
        now - t->lost_ns >= tool->timeout_ms * UINT64_C(1000000))
        return top_fail(t, why);
    return t->is_lines ? TOP_GO_ON : top_draw(t);
}

static int ask(struct top *t)
{
    t->op.command = "info";
    if (control_call_post(&t->op.call, "info", NULL, NULL) < 0)
        return top_fail(t, -ENOMEM);
    t->is_asked = true;
    t->asked_ns = clock_mono_ns();
    return TOP_GO_ON;
}

static int reconnect(struct top *t)
{
    int rc = control_call_connect(&t->op.call, t->op.path, clock_mono_ns());

    if (rc)
        return lose(t, rc);
    return ask(t);
}

/* A server that is busy is asked again in the next turn. */
static int take_refusal(struct top *t, const json_t *answer)
{
    const json_t *code = json_object_get(json_object_get(answer, "error"), "code");

    t->is_asked = false;
    if (operator_error_exit(json_string_value(code)) == EX_TEMPFAIL)
        return TOP_GO_ON;
    screen_leave(&t->screen);
    return operator_refused(&t->op, answer);
}

static int top_take(struct top *t, const json_t *answer)
{
    uint64_t now_ns = clock_mono_ns();
    json_t *info = json_object_get(answer, "result");

    if (json_object_get(answer, "error"))
        return take_refusal(t, answer);
    if (!info_is_valid(info))
        return top_fail(t, -EBADMSG);
    info_rate(info, t->now, (double)(now_ns - t->now_ns) / 1e9);
    t->has_rates = t->now != NULL;
    json_decref(t->now);
    t->now = json_incref(info);
    t->now_ns = now_ns;
    t->is_asked = false;
    t->has_answered = true;
    t->lost_ns = 0;
    return top_show(t);
}

/* What came from the server, if anything. */
static int listen_to_server(struct top *t)
{
    json_t *answer = NULL;
    uint64_t timeout_ns = t->op.tool->timeout_ms * UINT64_C(1000000);
    int rc = control_call_advance(&t->op.call, &answer);

    if (rc == 0) {
        rc = top_take(t, answer);
        json_decref(answer);
        return rc;
    }
    if (rc == OUTCOME_PENDING && (!timeout_ns || clock_mono_ns() - t->asked_ns < timeout_ns))
        return TOP_GO_ON;
    /* Between two turns the server may drop us as idle: that is no news. */
    if ((rc == ARB_CLOSED || rc == ARB_RESET) && t->has_answered) {
        t->has_answered = false;
        return reconnect(t);
    }
    return lose(t, rc == OUTCOME_PENDING ? ARB_TIMEOUT : rc);
}

static int serve_turn(struct top *t)
{
    const uint64_t now = clock_mono_ns(), interval_ns = t->interval_ms * UINT64_C(1000000);

    if (t->is_asked)
        return listen_to_server(t);
    if (t->op.call.fd < 0)
        return now >= t->retry_ns ? reconnect(t) : TOP_GO_ON;
    if (now < t->turn_ns)
        return TOP_GO_ON;
    t->turn_ns += interval_ns;
    if (t->turn_ns <= now) /* turns that were missed are not made up for */
        t->turn_ns = now + interval_ns;
    return ask(t);
}

/* ---- keys and signals ---- */

static int take_keys(struct top *t)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        t->is_deaf = true;
    for (ssize_t i = 0; i < n; i++)
        if (keys[i] == 'q' || keys[i] == 'Q')
            return 0;
    return TOP_GO_ON;
}

/* The terminal is given back while the process is stopped. */
static int suspend(struct top *t)
{
    screen_leave(&t->screen);
    raise(SIGSTOP);
    screen_enter(&t->screen);
    return top_draw(t);
}

static int take_signals(struct top *t)
{
    struct signalfd_siginfo info;
    int rc = TOP_GO_ON;

    while (rc == TOP_GO_ON && read(t->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGWINCH:
            rc = top_draw(t);
            break;
        case SIGTSTP:
            rc = suspend(t);
            break;
        case SIGINT:
            return 0; /* here as good a way to leave as q */
        default:
            t->signo = (int)info.ssi_signo;
            return 0;
        }
    }
    return rc;
}

static void watch_signals(struct top *t)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (t->signal_fd < 0)
        sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Ends the process by the signal, once the terminal is given back. */
static void die_of(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    signal(signo, SIG_DFL);
    raise(signo);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- the loop ---- */

/* Until something is due at the latest; on a screen waiting is shown second by second. */
static int wait_ms(const struct top *t)
{
    const uint64_t now = clock_mono_ns();
    uint64_t until = t->is_asked         ? now + TOP_SECOND_NS
                     : t->op.call.fd < 0 ? t->retry_ns
                                         : t->turn_ns;
    uint64_t left_ms = until > now ? (until - now) / 1000000 + 1 : 0;

    return (int)MIN(left_ms, (uint64_t)INT32_MAX);
}

static int turn(struct top *t)
{
    enum { SERVER, KEYS, SIGNALS };
    struct pollfd p[] = {
        [SERVER] = {.fd = t->is_asked ? t->op.call.fd : -1,
                    .events = control_call_events(&t->op.call)},
        [KEYS] = {.fd = t->screen.has_keys && !t->is_deaf ? STDIN_FILENO : -1, .events = POLLIN},
        [SIGNALS] = {.fd = t->signal_fd, .events = POLLIN},
    };
    int rc = poll(p, ARRAY_SIZE(p), wait_ms(t));

    if (rc < 0 && errno != EINTR)
        return top_fail(t, -errno);
    rc = p[SIGNALS].revents ? take_signals(t) : TOP_GO_ON;
    if (rc == TOP_GO_ON && p[KEYS].revents)
        rc = take_keys(t);
    if (rc == TOP_GO_ON)
        rc = serve_turn(t);
    if (rc == TOP_GO_ON && !t->is_lines && top_is_waiting(t, clock_mono_ns()))
        rc = top_draw(t);
    return rc;
}

static int top_loop(struct top *t)
{
    int rc;

    t->turn_ns = clock_mono_ns();
    if (!t->is_lines) {
        watch_signals(t);
        screen_enter(&t->screen);
    }
    rc = serve_turn(t);
    while (rc == TOP_GO_ON)
        rc = turn(t);
    screen_leave(&t->screen);
    if (rc == 0 && !t->is_lines && t->count > 0 && t->n_shown == t->count)
        rc = top_leave_view(t);
    fds_close(&t->signal_fd);
    if (t->signo)
        die_of(t->signo);
    return rc;
}

/* ---- the command line ---- */

static const struct own_option top_options[] = {
    {"count", 'n', "COUNT", "show so many views, then end; default: no end", OPTION_NUMBER,
     OPTION_AT(struct top, count), 1, UINT32_MAX},
    {"interval", 'i', "TIME", "from one view to the next, 100ms to 1h; default 1s", OPTION_MS,
     OPTION_AT(struct top, interval_ms), 100, 3600000},
    {0},
};

int top_run(struct tool *tool)
{
    struct top t = {.op.tool = tool, .interval_ms = 1000, .signal_fd = -1};
    int rc;

    tool_parse(tool, top_options, &t);
    t.is_lines = tool->is_json || !screen_is_usable();
    rc = operator_open(&t.op, tool, 0);
    if (rc == 0)
        rc = top_loop(&t);
    json_decref(t.now);
    operator_close(&t.op);
    return rc;
}
