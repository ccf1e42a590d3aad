"""bench_peer.py - our C code beside OpenBLAS and PyTorch in eager mode, in turns, on one machine.

    python3 tests/bench/bench_peer.py BENCH [--only PREFIX] [--json FILE]

BENCH is the program that `make bench` builds; its side is `BENCH --serve`: a line "THREADS ITEM"
in, a line of seconds a call out.  A shared machine swings by a third, so for each item and number
of threads the sides run in turns, five times (whole steps: three times), each while the others
sleep, and medians are compared.  ratio = theirs / ours: above 1 ours is faster.  Both sides measure
alike: a call to warm up, then the best of RUNS short runs.

Debian's PyTorch has no MKL: its matrix products, too, are OpenBLAS's, and a batched product is a
loop over the batch.  Calls of OpenBLAS are repeated by a loop in C (`cc` is asked for it), as else
small products would measure Python.
"""
import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

sys.dont_write_bytecode = True
# Before torch: its workers sleep between parallel regions.  Spinning they would disturb our side,
# and slow torch down as well, as OpenBLAS has workers of its own that want the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import numpy as np
import torch

sys.path.append("tests/reference")  # run from the top
import mac_torch

RUNS, ENOUGH, RUN_SECONDS = 7, 2.0, 0.02   # as in tests/bench/bench.c
IDLE = 0.05                   # seconds until nobody spins: OpenBLAS's workers do for 30 ms


def seconds(repeat):
    """Seconds a call where repeat(n) makes n calls: best of RUNS runs of one call at least, or of
    as many as begin within ENOUGH seconds."""
    repeat(1)
    calls, times, start = 1, [], time.perf_counter()
    while len(times) < RUNS and (not times or time.perf_counter() - start < ENOUGH):
        began = time.perf_counter()
        repeat(calls)
        took = time.perf_counter() - began
        if not times and took < RUN_SECONDS / 2:
            calls *= 2
        else:
            times.append(took / calls)
    return min(times)


def looped(work):
    def repeat(n):
        for _ in range(n):
            work()
    return repeat


# ==== our side ===================================================================================
class Ours:
    """A process for one item: it gives back its memory by ending."""

    def __init__(self, path):
        self.process = subprocess.Popen([path, "--serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def seconds(self, threads, item):
        self.process.stdin.write(f"{threads} {item}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line or line.startswith("error"):
            sys.exit(f"bench_peer: {item}: {line.strip() or 'the C side has ended'}")
        return float(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ==== matmul =====================================================================================
CUBES = [(n, n, n, "nn") for n in (64, 256, 512, 1024)]
CUBES += [(256, 256, 256, kind) for kind in ("nt", "tn")]
TRAINING = {  # forward, dx, dW
    "toy": [(1120, 192, 64, "nn"), (1120, 64, 64, "nn"), (1120, 256, 64, "nn"),
            (1120, 64, 256, "nn"), (96, 384, 64, "nn"),
            (1120, 64, 192, "nt"), (1120, 64, 256, "nt"), (1120, 256, 64, "nt"),
            (64, 192, 1120, "tn"), (64, 256, 1120, "tn"), (256, 64, 1120, "tn")],
    "small": [(1024, 768, 256, "nn"), (1024, 1024, 256, "nn"), (1024, 256, 1024, "nn"),
              (1024, 256, 1024, "nt"), (256, 1024, 1024, "tn")],
    "gpt2": [(256, 2304, 768, "nn"), (256, 3072, 768, "nn"), (256, 768, 3072, "nn"),
             (256, 768, 3072, "nt"), (768, 3072, 256, "tn")],
    "heads": [(13, 17, 16, "nt"), (13, 16, 17, "nn"), (8, 64, 16, "nt"), (8, 16, 64, "nn"),
              (35, 35, 16, "nt"), (35, 16, 35, "nn")]}

ROWS, PLAIN, TURNED = 101, 111, 112  # CBLAS's row-major, no transposition, transposition
LOOP = """typedef void Sgemm(int, int, int, int, int, int, float, const float *, int,
                             const float *, int, float, float *, int);
void repeat(int n, Sgemm *f, int order, int ta, int tb, int M, int N, int K, const float *a,
            int lda, const float *b, int ldb, float *c) {
    while (n-- > 0) f(order, ta, tb, M, N, K, 1, a, lda, b, ldb, 1, c, N);
}"""


def compiled(source):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "loop.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", path],
                       input=source, text=True, check=True)
        return ctypes.CDLL(path)


blas, loop = ctypes.CDLL("libopenblas.so.0"), compiled(LOOP)


def matmul(M, N, K, kind):
    """C[M,N] += A B.  nt: B is stored [N,K], tn: A is stored [K,M].  -> {peer: its seconds}"""
    rng = np.random.default_rng(1)
    stored = ((K, M) if kind == "tn" else (M, K), (N, K) if kind == "nt" else (K, N), (M, N))
    a, b, c = (rng.random(shape, np.float32) - np.float32(0.5) for shape in stored)
    turn = [TURNED if kind == turned else PLAIN for turned in ("tn", "nt")]
    at = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]

    def openblas(n):
        loop.repeat(n, blas.cblas_sgemm, ROWS, *turn, M, N, K, at[0], a.shape[1], at[1],
                    b.shape[1], at[2])

    A, B, C = (torch.from_numpy(x) for x in (a, b, c))
    A, B = A.t() if kind == "tn" else A, B.t() if kind == "nt" else B
    addmm = looped(lambda: torch.addmm(C, A, B, out=C))
    return {"openblas": lambda: seconds(openblas), "torch": lambda: seconds(addmm)}


# ==== a whole training step ======================================================================
Size = namedtuple("Size", "c lm docs per question answer_n group")  # lm, docs, question: lengths
SIZES = {
    "toy": Size(dict(V=400, d=64, L=2, H=4, e=64, enc_L=2, enc_H=4, enc_dh=16, enc_ff=256, T=8,
                     P=2, agg_B=2, agg_H=4, agg_dh=16, pre_ff=128, D=64, Q=24, A=8),
                [40 + 7 * b % 23 for b in range(32)], [28 + 5 * i % 13 for i in range(32)], 3,
                lambda i: 9 + i % 4, 3, 8),
    "small": Size(dict(V=4096, d=256, L=4, H=8, e=256, enc_L=4, enc_H=8, enc_dh=32, enc_ff=1024,
                       T=16, P=4, agg_B=4, agg_H=8, agg_dh=32, pre_ff=256, D=128, Q=32, A=16),
                  [64] * 16, [60 + 3 * i % 9 for i in range(16)], 1, lambda i: 16, 4, 16),
    "gpt2": Size(dict(V=50257, d=768, L=2, H=12, e=768, enc_L=2, enc_H=12, enc_dh=64, enc_ff=3072,
                      T=12, P=2, agg_B=2, agg_H=12, agg_dh=64, pre_ff=768, D=64, Q=32, A=16),
                 [64] * 4, [64] * 4, 1, lambda i: 16, 4, 4)}


def training_step(kind, size):
    """-> seconds by torch: zero gradients, forward, backward, clip at 1, Adam."""
    s, at = SIZES[size], 0

    def ids(n):
        nonlocal at
        at += n
        return [(7919 * i + 13) % s.c["V"] for i in range(at - n, at)]

    seq, docs = [ids(n) for n in s.lm], [ids(n) for n in s.docs]
    doc = [i // s.per for i in range(len(docs) * s.per)]
    qa = [ids(s.question(i) + s.answer_n) for i in range(len(doc))]
    q = [x[:-s.answer_n] for x in qa]
    seq, docs, q, qa, doc = *(mac_torch.pad(x) for x in (seq, docs, q, qa)), torch.tensor(doc)
    m = mac_torch.random_model(s.c)
    params = m.train_only(lambda name: name.startswith("base_lm.") == (kind == "lm"))
    # Lists of tensors at once where there are many small ones; large ones it only slows down.
    adam = torch.optim.Adam(params, lr=1e-4, foreach=size == "toy")

    def step():
        adam.zero_grad(set_to_none=True)
        if kind == "lm":
            loss = mac_torch.lm_loss(m, seq)
        else:
            loss, _ = mac_torch.mac_loss(m, docs, q, qa, doc, s.group, 0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()

    return {"torch": lambda: seconds(looped(step))}


# ==== in turns ===================================================================================
def compare(path, item, peers, rounds):
    """Yields (threads, {side: median seconds}) for 1 and 2 threads."""
    ours = Ours(path)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        blas.openblas_set_num_threads(threads)
        times = {name: [] for name in ("ours", *peers)}
        for _ in range(rounds):
            times["ours"].append(ours.seconds(threads, item))
            for name, measure in peers.items():
                times[name].append(measure())
                time.sleep(IDLE)
        yield threads, {name: statistics.median(t) for name, t in times.items()}
    ours.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("bench")
    p.add_argument("--only", default="", metavar="PREFIX", help="items that start like this")
    p.add_argument("--json", metavar="FILE", help="a line for each figure is added to it")
    o = p.parse_args()
    out = open(o.json, "a") if o.json else None

    def figure(**values):
        if out:
            print(json.dumps(values), file=out, flush=True)

    ratios = {}  # (group, threads): ratios to OpenBLAS
    # An OpenBLAS older than the chip takes slow kernels: OPENBLAS_CORETYPE=SkylakeX helps it out.
    blas.openblas_get_corename.restype = ctypes.c_char_p
    print(f"OpenBLAS' kernels are those of {blas.openblas_get_corename().decode()}")
    print(f"{'item':<28} threads {'ours':>11} {'theirs':>11} ratio")
    for group, shapes in {"cubes": CUBES, **TRAINING}.items():
        for M, N, K, kind in shapes:
            item = f"matmul {M} {N} {K} {kind}"
            if not item.startswith(o.only):
                continue
            for threads, t in compare(o.bench, item, matmul(M, N, K, kind), 5):
                rate = {side: 2e-9 * M * N * K / s for side, s in t.items()}
                print(f"{item:<28} {threads} {rate['ours']:9.2f} GF/s  OpenBLAS "
                      f"{rate['openblas']:8.2f} x{t['openblas'] / t['ours']:5.2f}  torch "
                      f"{rate['torch']:8.2f} x{t['torch'] / t['ours']:5.2f}", flush=True)
                ratios.setdefault((group, threads), []).append(t["openblas"] / t["ours"])
                for side in ("openblas", "torch"):
                    figure(item=item, threads=threads, peer=side, ours=t["ours"], theirs=t[side],
                           ratio=t[side] / t["ours"], ours_gflops=rate["ours"],
                           theirs_gflops=rate[side])
    for threads in (1, 2):
        each = {g: r for (g, n), r in ratios.items() if n == threads and g in TRAINING}
        if each:
            each["shapes of training"] = sum(each.values(), [])
        for name, r in each.items():
            mean = math.exp(statistics.fmean(map(math.log, r)))
            print(f"geometric mean, {name}: {len(r)} shapes, {threads} threads, OpenBLAS "
                  f"x{mean:.3f}")
            figure(item=f"geometric mean {name}", threads=threads, peer="openblas", ratio=mean)

    for size in SIZES:
        for kind in ("lm", "mac"):
            item = f"step {kind} {size}"
            if not item.startswith(o.only):
                continue
            for threads, t in compare(o.bench, item, training_step(kind, size), 3):
                print(f"{item:<28} {threads} {1e3 * t['ours']:9.2f} ms    torch "
                      f"{1e3 * t['torch']:8.2f} ms x{t['torch'] / t['ours']:5.2f}", flush=True)
                figure(item=item, threads=threads, peer="torch", ours=t["ours"],
                       theirs=t["torch"], ratio=t["torch"] / t["ours"])


if __name__ == "__main__":
    main()
