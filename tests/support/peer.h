/*
 * The conformance program owns it; the tests use it, too.
 */
#ifndef SUPPORT_PEER_H
#define SUPPORT_PEER_H

#include "conformance/peer.h"

#endif
