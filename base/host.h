/* What this machine is: memory that may be used, the processor's name, and where this program lies on it. */
#ifndef BASE_HOST_H
#define BASE_HOST_H

#include <stddef.h>

/* Which of the processes of a run on this host: they share its processors, its memory and its GPUs. */
typedef struct {
    int index, count;
    int processors; /* that this one should use; 0: all that it may */
} host_share_t;

#define HOST_ALONE ((host_share_t){0, 1, 0})

/* Bytes that can still be used and the total: of the machine, or of the control group if that is less. */
void host_memory(size_t *free_bytes, size_t *total_bytes);

/* "AMD EPYC 9654, AVX-512" in `out`. isa: what the ops are compiled for. */
void host_cpu_name(char *out, size_t size, const char *isa);

/* The path of this program's file, which the caller frees; NULL where the system does not say. */
char *host_program(void);

#endif
