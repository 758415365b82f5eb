#!/bin/sh
# Which flags does this compiler know, and what does pkg-config say? Prints a makefile fragment.
set -u

try()
{
    if "$@" -Werror -x c -c /dev/null -o /dev/null 2>/dev/null; then
        shift $(($# - 1))
        printf ' %s' "$1"
    fi
}

echo "PROBED := 1"
# Level 3 needs a recent libc as well: it falls back to 2 with a warning, which -Werror makes a "no".
fortify=$(try "$@" -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -include stdio.h >/dev/null && echo yes)
[ -n "$fortify" ] && level=3 || level=2
echo "PROBED_FORTIFY := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$level"
printf 'PROBED_HARDEN :='
for flag in -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
    -ftrivial-auto-var-init=zero; do
    try "$@" "$flag"
done
echo
echo "PROBED_CFLAGS := $(pkg-config --cflags libconfig jansson libseccomp)"
echo "PROBED_LIBS := $(pkg-config --libs libconfig jansson libseccomp)"
echo "PROBED_EDIT := $(pkg-config --libs libedit)"
