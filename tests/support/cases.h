/* The models and adapters of tests/golden/cases, evaluated on their batch by the program itself. */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

/* A directory there. */
const char *case_path(const char *name);
/* The loss that transformers and PEFT compute: "bf16 + pattern". */
double case_loss(const char *name);
/* A config that evaluates the model on the batch; valid until the program ends. */
const char *case_config(const char *model);
/* Its loss with an adapter (NULL: none) and an override "section.key=value" (NULL: none). */
double case_eval(const char *model, const char *adapter, const char *override);
/* Fails unless it is the expected one, to what the order of fp32 sums may change. */
void expect_loss(const char *model, const char *adapter, const char *override, double want);

#endif
