# Where there is no /proc, as in a bare chroot: the same run, threads that wait as everywhere, and the module for MPI is
# found from the program, however that was started.
. "$TESTS/cli/lib.sh"

! ldd "$QLORA_TRAIN" | grep -q libasan || skip "no_proc: AddressSanitizer reads /proc itself"
hidden=(unshare --mount)
[ "$(id -u)" -eq 0 ] || hidden+=(--user --map-root-user)
"${hidden[@]}" mount -t tmpfs none /proc 2>/dev/null || skip "no_proc: nothing can be mounted over /proc here"
without_proc() { "${hidden[@]}" sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$@"; }

write_data
for run in with without; do write_config $run 4 2 >$run.yaml; done
expect 0 "$QLORA_TRAIN" with.yaml
expect 0 without_proc "$QLORA_TRAIN" without.yaml
same_run with without

OMP_DISPLAY_ENV=verbose expect 0 without_proc env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT "$QLORA_TRAIN" --version
grep -q "GOMP_SPINCOUNT = '1000'" err.txt || { cat err.txt; fail "threads wait by spinning"; }

build=$(dirname "$QLORA_TRAIN")
if [ -f "$build/qlora-mpi.so" ] && [ -f "$build/cmake_install.cmake" ] && command -v mpirun >/dev/null && command -v cmake >/dev/null; then
    expect 0 cmake --install "$build" --prefix "$PWD/prefix"
    mkdir bin
    ln -s ../prefix/bin/qlora-train bin/linked
    for program in "$QLORA_TRAIN" prefix/bin/qlora-train bin/linked linked; do
        OMPI_COMM_WORLD_SIZE=2 PATH=$PWD/bin:$PATH expect 2 without_proc "$program" inspect "$model"
        grep -q '^mpirun started 2 processes, but .* finds 1; expected' err.txt || { cat err.txt; fail "started as $program"; }
    done
fi
