/*
 * Included first by cppcheck, whose preprocessor does not know __VA_OPT__: the log macros as plain
 * calls.
 */
#ifndef LINT_CPPCHECK_H
#define LINT_CPPCHECK_H

#include "base/log.h"

#undef LOG_AT_
#undef log_debug
#undef log_info
#undef log_warning
#undef log_error
#undef log_warning_limited
#undef log_error_limited
#define LOG_AT_(log, level, emit, ...) lint_log(log, __VA_ARGS__)
#define log_debug                      lint_log
#define log_info                       lint_log
#define log_warning                    lint_log
#define log_error                      lint_log
#define log_warning_limited            lint_log
#define log_error_limited              lint_log
void lint_log(struct log *log, const char *message, ...);

#endif
