#!/bin/bash
# What deb_check.sh does inside of its roots: in_root.sh STEP... Each step is a function below; one that fails
# shows what it printed, and ends them. The source is in /src/echo-arbiter; packages of two versions are in /src/old and
# /src/new; each step leaves a line in /src/results.
set -u
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin

say_of()
{
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

arbiter()
{
    echo-client --json info | sed 's/"workers".*//' | say_of "$1"
}

# Dependencies of the build as debian/control has them, and nothing else; then everything as an ordinary user.
build_dependencies()
{
    apt-get -qq update && apt-get -qq -y --no-install-recommends install build-essential &&
        apt-get -qq -y --no-install-recommends build-dep /src/echo-arbiter && useradd -m builder
}

# build_in FOLDER RESULT: each build in a folder, at a time and under a file mask of its own.
build_in()
{
    runuser -u builder -- mkdir -p "$1" && cp -a /src/echo-arbiter "$1/" && chown -R builder: "$1" &&
        (cd "$1/echo-arbiter" && runuser -u builder -- dpkg-buildpackage -us -uc -b) &&
        mkdir -p "$2" && cp "$1"/*.deb "$2/"
}

build_old()
{
    build_in /home/builder/one /src/old
}

# Byte for byte the same in another place, by another umask, in another time zone.
build_again()
{
    (umask 077 && export TZ=Pacific/Auckland DEB_BUILD_OPTIONS=nocheck &&
        build_in /home/builder/another/place /src/again) && chmod -R a+rX /src/again || return 1
    (cd /src/old && sha256sum -- *.deb) | (cd /src/again && sha256sum -c --quiet)
}

# The same source under the next version.
build_new()
{
    local version next
    version=$(sed -n 's/^VERSION *:= *//p' /src/echo-arbiter/Makefile)
    next=${version%.*}.$((${version##*.} + 1))
    sed -i "s/^VERSION *:= .*/VERSION := $next/" /src/echo-arbiter/Makefile
    { printf 'echo-arbiter (%s) bookworm; urgency=medium\n\n  * The next version.\n\n' "$next"
        grep -m 1 '^ -- ' /src/echo-arbiter/debian/changelog
        echo
        cat /src/echo-arbiter/debian/changelog; } >/tmp/changelog
    cp /tmp/changelog /src/echo-arbiter/debian/changelog
    DEB_BUILD_OPTIONS='nocheck noautodbgsym' build_in /home/builder/next /src/new
}

# Services are not started by maintainer scripts: there is no service manager here.
prepare()
{
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    echo 'Dpkg::Use-Pty "0";' >/etc/apt/apt.conf.d/00pty
    apt-get -qq update
}

install_packages()
{
    apt-get -qq -y --no-install-recommends install /src/old/echo-arbiter_*.deb /src/old/echo-client_*.deb \
        /src/old/libarbiter0_*.deb
}

installed()
{
    getent passwd echo-arbiter && test -f /etc/echo-arbiter/echo.conf && echo-arbiter -t &&
        dpkg --verify echo-arbiter echo-client libarbiter0 && ! find / -xdev -nogroup -o -nouser | grep .
}

# Started by root with what the package configures: who reads clients' bytes is the package's user.
start()
{
    local worker
    mkdir -p /var/log/echo-arbiter
    echo-arbiter -c /etc/echo-arbiter/echo.conf --daemon --log-file=/var/log/echo-arbiter/echo.log || return 1
    [ "$(echo-client 'Hello!')" = 'Hello!' ] || return 1
    for worker in $(echo-client --json info | grep -o '"id":"worker[^}]*"pid":[0-9]*' | grep -o '[0-9]*$'); do
        grep '^Uid:.*'"$(id -u echo-arbiter)" "/proc/$worker/status" ||
            { grep Uid "/proc/$worker/status"; return 1; }
    done
}

# under_audit COMMAND...: nothing is lost while it runs, and the server's process is the same one.
under_audit()
{
    local pid audit rc=0
    pid=$(arbiter pid)
    env --default-signal=INT echo-client audit -c 50 >/tmp/audit &
    audit=$!
    until [ "$(echo-client --json info | grep -o '"requests":[0-9]*' | tail -n 1 | tr -dc 0-9)" -gt 1000 ]; do :; done
    "$@" || rc=1
    kill -INT "$audit"
    wait "$audit" || [ $? = 130 ] || rc=1 # that of SIGINT
    cat /tmp/audit
    grep -qx 'verdict: delivered' /tmp/audit && grep -q '^50 of 50 connections without a flaw' /tmp/audit || rc=1
    [ "$(arbiter pid)" = "$pid" ] || { echo "pid $pid is now $(arbiter pid)"; rc=1; }
    return $rc
}

upgrade()
{
    local version
    version=$(dpkg-deb -f /src/new/echo-arbiter_*.deb Version)
    under_audit apt-get -qq -y install /src/new/echo-arbiter_*.deb /src/new/echo-client_*.deb \
        /src/new/libarbiter0_*.deb || return 1
    [ "$(arbiter version)" = "$version" ] || { echo "the server says version $(arbiter version)"; return 1; }
    [ "$(arbiter upgrades)" = 1 ] || { echo "$(arbiter upgrades) upgrades, not 1"; return 1; }
    ! grep -E '(libarbiter.so|sbin/echo-arbiter).*\(deleted\)' "/proc/$(arbiter pid)/maps"
}

# The library alone: a trigger of echo-arbiter's.
library()
{
    under_audit dpkg -i /src/new/libarbiter0_*.deb || return 1
    [ "$(arbiter upgrades)" = 2 ] || { echo "$(arbiter upgrades) upgrades, not 2"; return 1; }
    ! grep -E '(libarbiter.so|sbin/echo-arbiter).*\(deleted\)' "/proc/$(arbiter pid)/maps"
}

# A program that cannot go on: the server stays with its own, dpkg is content, and the next package mends it.
refused()
{
    local rc=0
    dpkg-deb -R /src/new/echo-arbiter_*.deb /tmp/wrong && cp /bin/false /tmp/wrong/usr/sbin/echo-arbiter &&
        dpkg-deb -b /tmp/wrong /tmp/wrong.deb || return 1
    under_audit dpkg -i /tmp/wrong.deb >/tmp/refused 2>&1 || rc=1
    cat /tmp/refused
    grep -q '^warning: .* goes on as it was: ' /tmp/refused || rc=1
    [ "$(dpkg-query -f '${Status}' -W echo-arbiter)" = 'install ok installed' ] || rc=1
    [ "$(arbiter upgrades)" = 2 ] || rc=1
    dpkg -i /src/new/echo-arbiter_*.deb || rc=1
    [ "$(arbiter upgrades)" = 3 ] || rc=1
    return $rc
}

# Nobody runs: nothing is upgraded, nothing is said.
stopped()
{
    echo-client stop || return 1
    dpkg -i /src/new/echo-arbiter_*.deb >/tmp/stopped 2>&1 || return 1
    ! grep -iE 'warning|upgraded' /tmp/stopped
}

# The control socket is not where it is looked for: a signal by the service manager, here a script that pretends one.
elsewhere()
{
    local ctl=/tmp/control
    echo-arbiter --daemon --log-file=/var/log/echo-arbiter/echo.log -o arbiter.control=$ctl -p /tmp/pid || return 1
    mkdir -p /run/systemd/system
    cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
case $* in
*is-active*) exit 0 ;;
kill*--kill-who=main*--signal=USR2*echo-arbiter.service) kill -USR2 "$(cat /tmp/pid)" ;;
*stop* | *restart*) echo "systemctl $*" >>/tmp/stops ;;
esac
END
    chmod 755 /usr/local/bin/systemctl
    PATH=/usr/local/bin:$PATH dpkg -i /src/new/echo-arbiter_*.deb || return 1
    until echo-client -C $ctl --json info | grep -q '"upgrades":1,'; do sleep 0.1; done
    ! cat /tmp/stops 2>/dev/null || return 1
    echo-client -C $ctl stop && rm -r /usr/local/bin/systemctl /run/systemd
}

# The user stays: files of his may be anywhere.
purge()
{
    local left
    apt-get -qq -y --autoremove purge echo-arbiter echo-client libarbiter0 || return 1
    left=$(find / -xdev \( -path /proc -o -path /src -o -path /tmp -o -path /sys \) -prune -o \
        \( -name '*echo*arbiter*' -o -name '*echo-client*' -o -name 'libarbiter*' -o -name 'echo.conf*' \) -print)
    [ -z "$left" ] || { echo "left: $left"; return 1; }
}

# With what debian/tests/control asks for and nothing else.
autopkgtest_null()
{
    apt-get -qq -y --no-install-recommends install autopkgtest &&
        autopkgtest --no-built-binaries /src/new/*.deb /src/echo-arbiter -- null
}

set -o pipefail
cd / || exit 1
for step in "$@"; do
    began=$SECONDS
    if "$step" >"/src/$step.log" 2>&1 </dev/null; then
        printf '  ok   %-20s (%d s)\n' "$step" $((SECONDS - began))
        echo passed >>/src/results
    else
        printf '  FAIL %-20s (%d s)\n' "$step" $((SECONDS - began))
        grep -vE '^(gcc|  CC|  LD) ' "/src/$step.log" | tail -n 60 | sed 's/^/      | /'
        echo failed >>/src/results
        exit 1
    fi
done
