/* The matrix product on cuBLASLt. A shape's algorithm is the first that cuBLASLt's heuristic names, asked once and
 * kept: the same shape takes the same path each time, so it gives the same bits. */
#include "cuda/gemm.h"

#include <stdio.h>

#include "cuda/cublas.h"

extern "C" {
#include "base/log.h"
}

/* All that the choice of an algorithm depends on. Filled over zeros: compared and hashed as bytes. */
typedef struct {
    uint64_t M, N, K, lda, ldb, ldc, workspace;
    uint8_t ta, tb, type, c_type;
    uint8_t a_align, b_align, c_align; /* the address is a multiple of 2 to this */
    uint8_t used;
} shape_t;

typedef struct {
    shape_t shape;
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
} choice_t;

/* Once for the process: it is for one of these products as for the next, and changes no run that was not so before. */
static void say_rounded(const shape_t *s) {
    static bool said;
    if (said) return;
    said = true;
    log_warn("cuBLAS has no algorithm that adds the parts of a product of %llu x %llu x %llu in fp32; parts are "
             "rounded to BF16 there (said once)",
             (unsigned long long)s->M, (unsigned long long)s->N, (unsigned long long)s->K);
}

/* A shape has one of PLACES in a row; where all are taken, another takes over the first. Training at a fixed length has
 * about a hundred. */
enum { CHOICES = 1024, PLACES = 8 };
typedef struct {
    cublasLtHandle_t handle;
    choice_t choice[CHOICES];
} blas_t;

/* The library is there once for the process, whatever is opened. */
static cublas_t lib;

#define BLAS_CHECK(call) blas_check((call), #call, __LINE__)
static void blas_check(cublasStatus_t status, const char *what, int line) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    fprintf(stderr, "%s:%d: cuBLAS: %s: %s\n", __FILE__, line, what, lib.cublasLtGetStatusString(status));
    fflush(stderr);
    _Exit(ERR_FAILED);
}

/* Up to 64 bytes, which all memory has, and rows of multiples of 32 elements: an operand's place then changes neither
 * the choice nor the bits. */
static uint8_t alignment(const void *p) {
    uint8_t n = 0;
    while (n < 6 && ((uintptr_t)p >> n & 1) == 0) n++;
    return n;
}

static size_t hash(const shape_t *s) {
    uint64_t words[sizeof *s / 8], h = 0;
    memcpy(words, s, sizeof words);
    for (size_t i = 0; i < sizeof words / 8; i++) h = rng_fold(h, words[i]);
    return h % CHOICES;
}

static cudaDataType_t data_type(uint8_t type) { return type == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

static void init_layout(cublasLtMatrixLayoutOpaque_t *m, uint8_t type, uint64_t rows, uint64_t cols, uint64_t ld) {
    BLAS_CHECK(lib.cublasLtMatrixLayoutInit_internal(m, sizeof *m, data_type(type), rows, cols, (int64_t)ld));
}

/* cuBLAS counts by columns: a row-major matrix is to it the transpose. So it computes C^T = b^T a^T, its first operand
 * being our b. */
static void describe(choice_t *e) {
    const shape_t *s = &e->shape;
    cublasOperation_t first = s->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = s->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    BLAS_CHECK(lib.cublasLtMatmulDescInit_internal(&e->product, sizeof e->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    BLAS_CHECK(lib.cublasLtMatmulDescSetAttribute(&e->product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    BLAS_CHECK(lib.cublasLtMatmulDescSetAttribute(&e->product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    uint64_t b_rows = s->tb ? s->K : s->N, b_cols = s->tb ? s->N : s->K;
    uint64_t a_rows = s->ta ? s->M : s->K, a_cols = s->ta ? s->K : s->M;
    init_layout(&e->b, s->type, b_rows, b_cols, s->ldb);
    init_layout(&e->a, s->type, a_rows, a_cols, s->lda);
    init_layout(&e->c, s->c_type, s->N, s->M, s->ldc);
}

static void set_preference(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute,
                           const void *value, size_t size) {
    BLAS_CHECK(lib.cublasLtMatmulPreferenceSetAttribute(p, attribute, value, size));
}

/* The first algorithm that the heuristic names under these ways to add the parts of a split K; false: none. */
static bool ask(blas_t *blas, choice_t *e, cublasLtMatmulPreference_t p, uint32_t reductions) {
    cublasLtMatmulHeuristicResult_t best;
    int n = 0;
    set_preference(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    cublasStatus_t status = lib.cublasLtMatmulAlgoGetHeuristic(blas->handle, &e->product, &e->b, &e->a, &e->c, &e->c, p,
                                                               1, &best, &n);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && n == 0)) return false;
    BLAS_CHECK(status);
    BLAS_CHECK(best.state);
    e->algorithm = best.algo;
    return true;
}

static void choose(blas_t *blas, choice_t *e) {
    const shape_t *s = &e->shape;
    cublasLtMatmulPreference_t p;
    BLAS_CHECK(lib.cublasLtMatmulPreferenceCreate(&p));
    uint32_t a = 1u << s->b_align, b = 1u << s->a_align, c = 1u << s->c_align;
    set_preference(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &s->workspace, sizeof s->workspace);
    set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a);
    set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b);
    set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c);
    set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c);
    /* The parts are best added in fp32, whatever the type of C; never by atomics, whose order is chance. */
    const uint32_t exact = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    bool found = ask(blas, e, p, exact);
    if (!found && ask(blas, e, p, exact | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)) {
        if (s->c_type == DT_BF16) say_rounded(s);
        found = true;
    }
    if (!found) {
        fprintf(stderr, "cuBLAS has no algorithm for a product of %llu x %llu x %llu, rows %llu, %llu, %llu apart\n",
                (unsigned long long)s->M, (unsigned long long)s->N, (unsigned long long)s->K,
                (unsigned long long)s->lda, (unsigned long long)s->ldb, (unsigned long long)s->ldc);
        fflush(stderr);
        _Exit(ERR_FAILED);
    }
    BLAS_CHECK(lib.cublasLtMatmulPreferenceDestroy(p));
}

/* Where the shape is, or will be. */
static choice_t *place_of(blas_t *blas, const shape_t *s) {
    const size_t first = hash(s);
    for (size_t i = 0; i < PLACES; i++) {
        choice_t *e = &blas->choice[(first + i) % CHOICES];
        if (!e->shape.used || memcmp(&e->shape, s, sizeof *s) == 0) return e;
    }
    return &blas->choice[first];
}

/* NULL: a pass is being recorded, and the shape is a new one. cuBLASLt 13.3 does not answer during a capture. */
static choice_t *choice_for(blas_t *blas, const shape_t *s) {
    choice_t *e = place_of(blas, s);
    if (memcmp(&e->shape, s, sizeof *s) == 0) return e;
    if (cuda_record_fails(CUDA_RECORD_LATER)) return NULL;
    e->shape = *s;
    describe(e);
    choose(blas, e);
    return e;
}

void cuda_gemm(backend_t *be, size_t M, size_t N, size_t K, float alpha, gemm_operand_t a, gemm_operand_t b, float beta,
               matrix_t C) {
    CHECK(M && N && K && a.type == b.type && (C.type == a.type || C.type == DT_F32));
    blas_t *blas = (blas_t *)cuda_impl(be)->gemm;
    void *workspace = be->workspace ? compute_scratch(be, CUDA_BLAS_BYTES) : NULL;
    shape_t s;
    memset(&s, 0, sizeof s);
    s.M = M, s.N = N, s.K = K, s.lda = a.ld, s.ldb = b.ld, s.ldc = C.ld;
    s.workspace = workspace ? CUDA_BLAS_BYTES : 0;
    s.ta = a.transposed, s.tb = b.transposed, s.type = (uint8_t)a.type, s.c_type = (uint8_t)C.type;
    s.a_align = alignment(a.p), s.b_align = alignment(b.p), s.c_align = alignment(C.p);
    s.used = 1;
    choice_t *e = choice_for(blas, &s);
    if (!e) return;
    cublasStatus_t status = lib.cublasLtMatmul(blas->handle, &e->product, &alpha, b.p, &e->b, a.p, &e->a, &beta, C.p,
                                               &e->c, C.p, &e->c, &e->algorithm, workspace, s.workspace,
                                               compute_stream(be));
    if (status != CUBLAS_STATUS_SUCCESS && cuda_record_fails(cudaErrorStreamCaptureInvalidated)) return;
    BLAS_CHECK(status);
}

int cuda_gemm_open(cuda_impl_t *impl, err_t *err) {
    if (cublas_load(&lib, err)) return err->code;
    blas_t *blas = (blas_t *)xcalloc(1, sizeof *blas);
    impl->gemm = blas;
    cublasStatus_t status = lib.cublasLtCreate(&blas->handle);
    if (status == CUBLAS_STATUS_SUCCESS) return 0;
    return err_set(err, ERR_FAILED, "cuBLAS does not start: %s", lib.cublasLtGetStatusString(status));
}

void cuda_gemm_close(cuda_impl_t *impl) {
    blas_t *blas = (blas_t *)impl->gemm;
    if (blas && blas->handle) BLAS_CHECK(lib.cublasLtDestroy(blas->handle));
    free(blas);
}
