# shellcheck shell=sh
# A server of a test's own, in a folder that goes away, on a port that the system chooses. To be sourced: serve
# starts PROGRAM and sets address; steer is echo-client with the server's control socket.
folder=$(mktemp -d)
address=
chmod 755 "$folder"

steer()
{
    echo-client --control="$folder/control" "$@"
}

serve()
{
    "$@" --daemon --bind=127.0.0.1:0 --option=arbiter.control="$folder/control" --log-file="$folder/log"
    address=$(steer --json info | sed -n 's/.*"binds":\["\([^"]*\)".*/\1/p')
    echo "serving at $address: $*"
}

finish()
{
    status=$?
    steer stop --now >/dev/null 2>&1 || :
    [ "$status" = 0 ] || cat "$folder/log" || :
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT

must_be()
{
    [ "$1" = "$2" ] || { echo "it said \"$1\", not \"$2\""; exit 1; }
}
