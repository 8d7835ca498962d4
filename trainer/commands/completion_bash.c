#include <stdlib.h>

#include "trainer/commands/completion.h"

static const char head[] = "# Completion of qlora-train for bash, written by `qlora-train print completion-bash`. To "
                           "be sourced, or installed as\n"
                           "# PREFIX/share/bash-completion/completions/qlora-train.\n\n";

static const char tail[] =
    "# Fills COMPREPLY with what begins with TYPED: of `words`, and of the paths that `paths` names.\n"
    "_qlora_train_offer() { # TYPED PREFIX\n"
    "    local typed=$1 before= path\n"
    "    if [[ $several && $typed == *,* ]]; then\n"
    "        before=${typed%,*},\n"
    "        typed=${typed##*,}\n"
    "    fi\n"
    "    while IFS= read -r path; do\n"
    "        COMPREPLY+=(\"$2$before$path\")\n"
    "    done < <(compgen -W \"$words\" -- \"$typed\")\n"
    "    [[ $paths ]] || return 0\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    typed=${typed#[\\\"\\']}\n"
    "    typed=${typed//\\\\/}\n"
    "    while IFS= read -r path; do\n"
    "        COMPREPLY+=(\"$2$path\")\n"
    "    done < <(\n"
    "        case $paths in\n"
    "            dir) compgen -d -- \"$typed\" ;;\n"
    "            config)\n"
    "                compgen -f -X '!*.yaml' -- \"$typed\"\n"
    "                compgen -f -X '!*.yml' -- \"$typed\"\n"
    "                compgen -d -- \"$typed\"\n"
    "                ;;\n"
    "            *) compgen -f -- \"$typed\" ;;\n"
    "        esac\n"
    "    )\n"
    "}\n"
    "\n"
    "# section.key=value\n"
    "_qlora_train_override() { # TYPED PREFIX\n"
    "    local words= paths= several=\n"
    "    if [[ $1 == *=* ]]; then\n"
    "        _qlora_train_key \"${1%%=*}\"\n"
    "        _qlora_train_offer \"${1#*=}\" \"$2\"\n"
    "    else\n"
    "        words=$_qlora_train_keys\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        _qlora_train_offer \"$1\" ''\n"
    "    fi\n"
    "}\n"
    "\n"
    "_qlora_train() {\n"
    "    local -a line=()\n"
    "    local i typed prefix= command option= over= n=1 words= paths= several=\n"
    "    COMPREPLY=()\n"
    "    # Readline cuts words at \"=\" unless told otherwise, and only what is behind it is replaced.\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        if ((${#line[@]})) && [[ ${COMP_WORDS[i]} == =* || ${COMP_WORDS[i - 1]} == = ]]; then\n"
    "            line[-1]+=${COMP_WORDS[i]}\n"
    "        else\n"
    "            line+=(\"${COMP_WORDS[i]}\")\n"
    "        fi\n"
    "    done\n"
    "    typed=${line[-1]}\n"
    "    [[ $COMP_WORDBREAKS == *=* || $typed != *=* ]] || prefix=${typed%%=*}=\n"
    "    unset 'line[-1]'\n"
    "\n"
    "    if ((${#line[@]} == 0)); then\n"
    "        words=\"$_qlora_train_commands help\"\n"
    "        if [[ $typed == -* ]]; then\n"
    "            words='--help --version'\n"
    "        else\n"
    "            paths=config\n"
    "        fi\n"
    "        _qlora_train_offer \"$typed\" ''\n"
    "        return\n"
    "    fi\n"
    "    command=train\n"
    "    if [[ \" $_qlora_train_commands help \" == *\" ${line[0]} \"* ]]; then\n"
    "        command=${line[0]}\n"
    "        line=(\"${line[@]:1}\")\n"
    "    fi\n"
    "    for i in \"${line[@]}\"; do\n"
    "        if [[ $option ]]; then\n"
    "            option=\n"
    "        elif [[ $over || $i != -?* ]]; then\n"
    "            ((n++))\n"
    "        elif [[ $i == -- ]]; then\n"
    "            over=1\n"
    "        elif _qlora_train_value \"$command\" \"$i\"; then\n"
    "            option=$i\n"
    "        fi\n"
    "    done\n"
    "\n"
    "    if [[ $option ]]; then\n"
    "        _qlora_train_value \"$command\" \"$option\"\n"
    "        _qlora_train_offer \"${typed#=}\" ''\n"
    "    elif [[ ! $over && $typed == --*=* ]]; then\n"
    "        _qlora_train_value \"$command\" \"${typed%%=*}\" && _qlora_train_offer \"${typed#*=}\" \"$prefix\"\n"
    "    elif [[ ! $over && $typed == -* ]]; then\n"
    "        words=$(_qlora_train_options \"$command\") paths=\n"
    "        _qlora_train_offer \"$typed\" ''\n"
    "    else\n"
    "        [[ $typed == *=* ]] || { _qlora_train_value \"$command\" \"$n\" && _qlora_train_offer \"$typed\" ''; }\n"
    "        if _qlora_train_overrides \"$command\" \"$n\"; then\n"
    "            _qlora_train_override \"$typed\" \"$prefix\"\n"
    "        fi\n"
    "    fi\n"
    "    return 0\n"
    "}\n"
    "\n"
    "complete -F _qlora_train qlora-train\n";

static void add_offer(strbuf_t *b, offer_t offer) {
    strbuf_adds(b, "words=");
    completion_add_quoted(b, offer.words);
    strbuf_addf(b, " paths=%s several=%s ;;\n", offer.paths, offer.several ? "1" : "");
    offer_free(&offer);
}

static void add_positionals(strbuf_t *b, const command_t *c) {
    for (size_t i = 0; i < c->n_positionals; i++) {
        const positional_t *p = &c->positionals[i];
        if (p->most > 1) strbuf_addf(b, "        \"%s \"[0-9]*) ", c->name);
        else strbuf_addf(b, "        \"%s %zu\") ", c->name, i + 1);
        add_offer(b, offer_of_positional(p));
    }
}

static void add_values(strbuf_t *b) {
    strbuf_adds(b, "# What the value of an option is, or the N-th argument that is none; false: it has no value.\n"
                   "_qlora_train_value() { # COMMAND OPTION-OR-N\n"
                   "    words= paths= several=\n"
                   "    case \"$1 $2\" in\n"
                   "        \"help 1\") words=$_qlora_train_commands ;;\n");
    for (size_t i = 0; i < n_commands; i++) {
        const command_t *c = commands[i];
        for (size_t k = 0; k < c->n_options; k++) {
            if (c->options[k].kind == ARG_FLAG) continue;
            strbuf_addf(b, "        \"%s --%s\") ", c->name, c->options[k].name);
            add_offer(b, offer_of_option(&c->options[k]));
        }
        add_positionals(b, c);
    }
    strbuf_adds(b, "        *) return 1 ;;\n"
                   "    esac\n"
                   "}\n\n");
}

static void add_options(strbuf_t *b) {
    strbuf_adds(b, "_qlora_train_options() { # COMMAND\n    case $1 in\n");
    for (size_t i = 0; i < n_commands; i++) {
        strbuf_addf(b, "        %s) echo \"", commands[i]->name);
        for (size_t k = 0; k < commands[i]->n_options; k++) strbuf_addf(b, "--%s ", commands[i]->options[k].name);
        strbuf_adds(b, "--help\" ;;\n");
    }
    strbuf_adds(b, "    esac\n}\n\n"
                   "# Whether the N-th argument may be section.key=value.\n"
                   "_qlora_train_overrides() { # COMMAND N\n    case $1 in\n");
    for (size_t i = 0; i < n_commands; i++)
        if (commands[i]->overrides)
            strbuf_addf(b, "        %s) (($2 >= %zu)) ;;\n", commands[i]->name, completion_first_override(commands[i]));
    strbuf_adds(b, "        *) false ;;\n    esac\n}\n\n");
}

static void add_keys(strbuf_t *b) {
    strbuf_adds(b, "_qlora_train_keys='");
    for (size_t i = 0; i < config_n_keys; i++)
        strbuf_addf(b, "%s%s.%s=", i ? "\n" : "", config_keys[i].section, config_keys[i].name);
    strbuf_adds(b, "'\n\n_qlora_train_key() { # KEY\n    words= paths= several=\n    case $1 in\n");
    for (size_t i = 0; i < config_n_keys; i++) {
        strbuf_addf(b, "        %s.%s) ", config_keys[i].section, config_keys[i].name);
        add_offer(b, offer_of_key(&config_keys[i]));
    }
    strbuf_adds(b, "    esac\n}\n\n");
}

void completion_bash(strbuf_t *b) {
    strbuf_adds(b, head);
    strbuf_adds(b, "_qlora_train_commands='");
    for (size_t i = 0; i < n_commands; i++) strbuf_addf(b, "%s%s", i ? " " : "", commands[i]->name);
    strbuf_adds(b, "'\n\n");
    add_values(b);
    add_options(b);
    add_keys(b);
    strbuf_adds(b, tail);
}
