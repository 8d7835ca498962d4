# A Slurm of one machine for tests, in the directory $work: munge, a controller, and eleven nodes with 64 CPUs and 8 GPUs
# each, which are files. Sourced; Slurm and munge of the system are not touched.
host=$(hostname -s)
export SLURM_CONF=$work/slurm.conf

# A job that was put back waits for as long as its credential is good (cred_expire), two minutes by default. Where the
# time of grace begins Slurm asks a batch script only with preempt_send_user_signal. pmix wants a TmpFS for each node.
# srun waits KillWait for a lost node before the script can ask whether it is one, and SlurmdTimeout is longer as in life.
slurm_configure() { # PORT
    cat >slurm.conf <<END_CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket,cred_expire=10
SlurmctldPort=$1
SlurmctldPidFile=$work/slurmctld.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdPidFile=$work/%n/pid
SlurmdLogFile=$work/%n/log
SlurmdSpoolDir=$work/%n/spool
SlurmdParameters=config_overrides
StateSaveLocation=$work/state
TmpFS=$work/%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
KillWait=15
MinJobAge=3600
SlurmdTimeout=75
GresTypes=gpu
NodeName=node[1-11] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$(($1 + 1))-$(($1 + 11))] CPUs=64 Gres=gpu:8 State=UNKNOWN
PartitionName=gpu Nodes=node[1-4] Default=YES PriorityTier=1
PartitionName=grace Nodes=node5 PriorityTier=1 GraceTime=120
PartitionName=abrupt Nodes=node6 PriorityTier=1 GraceTime=0
PartitionName=power Nodes=node[7-8] PriorityTier=1
PartitionName=pair Nodes=node[9-11] PriorityTier=1
PartitionName=urgent Nodes=node[5-6] PriorityTier=2
END_CONF
    mkdir gpus
    touch gpus/{0,1,2,3,4,5,6,7}
    echo "NodeName=node[1-11] Name=gpu File=$work/gpus/[0-7]" >gres.conf
}

# The first of twelve ports that nobody listens to.
free_ports() {
    local first port
    while true; do
        first=$((20000 + RANDOM % 10000))
        for port in $(seq $first $((first + 11))); do
            ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue 2
        done
        echo $first
        return
    done
}

slurm_start() {
    local node i
    mkdir munge state node{1..11}
    head -c 128 /dev/urandom >munge/key
    chmod 400 munge/key
    slurm_configure "$(free_ports)"
    munged --force --foreground --num-threads=10 --socket="$work/munge/socket" --key-file="$work/munge/key" \
        --log-file="$work/munge/log" --pid-file="$work/munge/pid" --seed-file="$work/munge/seed" >munge.out 2>&1 &
    for i in $(seq 300); do
        [ ! -S munge/socket ] || break
        sleep 0.1
    done
    slurmctld -D >slurmctld.out 2>&1 &
    controller=$!
    for node in node{1..11}; do
        (cd $node && exec slurmd -D -N $node >out 2>&1) &
    done
    disown -a    # their end is not worth a line
    for i in $(seq 120); do
        [ "$(sinfo -h -N -o '%N %t' 2>/dev/null | grep idle | sort -u | wc -l)" -lt 11 ] || return 0
        kill -0 "$controller" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 20 munge.out slurmctld.log slurmctld.out node1/log node1/out
    fail "Slurm did not start"
}

# Everything that was started here works in this directory or below it: the daemons, jobs, and what they started.
finish() {
    kill_all is_here
    rm -rf "$work"
}
is_here() { # PID
    case $(readlink "/proc/$1/cwd") in "$work" | "$work"/*) return 0 ;; esac
    return 1
}

# What a machine that loses its power does: its daemon, the steps' daemons and jobs are gone at once.
power_off() { # NODE
    lost=$1
    kill_all is_of_lost_node
}
is_of_lost_node() { # PID
    is_here "$1" || return 1
    case $(readlink "/proc/$1/cwd") in "$work/$lost" | "$work/$lost"/*) return 0 ;; esac
    grep -qzx "SLURMD_NODENAME=$lost" "/proc/$1/environ" 2>/dev/null
}

# Kills what WHICH says yes to, first stopped so that it starts nothing meanwhile, until nothing is left.
kill_all() { # WHICH
    local process found=(x) round
    for round in 1 2 3 4 5; do
        found=()
        for process in /proc/[0-9]*; do
            process=${process#/proc/}
            if [ "$process" != $$ ] && [ "$process" != "$BASHPID" ] && "$1" "$process"; then found+=("$process"); fi
        done
        [ ${#found[@]} -gt 0 ] || return 0
        kill -STOP "${found[@]}" 2>/dev/null || true
        kill -KILL "${found[@]}" 2>/dev/null || true
    done
}
