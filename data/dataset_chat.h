/* Rows that are conversations: messages, ShareGPT and Alpaca rows become turns, and those tokens. Internal to the
 * dataset; part of row_convert(). */
#ifndef DATA_DATASET_CHAT_H
#define DATA_DATASET_CHAT_H

#include "data/row_writer.h"

/* list_key: the member that lists the messages. */
int convert_conversation(row_writer_t *w, const json_t *row, const char *list_key, err_t *err);
int convert_alpaca(row_writer_t *w, const json_t *row, err_t *err);

#endif
