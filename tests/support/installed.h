/*
 * What `make install` puts down, below a directory of a test's own: programs are compiled against
 * that alone.
 */
#ifndef SUPPORT_INSTALLED_H
#define SUPPORT_INSTALLED_H

#include "support/it.h"

/* installed_make - make install, below DIR/dest */
void installed_make(struct it *it);

/*
 * installed_run - a shell script, which has to succeed; its output is shown if it does not
 * It knows $DEST, $CC, $lib (a directory), and pkg-config finds what is installed, and so do
 * programs that it starts.
 */
void installed_run(struct it *it, const char *script);

/* installed_must_say - the file DIR/@name has exactly this text */
void installed_must_say(struct it *it, const char *name, const char *want);

/* installed_env - LD_LIBRARY_PATH=..., for a server that is started otherwise */
const char *installed_env(struct it *it);

#endif
