# `cmake --install` of the build that the program is from: what is installed works from there.
. "$TESTS/cli/lib.sh"
build=$(dirname "$QLORA_TRAIN")
[ -f "$build/cmake_install.cmake" ] || skip "$build is no build directory"
command -v cmake >/dev/null || skip "no cmake"

expect 0 cmake --install "$build" --prefix "$PWD/prefix"
installed=prefix/bin/qlora-train
expect 0 "$installed" --version
"$QLORA_TRAIN" --version | cmp - out.txt || fail "the installed program is another"

for config in "$TESTS"/../configs/*.yaml; do
    cmp "$config" "prefix/share/qlora-train/configs/${config##*/}" || fail "$config is not installed"
done
expect 0 "$installed" plan prefix/share/qlora-train/configs/llama-2-7b-guanaco.yaml
grep -q '^  total ' out.txt || { cat out.txt; fail "a plan without a total"; }

# What it prints of itself lies where editors, shells and man look for it.
zsh=$(sed -n 's/^QLORA_ZSH_COMPLETIONS:STRING=//p' "$build/CMakeCache.txt")
printed=(schema share/qlora-train/config.schema.json completion-bash share/bash-completion/completions/qlora-train
    completion-zsh "$zsh/_qlora-train" completion-fish share/fish/vendor_completions.d/qlora-train.fish)
for ((i = 0; i < ${#printed[@]}; i += 2)); do
    "$QLORA_TRAIN" print "${printed[i]}" | cmp - "prefix/${printed[i + 1]}" || fail "another ${printed[i]} is installed"
done
"$QLORA_TRAIN" print man | cmp - <(gzip -dc prefix/share/man/man1/qlora-train.1.gz) || fail "another manual is installed"

for text in README.md CHANGELOG.md CONTRIBUTING.md LICENSE; do
    cmp "$TESTS/../$text" "prefix/share/doc/qlora-train/$text" || fail "$text is not installed"
done
diff -r "$TESTS/../docs" prefix/share/doc/qlora-train/docs || fail "not all of docs is installed"

# What loads MPI is found from there: it then says that nobody but this process is.
module=
if [ -f "$build/qlora-mpi.so" ]; then
    module=$(find prefix -name qlora-mpi.so)
    [ -n "$module" ] || fail "qlora-mpi.so is not installed"
    if command -v mpirun >/dev/null; then
        expect 2 env OMPI_COMM_WORLD_SIZE=2 "$installed" inspect "$model"
        grep -q '^mpirun started 2 processes, but .* finds 1; expected' err.txt || fail "$(cat err.txt)"
    fi
fi
# Nothing else: no other library, header or test.
extra=$(find prefix -type f ! -path prefix/bin/qlora-train ! -path "${module:-none}" \
    ! -path 'prefix/share/qlora-train/configs/*' ! -path 'prefix/share/doc/qlora-train/*' \
    ! -path prefix/share/man/man1/qlora-train.1.gz)
for ((i = 1; i < ${#printed[@]}; i += 2)); do
    extra=$(grep -vFx "prefix/${printed[i]}" <<<"$extra" || true)
done
[ -z "$extra" ] || fail "installed as well: $extra"
