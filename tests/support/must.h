/*
 * Moved to where the installed tool has it, too.
 */
#ifndef SUPPORT_MUST_H
#define SUPPORT_MUST_H

#include "client/must.h"

#endif
