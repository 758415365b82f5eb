/* The next version of own_server: for upgrades. */
#define OWN_SERVER_SECOND
#include "own_server.c" // NOLINT(bugprone-suspicious-include)
