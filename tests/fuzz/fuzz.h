/* What the fuzzers share. A fuzzer is LLVMFuzzerTestOneInput() of one fuzz_NAME.c: libFuzzer calls it (scripts/fuzz.sh),
 * and as an ordinary test replay.c does, with a bounded number of mutations, always the same ones.
 *
 * Whatever the input, it is read or refused with ERR_USAGE and a message; what is read is used as the program would. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Of libFuzzer, or replay.c: changes a few of `size` bytes, in a buffer of `max`; the new size. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
/* A fuzzer may have its own, where a length or a count would not survive any change of bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* Aborts where something does not hold that a user could not have caused. */
#define FUZZ_CHECK(cond) CHECK(cond)

/* What a parser gave: 0, or ERR_USAGE with a message. How many of both there were so far. */
bool fuzz_outcome(int rc, const err_t *err);
extern size_t fuzz_read, fuzz_refused;

/* A path in a directory of this process, in memory where the system has such; gone with the process. Never freed. */
const char *fuzz_path(const char *name);
/* The file has these bytes; NULL: there is none. Without waiting for a disk. */
void fuzz_file(const char *path, const void *data, size_t n);

/* One input for several files: their contents one after another with a line of its own between them, which mutations
 * leave alone more often than they would a length. */
#define FUZZ_MARK "\n%%%%\n"
typedef struct {
    const uint8_t *p; /* NULL: there is no such part */
    size_t n;
} part_t;
/* The next part of what is left in *rest, which begins as the whole. */
part_t fuzz_part(part_t *rest);

/* A safetensors file as inputs have it: one letter, the header's text, FUZZ_MARK, the data; the length is put in front.
 * The letter 'z': the data go on with zeros to where the header says that they end; 'r': the file as it is. */
void fuzz_safetensors_file(const char *path, part_t *rest);

/* The config.json of a model of a few hundred parameters, and the model, its tensors all zeros, as a directory. */
extern const char fuzz_config[];

/* The text as a tokenizer would get it, in all ways there are. */
struct tokenizer;
void fuzz_use_tokenizer(const struct tokenizer *tok);
/* A file of this name with these bytes, opened as a tokenizer and used if it is one. */
void fuzz_tokenizer_file(const char *path, const void *data, size_t n);
/* Reads every tensor of a model, those that are not read too where the file has values for them. */
struct model_source;
void fuzz_use_source(const struct model_source *src);

#endif
