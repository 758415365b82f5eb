/* The next version of kinds_server: for upgrades. */
#define KINDS_SERVER_SECOND
#include "kinds_server.c" // NOLINT(bugprone-suspicious-include)
