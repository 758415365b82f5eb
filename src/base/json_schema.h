/*
 * The number of the rules for what the tool prints with --json: the schema in doc/. The server
 * writes it into `info`, which the tool passes on as it comes.
 */
#ifndef BASE_JSON_SCHEMA_H
#define BASE_JSON_SCHEMA_H

enum { JSON_SCHEMA = 1 };

#endif
