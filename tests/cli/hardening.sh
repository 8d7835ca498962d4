# What a Release build's program has against memory errors that nobody found yet: CMakeLists.txt asks for it, the linker
# and the processor's own rules decide.
. "$TESTS/cli/lib.sh"
cache=$(dirname "$QLORA_TRAIN")/CMakeCache.txt
[ -f "$cache" ] && grep -q '^CMAKE_BUILD_TYPE:.*=Release$' "$cache" || skip "$QLORA_TRAIN is of no Release build"
command -v readelf >/dev/null || skip "no readelf"

readelf -hldWn "$QLORA_TRAIN" >elf.txt
readelf -W --dyn-syms "$QLORA_TRAIN" >symbols.txt
has() { # WHAT FILE PATTERN
    grep -qE -- "$3" "$2" || { grep -E 'Type:|GNU_|FLAGS|feature' elf.txt || true; fail "$1: no line of $2 has $3"; }
}
has "an address of its own in each run" elf.txt 'Type: +DYN .*[Pp]osition-[Ii]ndependent'
has "an address of its own in each run" elf.txt 'FLAGS_1.* PIE'
has "addresses of functions that cannot be written once it runs" elf.txt 'GNU_RELRO'
has "and all of them known when it starts" elf.txt 'FLAGS.*BIND_NOW|FLAGS_1.* NOW'
has "a stack of its own flags" elf.txt 'GNU_STACK'
! grep -E 'GNU_STACK.* R?WE ' elf.txt || fail "the stack can be executed"
! grep -E '^ +LOAD.* R?WE ' elf.txt || fail "something can be both written and executed"
has "canaries on stacks" symbols.txt '__stack_chk_fail'
has "calls of libc that know how much room there is" symbols.txt '__(mem|str|v?snprintf|v?sprintf|fprintf|printf|read)[a-z]*_chk'
# Marks where a function begins, for processors that jump nowhere else; whether they are asked to depends on every object
# in the program, those of the distribution too.
if [ "$(uname -m)" = x86_64 ]; then
    objdump -d --no-show-raw-insn --disassemble=main "$QLORA_TRAIN" >main.txt
    has "marks of where functions begin" main.txt 'endbr64'
fi
