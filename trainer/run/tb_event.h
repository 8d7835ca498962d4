/* TensorBoard's event files, as bytes: records in the framing of TFRecord, each a protobuf message `Event`. Formats:
 * tensorflow.org/tutorials/load_data/tfrecord (framing, masked CRC32C) and event.proto, summary.proto of TensorBoard. */
#ifndef TRAINER_RUN_TB_EVENT_H
#define TRAINER_RUN_TB_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

uint32_t tb_crc32c(const void *data, size_t n);
/* As a record has it: rotated and offset, so that no record is its own checksum. */
uint32_t tb_masked_crc(const void *data, size_t n);

/* One scalar of a step. */
typedef struct {
    const char *tag;
    double value; /* written as a float */
} tb_scalar_t;

/* Each appends one whole record. */
void tb_add_version(strbuf_t *b, double wall_time);
/* What readers have of this step and later, from files before, counts no more: the run goes on from there. */
void tb_add_restart(strbuf_t *b, double wall_time, uint64_t step);
void tb_add_scalars(strbuf_t *b, double wall_time, uint64_t step, const tb_scalar_t *scalars, size_t n);

#endif
