#include "base/name_pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"

int name_pattern_open(const char *text, pattern_reach_t reach, name_pattern_t **p, err_t *err) {
    const uint32_t options = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C;
    char *whole = reach == PATTERN_WHOLE ? xstrdup(text) : xasprintf("(.*\\.)?(%s)", text);
    int code;
    PCRE2_SIZE at;
    *p = pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);
    free(whole);
    if (*p) return 0;
    if (code == PCRE2_ERROR_HEAP_FAILED) mem_checked(NULL, 0);
    PCRE2_UCHAR why[256];
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(err, ERR_USAGE, "\"%.200s\": %s; expected a regular expression", text, (char *)why);
}

void name_pattern_close(name_pattern_t *p) { pcre2_code_free(p); }

int name_pattern_matches(const name_pattern_t *p, const char *name, bool *matches, err_t *err) {
    pcre2_match_data *m = mem_checked(pcre2_match_data_create(1, NULL), 0);
    int rc = pcre2_match(p, (PCRE2_SPTR)name, strlen(name), 0, 0, m, NULL);
    pcre2_match_data_free(m);
    *matches = rc >= 0;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc == PCRE2_ERROR_NOMEMORY) mem_checked(NULL, 0);
    PCRE2_UCHAR why[256];
    pcre2_get_error_message(rc, why, sizeof why);
    return err_set(err, ERR_USAGE, "matching the regular expression with %s: %s", name, (char *)why);
}
