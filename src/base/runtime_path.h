/*
 * Where the control socket lives by default; the same for the arbiter and the client tool. Reads
 * the environment that it is given, touches no file.
 */
#ifndef BASE_RUNTIME_PATH_H
#define BASE_RUNTIME_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { RUNTIME_PATH_MAX = 108 }; /* sun_path */

struct runtime_path {
    char dir[RUNTIME_PATH_MAX];
    char socket[RUNTIME_PATH_MAX];
    bool is_ours; /* the directory may be made, and removed, by the arbiter */
};

/*
 * runtime_path_default - $RUNTIME_DIRECTORY (its first entry), else /run/@program for root, else
 * $XDG_RUNTIME_DIR
 * @program      the name of the server's program
 * @service,@xdg  the two variables, NULL = unset; only absolute paths count
 * Returns 0, or -ENOENT if there is no such place, or -ENAMETOOLONG.
 */
int runtime_path_default(const char *program, const char *service, const char *xdg, bool is_root,
                         struct runtime_path *ret);

/*
 * runtime_path_nth - where the @n-th server of one user is found, from 1 on, if it does not say
 * itself: the first at @socket, the next ones beside it
 * @ret  RUNTIME_PATH_MAX bytes. Returns 0 or -ENAMETOOLONG.
 */
enum { RUNTIME_SERVERS_MAX = 8 };
int runtime_path_nth(const char *socket, unsigned n, char *ret);

#endif
