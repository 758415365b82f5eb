/*
 * libmicrohttpd, loaded only where it is needed: linked to the program, it would cost memory in
 * each worker and time at each start. The status actor calls it through a table of functions.
 */
#ifndef BASE_HTTP_LIBRARY_H
#define BASE_HTTP_LIBRARY_H

#include <microhttpd.h>

#define HTTP_LIBRARY_NAME    "libmicrohttpd.so.12"
#define HTTP_LIBRARY_PACKAGE "libmicrohttpd12"

#define HTTP_LIBRARY(X)                                                                            \
    X(start_daemon)                                                                                \
    X(quiesce_daemon)                                                                              \
    X(stop_daemon)                                                                                 \
    X(get_daemon_info)                                                                             \
    X(run)                                                                                         \
    X(get_timeout)                                                                                 \
    X(get_connection_info)                                                                         \
    X(lookup_connection_value)                                                                     \
    X(suspend_connection)                                                                          \
    X(resume_connection)                                                                           \
    X(create_response_from_buffer)                                                                 \
    X(add_response_header)                                                                         \
    X(queue_response)                                                                              \
    X(destroy_response)

struct http_library {
#define X(function) __typeof__(&MHD_##function) function;
    HTTP_LIBRARY(X)
#undef X
};

enum { HTTP_LIBRARY_WHY_LEN = 512 };

/*
 * http_library_load - for the rest of this process' life
 * @why  on failure: a sentence that names the package to install
 * Returns 0 or -ENOENT.
 */
int http_library_load(struct http_library *ret, char *why);

#endif
