/* The part of `qlora-train inspect` that is about data files. */
#ifndef TRAINER_COMMANDS_INSPECT_DATA_H
#define TRAINER_COMMANDS_INSPECT_DATA_H

#include "data/dataset.h"

typedef struct {
    const char *path, *model; /* model NULL: rows are described only */
    chat_spec_t template;     /* as in data.chat_template, chat_template_kwargs, chat_template_date */
    train_on_t train_on;
    size_t max_length;  /* 0: not given */
    size_t first, rows; /* which rows are shown: `rows` from `first` (from 1) on; rows 0: not said */
    bool jsonl;
} inspect_data_t;

int inspect_data(const inspect_data_t *in, err_t *err);

#endif
