/*
 * Names of the functions of a running program, from the table of symbols in its file: the server
 * itself knows only what is exported. Reads a file of somebody else's: every bound is checked.
 */
#ifndef CMD_ECHO_CLIENT_SYMBOLS_H
#define CMD_ECHO_CLIENT_SYMBOLS_H

#include <jansson.h>
#include <sys/types.h>

/*
 * symbols_name_frames - put the function behind each frame of a crash that lies in the program
 * itself
 * @pid    that runs it
 * @crash  "frames" of it are texts "0xADDRESS FILE+0xOFFSET"; changed
 * Leaves alone what it cannot name: a file without symbols, or one that may not be read.
 */
void symbols_name_frames(pid_t pid, json_t *crash);

#endif
