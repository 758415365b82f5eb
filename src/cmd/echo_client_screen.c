/*
 * The few sequences of a terminal that every one of them understands (ECMA-48, and xterm's second
 * screen). A frame is one write, so that nobody sees half of it.
 */
#include "cmd/echo_client_screen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fds.h"

#define SECOND_SCREEN "\033[?1049h\033[?25l"
#define FIRST_SCREEN  "\033[?25h\033[?1049l"
#define HOME          "\033[H"
#define CLEAR_RIGHT   "\033[K"
#define CLEAR_BELOW   "\033[J"

static void put(const char *text)
{
    fds_write_all(STDOUT_FILENO, text, strlen(text));
}

bool screen_is_usable(void)
{
    const char *term = getenv("TERM");
    struct winsize size;

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0 &&
           ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
}

void screen_enter(struct screen *s)
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
    put(SECOND_SCREEN);
}

void screen_leave(struct screen *s)
{
    if (!s->is_on)
        return;
    s->is_on = false;
    put(FIRST_SCREEN);
    if (s->has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
}

void screen_size(size_t *ret_width, size_t *ret_height)
{
    struct winsize size;

    *ret_width = 80;
    *ret_height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
        return;
    *ret_width = size.ws_col;
    *ret_height = size.ws_row;
}

int screen_draw(const char *text)
{
    char *all = NULL;
    const char *newline;
    size_t len;
    FILE *f = open_memstream(&all, &len);
    int rc;

    if (!f)
        return -ENOMEM;
    /* Cleared before it is written: behind a full line the cursor still stands on its last cell. */
    fputs(HOME, f);
    for (newline = strchr(text, '\n'); newline; newline = strchr(text, '\n')) {
        fprintf(f, CLEAR_RIGHT "%.*s\r\n", (int)(newline - text), text);
        text = newline + 1;
    }
    fprintf(f, CLEAR_BELOW "%s", text);
    rc = fclose(f) == 0 ? fds_write_all(STDOUT_FILENO, all, len) : -ENOMEM;
    free(all);
    return rc;
}
