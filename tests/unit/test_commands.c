/* The table of commands: it is sound, and what it declares is what the parser takes. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/commands/completion.h"
#include "trainer/commands/help.h"
#include "trainer/config/config_schema.h"

static void assert_phrase(const char *text) {
    assert_non_null(text);
    size_t n = strlen(text);
    assert_true(n > 0);
    assert_int_not_equal(text[n - 1], '.');
    assert_int_not_equal(text[n - 1], ' ');
    assert_null(strchr(text, '\n'));
}

static void commands_are_described(void **state) {
    (void)state;
    for (size_t i = 0; i < n_commands; i++) {
        const command_t *c = commands[i];
        assert_ptr_equal(command_find(c->name), c);
        assert_phrase(c->what);
        assert_non_null(c->synopsis);
        assert_non_null(c->about);
        assert_non_null(c->run);
        for (size_t k = 0; k < c->n_positionals; k++) {
            const positional_t *p = &c->positionals[k];
            assert_phrase(p->help);
            assert_int_equal(!!p->words, strstr(p->help, "%s") != NULL);
            assert_true(p->kind != ARG_FLAG && p->kind != ARG_KEY);
            assert_true(p->most <= 1 || k + 1 == c->n_positionals);
        }
    }
    assert_null(command_find("train "));
}

/* A value that the option takes. */
static char *sample(const option_t *o) {
    const config_key_t *key = option_key(o);
    switch (o->kind) {
    case ARG_WORDS: return xasprintf("%s,%s", o->words[0], o->words[1]);
    case ARG_CHOICE: return xstrdup(o->words[1]);
    case ARG_WHOLE: return xasprintf("%.0f", o->max);
    case ARG_REAL: return xasprintf("%g", o->max / 2);
    case ARG_KEY: return xstrdup(o->usual ? o->usual : key->default_text);
    default: return xstrdup("some text");
    }
}

static void assert_taken(const command_t *c, const option_t *o) {
    static _Alignas(16) char given[4096];
    args_t args;
    err_t err = {0};
    char *value = o->kind == ARG_FLAG ? NULL : sample(o), *name = xasprintf("--%s", o->name),
         *both = xasprintf("--%s=%s", o->name, value ? value : "");
    assert_true(o->offset + 16 < sizeof given);
    memset(given, 0, sizeof given);
    assert_ok(command_parse(c, value ? 2 : 1, (char *[]){name, value}, given, &args, &err), err);
    assert_int_equal(args.n, 0);
    assert_false(args.helped);
    assert_int_equal(command_parse(c, 1, (char *[]){both}, given, &args, &err), value ? 0 : ERR_USAGE);
    free(value);
    free(name);
    free(both);
}

static void options_are_described_and_taken(void **state) {
    (void)state;
    for (size_t i = 0; i < n_commands; i++) {
        const command_t *c = commands[i];
        for (size_t k = 0; k < c->n_options; k++) {
            const option_t *o = &c->options[k];
            assert_phrase(o->help);
            assert_int_equal(o->value == NULL, o->kind == ARG_FLAG);
            assert_int_equal(o->words != NULL, o->kind == ARG_CHOICE || o->kind == ARG_WORDS);
            assert_int_equal(option_key(o) != NULL, o->kind == ARG_KEY);
            if (o->words) assert_non_null(strstr(o->help, "%s"));
            if (o->kind == ARG_WHOLE && !o->usual) assert_true(o->min > 0); /* 0: not given */
            char *help = help_of_option(o);
            assert_null(strstr(help, "%s"));
            free(help);
            assert_string_not_equal(o->name, "help");
            for (size_t j = 0; j < k; j++) {
                assert_string_not_equal(o->name, c->options[j].name);
                assert_int_not_equal(o->offset, c->options[j].offset);
            }
            assert_taken(c, o);
        }
    }
}

/* Whatever is in the table, each script can be written, with every option in it. */
static void scripts_have_all(void **state) {
    (void)state;
    void (*const writers[])(strbuf_t *) = {completion_bash, completion_zsh, completion_fish};
    for (size_t w = 0; w < 3; w++) {
        strbuf_t text = {0};
        writers[w](&text);
        for (size_t i = 0; i < n_commands; i++)
            for (size_t k = 0; k < commands[i]->n_options; k++)
                assert_non_null(strstr(text.p, commands[i]->options[k].name));
        for (size_t i = 0; i < config_n_keys; i++) {
            char *key = xasprintf("%s.%s", config_keys[i].section, config_keys[i].name);
            assert_non_null(strstr(text.p, key));
            free(key);
        }
        free(text.p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_described),
        cmocka_unit_test(options_are_described_and_taken),
        cmocka_unit_test(scripts_have_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
