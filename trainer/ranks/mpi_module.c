/* The module qlora-mpi.so: the one file that is compiled against MPI. */
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "trainer/ranks/ranks_module.h"

static const char *failure(int code) {
    static char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS) return NULL;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) snprintf(text, sizeof text, "MPI error %d", code);
    return text;
}

/* The first words of what is often a paragraph. */
static const char *module_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "MPI";
    text[strcspn(text, ",\n")] = '\0';
    for (char *tab = text; (tab = strchr(tab, '\t'));) *tab = ' ';
    return text;
}

static int module_open(char *why, size_t size) {
    int provided, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    const char *text = code != MPI_SUCCESS              ? failure(code)
                       : provided < MPI_THREAD_FUNNELED ? "it cannot be used by a program that has threads"
                                                        : NULL;
    if (text) {
        snprintf(why, size, "%s", text);
        return 1;
    }
    /* Else MPI ends the process before it is known which rank was lost. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    return 0;
}

static void module_place(ranks_place_t *place) {
    MPI_Comm host;
    MPI_Comm_rank(MPI_COMM_WORLD, &place->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &place->ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, place->rank, MPI_INFO_NULL, &host);
    MPI_Comm_rank(host, &place->local);
    MPI_Comm_size(host, &place->locals);
    MPI_Allreduce(&place->rank, &place->host, 1, MPI_INT, MPI_MIN, host);
    MPI_Comm_free(&host);
}

static const char *module_broadcast(void *p, size_t bytes) {
    char *at = p;
    int code = MPI_SUCCESS;
    for (size_t n; bytes > 0 && code == MPI_SUCCESS; at += n, bytes -= n) {
        n = bytes < INT_MAX ? bytes : INT_MAX;
        code = MPI_Bcast(at, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD);
    }
    return failure(code);
}

static const char *module_gather(const void *mine, size_t bytes, void *all) {
    return failure(MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD));
}

static const char *module_exchange(const void *x, size_t piece_bytes, void *pieces) {
    int n = (int)piece_bytes;
    return failure(MPI_Alltoall(x, n, MPI_BYTE, pieces, n, MPI_BYTE, MPI_COMM_WORLD));
}

static void module_close(void) { MPI_Finalize(); }

const ranks_module_t ranks_module = {
    RANKS_MODULE_VERSION, module_library, module_open,     module_place,
    module_broadcast,     module_gather,  module_exchange, module_close,
};
