# A disk that is full, or a limit on the size of files, ends an export or a quantization with status 1 and one clear
# line; nothing of it is left, nor of the directories that were made for it.
. "$TESTS/cli/lib.sh"

mounted=
trap '[ -z "$mounted" ] || umount "$mounted"' EXIT

token_rows 4 10 20 1 >train.jsonl
cat >run.yaml <<END
model: {path: $model}
data: {train: train.jsonl, format: tokens, max_length: 32}
training: {output_dir: run, max_steps: 1}
device: {backend: $backend, threads: 2}
END
expect 0 "$QLORA_TRAIN" run.yaml
checkpoint=$PWD/run/checkpoint-1

# The three commands, by what they write.
write() { # WHAT DIR
    case $1 in
        merged) "$QLORA_TRAIN" export "$checkpoint" --merged "$2" ;;
        adapter) "$QLORA_TRAIN" export "$checkpoint" --adapter "$2" ;;
        quantized) "$QLORA_TRAIN" quantize "$model" "$2" ;;
    esac
}

failed=0
# Either the result is whole, or there is an error and nothing else. PLACE is a directory that is to stay empty.
check() { # WHAT PLACE STATUS
    if [ "$3" -eq 0 ]; then
        [ -d "$2/deep/er/out" ] || fail "$1: status 0 without a result"
        rm -r "$2/deep"
        return
    fi
    [ "$3" -eq 1 ] || { cat err.txt; fail "$1: exit status $3, expected 1"; }
    [ "$(complaints | grep -vc '^warning: ')" -eq 1 ] || { cat err.txt; fail "$1: expected one line of error"; }
    grep -Eq 'File too large|No space left' err.txt || { cat err.txt; fail "$1: the error does not say what is wrong"; }
    [ -z "$(ls -A "$2")" ] || fail "$1: left behind: $(find "$2")"
    failed=$((failed + 1))
}

sizes=
for what in merged adapter quantized; do
    write $what whole-$what >out.txt 2>err.txt || { cat err.txt; fail "$what failed"; }
    sizes="$sizes $what:$(du -sk whole-$what | cut -f 1)"
done

mkdir limited
for of in $sizes; do
    what=${of%:*} whole=${of#*:} failed=0
    for size in 0 1 2 $((whole / 4)) $((whole / 2)) $((whole - 8)); do
        status=0
        said=$(ulimit -f $size; write $what limited/deep/er/out 2>&1 >/dev/null) || status=$?
        printf '%s\n' "$said" >err.txt    # which itself has no limit
        check $what limited $status
    done
    [ $failed -ge 4 ] || fail "$what: only $failed limits were too small"
done

# An empty file system of that size and that many files.
new_disk() { # SIZE FILES
    [ -z "$mounted" ] || umount "$mounted"
    mounted=
    mount -t tmpfs -o "size=$1,nr_inodes=$2" tmpfs disk && mounted=$PWD/disk
}

mkdir disk
if new_disk 64k 64 2>/dev/null; then
    for of in $sizes; do
        what=${of%:*} whole=${of#*:} failed=0
        for size in 4 12 $((whole / 4)) $((whole / 2)) $((whole - 4)); do
            new_disk ${size}k 64
            status=0
            write $what disk/deep/er/out >out.txt 2>err.txt || status=$?
            check $what disk $status
        done
        # No room for one more file or directory.
        for inodes in 1 2 3 4 5; do
            new_disk 64m $inodes
            status=0
            write $what disk/deep/er/out >out.txt 2>err.txt || status=$?
            check $what disk $status
        done
        [ $failed -ge 8 ] || fail "$what: only $failed disks were too small"
    done
    # What is somebody else's stays.
    new_disk 4k 64
    mkdir -p disk/deep/notes
    expect 1 write merged disk/deep/er/out
    [ "$(find disk | sort | tr '\n' ' ')" = "disk disk/deep disk/deep/notes " ] || fail "left behind: $(find disk)"
    # Pages that leave for a file are reserved there before the first is written.
    new_disk 64k 64
    sed 's/output_dir: run/output_dir: run-spill/; s/threads: 2/threads: 2, spill: disk/' run.yaml >spill.yaml
    expect 2 "$QLORA_TRAIN" spill.yaml device.memory_limit=64KiB
    least=$(sed -nE 's/.*expected a limit of at least ([0-9.]+) MiB.*/\1/p' err.txt)
    [ -n "$least" ] || { cat err.txt; fail "no limit was named"; }
    expect 1 "$QLORA_TRAIN" spill.yaml "device.memory_limit=$(awk -v mib="$least" 'BEGIN { print int(mib * 1024) + 64 }')KiB"
    grep -q 'device.spill: .*/disk: cannot reserve .* No space left' err.txt || { cat err.txt; fail "another error"; }
else
    echo "no tmpfs may be mounted here: only the limit on file sizes was tested"
fi
