/*
 * The framing of the Echo protocol, for both sides.
 */
#include "echo/echo.h"

int echo_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                   size_t max_message)
{
    return frame_rule_init(r, separator, separator_len, max_message, ECHO_QUIT,
                           separator_len > 0 ? ECHO_QUIT_LEN : 0);
}
