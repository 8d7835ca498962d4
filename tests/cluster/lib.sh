# What the tests with many processes share: starting them by mpirun, on this host or on several that are made of network
# namespaces. Sourced, with TESTS and the test's own directory as for cli/lib.sh.
. "$TESTS/cli/lib.sh"

mpi_needed() { # NAME
    command -v mpirun >/dev/null || skip "$1: there is no mpirun here"
    mpirun --version 2>/dev/null | grep -q "Open MPI" || skip "$1: mpirun is not Open MPI's"
}

# Everything that a test has started works in its directory, which goes too.
end_all_in() { # DIR
    local process
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/cwd")" != "$1" ] || [ "${process#/proc/}" = $$ ] ||
            kill -KILL "${process#/proc/}" 2>/dev/null || true
    done
    rm -rf "$1"
}

# As many ranks as one likes on two processors, which wait without a claim to them; by root too, as in containers.
mpirun_options=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1)
[ "$(id -u)" -ne 0 ] || mpirun_options+=(--allow-run-as-root)

# ranks N COMMAND...: N processes on this host.
ranks() {
    local n=$1
    shift
    mpirun "${mpirun_options[@]}" -n "$n" "$@" </dev/null
}

# within SECONDS WHAT COMMAND...: waits until it succeeds.
within() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "in vain for $what"
        sleep 0.05
    done
}

ended() { # PROCESS...
    local process
    for process in "$@"; do
        [ ! -e "/proc/$process" ] || grep -q '^State:.*zombie' "/proc/$process/status" 2>/dev/null || return 1
    done
}

# ---- hosts: each a network namespace with a name and an address of its own, joined by a bridge in another one ---------

hosts_prefix=qlora$$
hosts_missing=    # why hosts_up() was not possible
hosts_up() { # N
    local i
    [ "$(id -u)" -eq 0 ] || { hosts_missing="only root makes namespaces"; return 1; }
    command -v ip >/dev/null || { hosts_missing="there is no ip (iproute2)"; return 1; }
    {
        ip netns add "$hosts_prefix-net" && ip -n "$hosts_prefix-net" link add net0 type bridge &&
            ip -n "$hosts_prefix-net" link set net0 up
    } 2>hosts.err || { hosts_missing=$(cat hosts.err); return 1; }
    for i in $(seq "$1"); do
        {
            ip netns add "$hosts_prefix-host$i" &&
                ip link add eth0 netns "$hosts_prefix-host$i" type veth peer name "port$i" netns "$hosts_prefix-net"
        } 2>hosts.err || { hosts_missing=$(cat hosts.err); return 1; }
        ip -n "$hosts_prefix-net" link set "port$i" master net0 up
        ip -n "$hosts_prefix-host$i" address add "10.77.0.$i/24" dev eth0
        ip -n "$hosts_prefix-host$i" link set eth0 up
        ip -n "$hosts_prefix-host$i" link set lo up
    done
    # What mpirun uses in place of ssh: AGENT ADDRESS COMMAND...
    cat >on_host.sh <<END
#!/bin/sh
i=\${1##*.}
shift
exec ip netns exec $hosts_prefix-host\$i unshare --uts sh -c 'hostname "\$0"; eval "\$*"' host\$i "\$@"
END
    chmod +x on_host.sh
}

# hosts_ranks HOSTS RANKS_PER_HOST COMMAND...: mpirun on the first of them.
hosts_ranks() {
    local hosts=$1 each=$2 list="" i
    shift 2
    for i in $(seq "$hosts"); do list=$list${list:+,}10.77.0.$i:$each; done
    ./on_host.sh 10.77.0.1 exec mpirun "${mpirun_options[@]}" --mca plm_rsh_agent "$PWD/on_host.sh" \
        --host "$list" -n $((hosts * each)) "$@" </dev/null
}

host_cut_off() { # I: its cable is pulled
    ip -n "$hosts_prefix-host$1" link set eth0 down
}

hosts_down() {
    local name
    for name in $(ip netns list 2>/dev/null | sed -n "s/^\($hosts_prefix-[a-z0-9]*\).*/\1/p"); do
        ip netns pids "$name" | xargs -r kill -KILL
        ip netns del "$name"
    done
}
