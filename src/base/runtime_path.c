/*
 * The default place of the control socket. Pure.
 */
#include "base/runtime_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int fill(struct runtime_path *ret, const char *dir, int dir_len, const char *name,
                bool is_ours)
{
    struct runtime_path p = {.is_ours = is_ours};
    int n = snprintf(p.socket, sizeof(p.socket), "%.*s/%s", dir_len, dir, name);

    if (n < 0 || (size_t)n >= sizeof(p.socket))
        return -ENAMETOOLONG;
    snprintf(p.dir, sizeof(p.dir), "%.*s", dir_len, dir);
    *ret = p;
    return 0;
}

int runtime_path_default(const char *program, const char *service, const char *xdg, bool is_root,
                         struct runtime_path *ret)
{
    char own[RUNTIME_PATH_MAX];

    /* systemd gives a list, separated by colons */
    if (service && *service == '/')
        return fill(ret, service, (int)strcspn(service, ":"), "control", false);
    if (is_root) {
        snprintf(own, sizeof(own), "/run/%s", program);
        return fill(ret, own, (int)strlen(own), "control", true);
    }
    snprintf(own, sizeof(own), "%s.control", program);
    if (xdg && *xdg == '/')
        return fill(ret, xdg, (int)strlen(xdg), own, false);
    return -ENOENT;
}

int runtime_path_nth(const char *socket, unsigned n, char *ret)
{
    char path[RUNTIME_PATH_MAX];
    const int len = n == 1 ? snprintf(path, sizeof(path), "%s", socket)
                           : snprintf(path, sizeof(path), "%s.%u", socket, n);

    if ((size_t)len >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(ret, path, sizeof(path));
    return 0;
}
