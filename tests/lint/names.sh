#!/bin/bash
# The library has no name of its own: all names come from the program that uses it. "echo" stands for
# the first of them, and may only be the control socket's command of that name.
set -u
! grep -rnis echo src/{base,wire,conf,actor,net,worker,arbiter,server} \
    include/arbiter/{actor,config,frame,protocol,server,testing}.h --include='*.[ch]' |
    grep -vE 'do_echo\b|PROCESS_ECHO\b|\{"echo", '
