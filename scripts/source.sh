#!/usr/bin/env bash
# Writes the source of the commit that is checked out to build-package/qlora-train-VERSION.tar.gz, unpacks it in an empty
# directory, builds it there, without a network where that can be taken away, and tries the program by the archive's own
# tests.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --short HEAD 2>/dev/null) || { echo "source: this is no git checkout"; exit 77; }
version=$(sed -nE 's/^project\(qlora-train VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)
name=qlora-train-$version
mkdir -p build-package
git archive --prefix="$name/" HEAD | gzip -9n >"build-package/$name.tar.gz"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "build-package/$name.tar.gz" -C "$work"
cd "$work/$name"
offline=()
! unshare --net true 2>/dev/null || offline=(unshare --net)
{
    "${offline[@]}" cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DQLORA_TESTS=OFF -DQLORA_CUDA=OFF
    "${offline[@]}" cmake --build build -j "$(nproc)"
} >build.log 2>&1 || { tail -n 40 build.log >&2; exit 1; }
build/qlora-train --version
build/qlora-train --version | grep -q "commit $commit)" || { echo "source.sh: --version does not name $commit" >&2; exit 1; }
tests/cli/run.sh "$PWD/build/qlora-train" version install jobs configs
cd - >/dev/null
ls -l "build-package/$name.tar.gz"
