/*
 * Glob patterns: see glob.h. After a mismatch the text is tried again from one byte further behind
 * the last star; stars before that one need not be tried again.
 */
#include "glob.h"

/* The class behind '['. Returns where it ends; without a ']' it takes the rest of the pattern. */
static const char *match_class(const char *p, const char *end, unsigned char c, bool *ret)
{
    const bool is_not = p < end && *p == '^';
    unsigned char a, b;

    *ret = is_not;
    for (p += is_not; p < end && *p != ']'; p++) {
        p += *p == '\\' && end - p >= 2;
        a = b = (unsigned char)*p;
        if (end - p >= 3 && p[1] == '-' && p[-1] != '\\')
            b = (unsigned char)*(p += 2);
        if (a <= b ? a <= c && c <= b : b <= c && c <= a)
            *ret = !is_not;
    }
    return p < end ? p + 1 : end;
}

/* One byte of the text against what stands at @p. Returns what comes next, or NULL: no match. */
static const char *match_one(const char *p, const char *end, char c)
{
    bool is_match = true;

    if (*p == '[') {
        p = match_class(p + 1, end, (unsigned char)c, &is_match);
        return is_match ? p : NULL;
    }
    if (*p == '?')
        return p + 1;
    p += *p == '\\' && end - p >= 2;
    return *p == c ? p + 1 : NULL;
}

bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    const char *const end = pattern + pattern_len, *const text_end = text + len;
    const char *p = pattern, *behind_star = NULL, *retry = NULL, *next;

    while (text < text_end) {
        if (p < end && *p == '*') {
            behind_star = ++p;
            retry = text;
            continue;
        }
        next = p < end ? match_one(p, end, *text) : NULL;
        if (!next && !behind_star)
            return false;
        text = next ? text + 1 : ++retry;
        p = next ? next : behind_star;
    }
    while (p < end && *p == '*')
        p++;
    return p == end;
}
