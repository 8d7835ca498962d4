# A full disk ends the run with status 1 and one clear line; what was good before stays good.
. "$TESTS/cli/lib.sh"

mounted=
trap '[ -z "$mounted" ] || umount "$mounted"' EXIT

steps=60
write_data
write_config whole $steps 10 >whole.yaml
expect 0 "$QLORA_TRAIN" whole.yaml

check_failure() { # RUN_DIR
    [ "$(grep -vc '^warning: ' err.txt)" -eq 1 ] || { cat err.txt; fail "expected one line of error"; }
    grep -Eiq 'no space|too large|full|write' err.txt || { cat err.txt; fail "the error does not say what is wrong"; }
    [ ! -e "$1/adapter" ] || fail "a failed run has its final adapter"
}

# A limit on the size of a file stands for the disk: the optimizer's file does not fit, small files do.
write_config limited $steps 10 >limited.yaml
"$QLORA_TRAIN" limited.yaml >out.txt 2>err.txt &
pid=$!
wait_for_steps $pid limited 12 || fail "the run ended by itself"
kill -TERM $pid
wait $pid || true
good=$(newest_checkpoint limited)
[ -n "$good" ] || fail "no checkpoint"
sums=$(find "$good" -type f -exec sha256sum {} + | sort)
one=$(du -sk "$good" | cut -f 1)
half=$(($(stat -c %s "$good/optimizer.safetensors") / 2048))    # in KiB
expect 1 bash -c "ulimit -f $half; exec \"\$0\" limited.yaml" "$QLORA_TRAIN"
check_failure limited
[ "$(newest_checkpoint limited)" = "$good" ] || fail "$(newest_checkpoint limited) was left behind"
[ "$sums" = "$(find "$good" -type f -exec sha256sum {} + | sort)" ] || fail "$good was changed"
expect 0 "$QLORA_TRAIN" limited.yaml
same_run whole limited

# An export that does not fit leaves nothing.
for export in --gguf --gguf-lora; do
    mkdir -p small
    expect 1 bash -c "trap '' XFSZ; ulimit -f 8; exec \"\$0\" export $(newest_checkpoint whole) $export small/m.gguf" "$QLORA_TRAIN"
    [ -z "$(find small -mindepth 1)" ] || fail "$export left $(find small -mindepth 1)"
done

# A really full file system, where one may be mounted: room for one checkpoint and a half.
mkdir disk
if mount -t tmpfs -o "size=$((one * 3 / 2 + 64))k" tmpfs disk 2>/dev/null; then
    mounted=$PWD/disk
    write_config disk/run $steps 10 >small.yaml
    expect 1 "$QLORA_TRAIN" small.yaml
    check_failure disk/run
    good=$(newest_checkpoint disk/run)
    [ "$good" = disk/run/checkpoint-10 ] || fail "newest checkpoint $good, expected checkpoint-10"
    cp -a disk/run moved
    write_config moved $steps 10 >moved.yaml
    expect 0 "$QLORA_TRAIN" moved.yaml
    same_run whole moved
else
    echo "no tmpfs may be mounted here: only the limit on file sizes was tested"
fi
