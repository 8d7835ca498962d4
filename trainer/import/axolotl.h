/* What the files of the Axolotl dialect share. Part of the import only. */
#ifndef TRAINER_IMPORT_AXOLOTL_H
#define TRAINER_IMPORT_AXOLOTL_H

#include "trainer/import/dialect.h"

/* Of one key, or of several, after all of them. */
int axolotl_take_adapter_kind(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_quantization(import_t *im);
int axolotl_take_bnb(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_peft(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_targets(import_t *im);
int axolotl_take_tokens(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_plugins(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_dtypes(import_t *im);

/* datasets, pretraining_dataset, test_datasets and chat templates, after all other keys. */
int axolotl_take_data(import_t *im);
int axolotl_take_kwargs(import_t *im, const import_key_t *k, const yaml_tree_t *v);
int axolotl_take_train_on(import_t *im, const import_key_t *k, const yaml_tree_t *v);

#endif
