# What scripts/gpu_check.sh tells of racecheck's report: kernels and lines, in either form that versions of the tool write.
cd "$TESTS/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cat >"$log" <<'END'
========= COMPUTE-SANITIZER
========= Warning: Race reported between Read access at void sum<128>(float *)+0x20 in cuda/sum.cu:31
=========     and Write access at void sum<128>(float *)+0x30 in cuda/sum.cu:35 [16 hazards]
========= Error: Race reported between Write access at 0xd8 in cuda/norm.cu:53:norm(float *, int)
=========     and Read access at 0xc8 in cuda/norm.cu:54:norm(float *, int) [8 hazards]
========= Warning: Race reported between Read access at void sum<128>(float *)+0x20 in cuda/sum.cu:31
=========     and Write access at void sum<128>(float *)+0x30 in cuda/sum.cu:35 [4 hazards]
========= Error: Race reported between Write access at bare()+0x150
=========     and Read access at bare()+0x1b0 [1 hazard]
========= Internal Sanitizer Error: something else
========= RACECHECK SUMMARY: 4 hazards displayed (2 errors, 2 warnings)
END
want='warning: void sum<128>(float *), read at cuda/sum.cu:31 against write at cuda/sum.cu:35 (20 hazards)
error: norm(float *, int), write at cuda/norm.cu:53 against read at cuda/norm.cu:54 (8 hazards)
error: bare(), write at no line against read at no line (1 hazards)
Internal Sanitizer Error: something else
RACECHECK SUMMARY: 4 hazards displayed (2 errors, 2 warnings)'
got=$(scripts/races.awk "$log") || { echo "FAIL: races.awk: $?"; exit 1; }
[ "$got" = "$want" ] || { echo "FAIL: it tells:"; echo "$got"; exit 1; }
# Of a run without hazards, and of a log without anything.
[ "$(echo '========= RACECHECK SUMMARY: 0 hazards displayed' | scripts/races.awk)" = "RACECHECK SUMMARY: 0 hazards displayed" ] ||
    { echo "FAIL: no hazards"; exit 1; }
