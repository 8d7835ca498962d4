#!/usr/bin/env bash
# Writes the Debian packages to build-package/debs: qlora-train and qlora-train-mpi, and where there is a CUDA toolkit
# qlora-train-cuda. DEBFULLNAME and DEBEMAIL say who maintains them; lintian, where installed, must have nothing to say.
# package.sh --check ROOT: then installs qlora-train in ROOT, a Debian without anything else (mmdebstrap
# --variant=minbase bookworm ROOT), and trains a tiny model there for some steps; without /proc, which a chroot
# may lack. Takes root.
set -euo pipefail
cd "$(dirname "$0")/.."
debs=build-package/debs
# The time that the packages bear is the commit's.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

package() { # NAME CUDA MPI
    local dir=build-package/$1
    cmake -S . -B "$dir" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DQLORA_TESTS=OFF -DQLORA_CUDA="$2" \
        -DQLORA_MPI="$3" -DQLORA_ZSH_COMPLETIONS=share/zsh/vendor-completions >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
    cmake --build "$dir" -j "$(nproc)" >>"$dir.log" 2>&1 || { tail -n 30 "$dir.log" >&2; exit 1; }
    (cd "$dir" && umask 022 && cpack -G DEB -B packages) >>"$dir.log" 2>&1 || { tail -n 30 "$dir.log" >&2; exit 1; }
    mv "$dir"/packages/*.deb $debs/
}

check() { # ROOT
    local root=$1 deb steps
    deb=$(echo $debs/qlora-train_*.deb)
    rm -rf "$root/tmp/qlora"
    mkdir -p "$root/tmp/qlora"
    cp "$deb" "$root/tmp/qlora/"
    cp -r tests/golden/tiny/llama-mha "$root/tmp/qlora/model"
    (export TESTS=$PWD/tests; . tests/cli/lib.sh >/dev/null; token_rows 40 20 60 7) >"$root/tmp/qlora/train.jsonl"
    cat >"$root/tmp/qlora/tiny.yaml" <<'END'
model:    {path: model}
data:     {train: train.jsonl, format: tokens}
training: {output_dir: run, max_steps: 5}
END
    chroot "$root" sh -ec 'export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq install -y --no-install-recommends "/tmp/qlora/$1"
        cd /tmp/qlora
        qlora-train --version
        qlora-train plan tiny.yaml
        qlora-train tiny.yaml' sh "${deb##*/}"
    steps=$(grep -c '"loss"' "$root/tmp/qlora/run/metrics.jsonl")
    [ "$steps" -eq 5 ] || { echo "package.sh: $steps steps were logged, expected 5" >&2; exit 1; }
    [ -s "$root/tmp/qlora/run/adapter/adapter_model.safetensors" ] || { echo "package.sh: no adapter" >&2; exit 1; }
    rm -rf "$root/tmp/qlora"
    echo "$deb works in $root"
}

case ${1:-} in
    "") ;;
    --check) [ $# -eq 2 ] || { echo "usage: package.sh [--check ROOT]" >&2; exit 2; } ;;
    *) echo "usage: package.sh [--check ROOT]" >&2; exit 2 ;;
esac
mkdir -p $debs
rm -f $debs/*.deb
package cpu OFF AUTO
if command -v "${CUDACXX:-nvcc}" >/dev/null; then
    package cuda ON OFF
else
    echo "no CUDA toolkit: no package of qlora-train-cuda"
fi
ls $debs/*.deb
if command -v lintian >/dev/null; then
    # Of a package that stays here nobody has to say whose it is.
    suppressed=(--suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog)
    [ -z "${DEBEMAIL:-}" ] || suppressed=()
    lintian --allow-root --fail-on error,warning "${suppressed[@]}" $debs/*.deb
fi
[ "${1:-}" != --check ] || check "$2"
