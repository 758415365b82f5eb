#!/bin/bash
# One batch of files for clang-tidy: tidy.sh NUMBER-OF-FLAGS FLAG... FILE...
set -u
n=$1
flags=("${@:2:n}")
failed=0
for file in "${@:2+n}"; do
    checks=
    [[ $file == tests/* ]] && checks='-clang-analyzer-*'
    clang-tidy --quiet --checks="$checks" "$file" -- "${flags[@]}" 2>/dev/null || failed=1
done
exit $failed
