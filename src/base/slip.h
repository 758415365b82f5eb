/*
 * Did somebody who wrote one word mean another? For commands and keys that are mistyped.
 */
#ifndef BASE_SLIP_H
#define BASE_SLIP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * slip_is - could somebody who meant @word have typed @text? Letters of either case; a swap of
 * neighbours is likely, another letter less so, and a short word is soon another one.
 */
bool slip_is(const char *text, size_t len, const char *word, size_t word_len);

#endif
