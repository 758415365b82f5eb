/*
 * The prompt on a terminal: lines are edited, kept and completed (libedit). Messages come out of
 * it; what happens to them is send's business.
 */
#ifndef CMD_ECHO_CLIENT_PROMPT_H
#define CMD_ECHO_CLIENT_PROMPT_H

#include <stddef.h>

struct prompt;

/* prompt_open - take over the terminal. Returns NULL if there is no memory. */
struct prompt *prompt_open(void);

/* prompt_close - write the history, give the terminal back. NULL is fine. */
void prompt_close(struct prompt *p);

/*
 * prompt_read - the next message; commands and mistakes are answered in here. Blocks.
 * @ret  borrowed until the next call
 * Returns 1, or 0 at the end.
 */
int prompt_read(struct prompt *p, const char **ret, size_t *ret_len);

#endif
