/* The report on one run, or on several laid over each other, as a page of HTML. */
#ifndef TRAINER_REPORT_PAGE_H
#define TRAINER_REPORT_PAGE_H

#include "base/mem.h"
#include "trainer/report/record_read.h"

/* Appends the whole page but its end, which html_write() adds. */
void report_page(strbuf_t *b, const run_record_t *runs, size_t n);

#endif
