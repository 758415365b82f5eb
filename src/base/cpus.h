/*
 * Sets of CPUs: those that this process may use, and the text of a set ("0,2-5").
 */
#ifndef BASE_CPUS_H
#define BASE_CPUS_H

#include <sched.h>
#include <stddef.h>

/* cpus_allowed - those of this process's affinity mask; from CPU_SETSIZE on they are not seen.
 * Returns 0 or -errno. */
int cpus_allowed(cpu_set_t *ret);

/* cpus_parse - numbers and ranges, with commas. Returns 0, -EINVAL or -ERANGE (CPU_SETSIZE and
 * above); @ret untouched on failure. */
int cpus_parse(const char *text, cpu_set_t *ret);

/* cpus_format - the shortest text that cpus_parse reads back; @buf of CPUS_TEXT_LEN bytes. Returns
 * @buf. */
enum { CPUS_TEXT_LEN = 4096 };
char *cpus_format(const cpu_set_t *cpus, char *buf);

/* cpus_nth - the CPU that comes after @n others, going round. -1 = the set is empty */
int cpus_nth(const cpu_set_t *cpus, unsigned n);

#endif
