/* The same with a default that is not allowed. */
#define CONF_SERVER_WRONG
#include "conf_server.c" // NOLINT(bugprone-suspicious-include)
