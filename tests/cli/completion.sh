# Completion in bash, zsh and fish, and the manual page: every command, every option of each, values, files and keys of the
# config are offered and explained. zsh, fish and man are asked where they are installed.
. "$TESTS/cli/lib.sh"

# Every file of a command is one that the program lists, and all of them read their options through the one table.
"$QLORA_TRAIN" --help >help.txt
for file in "$TESTS"/../trainer/commands/cmd_*.c; do
    name=${file##*/cmd_}
    name=${name%.c}
    grep -q "^  qlora-train ${name//_/-} " help.txt || fail "${file##*/} is no command of --help"
done
callers=$(cd "$TESTS/.." && grep -l 'options_parse(' -r trainer --include='*.c' | sort | tr '\n' ' ')
[ "$callers" = "trainer/commands/command.c trainer/commands/options.c " ] || fail "options are also parsed by $callers"

commands=$(sed -n 's/^  qlora-train \([a-z-]*\) .*/\1/p' help.txt | uniq)
keys=$("$QLORA_TRAIN" print schema | awk -F'"' '/^  "[a-z]+": [{]/ {section = $2} /^    "[a-z_0-9]+": [{]/ {print section "." $2}')
[ "$(wc -w <<<"$commands")" -ge 13 ] || fail "commands: $commands"
[ "$(wc -w <<<"$keys")" -ge 50 ] || fail "keys: $keys"

mkdir -p files/dir files/'two words' files/runs
touch files/a.yaml files/b.yml files/dir/c.yaml
configs='a.yaml b.yml dir runs two_words'
dirs='dir runs two_words'

# What is typed, and what is offered then; a name in several words has _ here.
ask() { # LINE WORD...
    local line=$1
    shift
    printf '%s\n' "$line" >>lines.txt
    { printf '== %s\n' "$line"; printf '%s\n' "$@"; } | sorted >>expected.txt
}
# Below each line that begins with "==" the others, sorted and each once.
sorted() {
    awk 'function flush(i, k, v) {
            for (i = 2; i <= n; i++) {
                v = list[i]
                for (k = i; k > 1 && list[k - 1] > v; k--) list[k] = list[k - 1]
                list[k] = v
            }
            for (i = 1; i <= n; i++) if (i == 1 || list[i] != list[i - 1]) print list[i]
            n = 0
        }
        /^== / {flush(); print; next}
        NF {list[++n] = $0 ""}
        END {flush()}'
}
options_of() { # COMMAND
    "$QLORA_TRAIN" "$1" --help | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
    echo --help
}
ask 'qlora-train ' $commands help $configs
ask 'qlora-train exp' export
ask 'qlora-train help ' $commands
for command in $commands; do
    ask "qlora-train $command --" $(options_of "$command")
done
ask 'qlora-train eval ' $configs
ask 'qlora-train a.yaml --' --help
ask 'qlora-train eval --adapter ' $dirs
ask 'qlora-train eval --adapter=d' dir
ask 'qlora-train generate --adapter x --s' --system --seed
ask 'qlora-train eval --adapter x dir/' c.yaml
ask 'qlora-train export dir -- --dtyp'
ask 'qlora-train quantize --quant-type ' nf4 fp4
ask 'qlora-train export dir --dtype=b' bf16
ask 'qlora-train bench --backend ' auto cpu cuda
ask 'qlora-train bench --what copy,st' step
ask 'qlora-train inspect --train-on l' last
ask 'qlora-train print ' schema completion-bash completion-zsh completion-fish man
ask 'qlora-train report dir ' $dirs
for command in train plan eval generate export; do
    ask "qlora-train $command a.yaml lora.lora_" lora.lora_alpha lora.lora_dropout
done
ask 'qlora-train init lora.lora_' lora.lora_alpha lora.lora_dropout
ask 'qlora-train tokenize dir lora.lora_'
for key in $keys; do
    ask "qlora-train a.yaml $key" $(grep "^$key" <<<"$keys")
done
ask 'qlora-train a.yaml quantization.quant_type=' nf4 fp4 int4 int8 int8-zeropoint none
ask 'qlora-train plan a.yaml data.train_on=l' last
ask 'qlora-train plan a.yaml training.load_best_model_at_end=' true false
ask 'qlora-train plan a.yaml training.report_to=' '[jsonl]' '[jsonl,tensorboard]'
ask 'qlora-train plan a.yaml data.format=te' text
ask 'qlora-train plan a.yaml model.path=t' two_words
ask 'qlora-train plan a.yaml device.backend=cu' cuda

# What a shell offered, in one form: names of directories without "/", of keys without "=", files without their directory and
# values without their key.
compare() { # SHELL < OFFERS
    sed -E '/^== /b; s/\t.*//; s/ +$//; s/^(--)?[a-z_.-]*=(.)/\2/; s/[=\/]$//; s/^copy,//; s/^dir\/(.)/\1/; s/ /_/g' | sorted >"$1.txt"
    diff expected.txt "$1.txt" >"$1.diff" || { head -n 40 "$1.diff"; fail "$1 offers something else (>) than expected (<)"; }
    echo "$1: $(wc -l <lines.txt) lines completed as expected"
}

"$QLORA_TRAIN" print completion-bash >completion.bash
cat >ask.bash <<'END'
. ../completion.bash
while IFS= read -r line; do
    # Words as readline cuts them.
    COMP_WORDS=() COMP_LINE=$line COMP_POINT=${#line}
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line != *[\ =] ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _qlora_train
    printf '== %s\n' "$line"
    printf '%s\n' "${COMPREPLY[@]}"
done
END
bash -n completion.bash
complete=$(bash -c '. ./completion.bash && complete -p qlora-train')
[ "$complete" = 'complete -F _qlora_train qlora-train' ] || fail "$complete"
(cd files && bash --norc ../ask.bash <../lines.txt) 2>err.txt | compare bash
[ ! -s err.txt ] || fail "bash: $(cat err.txt)"

mkdir fpath
"$QLORA_TRAIN" print completion-zsh >fpath/_qlora-train
if command -v zsh >/dev/null; then
    zsh -n fpath/_qlora-train
    (cd files && timeout 60 zsh -f "$TESTS/cli/completion.zsh" "$OLDPWD/fpath" <../lines.txt) | compare zsh
else
    echo "zsh is not installed: its completion was only written"
fi

"$QLORA_TRAIN" print completion-fish >completion.fish
if command -v fish >/dev/null; then
    fish --no-config -n completion.fish
    (cd files && HOME=$PWD fish --no-config -c '
        source ../completion.fish
        while read -l --delimiter \n line
            echo "== $line"
            complete -C "$line"
        end' <../lines.txt) | compare fish
else
    echo "fish is not installed: its completion was only written"
fi

# The manual page.
"$QLORA_TRAIN" print man >qlora-train.1
sections=$(sed -n 's/^\.SH //p' qlora-train.1 | tr '\n' ' ')
[ "$sections" = "NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS CONFIGURATION KEYS EXIT STATUS FILES SIGNALS ENVIRONMENT EXAMPLES " ] ||
    fail "sections of the manual: $sections"
for key in $keys; do
    grep -Fxq "\\fB$key\\fR" qlora-train.1 || fail "$key is not in the manual"
done
for command in $commands; do
    grep -Fxq ".SS $command" qlora-train.1 || fail "$command is not in the manual"
    awk -v command="$command" '/^\.S[SH] / {here = $0 == ".SS " command || $0 == ".SH OPTIONS"} here' qlora-train.1 >part.txt
    for option in $(options_of "$command"); do
        grep -Fq -e "${option//-/\\-}\\fR" part.txt || fail "$command $option is not in the manual"
    done
done
if command -v groff >/dev/null; then
    for device in utf8 ascii; do
        groff -ww -man -T$device qlora-train.1 >manual.$device 2>warnings.txt || true
        [ ! -s warnings.txt ] || { cat warnings.txt; fail "groff -T$device warns"; }
    done
    # What is read is what is typed.
    sed 's/\x1b\[[0-9;]*m//g; s/.\x08//g' manual.utf8 >manual.txt
    grep -q -- '--no-double-quant$' manual.txt || fail "an option does not read as it is typed"
fi
if command -v man >/dev/null; then
    LC_ALL=C.UTF-8 man --warnings -l -Tutf8 qlora-train.1 >/dev/null 2>warnings.txt
    [ ! -s warnings.txt ] || { cat warnings.txt; fail "man warns"; }
else
    echo "man is not installed: the manual was looked at as text"
fi

expect 2 "$QLORA_TRAIN" print manual
grep -q 'print: got "manual"; expected schema, completion-bash, ' err.txt || fail "$(cat err.txt)"
expect 2 "$QLORA_TRAIN" print
