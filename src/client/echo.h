/*
 * The Echo protocol as its clients know it: see echo-protocol(7).
 */
#ifndef CLIENT_ECHO_H
#define CLIENT_ECHO_H

#include "wire/frame.h"

#define ECHO_SEPARATOR     "\r\n\r\n"
#define ECHO_SEPARATOR_LEN 4
#define ECHO_QUIT          "QUIT"
#define ECHO_QUIT_LEN      4

/* echo_rule_init - QUIT counts only where messages have an end; otherwise as frame_rule_init */
static inline int echo_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                                 size_t max_message)
{
    return frame_rule_init(r, separator, separator_len, max_message, ECHO_QUIT,
                           separator_len > 0 ? ECHO_QUIT_LEN : 0);
}

#endif
