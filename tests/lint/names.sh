#!/bin/bash
# The library has no name of its own: all names come from the program that uses it. "echo" stands for
# the first of them, and may only be the control socket's command of that name. That program is small.
set -u
bad=0
grep -rnis echo src/{base,wire,conf,actor,net,worker,arbiter,server} \
    include/arbiter/{actor,config,frame,protocol,server,testing}.h --include='*.[ch]' |
    grep -vE 'do_echo\b|PROCESS_ECHO\b|\{"echo", ' && bad=1
lines=$(cat src/echo_arbiter/*.[ch] | sed 's|/\*.*\*/||; \|/\*|,\|\*/|d' | grep -c '[^[:space:]]')
[ "$lines" -le 60 ] || { echo "src/echo_arbiter: $lines lines of code, allowed: 60"; bad=1; }
exit $bad
