"""Disks, limits and directories that do not do what they should."""
import os
import re
import resource
import shutil
import subprocess

from rig import number_of


def limits(rig):
    cases = [("FSIZE", n) for n in (0, 1, 100, 400, 1000, 5000, 40000, 100000, 209000)]
    cases += [("NOFILE", n) for n in range(3, 12)]
    cases += [("AS", n << 20) for n in (*range(20, 120, 10 if not rig.everything else 2), 150, 200, 400)]

    def check(place, name, value):
        place.clear()

        def limit():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))

        if subprocess.run([rig.program, "--version"], preexec_fn=limit, capture_output=True).returncode:
            return  # too small for the loader and its libraries
        r = place.run("run.yaml", before=limit)
        if os.path.exists(place.path("run")):
            rig.check_pieces(place)
        if r.status:
            rig.must(r.status == 1 and r.complaints, f"{name} {value}: " + r.show())
            cause = {"FSIZE": "File too large", "NOFILE": "Too many open files",
                     "AS": "memory|allocate|Thread creation failed|Resource temporarily"}[name]
            rig.must(re.search(cause, r.err), f"{name} {value}: " + r.show())
        rig.check_goes_on(place)

    rig.each("limits", cases, check)


def mounts(rig):
    """A disk that is full, or that lets nobody write, where one may be mounted."""
    disk = rig.first.path("run")
    rig.first.clear()
    os.makedirs(disk)

    def mount(*options):
        return subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", disk], capture_output=True).returncode == 0

    if not mount("-o", "size=64k"):
        print("skip full and read-only file systems: nothing may be mounted here", flush=True)
        rig.skipped += 1
        os.rmdir(disk)
        return
    subprocess.run(["umount", disk], check=True)
    whole = 1200 << 10
    cases = [("size", n) for n in rig.spread(whole // 4096, 25)] + [("inodes", n) for n in range(2, 40, 3)]

    def check(place, what, n):
        mount("-o", f"size={n * 4}k" if what == "size" else f"nr_inodes={n},size=8m")
        try:
            r = place.run("run.yaml")
            rig.check_pieces(place)
            if r.status:
                rig.check_message(r, number_of("ENOSPC"))
            else:
                rig.check_whole(place)
            kept = place.path("kept")
            shutil.copytree(disk, kept)
        finally:
            subprocess.run(["umount", disk], check=True)
        os.rmdir(disk)
        shutil.move(kept, disk)
        rig.check_goes_on(place)  # moved to a disk with room
        shutil.rmtree(disk)
        os.mkdir(disk)

    def read_only(place, state):
        """Nothing is changed, nothing hangs, and what the matter is is said."""
        mount("-o", "size=8m")
        try:
            for name in os.listdir(state) if state else ():
                source = os.path.join(state, name)
                (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(disk, name))
            before = place.snapshot()
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            r = place.run("run.yaml")
            rig.check_message(r, number_of("EROFS"))
            rig.must(before == place.snapshot(), "a read-only file system was changed")
        finally:
            subprocess.run(["umount", disk], check=True)

    every, rig.places = rig.places, None
    try:
        only(rig, "full disks", cases, check)
        only(rig, "read-only disks", [(None,), (rig.starts["stopped"],)], read_only)
    finally:
        rig.places = every
    shutil.rmtree(disk, ignore_errors=True)


def only(rig, what, cases, check):
    """As rig.each(), in the first place, one after the other."""
    import queue

    rig.places = queue.SimpleQueue()
    rig.places.put(rig.first)
    rig.each(what, cases, check)


def locks(rig):
    """A file system without locks: said once, and the run goes on."""

    def check(place, error, start):
        place.clear(rig.starts[start])
        r = place.run("run.yaml", call="flock", at=1, do=number_of(error), always="1")
        rig.must(r.status == 0, r.show())
        said = [w for w in r.warnings if "does not lock files" in w and os.strerror(number_of(error)) in w]
        rig.must(len(said) == 1, "not said once: " + r.show())
        rig.check_whole(place)

    errors = ("ENOLCK", "EOPNOTSUPP", "EINVAL", "ENOSYS")
    rig.each("no locks", [(e, s) for e in errors for s in rig.starts], check)


def places(rig):
    """output_dir removed, moved or replaced while the run works in it: it ends, says so, and touches nothing there."""
    rig.first.clear()
    log = rig.first.path("log")
    rig.first.run("run.yaml", log=log)
    with open(log) as f:
        lines = f.read().splitlines()
    os.remove(log)
    run = rig.first.path("run")
    syncs = [i for i, line in enumerate(lines, 1) if line.startswith("write\t") and line.endswith("metrics.jsonl")]
    cases = [(what, at) for what in ("removed", "moved", "replaced", "replaced by a run", "a file") for at in syncs]

    def check(place, what, at):
        place.clear()
        place.clear(name="aside")
        run, aside = place.path("run"), place.path("aside")

        def meanwhile():
            if what == "removed":
                shutil.rmtree(run)
            else:
                os.rename(run, aside)
            if what == "replaced":
                os.mkdir(run)
            elif what == "a file":
                place.write("run", "")
            elif what == "replaced by a run":
                shutil.copytree(rig.starts["stopped"], run)

        r = place.run("run.yaml", call="any", at=at, do="stop", meanwhile=meanwhile)
        rig.must(r.status == 1 and len(r.complaints) == 1 and "run" in r.complaints[0], r.show())
        if what == "removed" or what == "moved":
            rig.must(not os.path.exists(run), "the directory was made anew")
        elif what == "replaced":
            rig.must(not os.listdir(run), f"what replaces it was written to: {os.listdir(run)}")
        elif what == "replaced by a run":
            known = set(os.listdir(rig.starts["stopped"]))
            rig.must(set(os.listdir(run)) == known, f"another run was written to: {os.listdir(run)}")
        if what == "a file":
            os.remove(run)
        if what != "removed":  # put back, it goes on
            shutil.rmtree(run, ignore_errors=True)
            os.rename(aside, run)
            rig.check_goes_on(place)

    rig.must(len(syncs) >= 4, "the run has too few rows")
    rig.each("output_dir goes away", cases, check)


def mapped(rig):
    """The model's file is cut short while it is mapped: named, and no crash."""

    def check(place, size):
        place.clear(name="cut")
        place.clear()
        shutil.copytree(rig.model, place.path("cut"))
        with open(place.path("run.yaml")) as f:
            place.write("cut.yaml", f.read().replace(rig.model, place.path("cut")))
        place.run("cut.yaml", log=place.path("log"))
        with open(place.path("log")) as f:
            lines = f.read().splitlines()
        os.remove(place.path("log"))
        at = next(i for i, line in enumerate(lines, 1) if line.startswith("mmap\t") and "/cut/model" in line)
        place.clear()

        def meanwhile():
            os.truncate(place.path("cut/model.safetensors"), size)

        r = place.run("cut.yaml", call="any", at=at + 1, do="stop", meanwhile=meanwhile)
        rig.must(r.status == 1 and len(r.complaints) == 1, r.show())
        rig.must("cut/model.safetensors: cannot read: it became shorter" in r.complaints[0], r.show())

    rig.each("a mapped file is cut short", [(0,), (4096,), (100000,)], check)


def streams(rig):
    """Standard streams that are closed at the start, or whose disk is full: nothing of theirs gets into the run's files."""

    def closed(place, *which):
        place.clear()
        r = place.run("run.yaml", before=lambda: [os.close(fd) for fd in which])
        rig.must(r.status == 0, r.show())
        rig.check_whole(place)

    def full(place):
        place.clear()
        with open("/dev/full", "w") as out:
            r = place.run("run.yaml", stdout=out)
        rig.must(r.status == 1 and r.complaints == ["standard output: cannot write"], r.show())
        rig.check_whole(place)

    rig.each("closed streams", [(0,), (1,), (2,), (0, 1), (0, 1, 2), (1, 2)], closed)
    rig.each("a log on a full disk", [()], full)


def run(rig):
    limits(rig)
    streams(rig)
    mapped(rig)
    locks(rig)
    places(rig)
    mounts(rig)
