/* cuBLASLt by plain loops: operands widened to fp32, one rounding at the end. What cuBLASLt would refuse, or what would be
 * wrong on a GPU though it works here, is a fault. */
#include "cublasLt.h"

#include <cstdlib>
#include <vector>

#include "base/dtype.h"
#include "memory.h"

using cuda_host::fault;

struct cublas_handle_t {
    int unused;
};

static const cuda_host::site_t HERE = {"cuBLAS", 0};

/* ---- where it is ---------------------------------------------------------------------------------------------- */
static const char *library;
static bool library_set;

void cuda_host_set_cublas(const char *name) {
    library = name;
    library_set = true;
}

const char *cuda_host_cublas() { return library_set ? library : getenv("CUDA_HOST_CUBLAS"); }

/* ---- what a product is ---------------------------------------------------------------------------------------- */
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new cublas_handle_t();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "failure";
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t d, size_t size, cublasComputeType_t compute,
                                               cudaDataType_t scale) {
    if (size != sizeof *d) return CUBLAS_STATUS_INVALID_VALUE;
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *d = {CUBLAS_OP_N, CUBLAS_OP_N};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t size) {
    int op; /* whatever the caller has there */
    if (size != sizeof op) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&op, value, size);
    if (op != CUBLAS_OP_N && op != CUBLAS_OP_T) return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) d->a = (cublasOperation_t)op;
    else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) d->b = (cublasOperation_t)op;
    else return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t m, size_t size, cudaDataType_t type,
                                                 uint64_t rows, uint64_t cols, int64_t ld) {
    if (size != sizeof *m) return CUBLAS_STATUS_INVALID_VALUE;
    *m = {type, rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

/* Without a word cuBLAS expects the best of the operands. */
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    *p = new cublasLtMatmulPreferenceOpaque_t{0, UINT32_MAX, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t size) {
    void *to;
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: to = &p->workspace; break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: to = &p->reduction; break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        to = &p->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
        break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (size != (to == &p->workspace ? sizeof p->workspace : sizeof p->reduction)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

static bool has_exact = true;

void cuda_host_exact_sums(bool has) { has_exact = has; }

static uint64_t rows_of(const cublasLtMatrixLayoutOpaque_t &m, cublasOperation_t op) {
    return op == CUBLAS_OP_T ? m.cols : m.rows;
}

static uint64_t cols_of(const cublasLtMatrixLayoutOpaque_t &m, cublasOperation_t op) {
    return op == CUBLAS_OP_T ? m.rows : m.cols;
}

static bool same(const cublasLtMatrixLayoutOpaque_t &a, const cublasLtMatrixLayoutOpaque_t &b) {
    return a.type == b.type && a.rows == b.rows && a.cols == b.cols && a.ld == b.ld;
}

static size_t size_of(cudaDataType_t type) { return type == CUDA_R_16BF ? sizeof(bf16_t) : sizeof(float); }

/* Columns that lie apart, of a known type. */
static bool is_matrix(const cublasLtMatrixLayoutOpaque_t &m) {
    return m.rows && m.cols && m.ld >= 0 && (uint64_t)m.ld >= m.rows && (m.type == CUDA_R_16BF || m.type == CUDA_R_32F);
}

/* Of CUBLAS_COMPUTE_32F with a scale in F32: A and B of one type, C and D of that one or F32. */
static bool are_types(const cublasLtMatmulAlgo_t &g) {
    return g.a.type == g.b.type && (g.c.type == g.a.type || g.c.type == CUDA_R_32F);
}

static bool is_product(const cublasLtMatmulAlgo_t &g) {
    return rows_of(g.a, g.product.a) == g.c.rows && cols_of(g.b, g.product.b) == g.c.cols &&
           cols_of(g.a, g.product.a) == rows_of(g.b, g.product.b);
}

/* What is promised of addresses: a power of two, and at least an element. */
static bool is_alignment(uint32_t bytes, cudaDataType_t type) {
    return bytes >= size_of(type) && (bytes & (bytes - 1)) == 0;
}

static cublasStatus_t check(const cublasLtMatmulAlgo_t &g) {
    const uint32_t *align = g.preference.alignment;
    if (!is_matrix(g.a) || !is_matrix(g.b) || !is_matrix(g.c) || !is_product(g)) return CUBLAS_STATUS_INVALID_VALUE;
    bool aligned = is_alignment(align[0], g.a.type) && is_alignment(align[1], g.b.type) &&
                   is_alignment(align[2], g.c.type) && is_alignment(align[3], g.c.type);
    return aligned && are_types(g) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int asked, cublasLtMatmulHeuristicResult_t *results, int *n) {
    *n = 0;
    cublasLtMatmulAlgo_t algo = {*product, *a, *b, *c, *preference};
    if (asked < 1 || !same(*c, *d)) return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = check(algo);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const bool exact = preference->reduction == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    if (exact && !has_exact) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!exact && has_exact)
        fault(HERE, "parts of a sum may be added in BF16: reduction schemes %x", preference->reduction);
    results[(*n)++] = {algo, (size_t)preference->workspace, CUBLAS_STATUS_SUCCESS};
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- the product --------------------------------------------------------------------------------------------- */
static float value_at(const void *p, cudaDataType_t type, size_t i) {
    return type == CUDA_R_16BF ? bf16_to_f32(((const bf16_t *)p)[i]) : ((const float *)p)[i];
}

/* What enters the product, dense and column-major. */
static std::vector<float> widened(const void *p, const cublasLtMatrixLayoutOpaque_t &m, cublasOperation_t op) {
    size_t rows = rows_of(m, op), cols = cols_of(m, op), ld = (size_t)m.ld;
    std::vector<float> out(rows * cols);
    for (size_t j = 0; j < cols; j++)
        for (size_t i = 0; i < rows; i++)
            out[j * rows + i] = value_at(p, m.type, op == CUBLAS_OP_T ? i * ld + j : j * ld + i);
    return out;
}

/* sums [n, m] = b [n, k] a [k, m], which nobody else has: ThreadSanitizer need not look. */
__attribute__((no_sanitize_thread)) static void sum_products(size_t m, size_t n, size_t k, const float *a,
                                                             const float *b, float *sums) {
    for (size_t j = 0; j < n; j++)
        for (size_t p = 0; p < k; p++)
            for (size_t i = 0; i < m; i++) sums[j * m + i] += b[j * k + p] * a[p * m + i];
}

static void multiply(const cublasLtMatmulAlgo_t &g, float alpha, const void *a, const void *b, float beta, void *c) {
    std::vector<float> wa = widened(a, g.a, g.product.a), wb = widened(b, g.b, g.product.b);
    size_t m = g.c.rows, n = g.c.cols, k = wa.size() / m;
    std::vector<float> sums(m * n);
    sum_products(m, n, k, wa.data(), wb.data(), sums.data());
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++) {
            size_t at = j * (size_t)g.c.ld + i;
            float sum = alpha * sums[j * m + i] + (beta != 0 ? beta * value_at(c, g.c.type, at) : 0);
            if (g.c.type == CUDA_R_16BF) ((bf16_t *)c)[at] = bf16_from_f32(sum);
            else ((float *)c)[at] = sum;
        }
}

/* The workspace is cuBLAS's while it runs: NaN at both ends, for who counts on what was there. */
static void spoil(void *workspace, size_t bytes) {
    const size_t some = bytes < 4096 ? bytes : 4096;
    memset(workspace, 0xff, some);
    memset((char *)workspace + bytes - some, 0xff, some);
}

/* The bytes from the first element to behind the last. */
static size_t extent(const cublasLtMatrixLayoutOpaque_t &m) {
    return ((m.cols - 1) * (size_t)m.ld + m.rows) * size_of(m.type);
}

static void check_device_range(const char *what, const void *p, size_t bytes) {
    size_t left;
    if (cuda_host::memory_kind(p, &left) != cuda_host::MEMORY_DEVICE)
        fault(HERE, "%s, %p, is not device memory", what, p);
    if (bytes > left) fault(HERE, "%s takes %zu bytes; the allocation has %zu more", what, bytes, left);
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    return (const char *)a < (const char *)b + b_bytes && (const char *)b < (const char *)a + a_bytes;
}

/* Also where the columns of one lie between those of the other, as those of a wider matrix do. */
static bool matrices_overlap(const void *p, const cublasLtMatrixLayoutOpaque_t &m, const void *q,
                             const cublasLtMatrixLayoutOpaque_t &n) {
    size_t apart = (size_t)m.ld * size_of(m.type), length = m.rows * size_of(m.type), other = n.rows * size_of(n.type);
    if (!overlap(p, extent(m), q, extent(n))) return false;
    if (apart != (size_t)n.ld * size_of(n.type)) return true;
    size_t behind = ((uintptr_t)q % apart + apart - (uintptr_t)p % apart) % apart;
    return behind < length || behind + other > apart;
}

/* Wrong on a GPU, or refused there, though plain loops would do it. */
static void check_operands(const cublasLtMatmulAlgo_t &g, const void *a, const void *b, const void *d,
                           const void *workspace, size_t workspace_bytes) {
    check_device_range("A", a, extent(g.a));
    check_device_range("B", b, extent(g.b));
    check_device_range("D", d, extent(g.c));
    if (matrices_overlap(a, g.a, d, g.c) || matrices_overlap(b, g.b, d, g.c)) fault(HERE, "D overlaps an operand");
    if (workspace_bytes == 0) return;
    check_device_range("the workspace", workspace, workspace_bytes);
    /* As cublasSetWorkspace() asks. */
    if ((uintptr_t)workspace % 256) fault(HERE, "the workspace, %p, is not at a multiple of 256 bytes", workspace);
    if (overlap(workspace, workspace_bytes, a, extent(g.a)) || overlap(workspace, workspace_bytes, b, extent(g.b)) ||
        overlap(workspace, workspace_bytes, d, extent(g.c)))
        fault(HERE, "the workspace overlaps an operand");
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    cublasLtMatmulAlgo_t g = *algo;
    if (c != d || g.product.a != product->a || g.product.b != product->b || !same(g.a, *a_layout) ||
        !same(g.b, *b_layout) || !same(g.c, *c_layout))
        fault(HERE, "the algorithm was chosen for another product");
    const void *operand[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)operand[i] % g.preference.alignment[i])
            fault(HERE, "the algorithm was chosen for operand %d at multiples of %u; it is at %p", i,
                  g.preference.alignment[i], operand[i]);
    if (workspace_bytes < g.preference.workspace)
        fault(HERE, "the algorithm takes %zu bytes of workspace; given %zu", (size_t)g.preference.workspace,
              workspace_bytes);
    check_operands(g, a, b, d, workspace, workspace_bytes);
    float al = *(const float *)alpha, be = *(const float *)beta;
    cuda_host::enqueue(stream, [=] {
        if (workspace_bytes) spoil(workspace, workspace_bytes);
        multiply(g, al, a, b, be, d);
    });
    return CUBLAS_STATUS_SUCCESS;
}
