/* The data sets of an Axolotl config. Part of the import only. */
#ifndef TRAINER_IMPORT_AXOLOTL_H
#define TRAINER_IMPORT_AXOLOTL_H

#include "trainer/import/dialect.h"

/* datasets, pretraining_dataset, test_datasets and chat templates, after all other keys. */
int axolotl_take_data(import_t *im);
int axolotl_take_kwargs(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_train_on(import_t *im, const import_key_t *k, const yaml_tree_t *v);
/* Of a key that waits for others: nothing. */
int axolotl_take_later(import_t *im, const import_key_t *k, const yaml_tree_t *v);

#endif
