"""The sides of scripts/bench_cpu.sh: each runs a round of a case in processes of its own and says what it took."""

import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass
class Case:
    name: str
    title: str
    model: str
    batch: int = 0              # rows of a micro-batch
    length: int = 0             # tokens of a row, of the longest where they differ
    steps: int = 0              # of a round, the first of which is not timed
    rows: str = ""              # a file of rows as ids
    epoch: int = 0              # instead of steps: this many rows, which we pack and the peer pads
    recompute: bool = False
    prompt: str = ""            # instead of training: what to generate from
    tokens: int = 0             # to generate
    flops: float = 0            # of a unit

    @property
    def unit(self):
        return "rows" if self.epoch else "tokens"


@dataclasses.dataclass
class Round:
    rate: float                 # tokens or rows a second
    peak_rss: int
    first: float                # seconds from the start of the process to the end of its first step or token
    load: float | None = None   # seconds of loading and quantizing
    imports: float = 0          # seconds of first that went into imports
    losses: list = dataclasses.field(default_factory=list)
    norms: list = dataclasses.field(default_factory=list)
    made: int = 0               # tokens generated
    text: str = ""


def rate_of(case, seconds, tokens):
    """Of an epoch all steps count, as they differ; of like steps the median."""
    if case.epoch:
        return case.epoch / sum(seconds)
    return statistics.median(t / s for s, t in zip(seconds, tokens))


class Ours:
    def __init__(self, program, threads, rank, compute, name, tmp):
        self.program, self.threads, self.rank, self.compute, self.tmp = program, threads, rank, compute, tmp
        self.name, self.runs = name, 0
        self.dtype = compute

    def open(self, case):
        pass

    def close(self):
        pass

    def config(self, case, out):
        training = f"max_steps: {case.steps}" if case.steps else "num_train_epochs: 1"
        return (
            f"model: {{path: {json.dumps(case.model)}}}\n"
            f"quantization: {{quant_type: nf4, double_quant: true, compute_dtype: {self.compute}}}\n"
            f"lora: {{r: {self.rank}, lora_alpha: {self.rank}}}\n"
            f"data: {{train: {json.dumps(case.rows)}, format: tokens, max_length: {case.length}, shuffle: false,\n"
            f"       packing: {str(case.epoch > 0).lower()}}}\n"
            f"training: {{output_dir: {json.dumps(str(out))}, {training}, learning_rate: 2e-4, save_steps: 0,\n"
            f"           per_device_train_batch_size: {case.batch}, gradient_accumulation_steps: 1,\n"
            f"           gradient_checkpointing: {str(case.recompute).lower()}}}\n"
            f"device: {{backend: cpu, threads: {self.threads}}}\n")

    def spawn(self, command):
        """The process, and what it writes, piece by piece with the seconds since its start."""
        errors = pathlib.Path(self.tmp, "ours.err").open("w+")
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        pieces = []
        while piece := os.read(process.stdout.fileno(), 65536):
            pieces.append((time.monotonic() - started, piece.decode("utf-8", "replace")))
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)}: status {process.returncode}\n{errors.read()}")
        errors.close()
        return pieces, usage.ru_maxrss * 1024

    def round(self, case):
        return self.generate(case) if case.prompt else self.train(case)

    def train(self, case):
        self.runs += 1
        base = pathlib.Path(self.tmp, f"{self.compute}-{self.runs}")
        config, out = base.with_suffix(".yaml"), base
        config.write_text(self.config(case, out))
        pieces, rss = self.spawn([self.program, str(config)])
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        shutil.rmtree(out)  # its checkpoint is large
        timed = rows if case.epoch else rows[1:]
        text = "".join(piece for _, piece in pieces)
        return Round(rate=rate_of(case, [r["tokens"] / r["tokens_per_second"] for r in timed],
                                  [r["tokens"] for r in timed]),
                     peak_rss=rss, first=next(at for at, piece in pieces if "step 1/" in piece),
                     load=float(text.split("loaded and quantized in ")[1].split()[0]),
                     losses=[r["loss"] for r in rows], norms=[r["grad_norm"] for r in rows])

    def generate(self, case):
        config = pathlib.Path(self.tmp, f"{self.compute}-generate.yaml")
        config.write_text(f"model: {{path: {json.dumps(case.model)}}}\n"
                          f"quantization: {{quant_type: nf4, double_quant: true, compute_dtype: {self.compute}}}\n"
                          "data: {chat_template: none}\n"
                          f"device: {{backend: cpu, threads: {self.threads}}}\n")
        pieces, rss = self.spawn([self.program, "generate", str(config), "--prompt", case.prompt,
                                  "--max-new-tokens", str(case.tokens)])
        text = "".join(piece for _, piece in pieces).removesuffix("\n")
        made = len(tokenize(self.program, case.model, [text])[0])
        if not 1 < made <= case.tokens + 8:
            sys.exit(f"generate made {made} tokens of {case.tokens}: {text!r}")
        last = [at for at, piece in pieces if piece != "\n"][-1]
        return Round(rate=(made - 1) / (last - pieces[0][0]), peak_rss=rss, first=pieces[0][0], made=made, text=text)


def tokenize(program, model, texts):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    out = subprocess.run([program, "tokenize", model, "/dev/stdin"], input=lines, stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    return [json.loads(line)["input_ids"] for line in out.splitlines()]


class Worker:
    """A Python process that answers a line with a line of JSON."""

    def __init__(self, script, arguments, log):
        self.log = pathlib.Path(log)
        self.started = time.monotonic()
        environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        self.process = subprocess.Popen([sys.executable, str(HERE / script), *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, env=environment)

    def ask(self, line):
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.process.wait()
            sys.exit(f"{' '.join(self.process.args)}: status {self.process.returncode}\n{self.log.read_text()[-4000:]}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Peer:
    def __init__(self, threads, rank, kind, tmp):
        self.threads, self.rank, self.kind, self.tmp = threads, rank, kind, tmp
        self.dtype = kind.partition("-")[0]
        self.name, self.worker, self.asked = f"peer, {kind.replace('-', ' ')}", None, False

    def open(self, case):
        what = ["--prompt", case.prompt] if case.prompt else ["--rows", case.rows, "--batch", str(case.batch)]
        self.worker = Worker("bench_peer.py", ["--model", case.model, "--dtype", self.kind, "--rank", str(self.rank),
                                               "--threads", str(self.threads), *what,
                                               *(["--recompute"] if case.recompute else [])],
                             pathlib.Path(self.tmp, f"peer-{self.kind}.err"))
        self.asked = False

    def close(self):
        if self.worker:
            self.worker.close()
        self.worker = None

    def round(self, case):
        """The process lives through all rounds of a case: only its first step is left out, not that of every round."""
        if not self.worker:
            self.open(case)
        first, self.asked = not self.asked, True
        if case.prompt:
            answer = self.worker.ask(case.tokens)
            if answer["tokens"] < 2:
                sys.exit(f"{self.name}: generate made {answer['tokens']} tokens: {answer['text']!r}")
            found = {"rate": (answer["tokens"] - 1) / answer["seconds"], "made": answer["tokens"],
                     "text": answer["text"]}
        else:
            found = self.training(case, first)
            answer = found.pop("answer")
        return Round(peak_rss=answer["peak_rss"], first=answer["first_at"] - self.worker.started,
                     load=answer["load_seconds"], imports=answer["import_seconds"], **found)

    def training(self, case, first):
        batches = -(-case.epoch // case.batch)
        answer = self.worker.ask(batches or (case.steps if first else case.steps - 1))
        steps = answer["steps"]
        timed = steps[1:] if first and not case.epoch else steps
        return {"answer": answer, "losses": [s["loss"] for s in steps], "norms": [s["grad_norm"] for s in steps],
                "rate": rate_of(case, [s["seconds"] for s in timed], [case.batch * case.length] * len(timed))}


class Products:
    """The best rates of matrix products so far, FLOP/s by type: a limit that no training step can pass."""

    def __init__(self, program, threads, tmp):
        self.program, self.threads, self.tmp = program, threads, tmp
        self.worker = Worker("bench_gemm.py", [str(threads)], pathlib.Path(tmp, "gemm.err"))
        self.best = {"f32": 0.0, "bf16": 0.0}

    def take(self, dtype, rate):
        self.best[dtype] = max(self.best[dtype], rate)

    def measure(self):
        for dtype, rate in self.worker.ask("").items():
            self.take(dtype, rate)

    def measure_ours(self):
        for dtype in self.best:
            run = bench(self.program, "smollm2-135m", self.threads, self.tmp, "--what", "gemm", "--tokens", "1024",
                        "--length", "1024", "--compute-dtype", dtype)["runs"][0]
            for layer in run["gemm"]:
                self.take(dtype, 1e12 * max(layer["forward_bare_tflops"], layer["backward_bare_tflops"]))

    def close(self):
        self.worker.close()


def bench(program, model, threads, tmp, *arguments):
    out = pathlib.Path(tmp, "bench.json")
    subprocess.run([program, "bench", model, "--backend", "cpu", "--threads", str(threads), "--json", str(out),
                    *arguments], stdout=subprocess.DEVNULL, check=True)
    return json.loads(out.read_text())
