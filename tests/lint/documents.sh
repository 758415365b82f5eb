#!/bin/bash
# Documents against what they describe: documents.sh BUILD
# Options and commands of --help stand in the manual, the signal tables of README and manual say the
# same, files and pages that are linked exist, and nothing names a path of the machine it was written on.
set -u
build=$1
bad=0

complain()
{
    echo "$*"
    bad=1
}

options()
{
    local program=$1 manual=$2 option
    if [ ! -x "$program" ] || [ ! -f "$manual" ]; then
        complain "$manual: cannot be compared, ${program##*/} or the page is missing"
        return
    fi
    for option in $("$program" --help | grep -oE '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,' | sort -u); do
        # mdoc writes -x as "Fl x" and --long as "Fl -long".
        grep -qE -- "^\.It .*Fl ${option#-}( |\$)" "$manual" ||
            complain "$manual: option $option of --help is missing"
    done
}
options "$build/echo-arbiter" man/echo-arbiter.8
options "$build/echo-client" man/echo-client.1

# Commands of --help stand in the manual.
for command in $("$build/echo-client" --help |
    sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'); do
    grep -qE -- "^\.It .*(Cm|,) $command( |\$)|^\.Cm $command\$" man/echo-client.1 ||
        complain "man/echo-client.1: command $command of --help is missing"
done

# Both tables as "NAME text" lines in plain words.
plain()
{
    tr -d '`\\&' | sed -E 's/[[:space:]]+/ /g; s/ +([.,;:)])/\1/g; s/^ //; s/ $//; s/\.$//'
}
readme_signals()
{
    sed -n 's/^| `\{0,1\}\([A-Z0-9, /]*\)`\{0,1\} | \(.*\) |$/\1 \2/p' README.md | plain
}
manual_signals()
{
    sed -n '/^\.Sh SIGNALS/,/^\.Sh [^S]/p' man/echo-arbiter.8 | awk '
        /^\.It / { if (row) print row; row = substr($0, 5); gsub(/Dv |SIG/, "", row); next }
        /^\.El/ { if (row) print row; row = ""; exit }
        row { sub(/^\.[A-Z][a-z] /, ""); row = row " " $0 }' | plain
}
if [ -f README.md ] && [ -f man/echo-arbiter.8 ]; then
    [ -n "$(readme_signals)" ] || complain 'README.md: no signal table'
    difference=$(diff <(readme_signals) <(manual_signals)) ||
        complain "the signal tables of README.md (<) and man/echo-arbiter.8 (>) differ:
$difference"
fi

# What --help says is the program's own table.
help_signals()
{
    ARGP_HELP_FMT=rmargin=250 "$build/echo-arbiter" --help |
        sed -n '/^ *Signals:/,/^$/s/^ *\([A-Z][A-Z0-9]*\)  *\([A-Z].*\)/\1 \2/p' | sort
}
readme_each_signal()
{
    readme_signals | sed -E 's/^([A-Z0-9]+), ([A-Z0-9]+) (.*)/\1 \3\n\2 \3/' | sort
}
difference=$(diff <(readme_each_signal) <(help_signals)) ||
    complain "the signal tables of README.md (<) and echo-arbiter --help (>) differ:
$difference"

# The library: every status in the manual, and the example is the one that is tested.
while read -r status; do
    [ "$status" = ARB_OK ] || grep -q "^.It Dv $status\$" man/libarbiter-client.3 ||
        complain "man/libarbiter-client.3: $status of include/arbiter/client.h is missing"
done < <(grep -oE '^ *ARB_[A-Z_]+ =' include/arbiter/client.h | tr -d ' =')
difference=$(diff <(sed '1,/^#include/ { /^#include/!d }' examples/hello.c) \
    <(sed -n '/^\.Bd -literal$/,/^\.Ed/p' man/libarbiter-client.3 | sed '1d;$d;s/\\e/\\/g')) ||
    complain "the examples of examples/hello.c (<) and man/libarbiter-client.3 (>) differ:
$difference"

# The map of ARCHITECTURE.md has every source file, and no other; those of the client tool are one entry.
for file in src/*/*.c; do
    name=$(basename "$file" .c)
    [[ $name == echo_client_* ]] || grep -q "^| \`${file%/*}\` |.*\`$name\`" ARCHITECTURE.md ||
        complain "ARCHITECTURE.md: $file is not in the map"
done
while read -r room name; do
    [ -e "$room/$name.c" ] || [ -e "$room/$name" ] || [ -e "$room/$name.h" ] || [[ $name == include ]] ||
        complain "ARCHITECTURE.md: the map has $name in $room, which is not there"
done < <(sed -nE 's/^\| `(src\/[a-z_]+)` \| (.*) \|[^|]*\|$/\1 \2/p' ARCHITECTURE.md |
    awk '{ while (match($0, /`[a-z_.]+`/)) {
        print $1, substr($0, RSTART + 1, RLENGTH - 2); $0 = $1 substr($0, RSTART + RLENGTH) } }')

# The manuals as HTML: each page is there, and no link of theirs leads nowhere.
tools/html.sh "$build/html" man/*.[1-8] "$build"/man/*.3 || complain 'tools/html.sh: no HTML was made'
for page in man/*.[1-8] "$build"/man/*.3; do
    grep -q "<a href=\"${page##*/}.html\">" "$build/html/index.html" || complain "index.html: no link to $page"
done
while IFS=: read -r file target; do
    page=${target%%#*}
    page=$build/html/${page:-${file##*/}}
    [ -e "$page" ] && { [[ $target != *#* ]] || grep -qF "id=\"${target#*#}\"" "$page"; } ||
        complain "$file: links to $target, which is not there"
done < <(grep -oE 'href="[^"]+"' "$build"/html/*.html | sed 's/href="//; s/"$//' | grep -vE ':https?:' | sort -u)

# Links of the markdown files.
while IFS=: read -r file target; do
    target=${target#](}
    target=${target%%[)#]*}
    case $target in
    http://* | https://* | '') ;;
    *) [ -e "$(dirname "$file")/$target" ] || complain "$file: links to $target, which is not there" ;;
    esac
done < <(grep -oHE '\]\([^)]+\)' ./*.md)

# A path of this machine has no business in the project.
here=$(pwd -P)
# Root's home is the same everywhere and may be meant.
[ "$HOME" = /root ] && own=$here || own=$HOME
if grep -rnF -e "$here/" -e "$own/" --exclude-dir=.git --exclude-dir=build . 2>/dev/null | grep .; then
    complain 'a path of this machine stands in the files above'
fi
exit $bad
