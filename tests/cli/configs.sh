# Every configuration that ships makes a plan as it comes, the model known by its name: what is refused is only a base
# model or data of the reader's own, or the quick start's model where it was not fetched.
. "$TESTS/cli/lib.sh"

configs=("$TESTS"/../configs/*.yaml)
[ ${#configs[@]} -ge 30 ] || fail "only ${#configs[@]} configurations found"
for config in "${configs[@]}"; do
    case $config in */kubernetes.yaml | */skypilot.yaml) continue ;; esac    # of schedulers: jobs.sh
    status=0
    "$QLORA_TRAIN" plan "$config" >out.txt 2>err.txt || status=$?
    case $status in
        0) ;;
        2)
            grep -Eq '/path/to/|models/SmolLM2' err.txt || { cat err.txt; fail "$config"; }
            ! grep -q 'did you mean' err.txt || { cat err.txt; fail "$config"; }
            ;;
        *) cat err.txt; fail "$config: exit status $status" ;;
    esac
done
[ ! -e "$TESTS/../runs/llama-3-8b" ] || fail "plan wrote into runs/"
