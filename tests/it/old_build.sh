#!/bin/sh
# Builds the servers of an earlier commit, the shipped one and the test build: old_build.sh COMMIT DIR CC
# Without its history (a tarball, a shallow clone) there is nothing to build: says so and exits 77.
set -u
commit=$1 dir=${2%/} cc=$3

skip()
{
    echo "skipped: $*"
    exit 77
}

# Plain and sanitized tests may run beside each other and want the same build.
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
[ -x "$dir/built" ] && exit 0
command -v git >/dev/null || skip "there is no git"
git rev-parse -q --verify "$commit^{commit}" >/dev/null 2>&1 ||
    skip "commit $commit is not in the history that is here"
rm -rf "$dir"
mkdir -p "$dir"
git archive "$commit" | tar -x -C "$dir" || exit 1
# Without the flags of this build: a sanitizer is of no use there.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$dir" CC="$cc" OPT=-O0 B=build -j2 \
    build/echo-arbiter build/test/echo-arbiter >"$dir/make.log" 2>&1 ||
    { tail -n 20 "$dir/make.log"; exit 1; }
printf '#!/bin/sh\n' >"$dir/built"
chmod +x "$dir/built"
