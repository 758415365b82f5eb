/*
 * Where the program is and what it was told. The path is the one that it was called by, if that
 * leads to it: a symbolic link that is turned to another version is then followed by an upgrade,
 * also one on the way to the working directory.
 */
#include "server/image.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

/* ---- the path ---- */

static bool is_same_file(const char *x, const char *y)
{
    struct stat a, b;

    return stat(x, &a) == 0 && stat(y, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* As the shell calls it, with the links that were followed to get there: $PWD, if that is right. */
static bool find_directory(char *buf, size_t size)
{
    const char *logical = getenv("PWD");

    if (!logical || logical[0] != '/' || strlen(logical) >= size || !is_same_file(logical, "."))
        return getcwd(buf, size) != NULL;
    strcpy(buf, logical);
    return true;
}

/* Malloc'ed, or NULL: not there, or without memory. */
static char *try_path(const char *dir, size_t len, const char *name)
{
    char cwd[PATH_MAX] = "", *path = NULL;

    while (len >= 2 && dir[0] == '.' && dir[1] == '/')
        dir += 2, len -= 2;
    if ((len == 0 || dir[0] != '/') && !find_directory(cwd, sizeof(cwd)))
        return NULL;
    if (asprintf(&path, "%s%s%.*s%s%s", cwd, *cwd && len ? "/" : "", (int)len, dir,
                 len && dir[len - 1] == '/' ? "" : "/", name) < 0)
        return NULL;
    if (is_same_file(path, "/proc/self/exe"))
        return path;
    free(path);
    return NULL;
}

static char *search_path(const char *name)
{
    const char *dir = getenv("PATH");
    char *path = NULL;

    while (dir && !path) {
        size_t len = strcspn(dir, ":");

        path = try_path(dir, len, name);
        dir = dir[len] ? dir + len + 1 : NULL;
    }
    return path;
}

static char *resolve(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');
    char link[PATH_MAX], *path;
    ssize_t n;

    path = slash ? try_path(argv0, (size_t)(slash - argv0) + 1, slash + 1) : search_path(argv0);
    if (path)
        return path;
    n = readlink("/proc/self/exe", link, sizeof(link) - 1);
    return n > 0 ? strndup(link, (size_t)n) : strdup(argv0);
}

/* ---- the words of the image before ---- */

static bool take_fds(const char *text, int *fds, size_t n)
{
    char copy[64], *p = copy;

    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return false;
    for (size_t i = 0; i < n; i++) {
        char *word = strsep(&p, ",");
        uint64_t fd;

        if (word && strcmp(word, "-1") == 0)
            fds[i] = -1;
        else if (word && num_parse_u64(word, 3, INT_MAX, &fd) == 0)
            fds[i] = (int)fd;
        else
            return false;
    }
    return !p;
}

static const char *value_of(const char *arg, const char *option)
{
    const size_t len = strlen(option);

    return arg && strncmp(arg, option, len) == 0 ? arg + len : NULL;
}

/* Returns how many words were taken, or -EINVAL. */
static int take_words(struct image *image, int argc, char **argv)
{
    struct arbiter_inherited *inherited = &image->inherited;
    const char *value;
    int fds[2] = {-1, -1};

    value = value_of(argc > 1 ? argv[1] : NULL, "--inherit-check=");
    if (!value) /* as programs before STATE_VERSION 3 say: they are told that they are too old */
        value = value_of(argc > 1 ? argv[1] : NULL, "--adopt-check=");
    if (value) {
        image->role = IMAGE_CHECK;
        if (!take_fds(value, &inherited->state_fd, 1) || inherited->state_fd < 0)
            return -EINVAL;
        return 1;
    }
    if (argc < 2 || !(value = value_of(argv[1], "--inherit=")))
        return 0;
    image->role = IMAGE_NEXT;
    if (!take_fds(value, fds, 2) || fds[0] < 0)
        return -EINVAL;
    inherited->state_fd = fds[0];
    inherited->back_fd = fds[1];
    value = argc > 2 ? value_of(argv[2], "--inherit-failed=") : NULL;
    if (!value)
        return 1;
    inherited->failed = strdup(value);
    return inherited->failed ? 2 : -ENOMEM;
}

int image_init(struct image *image, int argc, char **argv)
{
    char **copy = calloc((size_t)argc + 2, sizeof(*copy));
    int n = 0, taken;

    *image = (struct image){.inherited = {.state_fd = -1, .back_fd = -1}};
    image->program.argv = copy;
    if (!copy)
        return -ENOMEM;
    taken = take_words(image, argc, argv);
    if (taken < 0)
        return taken;
    for (int i = 0; i < argc; i++) {
        if (i >= 1 && i <= taken)
            continue;
        copy[n] = strdup(argv[i]);
        if (!copy[n++])
            return -ENOMEM;
    }
    image->program.path = resolve(argc > 0 ? argv[0] : "/proc/self/exe");
    return image->program.path ? 0 : -ENOMEM;
}

void image_fini(struct image *image)
{
    char **argv = (char **)(uintptr_t)image->program.argv;

    for (size_t i = 0; argv && argv[i]; i++)
        free(argv[i]);
    free(argv);
    free((char *)(uintptr_t)image->program.path);
    free((char *)(uintptr_t)image->inherited.failed);
    *image = (struct image){.inherited = {.state_fd = -1, .back_fd = -1}};
}
