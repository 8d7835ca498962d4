#!/usr/bin/env bash
# Runs the Containerfile's steps, as they stand, where there is no container engine: every stage in a directory that
# mmdebstrap fills with a bare Debian, RUN in a chroot with /proc and /dev, the context without what .dockerignore names.
# Then trains a tiny model in the last stage by its ENTRYPOINT, as its USER and as another one, where the stage has an MPI
# in two processes too, and says what the stage takes. Needs root, mmdebstrap and the Debian archive.
# container_check.sh [NAME=VALUE ...]: build arguments. The directories lie under $CONTAINER_DIR (build-container) and go
# when all is well; a bare Debian that is there, $CONTAINER_DIR/base-SUITE, is used again.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${CONTAINER_DIR:-build-container}
declare -A given=() global=() variables=() root=()    # build arguments, those before the first FROM, a stage's, stages
stage='' directory=/ user=0 entrypoint=()

die() {
    echo "container_check.sh: $*" >&2
    exit 1
}

# Text with ${NAME} of what is set.
expand() { # TEXT
    local text=$1 name
    for name in "${!variables[@]}"; do text=${text//"\${$name}"/"${variables[$name]}"}; done
    case $text in *\$*) die "what is in $text is not known" ;; esac
    printf '%s' "$text"
}

bare_debian() { # SUITE: the path of its directory
    local base=$work/base-$1
    if [ ! -d "$base" ]; then
        mmdebstrap --quiet --variant=minbase "$1" "$base.new" >&2 || die "no bare Debian"
        mv "$base.new" "$base"
    fi
    echo "$base"
}

# In a mount namespace of its own, so that nothing stays mounted.
inside() { # USER DIRECTORY COMMAND...
    local variable set=()
    for variable in "${!variables[@]}"; do set+=("$variable=${variables[$variable]}"); done
    unshare --mount --pid --fork --kill-child bash -ec '
        root=$1 user=$2 directory=$3; shift 3
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        exec chroot --userspec="$user" "$root" /bin/sh -c "cd \"\$0\" && exec \"\$@\"" "$directory" "$@"' \
        bash "${root[$stage]}" "$1" "$2" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/ "${set[@]}" "${@:3}" </dev/null
}

from() { # IMAGE [AS NAME]
    local image suite name
    variables=()    # only what stands before the first FROM
    for name in "${!global[@]}"; do variables[$name]=${global[$name]}; done
    image=$(expand "$1")
    case $image in
        *debian:*) suite=${image##*debian:} suite=${suite%-slim} ;;
        *) die "only Debian's images can be made here: $image" ;;
    esac
    stage=${3:-last} directory=/ user=0 variables=() entrypoint=()
    root[$stage]=$work/$stage
    rm -rf "${root[$stage]}"
    cp -a "$(bare_debian "$suite")" "${root[$stage]}"
}

argument() { # NAME[=DEFAULT]
    local name=${1%%=*} value=
    case $1 in *=*) value=${1#*=} value=${value#\"} value=${value%\"} ;; esac
    value=${given[$name]-${global[$name]-$value}}
    variables[$name]=$value
    [ -n "$stage" ] || global[$name]=$value
}

context() { # PATH: as an archive; "." for all
    grep -v '^#' .dockerignore | sed 's|^|./|' | tar -c --anchored --exclude-from=- "./${1#.}"
}

copy() { # [--from=STAGE] SOURCE... TARGET
    local target=${*: -1} from=
    case $target in /*) ;; *) target=$directory/$target ;; esac
    case $1 in --from=*) from=${1#--from=}; shift ;; esac
    if [ -n "$from" ]; then
        mkdir -p "${root[$stage]}$target"
        cp -a "${root[$from]}$1/." "${root[$stage]}$target/"
    elif [ "$1" = . ]; then
        mkdir -p "${root[$stage]}$target"
        context . | tar -x --no-same-owner -C "${root[$stage]}$target"
    else
        [ $# -eq 2 ] || die "COPY of one file at a time is what is done here: $*"
        mkdir -p "${root[$stage]}$target"
        context "$1" | tar -x --no-same-owner --transform 's|.*/||' -C "${root[$stage]}$target"
    fi
}

step() { # INSTRUCTION REST
    local words
    read -ra words <<<"$2"
    case $1 in
        FROM) from "${words[@]}" ;;
        ARG) argument "$2" ;;
        ENV) variables[${2%%=*}]=$(expand "${2#*=}") ;;
        WORKDIR) directory=$2; mkdir -p "${root[$stage]}$directory" ;;
        COPY) copy "${words[@]}" ;;
        RUN) inside "$user" "$directory" /bin/sh -c "$2" >"$work/log" 2>&1 || { tail -n 40 "$work/log"; die "RUN failed: $2"; } ;;
        USER) user=$2 ;;
        ENTRYPOINT) read -ra entrypoint <<<"$(tr -d '[]",' <<<"$2")" ;;
        CMD) ;;
        *) die "$1 is not known here" ;;
    esac
}

build() {
    local line whole='' began
    while IFS= read -r line; do
        case $line in '#'* | '') continue ;; esac
        whole+=$line
        case $line in *\\) whole=${whole%\\}; continue ;; esac
        began=$SECONDS
        step "${whole%% *}" "${whole#* }"
        printf '%4d s  %s\n' $((SECONDS - began)) "$(cut -c 1-100 <<<"$whole")"
        whole=
    done <Containerfile
}

# A directory of a user's, which a bind mount would be.
train_as() { # USER [LAUNCHER...]
    local mounted=${root[$stage]}/mnt steps
    rm -rf "$mounted"
    mkdir -p "$mounted/data"
    cp -r tests/golden/tiny/llama-mha "$mounted/model"
    (export TESTS=$PWD/tests; . tests/cli/lib.sh >/dev/null; token_rows 40 20 60 7) >"$mounted/data/train.jsonl"
    cat >"$mounted/tiny.yaml" <<'END'
model:    {path: model}
data:     {train: data/train.jsonl, format: tokens}
training: {output_dir: runs/tiny, max_steps: 5}
END
    chown -R "$1" "$mounted"
    inside "$1" /mnt "${@:2}" "${entrypoint[@]}" tiny.yaml >"$work/log" 2>&1 || { cat "$work/log"; die "the training as $1 failed"; }
    steps=$(grep -c '"loss"' "$mounted/runs/tiny/metrics.jsonl")
    [ "$steps" -eq 5 ] || die "$steps steps were logged as $1, expected 5"
    [ -s "$mounted/runs/tiny/adapter/adapter_model.safetensors" ] || die "no adapter as $1"
    [ "$(stat -c %u:%g "$mounted/runs/tiny/adapter")" = "$1" ] || die "the adapter is not of user $1"
    rm -rf "$mounted"
    mkdir "$mounted"
    echo "5 steps of a tiny model as user $1${2:+, by $2}"
}

size_of() { # DIRECTORY: MB of its files
    du -sxm --apparent-size "$1" | cut -f 1
}

[ "$(id -u)" -eq 0 ] || die "needs root"
command -v mmdebstrap >/dev/null || die "needs mmdebstrap"
for pair in "$@"; do
    case $pair in *=*) given[${pair%%=*}]=${pair#*=} ;; *) die "usage: container_check.sh [NAME=VALUE ...]" ;; esac
done
mkdir -p "$work"
build
case $user in 0 | 0:* | root*) die "the image's user is root" ;; esac
inside "$user" "$directory" "${entrypoint[@]}" --version
train_as "$user"
train_as 4321:4321    # of whom the image knows nothing, as with --user
[ ! -e "${root[$stage]}/usr/bin/mpirun" ] || train_as "$user" mpirun --oversubscribe -n 2
echo "the last stage: $(size_of "${root[$stage]}") MB of files, $(size_of "$(bare_debian bookworm)") MB of them the bare Debian's"
for stage in "${!root[@]}"; do rm -rf "${root[$stage]}"; done
rm -f "$work/log"
