/* The data sets of a LLaMA-Factory config. Part of the import only. */
#ifndef TRAINER_IMPORT_LLAMA_FACTORY_H
#define TRAINER_IMPORT_LLAMA_FACTORY_H

#include "trainer/import/dialect.h"

/* dataset, eval_dataset (with dataset_info.json of dataset_dir) and template, after all other keys. */
int llama_factory_take_data(import_t *im);

#endif
