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

/* The directory that `quantize` makes of the model. */
const char *case_quantize(const char *model);
/* Two steps at a learning rate that changes what is computed: the checkpoint of the second. override: or NULL. */
const char *case_train(const char *model, const char *override);
/* The directory that `export --merged` makes with --base and --dtype. */
const char *case_merge(const char *checkpoint, const char *base, const char *type);

#endif
