"""A tiny run of the program, made to fail in one place, and what must hold afterwards."""
import concurrent.futures
import errno
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 3
TIMES = ("tokens_per_second", "elapsed_seconds")

# What each kind of call may fail with.
ERRORS = {
    "open": "EMFILE EIO ENOSPC EACCES ENOMEM",
    "read": "EIO",
    "write": "ENOSPC EIO EDQUOT",
    "sync": "EIO ENOSPC EDQUOT",
    "truncate": "ENOSPC EIO EDQUOT",
    "rename": "EIO ENOSPC EACCES EDQUOT",
    "unlink": "EIO EACCES",
    "rmdir": "EIO EACCES",
    "mkdir": "ENOSPC EACCES EDQUOT",
    "mmap": "ENOMEM ENODEV",
    "close": "EIO ENOSPC",
    "opendir": "EMFILE EACCES EIO",
    "readdir": "EIO",
    "stat": "EIO EACCES",
}
INTERRUPTED = ("open", "read", "write", "sync", "truncate", "close", "flock")  # what a signal may cut short
SHORT = ("read", "write")


class Broken(Exception):
    """Something that must hold does not."""


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.complaints = [line for line in err.splitlines() if line and not line.startswith("warning: ")]
        self.warnings = [
            line for line in err.splitlines() if line.startswith("warning: ") and "this processor has" not in line
        ]

    def show(self):
        return f"status {self.status}\n{self.out[-600:]}\n{self.err[-1500:]}"


def rows(seed, n, longest, vocab=300):
    draw = random.Random(seed)
    lines = []
    for _ in range(n):
        ids = [3 + draw.randrange(vocab) for _ in range(draw.randrange(8, longest))]
        labels = [-100 if i < len(ids) // 4 else v for i, v in enumerate(ids)]
        lines.append(json.dumps({"input_ids": ids, "labels": labels}))
    return "\n".join(lines) + "\n"


def byte_tokenizer():
    """Byte b is id b + 3, written as byte-level BPE writes it."""
    printable = [b for b in range(256) if 32 < b < 127 or (b > 160 and b != 173)]
    others = [b for b in range(256) if b not in printable]
    vocab = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    vocab.update({chr(b if b in printable else 256 + others.index(b)): b + 3 for b in range(256)})
    special = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for name, i in list(vocab.items())[:3]]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "merges": [], "vocab": vocab}}


CONFIG = """model: {{path: {model}}}
quantization: {{compute_dtype: f32}}  # auto is measured
lora: {{r: 4, lora_alpha: 8, lora_dropout: 0.1}}
data: {{train: train.jsonl, eval: eval.jsonl, format: tokens, max_length: 32, packing: true}}
training:
  output_dir: run
  max_steps: {steps}
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  learning_rate: 2e-3
  lr_scheduler_type: cosine
  eval_steps: 2
  save_steps: 1
  save_total_limit: 2
  load_best_model_at_end: true
device: {{backend: cpu, threads: 1}}
"""


class Place:
    """A directory with a config and data, in which one process at a time works."""

    def __init__(self, rig, name, steps=STEPS, like=None):
        self.rig, self.dir = rig, os.path.join(rig.top, name)
        if like:
            shutil.copytree(like.dir, self.dir)
        else:
            os.mkdir(self.dir)
            self.write("train.jsonl", rows(7, 24, 30))
            self.write("eval.jsonl", rows(8, 4, 20))
            self.write("run.yaml", CONFIG.format(model=rig.model, steps=steps))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def clear(self, template=None, name="run"):
        shutil.rmtree(self.path(name), ignore_errors=True)
        if template:
            shutil.copytree(template, self.path(name), symlinks=True)

    def start(self, *arguments, env=None, before=None, stdout=subprocess.PIPE, **plan):
        """Starts the program; plan: call, at, do, always, log, counts, clock for interpose.c."""
        full = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", **(env or {}))
        if plan:
            full["LD_PRELOAD"] = self.rig.library
            full["FAULTS_DIR"] = self.rig.top
            full.update({"FAULTS_" + key.upper(): str(value) for key, value in plan.items() if value})
        self.rig.runs += 1
        return subprocess.Popen(
            [self.rig.program, *arguments],
            cwd=self.dir,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=before,
        )

    def finish(self, p, limit):
        try:
            out, err = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise Broken(f"it hangs: {p.args}") from None
        return Result(p.returncode, (out or b"").decode(errors="replace"), err.decode(errors="replace"))

    def run(self, *arguments, limit=60, meanwhile=None, **how):
        """Runs it to its end. meanwhile: what is done while it is held at a call (do="stop")."""
        p = self.start(*arguments, **how)
        if meanwhile:
            _, status = os.waitpid(p.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                raise Broken("it was not held")
            meanwhile()
            os.kill(p.pid, signal.SIGCONT)
        return self.finish(p, limit)

    def counts(self, *arguments, log=None):
        """How many calls of each kind a run makes."""
        file = self.path("counts")
        if os.path.exists(file):
            os.remove(file)
        r = self.run(*arguments, counts=file, log=log)
        if r.status:
            raise Broken("the counted run failed: " + r.show())
        with open(file) as f:
            return {k: int(n) for k, n in (line.split() for line in f)}

    def snapshot(self, name="run"):
        """{relative path: content}, without times and with the place's own path taken out; directories end with /."""
        found = {}
        top = self.path(name)
        for at, dirs, files in os.walk(top):
            for d in dirs:
                if not os.path.islink(os.path.join(at, d)):
                    found[os.path.relpath(os.path.join(at, d), top) + "/"] = b""
            for f in files:
                path = os.path.join(at, f)
                if f == "starts.jsonl":
                    continue  # one line a start, by design
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = self.plain(f, file.read())
        return found

    def plain(self, name, data):
        if name in ("config.yaml", "run.json"):
            return re.sub(re.escape(self.rig.top.encode()) + rb"/\w+", b"@", data)
        try:
            if name == "metrics.jsonl":
                return b"\n".join(without(json.loads(row), TIMES) for row in data.splitlines())
            if name == "trainer_state.json":
                state = json.loads(data)
                if state.get("best_model_checkpoint"):
                    state["best_model_checkpoint"] = os.path.basename(state["best_model_checkpoint"])
                return without(state, TIMES)
            if name == "checksums.json":
                return without(json.loads(data), ("trainer_state.json", "config.yaml"))
        except ValueError:
            pass
        return data


def without(obj, keys):
    def clean(v):
        return {k: clean(w) for k, w in v.items() if k not in keys} if isinstance(v, dict) else v

    return json.dumps(clean(obj)).encode()


def left_behind(warnings):
    """The names of what could not be removed, as warnings say."""
    said = (re.search(r"/run/(\.tmp-[^/: ]+|checkpoint-\d+).*: cannot ", w) for w in warnings)
    return [m[1] for m in said if m]


def without_left(snapshot, left):
    return {k: v for k, v in snapshot.items() if not any(k.startswith(name) for name in left)}


def differences(a, b):
    names = [f"{n} is {'missing' if n not in a else 'too many'}" for n in sorted(set(a) ^ set(b))]
    return names + [f"{n} differs" for n in sorted(set(a) & set(b)) if a[n] != b[n]]


class Rig:
    def __init__(self, program, everything=False, seed=None, workers=None):
        self.program, self.everything = os.path.realpath(program), everything
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.random = random.Random(self.seed)
        with open(self.program, "rb") as f:
            if b"__asan_init" in f.read():
                sys.exit(f"{program} is built for AddressSanitizer, which replaces the same functions: see README.md")
        memory = "/dev/shm"
        fast = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 256 << 20
        self.top = tempfile.mkdtemp(prefix="faults-", dir=memory if fast else None)
        self.runs = self.cases = 0
        self.passed = self.failed = self.skipped = 0
        self.broken = []
        self.library = os.path.join(self.top, "interpose.so")
        subprocess.run(
            [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-fPIC", "-shared", "-o", self.library,
             os.path.join(HERE, "interpose.c"), "-ldl"],
            check=True,
        )
        self.golden = os.path.join(os.path.dirname(HERE), "golden")
        self.model = os.path.join(self.top, "model")
        shutil.copytree(os.path.join(self.golden, "tiny/llama-mha"), self.model)
        with open(os.path.join(self.model, "tokenizer.json"), "w") as f:
            json.dump(byte_tokenizer(), f)
        self.first = Place(self, "first")
        self.whole = self.baseline()
        self.starts = {"new": None, "stopped": self.stopped_run()}  # what a run may find
        self.counts = {}
        for name, template in self.starts.items():
            self.first.clear(template)
            self.counts[name] = self.first.counts("run.yaml")
        self.n_workers = workers or min(4, len(os.sched_getaffinity(0)))
        self.workers = [Place(self, f"w{i}") for i in range(self.n_workers)]
        self.places = queue.SimpleQueue()
        for place in self.workers:
            self.places.put(place)

    def every_place(self):
        return [self.first, *self.workers]

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)

    def baseline(self):
        """The uninterrupted run: its end, every checkpoint it had, and run.json while it runs."""
        keep = Place(self, "keep", like=self.first)
        r = keep.run("run.yaml", "training.save_total_limit=0")
        self.must(r.status == 0, "the run fails: " + r.show())
        everything = keep.snapshot()
        self.pieces = {}
        for n in range(1, STEPS + 1):
            prefix = f"checkpoint-{n}/"
            piece = {k[len(prefix):]: v for k, v in everything.items() if k.startswith(prefix) and k != prefix}
            piece["config.yaml"] = piece["config.yaml"].replace(b"save_total_limit: 0", b"save_total_limit: 2")
            self.pieces[f"checkpoint-{n}"] = piece
        self.pieces["adapter"] = {k[8:]: v for k, v in everything.items() if k.startswith("adapter/") and k != "adapter/"}
        r = self.first.run("run.yaml")
        self.must(r.status == 0, "the run fails: " + r.show())
        whole = self.first.snapshot()
        self.run_json = (whole["run.json"], whole["run.json"].replace(b'"finished": true', b'"finished": false'))
        return whole

    def stopped_run(self):
        """A run that was killed before its last checkpoint got its name: rows to trim, a torn one, something temporary."""
        place, log = self.first, self.first.path("log")
        place.clear()
        place.run("run.yaml", log=log)
        with open(log) as f:
            renames = [line for line in f if line.startswith("rename\t")]
        os.remove(log)
        at = next(i for i, line in enumerate(renames, 1) if line.endswith("/checkpoint-3\n"))
        place.clear()
        place.run("run.yaml", call="rename", at=at, do="before")
        with open(place.path("run/metrics.jsonl"), "a") as f:
            f.write('{"step": 9')
        template = os.path.join(self.top, "stopped")
        shutil.copytree(place.path("run"), template)
        place.clear()
        return template

    @staticmethod
    def must(holds, what):
        if not holds:
            raise Broken(what)

    # ---- what must hold ------------------------------------------------------------------------------------

    def check_pieces(self, place):
        """Whatever has a final name is whole."""
        now = place.snapshot()
        for name in {k.split("/")[0] for k in now if "/" in k}:
            if re.fullmatch(r"checkpoint-\d+|adapter", name):
                have = {k[len(name) + 1:]: v for k, v in now.items() if k.startswith(name + "/") and k != name + "/"}
                bad = differences(have, self.pieces[name])
                self.must(not bad, f"{name} is not whole: {bad}")
            else:
                self.must(name.startswith(".tmp-"), f"{name} is there")
        if "run.json" in now:
            self.must(now["run.json"] in self.run_json, "run.json is not whole")

    def check_whole(self, place, what="the run", warnings=()):
        """warnings: what they say could not be removed may be there."""
        now = without_left(place.snapshot(), left_behind(warnings))
        bad = differences(now, {k: v for k, v in self.whole.items() if k in now or not k.startswith("checkpoint-1")})
        self.must(not bad, f"{what} ends otherwise than the uninterrupted one: {bad}")

    def check_goes_on(self, place, warnings=()):
        r = place.run("run.yaml")
        self.must(r.status == 0, "the run that follows fails: " + r.show())
        self.check_whole(place, "the run that follows", warnings if "nothing to do" in r.out else ())

    def check_message(self, r, number, exact=True):
        """One line that says where and why. Not exact: a call that failed was asked again in another way."""
        self.must(r.status in (1, 2), "it crashed: " + r.show())
        self.must(len(r.complaints) == 1, "not one line of error: " + r.show())
        why, line = os.strerror(number), r.complaints[0]
        self.must((why in line or not exact) and re.search(r"/|\w\.\w|^[\w.]+: ", line), f"neither file nor cause ({why}): {line}")

    # ---- many cases ----------------------------------------------------------------------------------------

    def spread(self, n, budget, most=None):
        """About `budget` of 1..n, evenly, from a random start; with --all every one of them, or `most`."""
        if self.everything:
            budget = most or n
        if n <= budget:
            return list(range(1, n + 1))
        step = n / budget
        start = self.random.random() * step
        return sorted({1 + int(start + i * step) for i in range(budget) if start + i * step < n})

    def each(self, what, cases, check):
        """check(place, *case) for all, on as many places as there are processors."""
        before = len(self.broken)

        def one(case):
            place = self.places.get()
            try:
                check(place, *case)
            except (Broken, OSError) as e:
                self.broken.append(f"{what} {case}: {e}")
            finally:
                self.places.put(place)

        with concurrent.futures.ThreadPoolExecutor(self.n_workers) as pool:
            for done in [pool.submit(one, case) for case in cases]:
                done.result()
        self.cases += len(cases)
        found = self.broken[before:]
        if not cases:
            return
        self.passed += not found
        self.failed += bool(found)
        print(f"{'FAIL' if found else 'ok  '} {what}: {len(cases)} cases{f', {len(found)} broken' if found else ''}",
              flush=True)
        for text in found[:8]:
            print("     " + text.strip().replace("\n", "\n     "), flush=True)


def number_of(name):
    return getattr(errno, name)
