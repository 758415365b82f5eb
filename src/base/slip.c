/*
 * Slips of the pen, by the cost of mending them. Pure.
 */
#include "base/slip.h"

#include <ctype.h>

#include "base/util.h"

/* Longer words are no slips of a name. */
enum { SLIP_MAX = 24 };

static bool is_same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* The cost of turning one word into the other: 1 for a swap of neighbours, 2 for any other change.
 */
static unsigned cost_of(const char *a, size_t n, const char *b, size_t m)
{
    unsigned rows[SLIP_MAX + 1][SLIP_MAX + 1];

    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            unsigned cost = 2 * (unsigned)(i + j);

            if (i > 0 && j > 0) {
                unsigned either = MIN(rows[i - 1][j], rows[i][j - 1]) + 2;

                cost = rows[i - 1][j - 1] + (is_same_letter(a[i - 1], b[j - 1]) ? 0 : 2);
                cost = MIN(cost, either);
            }
            if (i > 1 && j > 1 && is_same_letter(a[i - 1], b[j - 2]) &&
                is_same_letter(a[i - 2], b[j - 1]))
                cost = MIN(cost, rows[i - 2][j - 2] + 1);
            rows[i][j] = cost;
        }
    return rows[n][m];
}

bool slip_is(const char *text, size_t len, const char *word, size_t word_len)
{
    if (len > SLIP_MAX || word_len > SLIP_MAX)
        return false;
    return cost_of(text, len, word, word_len) <= (word_len <= 4   ? 1
                                                  : word_len <= 7 ? word_len - 3
                                                                  : 4);
}
