/*
 * The standard streams of a program that people run. Whoever shares the terminal or pipe may have
 * made it non-blocking (O_NONBLOCK belongs to the open file, not to the process); stdio then loses
 * what did not fit. Not for the log, which must never wait.
 */
#ifndef BASE_STD_STREAMS_H
#define BASE_STD_STREAMS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * std_streams_wait - from here on stdout and stderr wait for room
 * To be called before anything is written. They have no fileno() then. Where memory lacks, they
 * stay as they are.
 */
void std_streams_wait(void);

/* std_streams_error - why one of them could not be written, the last time; 0 = all could */
int std_streams_error(void);

/* std_stream_read - as read(2), but waits for bytes, and goes on after a signal */
ssize_t std_stream_read(int fd, void *buf, size_t size);

/* std_stream_write - all of it in as few calls as can be, waiting for room. Returns 0 or -errno. */
int std_stream_write(int fd, const void *data, size_t len);

#endif
