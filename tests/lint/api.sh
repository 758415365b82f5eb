#!/bin/bash
# The installed headers, each alone and twice, in every language that users have; and their macros.
set -u
bad=0

# try COMPILER LANGUAGE STANDARD [FLAG...]: what stands on standard input
try()
{
    "$1" -x "$2" -std="$3" -pedantic-errors -Wall -Wextra -Wundef -Wshadow \
        -Werror "${@:4}" -Iinclude -fsyntax-only - ||
        { echo "with $1 -x $2 -std=$3"; bad=1; }
}

for cc in gcc clang; do
    for header in include/arbiter/*.h; do
        for language in 'c c99' 'c c11' 'c++ c++11' 'c++ c++20'; do
            printf '#include <arbiter/%s>\n' "${header##*/}" "${header##*/}" | try "$cc" $language
        done
    done
    # The macros for tables use designated initialisers, which C++ has from C++20 on; -Wextra of g++
    # names every member that one leaves out.
    for language in 'c c99' 'c c11' 'c++ c++20 -Wno-missing-field-initializers'; do
        try "$cc" $language <tests/lint/macros.c
    done
done
exit $bad
