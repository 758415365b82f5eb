/*
 * The beginning of a connection that may be a header of the PROXY protocol. A header is found when
 * its last byte is there, not before, and whatever comes behind it; and what it names travels.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "wire/peer.h"
#include "wire/proxy.h"

enum { CUTS = 256 };

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static void must_travel(const struct addr_named *peer)
{
    char text[ADDR_TEXT_LEN];
    struct sockaddr_storage ss;
    uint8_t buf[PEER_BYTES], again[PEER_BYTES];
    struct addr_named got;
    const socklen_t len = addr_named_sockaddr(peer, &ss);

    must((len > 0) == (peer->kind != ADDR_NAMED_NONE));
    if (len > 0)
        must(*addr_format((struct sockaddr *)&ss, len, text) != '?');
    peer_put(peer, buf);
    must(peer_get(buf, &got) == 0);
    peer_put(&got, again);
    must(memcmp(buf, again, sizeof(buf)) == 0);
}

/* What a part of it says: nothing yet. */
static void must_be_begun(const uint8_t *data, size_t len)
{
    struct proxy_header h;
    const char *why;

    for (size_t cut = 0; cut < len && cut < CUTS; cut++)
        must(proxy_find(data, cut, &h, &why) <= PROXY_PARTIAL);
    must(proxy_find(data, len - 1, &h, &why) <= PROXY_PARTIAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h = {0}, alone = {0};
    const char *why = NULL;
    struct addr_named peer;

    if (size == PEER_BYTES && peer_get(data, &peer) == 0)
        must_travel(&peer);
    switch (proxy_find(data, size, &h, &why)) {
    case PROXY_MORE:
    case PROXY_PARTIAL:
        must(size < PROXY_V2_MAX);
        break;
    case PROXY_HEADER:
        must(h.len > 0 && h.len <= size && (h.version == 2 || h.len <= PROXY_V1_MAX));
        must(proxy_find(data, h.len, &alone, &why) == PROXY_HEADER && alone.len == h.len);
        must_be_begun(data, h.len);
        must_travel(&h.peer);
        break;
    case PROXY_NONE:
        must(size > 0);
        break;
    case PROXY_BAD:
        must(why != NULL);
        break;
    }
    return 0;
}
