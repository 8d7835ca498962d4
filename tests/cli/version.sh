# --version names the kernels and the commit; where there is none it says so, and a build after the first compiles nothing for it.
. "$TESTS/cli/lib.sh"

expect 0 "$QLORA_TRAIN" --version
grep -Eq '^qlora-train [0-9.]+ \(own kernels, [A-Z][^;]*; CUDA: (yes|no); commit [^ ]+\)$' out.txt || { cat out.txt; fail "--version"; }

command -v cmake >/dev/null && command -v git >/dev/null || skip "no cmake or no git"
commit_of() { # DIR: what a build of DIR would say
    cmake -DSOURCE="$PWD/$1" -DOUTPUT="$PWD/$1.h" -P "$TESTS/../cmake/commit.cmake" >cmake.txt 2>&1 ||
        { cat cmake.txt; fail "commit.cmake"; }
    [ ! -s cmake.txt ] || { cat cmake.txt; fail "commit.cmake is not silent"; }
    sed -n 's/^#define QLORA_COMMIT "\(.*\)"$/\1/p' "$1.h"
}

mkdir plain checkout
[ "$(commit_of plain)" = unknown ] || fail "a commit without git: $(cat plain.h)"

in_checkout() { git -c user.name=t -c user.email=t@localhost -C checkout "$@" >/dev/null; }
in_checkout init
[ "$(commit_of checkout)" = unknown ] || fail "a commit before the first: $(cat checkout.h)"
echo 1 >checkout/file
in_checkout add file
in_checkout commit -m first
commit=$(git -C checkout rev-parse --short HEAD)
[ "$(commit_of checkout)" = "$commit" ] || fail "expected $commit: $(cat checkout.h)"
touch -d 2001-01-01 checkout.h
[ "$(commit_of checkout)" = "$commit" ] && [ "$(date -r checkout.h +%Y)" = 2001 ] || fail "written again unchanged"
echo 2 >checkout/file
[ "$(commit_of checkout)" = "$commit-dirty" ] || fail "expected $commit-dirty: $(cat checkout.h)"
# A source tree that lies in the checkout of something else is not of that one's commits.
mkdir checkout/vendored
[ "$(commit_of checkout/vendored)" = unknown ] || fail "the commit of another project: $(cat checkout/vendored.h)"

# An archive of the checkout has no git, but git wrote the commit into it.
cp "$TESTS/../.gitattributes" checkout/
mkdir checkout/cmake archive
cp "$TESTS/../cmake/commit.cmake" checkout/cmake/
printf '$Format:%%h$\n' >checkout/cmake/archived_commit
in_checkout add .
in_checkout commit -m second
git -C checkout archive HEAD | tar -x -C archive
[ "$(commit_of archive)" = "$(git -C checkout rev-parse --short HEAD)" ] || fail "of an archive: $(cat archive.h)"
mkdir copied
cp -r checkout/cmake copied/
[ "$(commit_of copied)" = unknown ] || fail "of a copy that git did not write: $(cat copied.h)"
