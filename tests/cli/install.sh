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

for text in README.md CHANGELOG.md CONTRIBUTING.md LICENSE docs/config.md; do
    cmp "$TESTS/../$text" "prefix/share/doc/qlora-train/$text" || fail "$text is not installed"
done
# Nothing else: no library, header or test.
extra=$(find prefix -type f ! -path prefix/bin/qlora-train ! -path 'prefix/share/qlora-train/configs/*' \
    ! -path 'prefix/share/doc/qlora-train/*')
[ -z "$extra" ] || fail "installed as well: $extra"
