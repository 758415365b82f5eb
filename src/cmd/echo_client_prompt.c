/*
 * The prompt. History lives in $XDG_STATE_HOME/echo-client/history; where it cannot be written,
 * there is none.
 */
#include "cmd/echo_client_prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/escape.h"
#include "base/util.h"

enum {
    HISTORY_LINES = 1000,
    PATH_LEN = 4096,
    ODD_BYTE = 0xdc00, /* behind it: a byte that is no character here, as a character of its own */
    CTRL_D = 4,
};

struct prompt {
    EditLine *edit; /* owned */
    History *history; /* owned */
    FILE *out, *err; /* owned: the editor wants descriptors, which the standard streams hide */
    char typed[MB_LEN_MAX]; /* bytes that are no whole character yet */
    size_t n_typed;
    char path[PATH_LEN]; /* of the history; "" = none */
    char *message; /* owned; what has been read, then its bytes in place */
    size_t len, capacity;
    bool is_continued; /* the line before ended in a backslash */
};

static const struct {
    const char *name, *help;
} commands[] = {
    {"/help", "say this"},
    {"/quit", "leave; so do QUIT and an end of file (Ctrl-D)"},
};

static char *prompt_text(EditLine *edit)
{
    struct prompt *p = NULL;

    el_get(edit, EL_CLIENTDATA, &p);
    return (char *)(p && p->is_continued ? ". " : "> ");
}

/* Completes the word before the cursor if only one command begins so. */
static unsigned char complete(EditLine *edit, int ch)
{
    const LineInfo *line = el_line(edit);
    size_t len = (size_t)(line->cursor - line->buffer);
    const char *found = NULL;

    (void)ch;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (len == 0 || strncmp(commands[i].name, line->buffer, len) != 0)
            continue;
        if (found)
            return CC_ERROR;
        found = commands[i].name;
    }
    if (!found || !found[len] || el_insertstr(edit, found + len) < 0)
        return CC_ERROR;
    return CC_REFRESH;
}

/* ---- history ---- */

/* $XDG_STATE_HOME counts only if it is absolute, as the XDG base directory specification says. */
static void find_history(struct prompt *p)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char dir[PATH_LEN - 16];
    int len;

    if (state && state[0] == '/')
        len = snprintf(dir, sizeof(dir), "%s", state);
    else if (home && home[0] == '/')
        len = snprintf(dir, sizeof(dir), "%s/.local/state", home);
    else
        return;
    if (len < 0 || (size_t)len + sizeof("/echo-client") > sizeof(dir))
        return;
    snprintf(dir + len, sizeof(dir) - (size_t)len, "/echo-client");
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(dir, 0700);
        *slash = '/';
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return;
    snprintf(p->path, sizeof(p->path), "%s/history", dir);
}

static void load_history(struct prompt *p)
{
    HistEvent event;
    struct stat st;

    history(p->history, &event, H_SETSIZE, HISTORY_LINES);
    history(p->history, &event, H_SETUNIQUE, 1);
    find_history(p);
    /* Opening a FIFO would wait for ever. */
    if (p->path[0] && stat(p->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        fprintf(stderr, "echo-client: %s is no regular file: there is no history\n", p->path);
        p->path[0] = '\0';
    }
    if (p->path[0])
        history(p->history, &event, H_LOAD, p->path);
}

/* Messages may be secrets: the file is the user's alone, whatever the umask says. */
static void save_history(struct prompt *p)
{
    HistEvent event;
    int fd;

    if (!p->path[0])
        return;
    fd = open(p->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return;
    close(fd);
    history(p->history, &event, H_SAVE, p->path);
}

/* ---- reading ---- */

static int append(struct prompt *p, const char *text, size_t len)
{
    char *grown;

    if (p->len + len + 1 > p->capacity) {
        size_t capacity = 2 * (p->len + len + 1);

        grown = realloc(p->message, capacity);
        if (!grown)
            return -ENOMEM;
        p->message = grown;
        p->capacity = capacity;
    }
    memcpy(p->message + p->len, text, len);
    p->len += len;
    p->message[p->len] = '\0';
    return 0;
}

/* A backslash at the end that no other one takes away: the message goes on in the next line. */
static bool is_continued(const char *line, size_t len)
{
    size_t n = 0;

    while (n < len && line[len - 1 - n] == '\\')
        n++;
    return n % 2 == 1;
}

/* Returns 1 for a command that was done, 2 for the one that ends it, 0 for none. */
static int take_command(const char *line)
{
    if (line[0] != '/' || line[1] == '/')
        return 0;
    if (strcmp(line, "/quit") == 0)
        return 2;
    if (strcmp(line, "/help") != 0)
        printf("%s is no command; a message that begins with / is written //\n", line);
    puts("A line is a message. \\n, \\r, \\t, \\f, \\\", \\\\ and \\xHH stand for bytes; a \\ at "
         "the end of a "
         "line\ngoes on in the next one.");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        printf("  %-6s %s\n", commands[i].name, commands[i].help);
    fflush(stdout);
    return 1;
}

/* The bytes that were meant, in place: they are never longer than their text. */
static int read_escapes(struct prompt *p, const char **ret, size_t *ret_len)
{
    size_t skipped = p->message[0] == '/'; /* "//" */
    uint8_t *bytes = (uint8_t *)p->message;
    char *text = strdup(p->message + skipped);
    int rc = text ? escape_read(text, bytes, p->capacity, ret_len) : -ENOMEM;

    free(text);
    *ret = p->message;
    return rc;
}

static volatile sig_atomic_t is_interrupted;

/* Outside of a line; within one SIGINT comes only while a key is awaited, so that none is missed.
 */
static sigset_t unblocked;

static void on_interrupt(int signo)
{
    (void)signo;
    is_interrupted = 1;
}

/* The first character of what was typed. Returns its bytes, 0 = more are needed. */
static size_t first_character(const struct prompt *p, wchar_t *ret)
{
    mbstate_t fresh = {0};
    const size_t n = mbrtowc(ret, p->typed, p->n_typed, &fresh);

    if (n == (size_t)-2 && p->n_typed < MB_CUR_MAX)
        return 0;
    if (n == (size_t)-1 || n == (size_t)-2)
        *ret = ODD_BYTE + (unsigned char)p->typed[0];
    return n == (size_t)-1 || n == (size_t)-2 || n == 0 ? 1 : n;
}

/*
 * The editor's own reader drops bytes that the locale cannot decode. A Ctrl-D that was typed before
 * the editor has the terminal, while a reply was awaited, comes as a NUL.
 */
static int read_character(EditLine *edit, wchar_t *ret)
{
    const LineInfoW *line = el_wline(edit);
    struct prompt *p = NULL;
    size_t n = 0;

    el_get(edit, EL_CLIENTDATA, &p);
    while (p->n_typed == 0 || (n = first_character(p, ret)) == 0) {
        ssize_t got = ppoll(&(struct pollfd){STDIN_FILENO, POLLIN, 0}, 1, NULL, &unblocked);

        if (got >= 0)
            got = read(STDIN_FILENO, p->typed + p->n_typed, 1);
        if (got < 0 && (errno == EAGAIN || errno == EINTR) && !is_interrupted)
            continue;
        if (got <= 0)
            return (int)got;
        p->n_typed++;
    }
    p->n_typed -= n;
    memmove(p->typed, p->typed + n, p->n_typed);
    if (*ret == 0 && line->lastchar == line->buffer)
        *ret = CTRL_D;
    return 1;
}

/* The bytes that were typed. Owned; NULL without memory. */
static char *bytes_of(const wchar_t *line, size_t n, size_t *ret_len)
{
    char *bytes = malloc(n * MB_CUR_MAX + 1);
    mbstate_t state = {0};
    size_t len = 0;

    for (size_t i = 0; bytes && i < n; i++) {
        size_t written;

        if (line[i] >= ODD_BYTE && line[i] <= ODD_BYTE + 0xff)
            bytes[len++] = (char)(line[i] - ODD_BYTE);
        else if ((written = wcrtomb(bytes + len, line[i], &state)) != (size_t)-1)
            len += written;
    }
    if (bytes)
        bytes[len] = '\0';
    *ret_len = len;
    return bytes;
}

/* Ctrl-C gives up the line. While a reply is awaited it ends the tool, as everywhere. Owned; NULL
 * at the end. */
static char *get_line(struct prompt *p, size_t *ret_len)
{
    struct sigaction old, own = {.sa_handler = on_interrupt};
    const wchar_t *line;
    sigset_t interrupt;
    int n = 0;

    is_interrupted = 0;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &unblocked);
    sigaction(SIGINT, &own, &old);
    line = el_wgets(p->edit, &n);
    sigaction(SIGINT, &old, NULL);
    sigprocmask(SIG_SETMASK, &unblocked, NULL);
    return line && n > 0 ? bytes_of(line, (size_t)n, ret_len) : NULL;
}

/* One line into the message. Returns 1 if the message is whole, 0 if it goes on, -1 at the end. */
static int read_line(struct prompt *p)
{
    HistEvent event;
    size_t len = 0;
    char *line = get_line(p, &len);
    int rc = -1;

    if (is_interrupted) {
        puts("^C");
        el_reset(p->edit);
        p->len = 0;
        p->is_continued = false;
        free(line);
        return append(p, "", 0);
    }
    if (len > 0 && line[len - 1] == '\n')
        len--;
    if (len > 0)
        history(p->history, &event, H_ENTER, line);
    if (line) {
        p->is_continued = is_continued(line, len);
        rc = append(p, line, len - p->is_continued);
        if (rc == 0 && p->is_continued)
            rc = append(p, "\n", 1);
        rc = rc ? -1 : !p->is_continued;
    }
    free(line);
    return rc;
}

int prompt_read(struct prompt *p, const char **ret, size_t *ret_len)
{
    for (;;) {
        int rc = 0;

        p->len = 0;
        p->is_continued = false;
        if (append(p, "", 0))
            return 0;
        while (rc == 0)
            rc = read_line(p);
        if (rc < 0) {
            puts(""); /* whatever comes next has a line of its own */
            fflush(stdout);
            return 0;
        }
        rc = take_command(p->message);
        if (rc == 2)
            return 0;
        if (rc == 1)
            continue;
        if (read_escapes(p, ret, ret_len) == 0)
            return 1;
        fputs("echo-client: the escapes are \\r \\n \\t \\f \\\" \\\\ \\xHH; a \\ itself is \\\\\n",
              stderr);
    }
}

/* ---- from the beginning to the end ---- */

struct prompt *prompt_open(void)
{
    struct prompt *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    setlocale(LC_CTYPE, ""); /* how many columns the bytes take */
    p->out = fdopen(dup(STDOUT_FILENO), "w");
    p->err = fdopen(dup(STDERR_FILENO), "w");
    if (p->out && p->err)
        p->edit = el_init("echo-client", stdin, p->out, p->err);
    p->history = history_init();
    if (!p->edit || !p->history) {
        prompt_close(p);
        return NULL;
    }
    load_history(p);
    el_set(p->edit, EL_CLIENTDATA, p);
    el_set(p->edit, EL_GETCFN, read_character);
    el_set(p->edit, EL_PROMPT, prompt_text);
    el_set(p->edit, EL_HIST, history, p->history);
    el_set(p->edit, EL_SIGNAL, 1); /* the terminal is put right before a signal ends us */
    el_set(p->edit, EL_EDITOR, "emacs");
    el_wset(p->edit, EL_ADDFN, L"complete", L"complete a command", complete); /* el_set leaks */
    el_set(p->edit, EL_BIND, "^I", "complete", NULL);
    el_set(p->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(p->edit, NULL); /* ~/.editrc */
    return p;
}

void prompt_close(struct prompt *p)
{
    if (!p)
        return;
    if (p->history) {
        save_history(p);
        history_end(p->history);
    }
    if (p->edit)
        el_end(p->edit);
    if (p->out)
        fclose(p->out);
    if (p->err)
        fclose(p->err);
    free(p->message);
    free(p);
}
