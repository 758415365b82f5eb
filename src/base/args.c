/*
 * Words of a command line against tables of options, as getopt_long reads them.
 */
#include "base/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/slip.h"

static const struct argp_option built_in[] = {{"help", '?', NULL, 0, NULL, 0},
                                              {"usage", 0, NULL, 0, NULL, 0},
                                              {"version", 'V', NULL, 0, NULL, 0},
                                              {0}};

struct args {
    const struct argp_option *const *lists;
    char *why;
};

/* The @n-th option of all lists, and then of those that argp has; NULL behind the last one. */
static const struct argp_option *nth_option(const struct args *a, size_t n)
{
    for (size_t i = 0;; i++) {
        const struct argp_option *o = a->lists[i] ? a->lists[i] : built_in;

        for (; o->name || o->key; o++)
            if (n-- == 0)
                return o;
        if (!a->lists[i])
            return NULL;
    }
}

#define for_each_option(a, o)                                                                      \
    for (size_t n_ = 0, is_first_ = 1; is_first_; is_first_ = 0)                                   \
        for (const struct argp_option *o = nth_option(a, n_); o; o = nth_option(a, ++n_))

/* ---- --NAME ---- */

static bool is_named(const struct argp_option *o, const char *name, size_t len)
{
    return o->name && strncmp(o->name, name, len) == 0;
}

/* No such option: is there one that was meant? */
static void explain_long(const struct args *a, const char *name, size_t len)
{
    snprintf(a->why, ARGS_WHY_LEN, "--%.*s: there is no such option: --help lists them",
             (int)(len < 64 ? len : 64), name);
    for_each_option(a, o) if (o->name && !(o->flags & OPTION_HIDDEN) &&
                              slip_is(name, len, o->name, strlen(o->name)))
        snprintf(a->why, ARGS_WHY_LEN, "--%.*s: there is no such option; did you mean --%s?",
                 (int)len, name, o->name);
}

/* Getopt takes the begin of a name, too, if it is the begin of no other. */
static const struct argp_option *find_long(const struct args *a, const char *name, size_t len)
{
    const struct argp_option *found = NULL, *other = NULL;

    for_each_option(a, o)
    {
        if (!is_named(o, name, len))
            continue;
        if (o->name[len] == '\0')
            return o;
        other = found;
        found = o;
    }
    if (!found)
        explain_long(a, name, len);
    else if (other)
        snprintf(a->why, ARGS_WHY_LEN, "--%.*s: --%s or --%s? write it out", (int)len, name,
                 other->name, found->name);
    return other ? NULL : found;
}

static int check_long(const struct args *a, const char *word, const char *next, int *ret_n)
{
    const size_t len = strcspn(word, "=");
    const struct argp_option *o = find_long(a, word, len);

    if (!o)
        return -EINVAL;
    if (!o->arg && word[len] == '=') {
        snprintf(a->why, ARGS_WHY_LEN, "--%s: it takes no value, and not '%.64s'", o->name,
                 word + len + 1);
        return -EINVAL;
    }
    if (!o->arg || word[len] == '=')
        return 0;
    if (!next) {
        snprintf(a->why, ARGS_WHY_LEN, "--%s: its value is missing: --%s=%s", o->name, o->name,
                 o->arg);
        return -EINVAL;
    }
    *ret_n = 2;
    return 0;
}

/* ---- -XYZ ---- */

static const struct argp_option *find_letter(const struct args *a, char letter)
{
    for_each_option(a, o) if (o->key == letter) return o;
    snprintf(a->why, ARGS_WHY_LEN,
             isprint((unsigned char)letter) ? "-%c: there is no such option: --help lists them"
                                            : "there is an option of a letter that cannot be shown",
             letter);
    return NULL;
}

static int check_letters(const struct args *a, const char *letters, const char *next, int *ret_n)
{
    for (; *letters; letters++) {
        const struct argp_option *o = find_letter(a, *letters);

        if (!o)
            return -EINVAL;
        if (!o->arg)
            continue;
        if (letters[1])
            return 0;
        if (!next) {
            snprintf(a->why, ARGS_WHY_LEN, "-%c: its value is missing: -%c %s", *letters, *letters,
                     o->arg);
            return -EINVAL;
        }
        *ret_n = 2;
        return 0;
    }
    return 0;
}

int args_check(const struct argp_option *const *lists, int argc, char *const *argv,
               bool is_in_order, char *why)
{
    const struct args a = {lists, why};

    for (int i = 1, n; i < argc; i += n) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        int rc = 0;

        n = 1;
        if (strcmp(word, "--") == 0)
            return 0;
        if (word[0] != '-' || word[1] == '\0') {
            if (is_in_order)
                return 0;
            continue;
        }
        rc = word[1] == '-' ? check_long(&a, word + 2, next, &n)
                            : check_letters(&a, word + 1, next, &n);
        if (rc < 0)
            return rc;
    }
    return 0;
}
