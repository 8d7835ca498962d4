/* The data of a run: tokenizer, chat template, and rows as they are told to people. Part of run.h. */
#ifndef TRAINER_RUN_RUN_DATA_H
#define TRAINER_RUN_RUN_DATA_H

#include "trainer/run/run.h"

/* The chat template that the config names, of the tokenizer that is open; once. */
int run_find_template(run_t *run, err_t *err);

/* What was met in rows that is no error, said once with its count. `what`: the file. */
void warn_of_rows(const char *what, const row_notes_t *notes);

/* Lines of the summary. */
void run_summarise_data(const run_t *run);
/* The first row that is trained, as it is trained: what is wrong with a template shows here. Shortened. */
void run_show_first_row(const run_t *run);

#endif
