/*
 * The conformance program owns it; the tests use it, too.
 */
#ifndef SUPPORT_MUST_H
#define SUPPORT_MUST_H

#include "conformance/must.h"

#endif
