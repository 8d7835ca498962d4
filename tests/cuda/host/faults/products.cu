/* Matrix products that cuBLASLt refuses, or that would be wrong on a GPU, each beside one that is right. */
#include "faults.h"

#include "cuda/device.h"

#include <cstdlib>
#include <functional>

#include "cublasLt.h"

namespace {

enum { M = 24, N = 40, K = 16, PAD = 8, WORKSPACE = 4096 };
enum { A_BYTES = K * (M + PAD) * 4, B_BYTES = N * (K + PAD) * 4, D_BYTES = N * (M + PAD) * 4 };

/* D [M, N] = A [M, K] B [K, N], all by columns. */
struct product_t {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    cublasLtMatmulPreference_t preference;
    int asked;
};

void set_alignment(product_t *p, unsigned bytes) {
    for (int i = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES; i <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES; i++)
        if (cublasLtMatmulPreferenceSetAttribute(p->preference, (cublasLtMatmulPreferenceAttributes_t)i, &bytes,
                                                 sizeof bytes))
            abort();
}

product_t product_of(cudaDataType_t type, cudaDataType_t d_type) {
    product_t p = {};
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint64_t bytes = WORKSPACE;
    bool failed = cublasLtMatmulDescInit_internal(&p.desc, sizeof p.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) ||
                  cublasLtMatrixLayoutInit_internal(&p.a, sizeof p.a, type, M, K, M + PAD) ||
                  cublasLtMatrixLayoutInit_internal(&p.b, sizeof p.b, type, K, N, K + PAD) ||
                  cublasLtMatrixLayoutInit_internal(&p.d, sizeof p.d, d_type, M, N, M + PAD) ||
                  cublasLtMatmulPreferenceCreate(&p.preference) ||
                  cublasLtMatmulPreferenceSetAttribute(p.preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                       &reduction, sizeof reduction) ||
                  cublasLtMatmulPreferenceSetAttribute(p.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                       sizeof bytes);
    if (failed) abort();
    set_alignment(&p, 16);
    p.asked = 1;
    return p;
}

/* ---- what the heuristic says no to ------------------------------------------------------------------------- */
cublasStatus_t status_of(product_t *p, cublasLtMatmulAlgo_t *algo = nullptr) {
    cublasLtMatmulHeuristicResult_t result;
    int n;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(nullptr, &p->desc, &p->a, &p->b, &p->d, &p->d, p->preference,
                                                           p->asked, &result, &n);
    if ((status == CUBLAS_STATUS_SUCCESS) != (n == 1)) abort();
    if (algo && n) *algo = result.algo;
    return status;
}

/* Whether the product is accepted as it was, and answered so after the change. */
bool answers(cublasStatus_t wanted, std::function<void(product_t *)> change, cudaDataType_t type = CUDA_R_16BF,
             cudaDataType_t d_type = CUDA_R_16BF) {
    product_t p = product_of(type, d_type);
    if (status_of(&p) != CUBLAS_STATUS_SUCCESS) return false;
    change(&p);
    bool right = status_of(&p) == wanted;
    cublasLtMatmulPreferenceDestroy(p.preference);
    return right;
}

bool refused_layouts() {
    const auto invalid = CUBLAS_STATUS_INVALID_VALUE;
    return answers(invalid, [](product_t *p) { p->a.ld = M - 1; }) &&
           answers(invalid, [](product_t *p) { p->b.ld = K - 1; }) &&
           answers(invalid, [](product_t *p) { p->d.ld = M - 1; }) &&
           answers(invalid, [](product_t *p) { p->d.ld = -M; }) &&
           answers(invalid, [](product_t *p) { p->b.rows = p->a.cols = 0; }) &&
           answers(invalid, [](product_t *p) { p->b.rows--; }) && answers(invalid, [](product_t *p) { p->a.rows--; }) &&
           answers(invalid, [](product_t *p) { p->b.cols--; }) &&
           answers(invalid, [](product_t *p) { p->desc.a = CUBLAS_OP_T; }) &&
           answers(invalid, [](product_t *p) { p->a.type = (cudaDataType_t)3; }) && /* 8-bit integers */
           answers(invalid, [](product_t *p) { p->asked = 0; });
}

bool refused_types() {
    const auto no = CUBLAS_STATUS_NOT_SUPPORTED, yes = CUBLAS_STATUS_SUCCESS;
    cublasLtMatmulDescOpaque_t desc;
    return answers(no, [](product_t *p) { p->a.type = CUDA_R_32F; }) &&
           answers(no, [](product_t *p) { p->b.type = CUDA_R_32F; }) &&
           answers(yes, [](product_t *p) { p->d.type = CUDA_R_32F; }) &&
           answers(
               no, [](product_t *p) { p->d.type = CUDA_R_16BF; }, CUDA_R_32F, CUDA_R_32F) &&
           cublasLtMatmulDescInit_internal(&desc, sizeof desc, CUBLAS_COMPUTE_32F, CUDA_R_16BF) == no;
}

bool refused_alignments() {
    const auto no = CUBLAS_STATUS_NOT_SUPPORTED, yes = CUBLAS_STATUS_SUCCESS;
    return answers(yes, [](product_t *p) { set_alignment(p, 2); }) &&
           answers(no, [](product_t *p) { set_alignment(p, 1); }) &&
           answers(no, [](product_t *p) { set_alignment(p, 24); }) &&
           answers(
               no, [](product_t *p) { set_alignment(p, 2); }, CUDA_R_32F, CUDA_R_32F);
}

/* Epilogues, batches, pointers to scales: what is not done here may not be asked for. */
bool refused_attributes() {
    cublasLtMatmulDescOpaque_t desc = {};
    const uint32_t epilogue = 4, other_op = 2;
    product_t p = product_of(CUDA_R_16BF, CUDA_R_16BF);
    return cublasLtMatmulDescSetAttribute(&desc, (cublasLtMatmulDescAttributes_t)7, &epilogue, sizeof epilogue) &&
           cublasLtMatmulDescSetAttribute(&desc, CUBLASLT_MATMUL_DESC_TRANSA, &other_op, sizeof other_op) &&
           cublasLtMatmulPreferenceSetAttribute(p.preference, (cublasLtMatmulPreferenceAttributes_t)10, &epilogue,
                                                sizeof epilogue) &&
           cublasLtMatmulPreferenceSetAttribute(p.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &epilogue,
                                                sizeof epilogue);
}

/* ---- what stops a product --------------------------------------------------------------------------------------- */
enum operand_fault_t {
    OPERANDS_RIGHT,
    OPERAND_MISALIGNED,
    OPERAND_ON_HOST,
    OPERAND_NULL,
    OPERAND_BEYOND,
    OPERANDS_OVERLAP,
    WORKSPACE_MISALIGNED,
    WORKSPACE_SHORT,
    WORKSPACE_OVERLAPS,
    OTHER_LAYOUT
};

char *device_bytes(size_t n) {
    void *p;
    if (cudaMalloc(&p, n)) abort();
    cudaMemset(p, 0, n);
    return (char *)p;
}

template <operand_fault_t FAULT> bool multiply() {
    product_t p = product_of(CUDA_R_32F, CUDA_R_32F);
    char *a = device_bytes(A_BYTES), *b = device_bytes(B_BYTES), *d = device_bytes(D_BYTES);
    char *workspace = device_bytes(2 * WORKSPACE);
    static char host[A_BYTES];
    size_t workspace_bytes = WORKSPACE;
    const float one = 1, zero = 0;
    cublasLtMatmulAlgo_t algo;
    if (FAULT == OPERAND_BEYOND) p.a.ld = M + 2 * PAD;
    if (status_of(&p, &algo)) return false;
    if (FAULT == OPERAND_MISALIGNED) b += 4;
    if (FAULT == OPERAND_ON_HOST) a = host;
    if (FAULT == OPERAND_NULL) a = nullptr;
    if (FAULT == OPERANDS_OVERLAP) b = d;
    if (FAULT == WORKSPACE_MISALIGNED) workspace += 128;
    if (FAULT == WORKSPACE_SHORT) workspace_bytes = WORKSPACE - 1;
    if (FAULT == WORKSPACE_OVERLAPS) a = workspace;
    if (FAULT == OTHER_LAYOUT) p.d.ld = M;
    cublasStatus_t status = cublasLtMatmul(nullptr, &p.desc, &one, a, &p.a, b, &p.b, &zero, d, &p.d, d, &p.d, &algo,
                                           workspace, workspace_bytes, nullptr);
    cudaDeviceSynchronize();
    return status == CUBLAS_STATUS_SUCCESS;
}

/* A and D are columns of one matrix: beside each other, or four rows less than that. */
template <bool BESIDE> bool interleaved() {
    product_t p = product_of(CUDA_R_32F, CUDA_R_32F);
    p.a.ld = p.d.ld = 2 * M;
    char *all = device_bytes(2 * M * N * 4), *b = device_bytes(B_BYTES), *workspace = device_bytes(WORKSPACE);
    char *d = all + (BESIDE ? M : M - 4) * 4;
    const float one = 1, zero = 0;
    cublasLtMatmulAlgo_t algo;
    if (status_of(&p, &algo)) return false;
    cublasStatus_t status = cublasLtMatmul(nullptr, &p.desc, &one, all, &p.a, b, &p.b, &zero, d, &p.d, d, &p.d, &algo,
                                           workspace, WORKSPACE, nullptr);
    cudaDeviceSynchronize();
    return status == CUBLAS_STATUS_SUCCESS;
}

} // namespace

const planted_t product_faults[] = {
    {"product-layouts", refused_layouts},
    {"product-types", refused_types},
    {"product-alignments", refused_alignments},
    {"product-attributes", refused_attributes},
    {"product", multiply<OPERANDS_RIGHT>},
    {"product-misaligned", multiply<OPERAND_MISALIGNED>},
    {"product-on-host", multiply<OPERAND_ON_HOST>},
    {"product-null", multiply<OPERAND_NULL>},
    {"product-beyond", multiply<OPERAND_BEYOND>},
    {"product-overlap", multiply<OPERANDS_OVERLAP>},
    {"product-beside", interleaved<true>},
    {"product-columns-overlap", interleaved<false>},
    {"product-workspace-misaligned", multiply<WORKSPACE_MISALIGNED>},
    {"product-workspace-short", multiply<WORKSPACE_SHORT>},
    {"product-workspace-overlap", multiply<WORKSPACE_OVERLAPS>},
    {"product-other-layout", multiply<OTHER_LAYOUT>},
};
const size_t n_product_faults = sizeof product_faults / sizeof *product_faults;
