#!/bin/bash
# No circle of objects in src: cycles.sh BUILD
# An arrow is a global symbol that one object needs and another one has (nm). Objects that reach
# each other form a circle: none of them can be understood, or tested, without the others.
set -u -o pipefail
build=$1

# Circles that stand: the objects, a colon, the reason. The list says exactly what is there.
exceptions='
'

mapfile -t objects < <(printf '%s\n' src/*/*.c | sed "s|.*|$build/&|; s|c\$|o|")
nm -gA "${objects[@]}" | awk -v exceptions="$exceptions" -v prefix="$build/src/" '
{
    object = substr($1, length(prefix) + 1)
    sub(/\.o:.*/, "", object)
    if (object != objects[n])
        objects[++n] = object
}
$(NF - 1) ~ /^[Uvw]$/ { needs[object, ++n_needs[object]] = $NF; next }
{ owner[$NF] = object }

# What @from reaches, itself only by a way that leads back.
function mark_reached(from,    i, top, stack, at, to) {
    stack[top = 1] = from
    while (top > 0) {
        at = stack[top--]
        for (i = 1; i <= n_needs[at]; i++) {
            to = owner[needs[at, i]]
            if (to != "" && to != at && !((from, to) in reaches)) {
                reaches[from, to] = 1
                stack[++top] = to
            }
        }
    }
}

# The circle of @object by name, "" if it stands in none.
function circle_of(object,    i, text) {
    if (!((object, object) in reaches))
        return ""
    for (i = 1; i <= n; i++)
        if ((object, objects[i]) in reaches && (objects[i], object) in reaches)
            text = text " " objects[i]
    return substr(text, 2)
}

# The line of the list that names the same objects as @circle, 0 if there is none.
function line_of(circle,    i, count, members, line) {
    count = split(circle, members, " ")
    line = listed_in[members[1]]
    for (i = 1; i <= count; i++)
        if (listed_in[members[i]] != line)
            return 0
    return line && n_listed[line] == count ? line : 0
}

function print_arrows(circle,    count, members, inside, i, j, to) {
    count = split(circle, members, " ")
    for (i = 1; i <= count; i++)
        inside[members[i]] = 1
    for (i = 1; i <= count; i++)
        for (j = 1; j <= n_needs[members[i]]; j++) {
            to = owner[needs[members[i], j]]
            if (to != members[i] && to in inside)
                print "    " members[i] " calls " to ": " needs[members[i], j]
        }
}

END {
    for (i = 1; i <= n; i++)
        mark_reached(objects[i])
    n_lines = split(exceptions, lines, "\n")
    for (i = 1; i <= n_lines; i++) {
        n_listed[i] = split(substr(lines[i], 1, index(lines[i], ":") - 1), members, " ")
        for (j = 1; j <= n_listed[i]; j++)
            listed_in[members[j]] = i
    }
    for (i = 1; i <= n; i++) {
        circle = circle_of(objects[i])
        if (circle == "" || circle in is_seen)
            continue
        is_seen[circle] = 1
        is_there[line_of(circle)] = 1
        if (line_of(circle))
            continue
        print "a circle that is not listed: " circle
        print_arrows(circle)
        failed = 1
    }
    for (i = 1; i <= n_lines; i++)
        if (n_listed[i] && !(i in is_there)) {
            print "there is no such circle any more, take it from the list: " lines[i]
            failed = 1
        }
    exit failed
}'
