/*
 * What a crashing worker leaves behind about itself: written once by its fatal-signal handler into
 * its scoreboard record, read by the arbiter when the process is gone. Fixed sizes; the reader
 * checks them.
 */
#ifndef ACTOR_CRASH_H
#define ACTOR_CRASH_H

#include <stdint.h>

enum { CRASH_FRAMES_MAX = 32, CRASH_PAYLOAD_MAX = 256 };

struct crash_record {
    uint64_t signo; /* 0 = nothing was written; set after all but the frames and the payload */
    int64_t code; /* si_code: at most 0 = sent by a process */
    uint64_t sender_pid; /* of a signal that was sent */
    uint64_t address; /* si_addr of one that was not */
    uint64_t pc, sp; /* registers; 0 where they are not known */
    int64_t fd; /* the connection that was being served, -1 = none */
    uint64_t requests, connections, uptime_ms;
    uint64_t rescued; /* connections that were sent to the next worker */
    uint64_t payload_len; /* of the message being served, at most CRASH_PAYLOAD_MAX are kept */
    uint8_t payload[CRASH_PAYLOAD_MAX]; /* only with log.crash_payload */
    uint64_t n_frames; /* written last of all: walking the stack may fail */
    uint64_t frames[CRASH_FRAMES_MAX];
};

#endif
