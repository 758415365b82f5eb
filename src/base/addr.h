/*
 * Addresses as people write them: HOST:PORT, [V6]:PORT, :PORT, unix:PATH. Pure text and structs:
 * nothing here connects or asks a resolver; only the name of an interface ("%eth0") is looked up,
 * and the peer of a socket asked for.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum addr_kind {
    ADDR_HOST, /* a name, to be resolved (clients only) */
    ADDR_INET, /* numeric v4 */
    ADDR_INET6, /* numeric v6 */
    ADDR_ANY, /* ":PORT": all interfaces, both families */
    ADDR_UNIX,
};

struct addr {
    enum addr_kind kind;
    uint16_t port; /* host byte order; 0 = the kernel chooses */
    char host[256]; /* ADDR_HOST, ADDR_INET, ADDR_INET6: without brackets */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* ADDR_UNIX */
};

/*
 * addr_parse - read one address
 * @text      borrowed
 * @ret       untouched on failure
 * @ret_why   on failure: a static sentence that says what is allowed
 * Returns 0 or -EINVAL.
 */
int addr_parse(const char *text, struct addr *ret, const char **ret_why);

/*
 * addr_to_sockaddr - a numeric address for bind or connect; "localhost" is 127.0.0.1 here
 * ADDR_ANY gives [::]. Returns 0, -EINVAL for a name that would need a resolver, or -ENODEV for a
 * v6 scope that is no interface.
 */
int addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret, socklen_t *ret_len);

/* addr_format - "127.0.0.1:80", "[::1]:80", "unix:PATH"; an unnamed unix peer is "unix:" */
enum { ADDR_TEXT_LEN = 320 };
char *addr_format(const struct sockaddr *sa, socklen_t len, char *buf);

/* addr_format_peer - the same of the peer of the socket @fd; "" if it is not known. Returns @buf.
 */
char *addr_format_peer(int fd, char *buf);

#endif
