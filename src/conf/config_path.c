/*
 * Relative paths of the configuration, made absolute.
 */
#include "conf/config_path.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int config_path_absolute(const char *path, char *ret, size_t size)
{
    char dir[PATH_MAX + 1] = ""; /* with room for a slash behind the longest */
    size_t dir_len, path_len;

    if (path[0] != '/') {
        if (!getcwd(dir, PATH_MAX))
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        while (path[0] == '.' && path[1] == '/')
            path += 2 + strspn(path + 2, "/");
        if (strcmp(dir, "/") != 0)
            strcat(dir, "/");
    }
    dir_len = strlen(dir);
    path_len = strlen(path);
    if (dir_len + path_len >= size)
        return -ENAMETOOLONG;
    memcpy(ret, dir, dir_len);
    memcpy(ret + dir_len, path, path_len + 1);
    return 0;
}

/* The next name of the path at @p; returns its length, 0 at the end. */
static size_t next_name(const char **p)
{
    size_t len;

    do {
        *p += strspn(*p, "/");
        len = strcspn(*p, "/");
    } while (len == 1 && **p == '.' && ++*p);
    return len;
}

bool config_path_is_same(const char *a, const char *b)
{
    for (;;) {
        const size_t len = next_name(&a);

        if (next_name(&b) != len || memcmp(a, b, len) != 0)
            return false;
        if (len == 0)
            return true;
        a += len;
        b += len;
    }
}
