#!/bin/bash
# Takes the steps of conf/container/Dockerfile without a container engine, and runs what comes out of them: container_check.sh
# As root, with mmdebstrap and a Debian mirror. Each stage is a directory; the last one is run as process 1 of new
# namespaces, with a read-only root, as the user of the Dockerfile and as any other. Exits 77 if that cannot be tried here.
set -eu
file=conf/container/Dockerfile
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
for tool in mmdebstrap unshare nsenter ip git; do
    command -v $tool >/dev/null || { echo "skipped: needs $tool"; exit 77; }
done
work=$(mktemp -d)
image=$work/image
server=
end()
{
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || :
    rm -rf "$work"
}
trap end EXIT

# ---- the steps ----

declare -A stages
stage='' root='' dir=/ user='' entrypoint='' health=''
environment=()

from()
{
    local suite=${1#debian:}
    stage=${3:-image}
    root=$work/$stage dir=/ environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin)
    stages[$stage]=$root
    mkdir -p "$root"
    [ "$1" = scratch ] && return
    mmdebstrap --quiet --variant=minbase "${suite%-slim}" "$root"
    # The same way to the mirror as here.
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99outside"
    cp /etc/resolv.conf "$root/etc/"
}

run()
{
    env -i DEBIAN_FRONTEND=noninteractive "${environment[@]}" unshare -mpf --mount-proc="$root/proc" \
        chroot "$root" /bin/sh -c "cd $dir && $*" >"$work/log" 2>&1 || { tail -n 30 "$work/log"; echo "RUN $*: failed"; exit 1; }
}

# The tree without what the ignore file names: what git knows, as it is now.
copy()
{
    local source=$1 to=$2
    [[ $to == /* ]] || to=$dir/$to
    if [[ $source == --from=* ]]; then
        cp -a "${stages[${source#*=}]}$2." "$root$3"
    elif [ "$source" = . ]; then
        git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$root$to"
    else
        mkdir -p "$(dirname "$root$to")"
        cp -a "$source" "$root$to"
    fi
}

# ["a", "b"] as words
words()
{
    sed 's/^\[//; s/\]$//; s/", *"/ /g; s/"//g' <<<"$1"
}

while read -r step rest; do
    began=$SECONDS
    # shellcheck disable=SC2086
    case $step in
    '' | '#'*) continue ;;
    FROM) from $rest ;;
    WORKDIR) dir=$rest; mkdir -p "$root$dir" ;;
    COPY) copy $rest ;;
    RUN) run "$rest" ;;
    ENV) for word in $rest; do environment+=("$word"); done ;;
    USER) user=$rest ;;
    ENTRYPOINT) entrypoint=$(words "$rest") ;;
    CMD) entrypoint+=" $(words "$rest")" ;;
    HEALTHCHECK) health=$(words "${rest#*CMD }") ;;
    EXPOSE | STOPSIGNAL) ;;
    *) echo "$file: $step: not known here"; exit 1 ;;
    esac
    printf '  %s (%d s)\n' "$step ${rest:0:90}" $((SECONDS - began))
done < <(sed -e :a -e '/\\$/N; s/\\\n//; ta' "$file")
du -sh "$image" | sed 's/\t.*/ in all/; s/^/  /'

# ---- what an engine does then ----

# Within the namespaces of the container, as its user.
inside()
{
    # shellcheck disable=SC2086
    env -i "${environment[@]}" nsenter -t "$server" -m -p -n chroot --userspec="$as" "$image" "$@"
}

mkdir -p "$image/proc" "$image/dev" "$image/sys"
: >"$image/dev/null"
for as in "$user" 4711:4712; do
    echo "  as $as: $entrypoint"
    # shellcheck disable=SC2016,SC2086
    env -i "${environment[@]}" unshare -mpnf sh -ec '
        image=$1 as=$2
        ip link set lo up
        mount --bind -o ro "$image" "$image"
        mount -o remount,bind,ro "$image"
        mount -t proc proc "$image/proc"
        mount --bind /dev/null "$image/dev/null"
        mount -t tmpfs -o mode=1777,size=64k tmpfs "$image/run/echo-arbiter"
        shift 2
        exec setpriv --no-new-privs chroot --userspec="$as" "$image" "$@"' sh \
        "$image" "$as" $entrypoint -o arbiter.stop_delay=2 -o status.bind=127.0.0.1:8061 >"$work/log" 2>&1 &
    unshare=$!
    server=
    for ((i = 0; i < 100; i++)); do
        server=$(pgrep -P $unshare || :)
        [ -n "$server" ] && inside echo-client ready >/dev/null 2>&1 && break
        sleep 0.1
    done
    inside echo-client ready || { cat "$work/log"; exit 1; }
    # shellcheck disable=SC2086
    inside $health
    kill -TERM "$server"
    for ((i = 0; i < 100; i++)); do
        grep -q '"not ready any more' "$work/log" && break
        sleep 0.1
    done
    rc=0
    text=$(inside echo-client ready) || rc=$?
    [ "$rc" = 1 ] || { echo "after TERM: exit status $rc: $text"; exit 1; }
    echo "  $text"
    # shellcheck disable=SC2086
    inside $health >/dev/null
    rc=0
    wait "$unshare" || rc=$?
    server=
    [ "$rc" = 0 ] || { cat "$work/log"; echo "exit status $rc"; exit 1; }
    if grep -E '"level":"(warning|error)"' "$work/log"; then exit 1; fi
done
echo "  the container builds, starts, is healthy, and stops"
