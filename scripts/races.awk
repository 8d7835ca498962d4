#!/usr/bin/awk -f
# What compute-sanitizer's racecheck reports, from its log: a line for each pair of places, "KIND: KERNEL, ACCESS at
# FILE:LINE against ACCESS at FILE:LINE (COUNT hazards)", most hazards first, and its sum. Code compiled with -lineinfo
# has files and lines. Of either form, as versions of the tool write it:
#
#   ========= Error: Race reported between Write access at void sum<128>(float *)+0x150 in sum.cu:31
#   =========     and Read access at 0x1b0 in sum.cu:35:sum(float *) [16 hazards]
#
# What else it says of errors and warnings follows as it is.
function kernel_of(text) {
    sub(/.* access at /, "", text)
    sub(/ \[[0-9]+ hazards?\]$/, "", text)
    if (text ~ /^0x/) sub(/^0x[0-9a-f]+ in [^ ]+:[0-9]+:/, "", text)
    else sub(/\+0x[0-9a-f]+.*/, "", text)
    return text
}
function place_of(text,    access) {
    access = match(text, /(Write|Read|Atomic) access/) ? tolower(substr(text, RSTART, RLENGTH - 7)) : "access"
    return access " at " (match(text, / in [^ ]+:[0-9]+/) ? substr(text, RSTART + 4, RLENGTH - 4) : "no line")
}
/^========= (Error|Warning): / && / access at / {
    kind = tolower($2)
    kernel = kernel_of($0)
    first = place_of($0)
    next
}
/^========= +and / && / access at / && kernel != "" {
    pair = kind " " kernel ", " first " against " place_of($0)
    if (!(pair in count)) order[++n] = pair
    count[pair] += match($0, /\[[0-9]+ hazards?\]/) ? substr($0, RSTART + 1) + 0 : 1
    next
}
/^========= (Error|Warning|Internal)/ { other[++others] = substr($0, 11) }
/RACECHECK SUMMARY/ { sub(/^=+ */, ""); summary = $0 }
END {
    while (n > 0) {
        best = 1
        for (i = 2; i <= n; i++) if (count[order[i]] > count[order[best]]) best = i
        print order[best] " (" count[order[best]] " hazards)"
        order[best] = order[n--]
    }
    for (i = 1; i <= others; i++) print other[i]
    print summary
}
