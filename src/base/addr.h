/*
 * Addresses as people write them: HOST:PORT, [V6]:PORT, :PORT, unix:PATH. Pure text and structs:
 * nothing here connects or asks a resolver; only the name of an interface ("%eth0") is looked up,
 * and the peer of a socket asked for.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
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

/* addr_conflicts - would the second of two listeners find its address taken by the first? */
bool addr_conflicts(const struct addr *a, const struct addr *b);

/* addr_format - "127.0.0.1:80", "[::1]:80", "unix:PATH"; an unnamed unix peer is "unix:" */
enum { ADDR_TEXT_LEN = 320 };
char *addr_format(const struct sockaddr *sa, socklen_t len, char *buf);

/* addr_peer - of the socket @fd, also after it has reset the connection. Returns the length of its
 * address; 0 = not known. */
socklen_t addr_peer(int fd, struct sockaddr_storage *ret);

/* addr_format_peer - the same as text; "" if it is not known. Returns @buf. */
char *addr_format_peer(int fd, char *buf);

/* ---- numbers without a port: one form for both families, v4 as ::ffff:a.b.c.d ---- */

struct addr_ip {
    uint8_t bytes[16];
};

/* All addresses that begin with these bits; of v4 as v6 writes them, so 96 to 128. */
struct addr_net {
    struct addr_ip ip;
    uint8_t bits;
};

/* addr_ip - of a socket's address. Returns false if it has none: a unix socket. */
bool addr_ip(const struct sockaddr *sa, struct addr_ip *ret);

/*
 * addr_source - what counts as one source: a v4 address, or the v6 network of 64 bits, which one
 * client may have for itself
 */
uint64_t addr_source(const struct addr_ip *ip);

/*
 * addr_net_parse - "192.0.2.1", "10.0.0.0/8", "2001:db8::/32"
 * @ret,@ret_why  as of addr_parse. Returns 0 or -EINVAL.
 */
int addr_net_parse(const char *text, struct addr_net *ret, const char **ret_why);

/* addr_net_format - what addr_net_parse reads back; @buf has ADDR_NET_LEN bytes. Returns @buf. */
enum { ADDR_NET_LEN = 64 };
char *addr_net_format(const struct addr_net *net, char *buf);

/* The peer of a connection as a proxy names it: what a socket's address says, in a form that
 * travels. All zeros: nobody is named. */
enum addr_named_kind { ADDR_NAMED_NONE, ADDR_NAMED_IP, ADDR_NAMED_UNIX };

struct addr_named {
    struct addr_ip ip; /* ADDR_NAMED_IP; else zeros, as the port */
    uint16_t port; /* host byte order */
    uint8_t kind; /* enum addr_named_kind */
};

/* addr_named_sockaddr - as a socket's address. Returns its length, 0 if nobody is named. */
socklen_t addr_named_sockaddr(const struct addr_named *peer, struct sockaddr_storage *ret);

/* addr_net_has - is @ip in it? No v4 address is in a net that was written as v6, but for mapped
 * ones. */
bool addr_net_has(const struct addr_net *net, const struct addr_ip *ip);

/* addr_nets_have - is @ip in any of @n nets? */
bool addr_nets_have(const struct addr_net *nets, size_t n, const struct addr_ip *ip);

#endif
