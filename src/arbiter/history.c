/*
 * The last changes.
 */
#include "arbiter/history.h"

#include <stdio.h>
#include <time.h>

#include "actor/command.h"
#include "wire/message.h"

void history_note(json_t *history, const char *kind, bool is_done, uint64_t took_ms,
                  const char *what)
{
    const time_t now = time(NULL);
    json_t *o = json_object();
    char text[HISTORY_WHAT_LEN];
    struct tm tm;

    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_object_set_new(o, "time", json_string(text));
    json_object_set_new(o, "kind", json_string(kind));
    json_object_set_new(o, "done", json_boolean(is_done));
    if (took_ms > 0)
        message_set_uint(o, "took_ms", took_ms);
    snprintf(text, sizeof(text), "%s", what);
    json_object_set_new(o, "what", command_text(text));
    json_array_append_new(history, o);
    while (json_array_size(history) > HISTORY_KEPT)
        json_array_remove(history, 0);
}

static const char *text_of(const json_t *o, const char *member)
{
    const char *text = json_string_value(json_object_get(o, member));

    return text ? text : "?";
}

void history_note_answer(json_t *history, const char *kind, uint64_t took_ms, const json_t *body)
{
    const json_t *result = json_object_get(body, "result"), *error = json_object_get(body, "error");
    const json_t *changed = json_object_get(result, "changed");
    char text[HISTORY_WHAT_LEN];
    int len;

    if (error) {
        history_note(history, kind, false, took_ms, text_of(error, "message"));
        return;
    }
    len = snprintf(text, sizeof(text), "revision %lld",
                   (long long)json_integer_value(json_object_get(result, "revision")));
    if (changed)
        snprintf(text + len, sizeof(text) - (size_t)len, ", %zu %s changed",
                 json_array_size(changed), json_array_size(changed) == 1 ? "key" : "keys");
    else
        snprintf(text + len, sizeof(text) - (size_t)len, ", version %.64s from %.64s",
                 text_of(result, "version"), text_of(result, "old_version"));
    history_note(history, kind, true, took_ms, text);
}
