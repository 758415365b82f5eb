#!/bin/sh
# Installs the Debian packages that the named groups lack: need.sh [-n] GROUP...
# Says nothing and does nothing when nothing is missing. -n only tells, and fails if any is.
set -u

# group, package, how to see that it is there (c = command, h = header, l = library)
table='
build gcc             c gcc
build libc6-dev       h stdio.h
build pkg-config      c pkg-config
build libev-dev       h ev.h
build libconfig-dev   h libconfig.h
build libjansson-dev  h jansson.h
build libseccomp-dev  h seccomp.h
build libedit-dev     h histedit.h
build libmicrohttpd-dev h microhttpd.h
check libcmocka-dev   h cmocka.h
check strace          c strace
check procps          c ps
check g++             c g++
check binutils        c nm
check redis-server    c redis-server
check redis-tools     c redis-cli
check libhiredis-dev  h hiredis/hiredis.h
check libfaketime     l faketime/libfaketime.so.1
check haproxy         c haproxy
check zsh             c zsh
check systemd         c systemd-analyze
check logrotate       c logrotate
status chromium       c chromium
status prometheus     c promtool
status python3-prometheus-client l python3/dist-packages/prometheus_client/__init__.py
deb debhelper         c dh
deb dpkg-dev          c dpkg-buildpackage
deb lintian           c lintian
deb-check mmdebstrap  c mmdebstrap
bench strace          c strace
bench valgrind        c valgrind
bench python3         c python3
bench procps          c pgrep
memcheck valgrind     c valgrind
clang clang           c clang
clang libclang-rt-dev r libclang_rt.fuzzer
lint clang-format     c clang-format
lint clang-tidy       c clang-tidy
lint cppcheck         c cppcheck
lint mandoc           c mandoc
html mandoc           c mandoc
lint shellcheck       c shellcheck
'

there()
{
    case $1 in
    c) command -v "$2" >/dev/null 2>&1 ;;
    h) for dir in /usr/include /usr/include/*-linux-gnu /usr/local/include; do
            [ -e "$dir/$2" ] && return 0
        done
        return 1 ;;
    l) for dir in /usr/lib/*-linux-gnu /usr/lib /usr/lib64; do
            [ -e "$dir/$2" ] && return 0
        done
        return 1 ;;
    r) ls /usr/lib/llvm-*/lib/clang/*/lib/linux/"$2"* /usr/lib/clang/*/lib/linux/"$2"* \
            >/dev/null 2>&1
        # One of the two patterns matches nothing, so ls fails either way: look for its words.
        [ -n "$(ls /usr/lib/llvm-*/lib/clang/*/lib/linux/"$2"* 2>/dev/null)" ] ;;
    esac
}

only_tell=
[ "${1-}" = -n ] && only_tell=1 && shift

missing=
for group in "$@"; do
    missing="$missing $(echo "$table" | while read -r g package kind what; do
        [ "$g" = "$group" ] && ! there "$kind" "$what" && echo "$package"
    done)"
done
missing=$(echo "$missing" | tr ' ' '\n' | sort -u | xargs)
[ -z "$missing" ] && exit 0

if [ -n "$only_tell" ]; then
    echo "missing packages: $missing; make run and make check install them, or: apt-get install $missing" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "please install what Debian calls: $missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "please install as root: apt-get install $missing" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "installing Debian packages: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt()
{
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" \
        >>"$log" 2>&1 </dev/null
}
# The lists of a fresh machine are empty or old: fetch them when the first try fails.
# shellcheck disable=SC2086 # one word a package
if ! apt install -y --no-install-recommends $missing &&
    ! { apt update && apt install -y --no-install-recommends $missing; }; then
    tail -n 20 "$log" >&2
    echo "could not install: $missing" >&2
    exit 1
fi
