#!/bin/bash
# The Debian packages: built from a copy of the tree, looked at, not installed. Prints as cmocka does, for
# tests/run.sh, and finds the build folder in $ECHO_BUILD. tests/deb/deb_check.sh installs and upgrades them.
set -u
cd "$(dirname "$0")/../.." || exit 1
folder=$ECHO_BUILD/package
root=$folder/root
version=$(sed -n 's/^VERSION *:= *//p' Makefile)
triplet=$(dpkg-architecture -q DEB_HOST_MULTIARCH)
log=$folder.log

# Quick: neither the packages of symbols nor their debugging information, and unit tests run elsewhere.
build()
{
    DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" DEB_CFLAGS_APPEND=-g0 \
        tools/deb.sh "$folder" --source-option=-Zgzip -F >"$log" 2>&1 || { tail -n 40 "$log"; return 1; }
    local deb
    for deb in "$folder"/*.deb; do dpkg -x "$deb" "$root" || return 1; done
}

lintian_is_content()
{
    local said rc=0
    said=$(lintian --allow-root --fail-on error,warning "$folder"/*.changes 2>&1) || rc=$?
    printf '%s\n' "$said"
    return $rc
}

# What dpkg asks for in debian/rules, but for what the quick build has in another way.
flags()
{
    make -sC "$folder/echo-arbiter" -f debian/rules "print-$1" | tr ' ' '\n' | grep -vE '^-(g|ffile-prefix-map=.*)$'
}

# Each flag that dpkg asks for stands in each line that compiles or links.
flags_arrive()
{
    local flag line bad=0
    local -a wanted compiled linked
    mapfile -t compiled < <(grep -E '^gcc .* -c ' "$log")
    mapfile -t linked < <(sed -e ':a;/\\$/{N;s/\\\n//;ba}' "$log" | grep -E '^gcc .* (-pie|-shared) ')
    [ ${#compiled[@]} -gt 100 ] && [ ${#linked[@]} -ge 5 ] || { echo 'the log has no compiler calls'; return 1; }
    mapfile -t wanted < <(flags CFLAGS)
    wanted+=(-fPIC -D_FORTIFY_SOURCE= -ffile-prefix-map=)
    for line in "${compiled[@]}"; do
        for flag in "${wanted[@]}"; do
            [[ $line == *" $flag"* ]] || { echo "$flag is missing: $line"; bad=1; }
        done
    done
    mapfile -t wanted < <(flags LDFLAGS)
    for line in "${linked[@]}"; do
        for flag in "${wanted[@]}"; do
            [[ $line == *" $flag "* ]] || { echo "$flag is missing: $line"; bad=1; }
        done
    done
    return $bad
}

versions_agree()
{
    [ "$(dpkg-parsechangelog -S Version)" = "$version" ] ||
        { echo "debian/changelog has $(dpkg-parsechangelog -S Version), the Makefile $version"; return 1; }
    local name
    for name in arbiter arbiter-client; do
        objdump -p "$root/usr/lib/$triplet/lib$name.so.$version" | grep -q "SONAME *lib$name.so.${version%%.*}$" ||
            { echo "lib$name: the soname is not that of debian/control"; return 1; }
    done
}

# The server needs the library's package, so that a newer one of it is a newer server.
programs_run()
{
    local lib=$root/usr/lib/$triplet
    objdump -p "$root/usr/sbin/echo-arbiter" | grep -q 'NEEDED *libarbiter.so.0' ||
        { echo 'echo-arbiter does not need libarbiter.so.0'; return 1; }
    LD_LIBRARY_PATH=$lib "$root/usr/sbin/echo-arbiter" --version | grep -F " $version" || return 1
    LD_LIBRARY_PATH=$lib "$root/usr/sbin/echo-arbiter" -t -c "$root/etc/echo-arbiter/echo.conf" || return 1
    "$root/usr/bin/echo-client" --version | grep -F " $version"
}

# An upgrade of the package never stops or restarts the server.
scripts_do_not_restart()
{
    dpkg-deb --ctrl-tarfile "$folder/echo-arbiter_${version}_"*.deb | tar -xf - -C "$root" || return 1
    ! grep -nE 'restart|invoke (stop|try-restart)' "$root/postinst" &&
        ! grep -n 'stop' "$root/prerm" | grep -v '^[0-9]*:.*deb-systemd-invoke stop' &&
        grep -q '"\$1" = remove' "$root/prerm"
}

tests=(build lintian_is_content flags_arrive versions_agree programs_run scripts_do_not_restart)
echo "[==========] Running ${#tests[@]} test(s)."
bad=0
for name in "${tests[@]}"; do
    if [ "$bad" = built ] || ! "$name"; then
        echo "[  FAILED  ] package__$name"
        [ "$name" = build ] && bad=built || bad=${bad/0/1}
    else
        echo "[       OK ] package__$name"
    fi
done
echo "[==========] ${#tests[@]} test(s) run."
[ "$bad" = 0 ]
