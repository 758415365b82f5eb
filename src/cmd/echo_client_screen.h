/*
 * A terminal taken over for a while: its second screen, no cursor, keys as they are pressed. Given
 * back as it was.
 */
#ifndef CMD_ECHO_CLIENT_SCREEN_H
#define CMD_ECHO_CLIENT_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct screen {
    bool is_on;
    bool has_keys; /* the standard input is the terminal, and `saved` its settings */
    bool has_colour;
    struct termios saved;
};

/* screen_is_usable - the standard output is a terminal that can be drawn on */
bool screen_is_usable(void);

/* screen_enter, screen_leave - take it over, give it back; each may be called twice */
void screen_enter(struct screen *s);
void screen_leave(struct screen *s);

/* screen_size - now; 80 × 24 if it does not say */
void screen_size(size_t *ret_width, size_t *ret_height);

/* screen_draw - @text, no more lines than the screen has, in place of what is there. Returns 0 or
 * -errno. */
int screen_draw(const char *text);

#endif
