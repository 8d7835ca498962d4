# completion.zsh DIR < LINES: what zsh, with the completion in DIR/_qlora-train, offers at the end of each line. A zsh of
# its own gets them on a terminal, where only a key asks for completion.
zmodload zsh/zpty || exit 1
cat >$1/setup.zsh <<'END'
PS1= PS2=
stty -echo
fpath=($1 $fpath)
autoload -Uz compinit
compinit -u -D
zstyle ':completion:*' completer _complete
bindkey '^I' complete-word
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a __offered
    local __one
    builtin compadd -A __offered "$@"
    for __one in $__offered; do print -r -- ${(Q)__one}; done
    builtin compadd "$@"
}
say_begin() {
    print '<BEGIN>'
    compprefuncs=(say_begin)
    comppostfuncs=(say_end)
}
say_end() {
    print '<END>'
    compstate[insert]=
    compstate[list]=
}
say_begin
print '<READY>'
END
zpty asked zsh -f -i
zpty -w asked "set -- ${(q)1}; source ${(q)1}/setup.zsh"
zpty -r -m asked answer '*<READY>*'
while IFS= read -r line; do
    zpty -n -w asked "$line"$'\t'
    zpty -r -m asked answer '*<END>*'
    print -r -- "== $line"
    print -r -- ${${${answer##*\<BEGIN\>}%%\<END\>*}//$'\r'/}
    zpty -n -w asked $'\x15'
done
zpty -d asked
