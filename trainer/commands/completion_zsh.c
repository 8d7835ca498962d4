#include <stdlib.h>
#include <string.h>

#include "trainer/commands/completion.h"

static const char head[] = "#compdef qlora-train\n"
                           "# Completion of qlora-train for zsh, written by `qlora-train print completion-zsh`. To be "
                           "installed as _qlora-train in\n"
                           "# a directory of $fpath.\n\n"
                           "# Words, and paths of a kind.\n"
                           "_qlora_train_offer() { # KIND [WORD...]\n"
                           "    local kind=$1 ret=1 expl\n"
                           "    local -a offered\n"
                           "    offered=(\"${@:2}\")\n"
                           "    (($#offered)) && _wanted words expl word compadd -a offered && ret=0\n"
                           "    case $kind in\n"
                           "        config) _files -g '*.(yaml|yml)' && ret=0 ;;\n"
                           "        dir) _files -/ && ret=0 ;;\n"
                           "        file | path) _files && ret=0 ;;\n"
                           "    esac\n"
                           "    return ret\n"
                           "}\n\n";

static const char tail[] =
    "_qlora-train() {\n"
    "    local curcontext=$curcontext state state_descr line ret=1\n"
    "    typeset -A opt_args\n"
    "    _arguments -C -S '(- *)'{-h,--help}'[explain the program, or a command]' \\\n"
    "        '(- *)'{-V,--version}'[print version, kernels and commit]' \\\n"
    "        '1: :->first' '*:: :->rest' && ret=0\n"
    "    case $state in\n"
    "        first)\n"
    "            _describe -t commands command _qlora_train_commands -- _qlora_train_help && ret=0\n"
    "            _qlora_train_offer config && ret=0\n"
    "            ;;\n"
    "        rest)\n"
    "            if [[ $words[1] == help ]]; then\n"
    "                ((CURRENT == 2)) && _describe -t commands command _qlora_train_commands && ret=0\n"
    "            elif (($+functions[_qlora_train_of_$words[1]])); then\n"
    "                _qlora_train_of_$words[1] && ret=0\n"
    "            else\n"
    "                words=(train \"${words[@]}\")\n"
    "                ((CURRENT++))\n"
    "                _qlora_train_of_train && ret=0\n"
    "            fi\n"
    "            ;;\n"
    "    esac\n"
    "    return ret\n"
    "}\n"
    "\n"
    "_qlora-train \"$@\"\n";

/* A part of a spec of _arguments, which stands between single quotes and ends at one of these. */
static void add_escaped(strbuf_t *b, const char *text, const char *ends) {
    for (const char *p = text; *p; p++) {
        if (*p == '\'') strbuf_adds(b, "'\\''");
        else if (strchr(ends, *p)) strbuf_addf(b, "\\%c", *p);
        else strbuf_add(b, p, 1);
    }
}

/* ":NAME: action"; of an action that begins with a space zsh leaves the words as they are. */
static void add_action(strbuf_t *b, const char *name, offer_t offer) {
    strbuf_adds(b, ":");
    add_escaped(b, name, ":");
    if (offer.several) strbuf_addf(b, ":_values -s , part %s", offer.words);
    else if (*offer.words || *offer.paths)
        strbuf_addf(b, ": _qlora_train_offer %s %s", *offer.paths ? offer.paths : "-", offer.words);
    else strbuf_adds(b, ": ");
    strbuf_adds(b, "'");
    offer_free(&offer);
}

static void add_option(strbuf_t *b, const option_t *o) {
    char *help = completion_help(o);
    strbuf_addf(b, " \\\n        '--%s%s[", o->name, o->kind == ARG_FLAG ? "" : "=");
    add_escaped(b, help, ":]");
    strbuf_adds(b, "]");
    if (o->kind == ARG_FLAG) strbuf_adds(b, "'");
    else add_action(b, o->value, offer_of_option(o));
    free(help);
}

static void add_command(strbuf_t *b, const command_t *c) {
    strbuf_addf(b, "_qlora_train_of_%s() {\n    _arguments -S '(- *)'{-h,--help}'[explain the command]'", c->name);
    for (size_t i = 0; i < c->n_options; i++) add_option(b, &c->options[i]);
    for (size_t i = 0; i < c->n_positionals; i++) {
        const positional_t *p = &c->positionals[i];
        if (p->most > 1) strbuf_adds(b, " \\\n        '*");
        else strbuf_addf(b, " \\\n        '%zu", i + 1);
        /* What begins as an override does is one, where the argument may be left out. */
        if (c->overrides && p->optional) {
            strbuf_addf(b, ":%s: _qlora_train_config_or_override'", p->name);
            continue;
        }
        add_action(b, p->name, offer_of_positional(p));
    }
    if (c->overrides) strbuf_adds(b, " \\\n        '*:section.key=value: _qlora_train_override'");
    strbuf_adds(b, "\n}\n\n");
}

static void add_described(strbuf_t *b, const char *name, const char *what) {
    char *both = xasprintf("%s:%s", name, what);
    strbuf_adds(b, "    ");
    completion_add_quoted(b, both);
    strbuf_adds(b, "\n");
    free(both);
}

static void add_keys(strbuf_t *b) {
    strbuf_adds(b, "typeset -ga _qlora_train_keys=(\n");
    for (size_t i = 0; i < config_n_keys; i++) {
        char *name = xasprintf("%s.%s", config_keys[i].section, config_keys[i].name);
        add_described(b, name, config_keys[i].help);
        free(name);
    }
    strbuf_adds(b, ")\n\n"
                   "# section.key=value\n"
                   "_qlora_train_override() {\n"
                   "    if ! compset -P 1 '*='; then\n"
                   "        _describe -t keys key _qlora_train_keys -qS =\n"
                   "        return\n"
                   "    fi\n"
                   "    case ${words[CURRENT]%%=*} in\n");
    for (size_t i = 0; i < config_n_keys; i++) {
        offer_t offer = offer_of_key(&config_keys[i]);
        if (*offer.words || *offer.paths)
            strbuf_addf(b, "        %s.%s) _qlora_train_offer %s %s ;;\n", config_keys[i].section, config_keys[i].name,
                        *offer.paths ? offer.paths : "-", offer.words);
        offer_free(&offer);
    }
    strbuf_adds(b, "        *) _message value ;;\n    esac\n}\n\n"
                   "_qlora_train_config_or_override() {\n"
                   "    local ret=1\n"
                   "    _qlora_train_offer config && ret=0\n"
                   "    _qlora_train_override && ret=0\n"
                   "    return ret\n"
                   "}\n\n");
}

void completion_zsh(strbuf_t *b) {
    strbuf_adds(b, head);
    strbuf_adds(b, "typeset -ga _qlora_train_commands=(\n");
    for (size_t i = 0; i < n_commands; i++) add_described(b, commands[i]->name, commands[i]->what);
    strbuf_adds(b, ")\ntypeset -ga _qlora_train_help=(\n");
    add_described(b, program_help.name, program_help.help);
    strbuf_adds(b, ")\n\n");
    add_keys(b);
    for (size_t i = 0; i < n_commands; i++) add_command(b, commands[i]);
    strbuf_adds(b, tail);
}
