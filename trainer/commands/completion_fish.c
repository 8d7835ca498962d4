#include <stdlib.h>
#include <string.h>

#include "trainer/commands/completion.h"

static const char head[] =
    "# Completion of qlora-train for fish, written by `qlora-train print completion-fish`. To be installed as\n"
    "# PREFIX/share/fish/vendor_completions.d/qlora-train.fish.\n\n";

static const char functions[] =
    "# The command of the line; a config in its place stands for train.\n"
    "function __qlora_train_command\n"
    "    set -l line (commandline -opc)\n"
    "    set -q line[2]; or return 1\n"
    "    contains -- $line[2] $__qlora_train_commands help; and echo $line[2]; or echo train\n"
    "end\n"
    "\n"
    "# Whether it is that command.\n"
    "function __qlora_train_is\n"
    "    set -l command (__qlora_train_command); and test $command = $argv[1]\n"
    "end\n"
    "\n"
    "# The number, from 1 on, of the argument that is typed, not counting options and their values.\n"
    "function __qlora_train_number\n"
    "    set -l command (__qlora_train_command); or return 1\n"
    "    set -l line (commandline -opc)\n"
    "    set -l rest $line[2..-1]\n"
    "    test $rest[1] = $command; and set -e rest[1]\n"
    "    set -l n 1\n"
    "    set -l value no\n"
    "    set -l over no\n"
    "    for word in $rest\n"
    "        if test $value = yes\n"
    "            set value no\n"
    "        else if test $over = yes; or not string match -qr -- '^-.' $word\n"
    "            set n (math $n + 1)\n"
    "        else if test $word = --\n"
    "            set over yes\n"
    "        else if contains -- \"$command $word\" $__qlora_train_valued\n"
    "            set value yes\n"
    "        end\n"
    "    end\n"
    "    echo $n\n"
    "end\n"
    "\n"
    "# Whether the argument that is typed is of that command, and its number from N to M.\n"
    "function __qlora_train_at # COMMAND N M\n"
    "    __qlora_train_is $argv[1]; or return 1\n"
    "    set -l n (__qlora_train_number)\n"
    "    test $n -ge $argv[2] -a $n -le $argv[3]\n"
    "end\n"
    "\n";

/* " -x -a 'words'" and the like: what the shell offers for a value. */
static void add_offer(strbuf_t *b, offer_t offer) {
    strbuf_t list = {0};
    if (offer.several) strbuf_addf(&list, "(__fish_complete_list , 'string split \" \" \"%s\"')", offer.words);
    else strbuf_adds(&list, offer.words);
    if (strcmp(offer.paths, "dir") == 0) strbuf_adds(&list, "(__fish_complete_directories)");
    if (strcmp(offer.paths, "config") == 0) strbuf_adds(&list, "(__fish_complete_suffix .yaml)");
    bool files = strcmp(offer.paths, "file") == 0 || strcmp(offer.paths, "path") == 0;
    strbuf_adds(b, files ? " -r -F" : " -x");
    if (list.len) {
        strbuf_adds(b, strcmp(offer.paths, "config") == 0 ? " -k -a " : " -a ");
        completion_add_quoted(b, list.p);
    }
    free(list.p);
    offer_free(&offer);
}

static void add_option(strbuf_t *b, const command_t *c, const option_t *o) {
    char *help = completion_help(o);
    strbuf_addf(b, "complete -c qlora-train -n '__qlora_train_is %s' -l %s", c->name, o->name);
    if (o->kind != ARG_FLAG) add_offer(b, offer_of_option(o));
    strbuf_adds(b, " -d ");
    completion_add_quoted(b, help);
    strbuf_adds(b, "\n");
    free(help);
}

static void add_command(strbuf_t *b, const command_t *c) {
    strbuf_addf(b, "\ncomplete -c qlora-train -n 'not __qlora_train_command' -a %s -d ", c->name);
    completion_add_quoted(b, c->what);
    strbuf_addf(b,
                "\ncomplete -c qlora-train -n '__qlora_train_is %s' -s h -l help -d 'explain the command'\n"
                "complete -c qlora-train -n '__qlora_train_at help 1 1' -a %s\n",
                c->name, c->name);
    for (size_t i = 0; i < c->n_options; i++) add_option(b, c, &c->options[i]);
    for (size_t i = 0; i < c->n_positionals; i++) {
        const positional_t *p = &c->positionals[i];
        strbuf_addf(b, "complete -c qlora-train -n '__qlora_train_at %s %zu %zu'", c->name, i + 1,
                    i + (p->most ? p->most : 1));
        add_offer(b, offer_of_positional(p));
        strbuf_adds(b, "\n");
    }
    if (c->overrides)
        strbuf_addf(b, "complete -c qlora-train -n '__qlora_train_at %s %zu %d' -a '(__qlora_train_overrides)'\n",
                    c->name, completion_first_override(c), ARGS_MOST);
}

/* Which options have a value that may stand as the next word. */
static void add_valued(strbuf_t *b) {
    strbuf_adds(b, "set -g __qlora_train_commands");
    for (size_t i = 0; i < n_commands; i++) strbuf_addf(b, " %s", commands[i]->name);
    strbuf_adds(b, "\nset -g __qlora_train_valued");
    for (size_t i = 0; i < n_commands; i++)
        for (size_t k = 0; k < commands[i]->n_options; k++)
            if (commands[i]->options[k].kind != ARG_FLAG)
                strbuf_addf(b, " \\\n    '%s --%s'", commands[i]->name, commands[i]->options[k].name);
    strbuf_adds(b, "\n\n");
}

static void add_key_value(strbuf_t *b, const config_key_t *k) {
    offer_t offer = offer_of_key(k);
    if (*offer.words || *offer.paths) {
        strbuf_addf(b, "            case %s.%s\n", k->section, k->name);
        if (*offer.words) strbuf_addf(b, "                set offered %s\n", offer.words);
        if (*offer.paths)
            strbuf_adds(b,
                        "                set -a offered (__fish_complete_path (string split -m 1 = -- $typed)[2])\n");
    }
    offer_free(&offer);
}

static void add_overrides(strbuf_t *b) {
    strbuf_adds(b, "# section.key=value\n"
                   "function __qlora_train_overrides\n"
                   "    set -l typed (commandline -ct)\n"
                   "    set -l offered\n"
                   "    if string match -q -- '*=*' $typed\n"
                   "        set -l key (string split -m 1 = -- $typed)[1]\n"
                   "        switch $key\n");
    for (size_t i = 0; i < config_n_keys; i++) add_key_value(b, &config_keys[i]);
    strbuf_adds(b, "        end\n"
                   "        set -q offered[1]; and printf '%s\\n' $key=$offered\n"
                   "    else\n"
                   "        printf '%s\\t%s\\n'");
    for (size_t i = 0; i < config_n_keys; i++) {
        strbuf_addf(b, " \\\n            %s.%s= ", config_keys[i].section, config_keys[i].name);
        completion_add_quoted(b, config_keys[i].help);
    }
    strbuf_adds(b, "\n    end\nend\n\n");
}

static void add_program_option(strbuf_t *b, const program_option_t *o) {
    strbuf_addf(b, "complete -c qlora-train -n 'not __qlora_train_command' -s %c -l %s -d '%s'\n", o->letter, o->name,
                o->help);
}

void completion_fish(strbuf_t *b) {
    strbuf_adds(b, head);
    add_valued(b);
    strbuf_adds(b, functions);
    add_overrides(b);
    strbuf_adds(b, "complete -c qlora-train -f\n");
    add_program_option(b, &program_help);
    add_program_option(b, &program_version);
    strbuf_adds(b, "complete -c qlora-train -n 'not __qlora_train_command' -a help -d 'explain a command'\n"
                   "complete -c qlora-train -n 'not __qlora_train_command' -k -a '(__fish_complete_suffix .yaml)'\n");
    for (size_t i = 0; i < n_commands; i++) add_command(b, commands[i]);
}
