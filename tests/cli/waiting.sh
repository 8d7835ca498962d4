# How threads wait is the program's choice unless it is the user's (main.c: wait_asleep).
. "$TESTS/cli/lib.sh"

settings() { # what GCC's OpenMP runtime says last: before the program starts itself again it has its own defaults
    env OMP_DISPLAY_ENV=verbose "$@" "$QLORA_TRAIN" --version 2>&1 | grep -E 'WAIT_POLICY|SPINCOUNT' | tail -2 | tr -d " '\n"
}

unset OMP_WAIT_POLICY GOMP_SPINCOUNT
case $(settings) in
*SPINCOUNT*) ;;
*) skip "not GCC's OpenMP runtime" ;;
esac
[ "$(settings)" = OMP_WAIT_POLICY=PASSIVEGOMP_SPINCOUNT=1000 ] || fail "by itself: $(settings)"
[ "$(settings GOMP_SPINCOUNT=7)" = OMP_WAIT_POLICY=PASSIVEGOMP_SPINCOUNT=7 ] || fail "GOMP_SPINCOUNT: $(settings GOMP_SPINCOUNT=7)"
case $(settings OMP_WAIT_POLICY=active) in
OMP_WAIT_POLICY=ACTIVE*) ;;
*) fail "OMP_WAIT_POLICY: $(settings OMP_WAIT_POLICY=active)" ;;
esac
