#!/usr/bin/env python3
"""The tables of docs/scaling.md: what a step of many GPUs would take, from sizes that the program counts and rates that
vendors publish. Nothing here was measured on a GPU.

  python3 scripts/scaling.py
"""

# ---- what the program counts -----------------------------------------------------------------------------------
# Shapes as in config.json. Linear layers: q, k, v, o, gate, up, down.
MODELS = {
    "Llama 3 8B": dict(layers=32, hidden=4096, ffn=14336, kv=1024, vocab=128256),
    "Llama 3 70B": dict(layers=80, hidden=8192, ffn=28672, kv=1024, vocab=128256),
}
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)  # a parameter, with double quantization


def linear_shapes(m):
    c, f, kv = m["hidden"], m["ffn"], m["kv"]
    return [(c, c), (kv, c), (kv, c), (c, c), (f, c), (f, c), (c, f)]


def layer_params(m):
    return sum(rows * cols for rows, cols in linear_shapes(m))


def adapter_params(m, r):
    return m["layers"] * sum(r * (rows + cols) for rows, cols in linear_shapes(m))


def flops_per_token(m, length, recomputed):
    """Multiplications and additions: forward, gradients of the inputs (the base is frozen), head; causal attention."""
    passes = 3 if recomputed else 2
    linear = 2 * m["layers"] * layer_params(m)
    attention = 2 * length * m["hidden"] * m["layers"]  # forward: scores and values, half of them masked
    backward = 2.5 * attention
    head = 2 * m["vocab"] * m["hidden"] * 2
    return passes * linear + (passes - 1) * attention + backward + head


# ---- what vendors publish --------------------------------------------------------------------------------------
# Bytes a second in one direction.
H100_BF16 = 989e12  # dense, NVIDIA's data sheet of the H100 SXM
SHARE = 0.5         # of it, assumed: nothing was measured
NVLINK = 450e9      # H100 SXM: 900 GB/s both ways
PCIE5 = 64e9        # x16, before its overhead
LINKS = {           # a node of 8 GPUs has, in all
    "8 x 400 Gb/s InfiniBand": 400e9,
    "one 200 Gb/s link": 25e9,
    "one 25 Gb/s link": 3.125e9,
}
MESSAGE_LATENCY = 20e-6  # between nodes, assumed
AT_A_TIME = 8            # messages of a GPU under way at once, assumed
PIECE = 32 << 20         # what is added up at a time


def reduce_seconds(nbytes, gpus, node_rate):
    """As cuda/join.cu adds up: each GPU sends each other GPU its share, and then the sum of its own share."""
    local = min(gpus, 8)
    inside = 2 * (local - 1) / gpus * nbytes / NVLINK
    between = 2 * local * (gpus - local) / gpus * nbytes / node_rate  # of all GPUs of a node
    messages = 2 * -(-nbytes // PIECE) * (gpus - local) / AT_A_TIME
    return inside + between + messages * MESSAGE_LATENCY


# ---- tables ----------------------------------------------------------------------------------------------------
def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |")


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def sizes():
    head("model", "r", "adapter's parameters", "gradient summed a step, fp32", "NF4 of a layer", "of all layers")
    for name, m in MODELS.items():
        for r in (16, 64):
            n, layer = adapter_params(m, r), layer_params(m) * NF4_BITS / 8
            row(name, r, f"{n / 1e6:.1f} M", f"{n * 4 / 1e6:.0f} MB", f"{layer / 1e6:.0f} MB",
                f"{layer * m['layers'] / 1e9:.1f} GB")


def weak(name, tokens, length):
    m = MODELS[name]
    nbytes = adapter_params(m, 16) * 4
    compute = tokens * flops_per_token(m, length, True) / (H100_BF16 * SHARE)
    print(f"\n{name}, r 16, one micro-batch of {tokens} tokens a GPU and step: {compute * 1e3:.0f} ms of computing\n")
    head("GPUs", "tokens a step", *[f"{link}: ms, efficiency" for link in LINKS])
    for gpus in (8, 16, 32, 64, 128, 256, 512):
        cells = []
        for rate in LINKS.values():
            t = reduce_seconds(nbytes, gpus, rate)
            cells.append(f"{t * 1e3:.1f}, {compute / (compute + t):.1%}")
        row(gpus, f"{gpus * tokens / 1e6:.2f} M", *cells)


def strong(name, micros, tokens, length):
    m = MODELS[name]
    nbytes = adapter_params(m, 16) * 4
    one = tokens * flops_per_token(m, length, True) / (H100_BF16 * SHARE)
    print(f"\n{name}, r 16, a step of {micros} micro-batches of {tokens} tokens, whatever the number of GPUs\n")
    head("GPUs", "micro-batches a GPU", *[f"{link}: times as fast as one GPU" for link in LINKS])
    for gpus in (1, 8, 16, 32, 64, 128):
        most = -(-micros // gpus)
        row(gpus, most, *[f"{micros * one / (most * one + reduce_seconds(nbytes, gpus, rate)):.1f}" for rate in
                          LINKS.values()])


def sharding(name):
    m = MODELS[name]
    layer = layer_params(m) * NF4_BITS / 8
    fetched = layer * m["layers"] * 7 / 8
    print(f"\n{name}: {fetched / 1e9:.1f} GB fetched a pass by each of 8 GPUs\n")
    head("link", "a layer", "a pass", "hidden behind the forward from so many tokens on")
    for link, rate in (("NVLink", NVLINK), ("PCIe 5 x16", PCIE5)):
        t = layer * 7 / 8 / rate
        hidden = t * H100_BF16 * SHARE / (2 * layer_params(m))
        row(link, f"{t * 1e3:.2f} ms", f"{fetched / rate * 1e3:.0f} ms", f"{hidden:.0f}")


sizes()
weak("Llama 3 8B", 8192, 4096)
weak("Llama 3 70B", 4096, 4096)
strong("Llama 3 8B", 64, 2048, 2048)
sharding("Llama 3 70B")
