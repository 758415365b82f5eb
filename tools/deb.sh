#!/bin/bash
# Builds the Debian packages from a copy of the tree, in a folder that is made anew: deb.sh FOLDER [OPTION...]
# The options are those of dpkg-buildpackage. The tree stays as it is; a release's tarball will do, too.
set -eu
[ $# -gt 0 ] || { echo 'usage: deb.sh FOLDER [OPTION...]' >&2; exit 64; }
folder=$1
shift
inside=$(realpath -m --relative-to=. "$folder")
rm -rf "$folder"
mkdir -p "$folder/echo-arbiter"
# What git does not have is not of the project, whoever left it here; a tarball has nothing else.
if [ -e .git ]; then
    git -c safe.directory='*' ls-files -z --cached --deduplicate |
        tar --null --no-recursion --ignore-failed-read -T - -cf - | tar -xf - -C "$folder/echo-arbiter"
else
    tar --exclude-vcs --exclude='./build*' --exclude="./${inside%%/*}" -cf - . | tar -xf - -C "$folder/echo-arbiter"
fi
cd "$folder/echo-arbiter"
# What make exports to its children is not meant for this build.
unset MAKELEVEL MFLAGS MAKEFLAGS MAKEOVERRIDES B CC CFLAGS CPPFLAGS LDFLAGS OPT WERROR SAN SHARED V DESTDIR PREFIX prefix
# debhelper gives the build a HOME of its own: the compiler's cache would be empty each time.
if command -v ccache >/dev/null; then
    CCACHE_DIR=$(ccache -k cache_dir)
    export CCACHE_DIR CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 PATH=/usr/lib/ccache:$PATH
fi
exec dpkg-buildpackage -us -uc "$@"
