/*
 * Moved to where the installed tool has it, too.
 */
#ifndef SUPPORT_PEER_H
#define SUPPORT_PEER_H

#include "client/peer.h"

#endif
