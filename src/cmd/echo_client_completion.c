/*
 * Completion for shells, written from the tables of commands and options: what --help knows, they
 * know. A hidden option prints it; make install puts it where the shells look.
 */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/echo_client.h"

/* Each as "-x --long". */
static void write_options(FILE *f, const struct argp_option *o, const char *separator)
{
    for (; o && (o->name || o->key); o++) {
        if (o->flags & OPTION_HIDDEN)
            continue;
        if (o->key > ' ' && o->key < 0x7f)
            fprintf(f, "%s-%c", separator, o->key);
        if (o->name)
            fprintf(f, "%s--%s", separator, o->name);
    }
}

/* Options that take a value: the word after one of them is no command. */
static void write_takers(FILE *f, const struct argp_option *o)
{
    const char *bar = "";

    for (; o && (o->name || o->key); o++) {
        if (!o->arg || (o->flags & OPTION_HIDDEN))
            continue;
        if (o->key > ' ' && o->key < 0x7f) {
            fprintf(f, "%s-%c", bar, o->key);
            bar = "|";
        }
        if (o->name) {
            fprintf(f, "%s--%s", bar, o->name);
            bar = "|";
        }
    }
}

/* bash breaks words at ':' and '=' too: what belongs together is put together again. */
static const char bash_words[] =
    "    local words=() word command= is_broken= i\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $is_broken || ($i -gt 0 && $word == [:=]*) ]]; then words[-1]+=$word\n"
    "        else words+=(\"$word\"); fi\n"
    "        [[ $word == *[:=] ]] && is_broken=1 || is_broken=\n"
    "    done\n"
    "    local current=${words[-1]} last=$((${#words[@]} - 1))\n";

static void write_bash(FILE *f, const struct command *commands, size_t n)
{
    fprintf(f,
            "# bash completion of echo-client, generated from its tables\n"
            "_echo_client()\n"
            "{\n"
            "%s"
            "    for ((i = 1; i < last; i++)); do\n"
            "        word=${words[i]}\n"
            "        case $word in\n"
            "        --) return ;;\n"
            "        ",
            bash_words);
    write_takers(f, tool_argp.options);
    fputs(") i=$((i + 1)) ;;\n"
          "        -*) ;;\n"
          "        *) command=$word; break ;;\n"
          "        esac\n"
          "    done\n"
          "    case ${words[last - 1]}=$current in\n"
          "    -C=*|--control=*|--compare=*|*=--control=*|*=--compare=*)\n"
          "        COMPREPLY=($(compgen -f -- \"${current#--*=}\")); return ;;\n"
          "    *=-*=*) return ;;\n"
          "    esac\n"
          "    local options='--help --version",
          f);
    write_options(f, tool_argp.options, " ");
    fputs("'\n"
          "    case $command in\n"
          "    '') options+=' ",
          f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s%s", i ? " " : "", commands[i].name);
    fputs("' ;;\n", f);
    for (size_t i = 0; i < n; i++) {
        if (!commands[i].options && !commands[i].words)
            continue;
        fprintf(f, "    %s) options+='", commands[i].name);
        write_options(f, commands[i].options, " ");
        if (commands[i].words)
            fprintf(f, " %s", commands[i].words);
        fputs("' ;;\n", f);
    }
    fputs("    esac\n"
          "    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
          "}\n"
          "complete -F _echo_client echo-client\n",
          f);
}

/* A text inside '…[…]…' of zsh's _arguments. */
static void write_zsh_text(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", f);
        else if (strchr("[]:\\", *text))
            fprintf(f, "\\%c", *text);
        else
            fputc(*text, f);
    }
}

static void write_zsh_option(FILE *f, const char *dashes, const struct argp_option *o,
                             bool is_short)
{
    fprintf(f, "\n        '%s", dashes);
    if (is_short)
        fputc(o->key, f);
    else
        fprintf(f, "%s%s", o->name, o->arg ? "=" : "");
    fputc('[', f);
    write_zsh_text(f, o->doc);
    fputc(']', f);
    if (o->arg) {
        fputc(':', f);
        write_zsh_text(f, o->arg);
        fputs(strcmp(o->arg, "PATH") == 0 || strcmp(o->arg, "FILE") == 0 ? ":_files" : ":", f);
    }
    fputc('\'', f);
}

static void write_zsh_options(FILE *f, const struct argp_option *o)
{
    for (; o && (o->name || o->key); o++) {
        if (o->flags & OPTION_HIDDEN)
            continue;
        if (o->key > ' ' && o->key < 0x7f)
            write_zsh_option(f, "-", o, true);
        if (o->name)
            write_zsh_option(f, "--", o, false);
    }
}

static void write_zsh(FILE *f, const struct command *commands, size_t n)
{
    fputs("#compdef echo-client\n"
          "# zsh completion of echo-client, generated from its tables\n"
          "_echo_client_commands()\n"
          "{\n"
          "    local -a commands=(",
          f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "\n        '%s:", commands[i].name);
        write_zsh_text(f, commands[i].help);
        fputc('\'', f);
    }
    fputs("\n    )\n"
          "    _describe command commands\n"
          "}\n"
          "_echo_client()\n"
          "{\n"
          "    local state line\n"
          "    local -a own common=(",
          f);
    write_zsh_options(f, tool_argp.options);
    fputs("\n        '--help[what there is]' '--version[which one it is]')\n"
          "    _arguments -C $common '1: :_echo_client_commands' '*:: :->words'\n"
          "    [[ $state == words ]] || return\n"
          "    case $line[1] in\n",
          f);
    for (size_t i = 0; i < n; i++) {
        if (!commands[i].options && !commands[i].words)
            continue;
        fprintf(f, "    %s) own=(", commands[i].name);
        write_zsh_options(f, commands[i].options);
        if (commands[i].words)
            fprintf(f, "\n        '*:word:(%s)'", commands[i].words);
        fputs(") ;;\n", f);
    }
    fputs("    esac\n"
          "    _arguments $own $common\n"
          "}\n"
          "_echo_client \"$@\"\n",
          f);
}

int completion_write(FILE *f, const char *shell, const struct command *commands, size_t n)
{
    if (strcmp(shell, "bash") == 0)
        write_bash(f, commands, n);
    else if (strcmp(shell, "zsh") == 0)
        write_zsh(f, commands, n);
    else
        return -1;
    return 0;
}
