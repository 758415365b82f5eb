/*
 * From errno to a status.
 */
#ifndef CLIENT_STATUS_H
#define CLIENT_STATUS_H

#include <arbiter/status.h>

/* status_of_errno - the outcome that @error (> 0) of a socket call stands for, or -@error */
int status_of_errno(int error);

#endif
