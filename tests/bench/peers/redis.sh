#!/bin/sh
# Redis as a peer: its ECHO command, in memory only. redis.sh PORT
exec redis-server --port "$1" --bind 127.0.0.1 --protected-mode no --tcp-backlog 4096 \
    --save '' --appendonly no --maxclients 20000 --loglevel warning --dir /
