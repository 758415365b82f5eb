#!/bin/bash
# The Debian packages in a fresh Debian: built by an ordinary user, twice the same, installed, upgraded under
# load, purged, and tried as autopkgtest does: deb_check.sh BUILD. Needs root and a registry of packages, that of
# the machine's own sources; where it cannot run it says why. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
folder=$(realpath -m "$1")/deb-check
base=$folder/base maker=$folder/maker

leave_out()
{
    echo "make deb-check is left out: $*"
    echo '0 passed, 0 failed'
    exit 0
}

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
[ "$(id -u)" = 0 ] || leave_out 'it makes a root directory, which needs root'
[ "$suite" = bookworm ] || leave_out "the machine's sources are those of ${suite:-another system}, not of bookworm"
tools/need.sh deb-check || leave_out 'mmdebstrap is missing'
unshare --mount --pid --net --kill-child true 2>/dev/null || leave_out 'namespaces are not allowed here (unshare)'

bootstrap()
{
    local -a sources=()
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -s "$file" ] || sources+=("$file")
    done
    mmdebstrap --variant=minbase --include=systemd-standalone-sysusers bookworm "$base" "${sources[@]}"
}

# steps ROOT STEP...: in namespaces, so that what they mount and start ends with them. A server's steps share a
# network that has nothing but 127.0.0.1, with NET=--net.
steps()
{
    # shellcheck disable=SC2016,SC2086 # the inner shell's words; no word or one
    unshare --mount --pid ${NET-} --kill-child sh -c 'root=$1 && shift && mount --make-rprivate / &&
        mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/dev/shm" && mount -t tmpfs tmpfs "$root/run" &&
        { [ -z "${NET-}" ] || ip link set lo up; } && exec chroot "$root" /src/in_root.sh "$@"' sh "$@"
}

everything()
{
    mkdir -p "$base/src/echo-arbiter"
    cp tests/deb/in_root.sh "$base/src/"
    tar --exclude-vcs --exclude='./build*' --exclude="./${inside%%/*}" -cf - . | tar --no-same-owner -xf - -C "$base/src/echo-arbiter"
    cp -a "$base" "$maker"
    steps "$maker" build_dependencies build_old build_again build_new || return
    cp -r "$maker/src/old" "$maker/src/new" "$base/src/"
    rm -rf "$base/src/echo-arbiter"
    cp -r "$maker/src/echo-arbiter" "$base/src/"
    steps "$base" prepare install_packages installed &&
        NET=--net steps "$base" start upgrade library refused stopped elsewhere purge &&
        steps "$base" autopkgtest_null
}

inside=$(realpath -m --relative-to=. "$1")
export NET=
main()
{
    local began=$SECONDS results
    rm -rf "$folder"
    mkdir -p "$folder"
    bootstrap >"$folder/bootstrap.log" 2>&1 </dev/null ||
        leave_out "mmdebstrap cannot make a root: $(grep -m 1 '^E' "$folder/bootstrap.log")"
    printf '  ok   %-20s (%d s)\n' bootstrap $((SECONDS - began))
    everything
    cp "$maker"/src/*.log "$base"/src/*.log "$folder/" 2>/dev/null
    results=$(cat "$maker/src/results" "$base/src/results" 2>/dev/null)
    rm -rf "$base" "$maker"
    passed=$(grep -c passed <<<"$results")
    failed=$(grep -c failed <<<"$results")
    echo "$((SECONDS - began)) s in all"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}
main
