/*
 * Sets of CPUs.
 */
#include "base/cpus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/util.h"

int cpus_allowed(cpu_set_t *ret)
{
    cpu_set_t sets[64]; /* the kernel refuses a mask smaller than its own */

    if (sched_getaffinity(0, sizeof(sets), sets) < 0)
        return -errno;
    *ret = sets[0];
    return 0;
}

/* The number at @*text, which moves on behind its digits. */
static int parse_number(const char **text, uint64_t *ret)
{
    const size_t len = strspn(*text, "0123456789");
    char digits[8];

    if (len == 0)
        return -EINVAL;
    if (len >= sizeof(digits))
        return -ERANGE;
    memcpy(digits, *text, len);
    digits[len] = '\0';
    *text += len;
    return num_parse_u64(digits, 0, CPU_SETSIZE - 1, ret);
}

int cpus_parse(const char *text, cpu_set_t *ret)
{
    uint64_t first = 0, last;
    cpu_set_t cpus;
    int rc;

    CPU_ZERO(&cpus);
    for (;; text++) {
        rc = parse_number(&text, &first);
        last = first;
        if (rc == 0 && *text == '-') {
            text++;
            rc = parse_number(&text, &last);
        }
        if (rc < 0)
            return rc;
        if (last < first)
            return -EINVAL;
        for (; first <= last; first++)
            CPU_SET(first, &cpus);
        if (*text != ',')
            break;
    }
    if (*text != '\0')
        return -EINVAL;
    *ret = cpus;
    return 0;
}

char *cpus_format(const cpu_set_t *cpus, char *buf)
{
    size_t len = 0;

    buf[0] = '\0';
    for (unsigned first = 0; first < CPU_SETSIZE; first++) {
        unsigned last = first;

        if (!CPU_ISSET(first, cpus))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus))
            last++;
        len += (size_t)snprintf(buf + len, CPUS_TEXT_LEN - len, last > first ? "%s%u-%u" : "%s%u",
                                len ? "," : "", first, last);
        first = last;
    }
    return buf;
}

int cpus_nth(const cpu_set_t *cpus, unsigned n)
{
    const unsigned count = (unsigned)CPU_COUNT(cpus);
    unsigned cpu = 0;

    if (count == 0)
        return -1;
    for (n %= count; !CPU_ISSET(cpu, cpus) || n > 0; cpu++)
        n -= CPU_ISSET(cpu, cpus) ? 1 : 0;
    return (int)cpu;
}
