#!/bin/sh
# Makes directories and notes those that were not there: install_dirs.sh LIST DIR...
# install_dirs.sh -r LIST removes the noted ones that are empty, the last first.
set -eu

make_dir()
{
    [ -d "$1" ] && return
    make_dir "$(dirname "$1")"
    install -d -m 755 "$1"
    echo "$1" >>"$list"
}

if [ "$1" != -r ]; then
    list=$1
    shift
    for dir in "$@"; do
        make_dir "$dir"
    done
elif [ -e "$2" ]; then
    tac "$2" | while read -r dir; do
        rmdir "$dir" 2>/dev/null || :
    done
    rm "$2"
fi
