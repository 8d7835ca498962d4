/* SIGBUS: a page of a mapped file that cannot be read. The file was cut short meanwhile, its disk failed, or the network
 * that it comes over; the program then ends with status 1 and a line that names the file, instead of crashing. */
#ifndef BASE_BUS_ERROR_H
#define BASE_BUS_ERROR_H

#include <stddef.h>

/* A mapping of that file is in use, and not any more. */
void bus_error_watch(const void *data, size_t size, const char *path);
void bus_error_forget(const void *data);

#endif
