#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the quick start need. Does nothing when all are there.
# deps.sh --tools: also what further stages of scripts/test.sh take, which are skipped without.
# deps.sh --package: instead only what scripts/package.sh takes.
# deps.sh --slurm: instead those of tests/cluster/slurm.sh.
# deps.sh --download DIR: instead fetches the libraries among them, and what those need, into DIR, for a machine
# without a network (scripts/gpu_check.sh).
set -euo pipefail

build=(
    build-essential cmake pkg-config
    libyaml-dev libjansson-dev libsentencepiece-dev libpcre2-dev libutf8proc-dev libxxhash-dev
    zlib1g-dev libzstd-dev
)
packages=(
    "${build[@]}"
    libcmocka-dev clang-format   # tests, and the check of the style
    python3 python3-pip unzip    # fetching the quick start's model, checking the demo data
)
tools=(
    clang-tidy-14 cppcheck       # scripts/lint.sh
    clang-14 libclang-rt-14-dev libomp-14-dev    # scripts/threads.sh, scripts/fuzz.sh
    valgrind                     # tests/cli/memcheck.sh
    libopenmpi-dev openmpi-bin iproute2    # runs of several processes, and tests/cluster/ranks.sh
)

[ "${1:-}" != --package ] || packages=("${build[@]}" libopenmpi-dev file)
[ "${1:-}" != --slurm ] || packages=(slurm-wlm munge)

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "deps.sh: this is no Debian system; install what corresponds to: ${packages[*]}" >&2
    exit 0    # configuring the build names what is really missing
fi

# Names of the libraries that the packages given need, those of every C and C++ program aside.
needed_libraries() {
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
        sed -n 's/^ *Depends: \(lib[^ <]*\)$/\1/p' |
        grep -vE '^(libc6|libc6-dev|libc-dev|libgcc-s1|libgomp1|libstdc\+\+.*)$' | sort -u
}

if [ "${1:-}" = --download ]; then
    [ $# -eq 2 ] || { echo "usage: deps.sh [--download DIR]" >&2; exit 2; }
    mapfile -t found < <(printf '%s\n' "${packages[@]}" | grep '^lib')
    for _ in 1 2 3; do
        mapfile -t found < <({ printf '%s\n' "${found[@]}"; needed_libraries "${found[@]}"; } | sort -u)
    done
    mkdir -p "$2"
    (cd "$2" && apt-get -qq download pkgconf pkgconf-bin libpkgconf3 "${found[@]}")
    exit
fi

if command -v nvidia-smi >/dev/null 2>&1 && ! command -v nvcc >/dev/null 2>&1; then
    echo "deps.sh: a GPU but no CUDA toolkit (12 or newer, with cuBLAS); install it yourself for the" \
         "CUDA backend (its licence has to be accepted)" >&2
fi

not_installed() { # PACKAGE...
    local p state
    for p in "$@"; do
        state=$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)
        [ "$state" = installed ] || echo "$p"
    done
}

mapfile -t missing < <(not_installed "${packages[@]}")
missing_tools=()
[ "${1:-}" != --tools ] || mapfile -t missing_tools < <(not_installed "${tools[@]}")
[ $((${#missing[@]} + ${#missing_tools[@]})) -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        [ ${#missing[@]} -gt 0 ] || { echo "deps.sh: not root and no sudo; not there: ${missing_tools[*]}" >&2; exit 0; }
        echo "deps.sh: not root and no sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "installing: ${missing[*]} ${missing_tools[*]}"
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null
}
apt update
if [ ${#missing[@]} -gt 0 ] && ! apt install -y --no-install-recommends "${missing[@]}"; then
    echo "deps.sh: could not install all of: ${missing[*]}" >&2
    exit 1
fi
# One by one: a later release of Debian has other versions of some, and has the others.
for p in "${missing_tools[@]}"; do
    apt install -y --no-install-recommends "$p" || echo "deps.sh: there is no $p; what needs it is skipped" >&2
done
