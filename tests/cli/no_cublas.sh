# A program that knows GPUs needs no library of CUDA to start. Where cuBLAS is missing, auto trains on the CPU and says
# why, and cuda is refused. To take cuBLAS away needs the program that emulates a GPU; others stop after the first part.
. "$TESTS/cli/lib.sh"

ldd "$QLORA_TRAIN" >libraries.txt
! grep -E 'libcu(da|blas)' libraries.txt || fail "the program does not start without these"
case $QLORA_TRAIN in *-cudahost) ;; *) exit 0 ;; esac

write_data
write_config run 2 2 >config.yaml
expect 0 env CUDA_HOST_CUBLAS=/nowhere/libcublasLt.so.13 "$QLORA_TRAIN" config.yaml device.backend=auto
grep -q "; no GPU: cuBLAS cannot be loaded: /nowhere/libcublasLt.so.13: .* expected cuBLAS 13 on this machine" out.txt ||
    { cat out.txt; fail "the run does not say why it is not on the GPU"; }
[ "$(logged_steps run)" -eq 2 ] || fail "the run did not train"
expect 2 env CUDA_HOST_CUBLAS=/nowhere/libcublasLt.so.13 "$QLORA_TRAIN" config.yaml device.backend=cuda
grep -q "^device.backend: cuda: cuBLAS cannot be loaded: " err.txt || { cat err.txt; fail "cuda is not refused so"; }
