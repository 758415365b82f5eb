/*
 * Options of a command line that getopt would refuse in few words: each gets a sentence that names
 * it and what is allowed. Pure; the parsing itself is argp's.
 */
#ifndef BASE_ARGS_H
#define BASE_ARGS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

enum { ARGS_WHY_LEN = 256 };

/*
 * args_check - is every option known, and has it a value if it takes one?
 * @lists        tables of argp, the last one NULL; --help, --usage and --version are known besides
 * @is_in_order  words behind the first one that is no option are not looked at
 * @why          on -EINVAL: a sentence; ARGS_WHY_LEN bytes
 * Returns 0 or -EINVAL.
 */
int args_check(const struct argp_option *const *lists, int argc, char *const *argv,
               bool is_in_order, char *why);

#endif
