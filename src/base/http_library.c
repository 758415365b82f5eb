/*
 * dlopen and dlsym. Runs in the status actor, and in the child that reads a configuration: that it
 * can be had is known before anything changes.
 */
#include "base/http_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ISO C has no conversion from one kind of pointer to the other; POSIX has them of one size. */
static bool find_function(void *library, const char *name, void *ret, size_t size)
{
    void *found = dlsym(library, name);

    memcpy(ret, &found, size);
    return found != NULL;
}

int http_library_load(struct http_library *ret, char *why)
{
    struct http_library l;
    void *library = dlopen(HTTP_LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
    bool is_whole = library != NULL;

#define X(function)                                                                                \
    is_whole =                                                                                     \
        is_whole && find_function(library, "MHD_" #function, &l.function, sizeof(l.function));
    HTTP_LIBRARY(X)
#undef X
    if (is_whole) {
        *ret = l;
        return 0;
    }
    snprintf(why, HTTP_LIBRARY_WHY_LEN,
             "HTTP needs " HTTP_LIBRARY_NAME
             ", which cannot be loaded: %s: install the package " HTTP_LIBRARY_PACKAGE
             ", or set \"\"",
             dlerror());
    return -ENOENT;
}
