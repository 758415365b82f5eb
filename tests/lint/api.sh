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

# must_fail COMPILER LANGUAGE STANDARD: a row for a field of another type
must_fail()
{
    local row
    for row in 'COUNT(struct s, big, "1", 0, 1, "h")' 'COUNT(struct s, sign, "1", 0, 1, "h")' \
        'DURATION(struct s, small, "1", 0, 1, "h")' 'SIZE(struct s, small, "1", 0, 1, "h")' \
        'BOOL(struct s, small, "true", "h")' 'TEXT(struct s, text, "", "h")' \
        'TEXT(struct s, other, "", "h")' 'BYTES(struct s, other, "", 1, "h")' \
        'CHOICE(struct s, sign, "a", 0, "h")'; do
        printf '#include <arbiter/config.h>
            struct s { uint64_t big; unsigned small; int sign; const char *text; uint8_t other[16]; };
            extern const struct arb_key key; const struct arb_key key = ARB_KEY_%s;\n' "$row" |
            "$1" -x "$2" -std="$3" -w -Iinclude -fsyntax-only - 2>/dev/null &&
            { echo "with $1 -x $2 -std=$3 this compiles: ARB_KEY_$row"; bad=1; }
    done
}

# What a header changes it changes back: an author's own functions keep their visibility.
for header in include/arbiter/*.h; do
    if [ "$(grep -c 'visibility push' "$header")" != "$(grep -c 'visibility pop' "$header")" ]; then
        echo "$header: a pragma visibility push without a pop"
        bad=1
    fi
done

for cc in gcc clang; do
    for language in 'c c99' 'c++ c++11'; do
        must_fail "$cc" $language
    done
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
