/*
 * The PROXY protocol, versions 1 and 2: the header with which a proxy begins a connection, to say
 * whose it is. Pure: bytes in, a decision out; read as if a stranger had written them. The text
 * that it follows: "The PROXY protocol Versions 1 & 2", doc/proxy-protocol.txt of HAProxy 2.6.
 */
#ifndef WIRE_PROXY_H
#define WIRE_PROXY_H

#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum {
    PROXY_V1_MAX = 107, /* bytes of a line, with its CR LF */
    PROXY_V2_HEAD = 16,
    PROXY_V2_MAX = PROXY_V2_HEAD + 65535,
};

/* What is expected at the beginning of a connection. The numbers travel: append only. */
enum proxy_wish {
    PROXY_UNASKED, /* no header: whatever comes is the client's */
    PROXY_ACCEPTED, /* perhaps a header, which is believed */
    PROXY_REQUIRED, /* a header, which is believed */
    PROXY_REFUSED, /* a header, which would not be believed: the connection ends */
};

enum proxy_found {
    PROXY_MORE, /* these bytes may begin a header, but do not say so yet */
    PROXY_PARTIAL, /* they begin a header, of which something is missing */
    PROXY_HEADER, /* it is there */
    PROXY_NONE, /* they begin no header */
    PROXY_BAD, /* they begin a header that is wrong */
};

struct proxy_header {
    size_t len; /* bytes of the header; what follows is the client's */
    int version; /* 1 or 2 */
    /* Whose connection it is. Nobody: the proxy's own, or the proxy does not know. */
    struct addr_named peer;
};

/*
 * proxy_find - does a connection begin with a header?
 * @data     all that has come since the connection was made; @len bytes, may be 0
 * @ret      set with PROXY_HEADER
 * @ret_why  set with PROXY_BAD: a static text that says what is wrong
 * With more than PROXY_V2_MAX bytes the answer is neither PROXY_MORE nor PROXY_PARTIAL.
 */
enum proxy_found proxy_find(const uint8_t *data, size_t len, struct proxy_header *ret,
                            const char **ret_why);

#endif
