/* What is running: for --version, and for what a run writes down of itself. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

/* The commit that was built, as `git describe` names it; "unknown" until the program has said. Only main.c is compiled
 * anew for each commit, so only it knows. The text is borrowed. */
void version_set_commit(const char *commit);
const char *version_commit(void);

#endif
