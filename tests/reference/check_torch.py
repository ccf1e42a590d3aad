"""check_torch.py - the C code and PyTorch, each held against the other's numbers.

    python3 tests/reference/check_torch.py FOLDER [FOLDER64]
        recomputes every vector file of FOLDER in float32, of FOLDER64 in double: `make twin`
    python3 tests/reference/check_torch.py --write FOLDER
        draws and computes torch_*.safetensors, which `make test` checks the C code against

A file holds cases "kind/case/tensor" (tests/vectors/README.md).  Ops are recomputed here with
torch.nn.functional, parts of the model with mac_torch.py, all else with levels.py and
levels_model.py; bits.safetensors, too, but for the bits of a training.  Exit 1 when an error is too
large or is no number, or when a name is left over on either side.
"""
import os
import sys

sys.dont_write_bytecode = True
import numpy as np
import torch
import torch.nn.functional as F

import levels
import levels_model
import mac_torch as mac

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
TRAINING = 1e-10  # in double: fifty steps
SMALL = 1e-6   # a gradient whose largest number is below this share of the case's largest one is
               # measured against that share: rounding is all there is of it


# ==== ops ========================================================================================
def linear(x, W, b=None, in_out=0):
    W = W.transpose(-1, -2) if in_out else W
    if W.dim() == 2:
        return {"y": F.linear(x, W, b)}
    return {"y": torch.cat([F.linear(*part) for part in zip(x.chunk(len(W)), W, b)])}


def rows(a, idx, b=None):
    return {"y": (a if b is None else torch.cat((a, b))).index_select(0, idx.long())}


def layernorm(x, g, b):
    d = x.shape[-1]
    return {"y": torch.cat([F.layer_norm(part, (d,), gain, bias, eps=1e-5) for part, gain, bias in
                            zip(x.chunk(g.numel() // d), g.view(-1, d), b.view(-1, d))])}


def rmsnorm(x, g):
    return {"y": g * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()}


def cross_entropy(x, target, w=None):
    if w is None:
        return {"loss": F.cross_entropy(x, target.long())}
    return {"loss": (w * F.cross_entropy(x, target.long(), reduction="none")).sum()}


def t5_bucket(relative, both_sides):
    """HuggingFace's T5: 32 buckets, distances from 128 on share the last one."""
    buckets, n = 32, -relative
    side = torch.zeros_like(n)
    if both_sides:
        buckets //= 2
        side = (n < 0).long() * buckets
        n = n.abs()
    n = n.clamp(min=0)
    exact = buckets // 2
    far = exact + (torch.log(n.float() / exact) / np.log(128 / exact) * (buckets - exact)).long()
    return side + torch.where(n < exact, n, far.clamp(max=buckets - 1))


def attention(q, k, v, H, scale, causal, q0, qn, k0, kn, bias=None, t0=None, tn=None):
    y, H = torch.zeros_like(q), int(H)
    mass = torch.zeros(len(q), H, dtype=q.dtype)
    ranges = zip(*(x.long().tolist() for x in (q0, qn, k0, kn)))
    for b, (i0, ni, j0, nj) in enumerate(ranges):
        Q, K, V = (x.unflatten(1, (H, -1)).transpose(0, 1)
                   for x in (q[i0:i0 + ni], k[j0:j0 + nj], v[j0:j0 + nj]))
        # causal: the last query stands at the last key; else both begin at 0
        i = torch.arange(ni)[:, None] + (nj - ni if causal else 0)
        j = torch.arange(nj)
        scores = scale * Q @ K.transpose(1, 2)
        if bias is not None:
            scores = scores + bias[t5_bucket(j - i, not causal)].permute(2, 0, 1)
        if causal:
            scores = scores.masked_fill(j > i, -np.inf)
        weights = scores.softmax(-1)
        y[i0:i0 + ni] = (weights @ V).transpose(0, 1).flatten(1)
        if t0 is not None:
            first = int(t0[b]) - j0
            mass[i0:i0 + ni] = weights[:, :, first:first + int(tn[b])].sum(-1).t()
    return {"y": y} if t0 is None else {"y": y, "mass": mass}


# ==== a step of the optimizer =====================================================================
def clipped(g, clip):
    norm = g.norm()
    return norm, g * (clip / norm) if 0 < clip < norm else g


def muon(w, mean, g, lr, momentum, decay, clip):
    norm, g = clipped(g, clip)
    w, mean = levels_model.muon(w, mean, g, lr, decay, momentum)
    return {"norm": norm, "w_next": w, "mean_next": mean}


def adam(w, mean, square, g, lr, decay, clip, steps_before):
    norm, g = clipped(g, clip)
    w, mean, square = levels_model.adam(w, mean, square, g, float(steps_before) + 1, lr, decay)
    return {"norm": norm, "w_next": w, "mean_next": mean, "square_next": square}


# ==== parts of the model: inputs of the files in the shapes of mac_torch.py =======================
def padded(ids, n):
    return mac.pad([x.long() for x in ids.split(n.long().tolist())])


def prefix_in(m, prefix):
    return None if prefix is None else prefix.view(m.c.P, 2 * m.c.L, -1, m.c.d)


def whole(numbers):
    return None if numbers is None else numbers.long()


def lm(m, ids, ids_n, prefix=None, ids_doc=None):
    x = padded(ids, ids_n)
    h = mac.lm_hidden(m, x.ids, prefix_in(m, prefix), doc=whole(ids_doc))[x.real()]
    return {"hidden": h, "logits": F.linear(h, m[mac.LM + "wte.weight"])}


def lm_loss(m, ids, ids_n, asked=None, prefix=None, alike=0, ids_doc=None):
    mask = None if asked is None else padded(asked, ids_n).ids.bool()
    return {"loss": mac.lm_loss(m, padded(ids, ids_n), mask, prefix_in(m, prefix), bool(alike),
                                whole(ids_doc))}


def enc(m, ids, ids_n, question=0):
    y = mac.enc_forward(m, mac.QENC if question else mac.ENC, padded(ids, ids_n))
    return {"y": y.flatten(0, 1)}


def encode(m, docs, docs_n):
    return {"phi": mac.encode(m, padded(docs, docs_n)).flatten(0, 1)}


def aggregate(m, q, q_n, phi, doc0, n_docs, gold):
    phi, B = phi.view(1, -1, m.c.T, m.c.d), len(doc0)
    k = torch.arange(phi.shape[1])
    reads = (k >= doc0[:, None]) & (k < (doc0 + n_docs)[:, None])
    z, received = mac.aggregate(m, mac.encode_question(m, padded(q, q_n))[None], phi, reads[None])
    right = (0, torch.arange(B), gold.long())
    masses = {f"mass.{i}": r[right].transpose(1, 2).flatten(0, 1) for i, r in enumerate(received)}
    return {"y": z[0].flatten(0, 1), **masses}


def expand(m, phi):
    return {"prefix": mac.prefix_expand(m, phi.view(-1, m.c.T, m.c.d)).flatten(0, 2)}


def loss(m, docs, docs_n, q, q_n, qa, qa_n, doc, group, n_grad, guidance, distill=0, alike=0):
    made, stats = mac.mac_loss(m, padded(docs, docs_n), padded(q, q_n), padded(qa, qa_n),
                               doc.long(), int(group), float(guidance), int(n_grad),
                               float(distill), bool(alike))
    return {"loss": made, **{name: torch.tensor(x, dtype=made.dtype) for name, x in stats.items()}}


# kind: (function, inputs that have a gradient); a function with m needs a model
OPS = {"linear": (linear, "x W b"), "rows": (rows, "a b"), "layernorm": (layernorm, "x g b"),
       "add": (lambda a, b, scale: {"y": torch.add(a, b, alpha=float(scale))}, "a b"),
       "cols": (lambda x, first, n: {"y": x.narrow(1, int(first), int(n))}, "x"),
       "rmsnorm": (rmsnorm, "x g"),
       "relu": (lambda x: {"y": F.relu(x)}, "x"), "tanh": (lambda x: {"y": torch.tanh(x)}, "x"),
       "gelu_tanh": (lambda x: {"y": F.gelu(x, approximate="tanh")}, "x"),
       "gelu_erf": (lambda x: {"y": F.gelu(x)}, "x"),
       "softmax": (lambda x: {"y": F.softmax(x, -1)}, "x"), "cross_entropy": (cross_entropy, "x"),
       "neglog": (lambda x: {"loss": -x.log().mean()}, "x"),
       "square_error": (lambda x, y: {"loss": (x - y).square().sum() / y.square().sum()}, "x"),
       "attention": (attention, "q k v bias"), "muon": (muon, ""), "adam": (adam, "")}
PARTS = {"lm": (lm, "prefix"), "lm_loss": (lm_loss, "prefix"), "enc": (enc, ""),
         "encode": (encode, ""), "aggregate": (aggregate, "phi"), "expand": (expand, "phi"),
         "loss": (loss, "")}


# ==== a case =====================================================================================
def inputs_of(function):
    names = function.__code__.co_varnames[:function.__code__.co_argcount]
    return [name for name in names if name != "m"]


def run_case(kind, given, m, dtype, weight):
    """given {input: array}, numbers as arrays of one; weight(name, output) -> d(loss)/d(output).
    -> {name: array} of outputs, gradients of inputs and of all parameters."""
    function, wanted = {**OPS, **PARTS}[kind]
    x = {name: torch.tensor(given[name], dtype=dtype) for name in inputs_of(function)
         if name in given}
    grads = {"d" + name: x[name].requires_grad_() for name in wanted.split() if name in x}
    if kind in PARTS:
        m.c.pad = int(given.get("pad", 0))
        grads.update({"d." + name: p for name, p in m.w.items()})
        for p in m.train_only(lambda name: True):
            p.grad = None
    outputs = function(**x) if kind in OPS else function(m, **x)
    total = sum((torch.tensor(weight(name, y), dtype=dtype).view_as(y) * y).sum()
                for name, y in outputs.items() if y.requires_grad)
    if torch.is_tensor(total):
        total.backward()
    made = {name: y.detach().numpy() for name, y in outputs.items()}
    for name, p in grads.items():
        g = (torch.zeros_like(p) if p.grad is None else p.grad).numpy()
        made.update({name % i: g[i] for i in range(len(g))} if "%d" in name else {name: g})
    return made


def cases_of(tensors):
    """{"kind/case/tensor": array} -> {"kind/case": {tensor: array}}"""
    cases = {}
    for name, x in tensors.items():
        kind, case, tensor = name.split("/")
        cases.setdefault(f"{kind}/{case}", {})[tensor] = x
    return cases


def case_errors(name, stored, m, dtype):
    """{tensor: error}, against the tensor's largest number.  A parameter without a stored gradient
    has the gradient 0."""
    kind = name.split("/")[0]
    made = run_case(kind, stored, m, dtype, lambda output, y: stored["d" + output])
    given = {*inputs_of({**OPS, **PARTS}[kind][0]), "pad"} | {"d" + output for output in made}
    lost = set(stored) - set(made) - given
    if lost:
        raise ValueError(f"{name}: nobody knows what {min(lost)} is")
    largest = max((np.abs(x).max() for tensor, x in made.items() if tensor.startswith("d")),
                  default=0)
    errors = {}
    for tensor, got in made.items():
        want = stored.get(tensor, np.zeros(got.shape) if tensor.startswith("d.") else None)
        if want is None or want.size != got.size:
            raise ValueError(f"{name}: {tensor} is missing or has another shape")
        size = np.abs(want).max()
        if tensor.startswith("d"):
            size = max(size, SMALL * largest)
        off = np.abs(got.reshape(want.shape).astype(np.float64) - want).max()
        errors[tensor] = off / size if size else off
    return errors


def level_made(name, stored, m, dtype):
    """What levels.py (with numpy's numbers) or levels_model.py makes of a case."""
    kind, x = name.split("/")[0], {key: x.astype(np.float64) for key, x in stored.items()}
    function, inputs = {**levels.KINDS, **levels_model.KINDS}[kind]
    made = {key: np.asarray(y) for key, y in function(x, m, dtype).items()}
    lost = set(stored) - set(made) - set(inputs.split())
    if lost or set(inputs.split()).isdisjoint(stored) and inputs:
        raise ValueError(f"{name}: nobody knows what {min(lost, default='it')} is")
    return made


def level_errors(name, stored, m, dtype):
    plain = name.split("/")[0] in levels.KINDS
    errors = {}
    for key, got in level_made(name, stored, m, np.float64 if plain else dtype).items():
        if key.startswith("bits_"):
            continue
        want = stored[key]
        if want.size != got.size:
            raise ValueError(f"{name}: {key} has {got.size} numbers, not {want.size}")
        size = np.abs(want).max()
        off = np.abs(got.reshape(want.shape).astype(np.float64) - want).max()
        errors[key] = off / size if size else off
    return errors


def check_bits(folder):
    """bits.safetensors, but for trainings, once more.  -> (tensors, names of those that differ)"""
    want, n, bad = mac.st_read(os.path.join(folder, "bits.safetensors"))[0], 0, []
    cases = cases_of(mac.st_read(os.path.join(folder, "program.safetensors"))[0])
    for name in cases_of(want):
        if name.startswith("training/"):
            continue
        made = level_made(name, cases[name], None, np.float32)
        for key, x in cases_of(want)[name].items():
            same = key in made and np.array_equal(made[key].astype(np.float32).ravel(), x.ravel())
            bad += [] if same else [f"{name}/{key}"]
            n += 1
    return n, bad


def check_file(path, dtype):
    """-> {kind: (cases, numbers of tensors, worst error, where)}"""
    tensors, meta = mac.st_read(path)
    m = None
    if "model" in meta:
        m = mac.load_model(os.path.join(os.path.dirname(path), meta["model"]), dtype)
    found = {}
    for name, stored in cases_of(tensors).items():
        kind = name.split("/")[0]
        cases, n, worst, where = found.get(kind, (0, 0, 0.0, ""))
        known = kind in OPS or kind in PARTS
        errors = (case_errors if known else level_errors)(name, stored, m, dtype)
        for tensor, error in errors.items():
            n += 1
            if worst == worst and not error <= worst:  # a NaN is worse, and stays
                worst, where = error, f"{name}/{tensor}"
        found[kind] = (cases + 1, n, worst, where)
    return found


def check(folders):
    """Prints a table; -> whether all is well."""
    bad, columns = [], []
    for folder, dtype in zip(folders, (torch.float32, torch.float64)):
        files = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")
                       and not f.endswith("_model.safetensors") and f != "bits.safetensors")
        found = {(f.split(".")[0], kind): x for f in files
                 for kind, x in check_file(os.path.join(folder, f), dtype).items()}
        columns.append(found)
        bad += [f"{where}: {worst:.1e}" for (_, kind), (_, _, worst, where) in found.items()
                if not worst <= (TRAINING if kind == "training" and dtype == torch.float64
                                 else TOLERANCE[dtype])]
    print("| file | kind | cases | tensors | float32 | double |\n|---|---|---|---|---|---|")
    for (file, kind), (cases, n, worst, where) in columns[0].items():
        double = columns[-1].get((file, kind)) if len(columns) > 1 else None
        print(f"| {file} | {kind} | {cases} | {n} | {worst:.1e} |",
              f"{double[2]:.1e} |" if double else "- |")
    n, other = check_bits(folders[0])
    print(f"bits.safetensors: {n} tensors made once more, {len(other)} of them with other bits")
    bad += other
    for line in bad:
        print("too far off:", line, file=sys.stderr)
    return not bad and all(columns)


# ==== vectors of the twin's own ==================================================================
SIZES = dict(V=17, d=6, L=1, H=3, e=4, enc_L=2, enc_H=2, enc_dh=3, enc_ff=5, T=5, P=1, agg_B=1,
             agg_H=3, agg_dh=3, pre_ff=8, D=19, Q=5, A=4)


class Vectors:
    """Cases drawn here: normal(...) and so on make inputs that are exact in float32."""

    def __init__(self, seed, m=None):
        self.rng, self.m, self.tensors = np.random.default_rng(seed), m, {}

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def weight(self, output, y):
        x = self.rng.uniform(0.5, 1, tuple(y.shape)) * self.rng.choice((-1, 1), tuple(y.shape))
        return x.astype(np.float32)

    def texts(self, name, lengths, begin=None):
        """Ragged random tokens; begin: texts that they continue."""
        parts = [self.rng.integers(1, SIZES["V"] - 1, n) for n in lengths]
        if begin is not None:
            old = np.split(begin[0], np.cumsum(begin[1])[:-1].astype(int))
            parts = [np.append(o, p) for o, p in zip(old, parts)]
        n = np.array([len(x) for x in parts], np.float32)
        return {name: np.concatenate(parts).astype(np.float32), name + "_n": n}

    def add(self, name, **inputs):
        given = {key: np.atleast_1d(np.asarray(x, np.float32)) for key, x in inputs.items()}
        weights = {}

        def weight(output, y):
            return weights.setdefault("d" + output, self.weight(output, y))

        made = run_case(name.split("/")[0], given, self.m, torch.float64, weight)
        made = {key: np.atleast_1d(x).astype(np.float32) for key, x in made.items()
                if x.any() or not key.startswith("d.")}
        for key, x in {**given, **weights, **made}.items():
            self.tensors[f"{name}/{key}"] = x


def draw_ops(v):
    n = v.normal
    v.add("linear/out_in", x=n(4, 3), W=n(6, 3), b=n(6), in_out=0)
    v.add("linear/in_out", x=n(2, 9), W=n(9, 3), in_out=1)
    v.add("linear/grouped", x=n(6, 3), W=n(2, 5, 3), b=n(2, 5), in_out=0)
    v.add("add/scaled", a=n(2, 7), b=n(2, 7), scale=1.625)
    v.add("rows/two_sources", a=n(3, 4), b=n(4, 4), idx=[6, 1, 1, 0, 3, 6, 6])
    v.add("cols/first", x=n(4, 6), first=0, n=1)
    v.add("layernorm/grouped", x=n(4, 9), g=n(2, 9), b=n(2, 9))
    v.add("rmsnorm/plain", x=n(3, 11), g=n(11))
    for kind in ("relu", "tanh", "gelu_tanh", "gelu_erf"):
        v.add(kind + "/plain", x=2 * n(4, 6))
    v.add("softmax/plain", x=2 * n(3, 8))
    v.add("cross_entropy/mean", x=n(3, 5), target=[4, 4, 1])
    v.add("cross_entropy/weighted", x=n(3, 5), target=[0, 2, 4], w=[0.125, 1, 0.5])
    v.add("neglog/plain", x=np.exp(n(2, 5)))
    v.add("square_error/plain", x=n(4, 7), y=2 * n(4, 7))
    v.add("attention/causal", q=n(7, 6), k=n(10, 6), v=n(10, 6), H=3, scale=0.5, causal=1,
          q0=[0, 4], qn=[4, 3], k0=[0, 7], kn=[7, 3])
    for causal in (0, 1):
        v.add(f"attention/bias_causal_{causal}", q=n(27, 4), k=n(27, 4), v=n(27, 4),
              bias=n(32, 2), H=2, scale=1, causal=causal, q0=[0, 1], qn=[1, 26], k0=[0, 1],
              kn=[1, 26])
    v.add("attention/overlapping_mass", q=n(5, 4), k=n(6, 4), v=n(6, 4), H=1, scale=0.75, causal=0,
          q0=[0, 2], qn=[2, 3], k0=[0, 1], kn=[4, 5], t0=[1, 4], tn=[1, 2])


    for name, shape, decay, clip in (("square", (5, 5), 0, 0), ("tall", (7, 2), 0.25, 0.5)):
        v.add("muon/" + name, w=n(*shape), mean=n(*shape), g=n(*shape), lr=0.125, momentum=0.875,
              decay=decay, clip=clip)
    v.add("adam/clipped", w=n(3, 3), mean=n(3, 3), square=n(3, 3) ** 2, g=n(3, 3), lr=0.25, decay=0.125,
          clip=1, steps_before=3)


def draw_parts(v):
    c = v.m.c
    q = v.texts("q", [2, 1, 5])
    qa = v.texts("qa", [1, 3, 2], (q["q"], q["q_n"]))
    qa["qa"][np.cumsum(qa["qa_n"]).astype(int) - 1] = c.V - 1  # EOS
    ids = {"ids": qa["qa"], "ids_n": qa["qa_n"]}
    prefix = v.normal(c.P * 2 * c.L * 3, c.d)
    asked = np.concatenate([np.arange(n) >= m for n, m in zip(qa["qa_n"], q["q_n"])])
    docs = v.texts("docs", [3, 19, 1, 6, 8, 2])
    for b, (text, at, n) in enumerate(((3, 1, 0), (0, 1, 2), (1, 7, 1))):  # answers in documents,
        begin = int(docs["docs_n"][:text].sum()) + at                      # but for the first
        end = int(qa["qa_n"][:b + 1].sum()) - 1
        qa["qa"][end - n:end] = docs["docs"][begin:begin + n]
    v.add("lm/alone", **ids)
    v.add("lm/behind_prefix", prefix=prefix, **ids)
    v.add("lm/documents", ids_doc=[1, 0, 2], **ids)
    v.add("lm_loss/answers", prefix=prefix, asked=asked, **ids)
    v.add("lm_loss/alike", asked=asked, alike=1, ids_doc=[2, 1, 0], **ids)
    v.add("enc/documents", ids=docs["docs"], ids_n=docs["docs_n"])
    v.add("enc/questions", ids=q["q"], ids_n=q["q_n"], question=1)
    v.add("encode/documents", **docs)
    v.add("aggregate/banks", phi=v.normal(4 * c.T, c.d), doc0=[1, 0, 3], n_docs=[3, 2, 1],
          gold=[2, 0, 3], **q)
    v.add("expand/three_questions", phi=v.normal(3 * c.T, c.d))
    for name, group, n_grad, guidance in (("paper", 6, 6, 0), ("dropped", 3, 4, 0.25)):
        v.add("loss/" + name, doc=[3, 0, 1], group=group, n_grad=n_grad, guidance=guidance,
              **docs, **q, **qa)
    v.add("loss/distilled", doc=[3, 0, 1], group=6, n_grad=1, guidance=0, distill=0.25, **docs,
          **q, **qa)
    v.add("loss/ours", doc=[3, 0, 1], group=2, n_grad=6, guidance=0.5, distill=0.75, alike=1,
          **docs, **q, **qa)
    v.add("enc/official_padding", ids=docs["docs"], ids_n=docs["docs_n"], pad=7)
    v.add("loss/official_padding", doc=[3, 0, 1], group=6, n_grad=6, guidance=0, pad=11, **docs,
          **q, **qa)


def write(folder):
    def save(name, v, meta):
        meta = {"format": "mac-vectors", **meta}
        mac.st_write(os.path.join(folder, name + ".safetensors"), v.tensors, meta)

    ops = Vectors(1)
    draw_ops(ops)
    save("torch_ops", ops, {})
    m = mac.random_model(SIZES, std=0.2, seed=13)
    mac.save_model(m, os.path.join(folder, "torch_model.safetensors"))
    m.w = {name: p.double() for name, p in m.w.items()}
    parts = Vectors(3, m)
    draw_parts(parts)
    save("torch", parts, {"model": "torch_model.safetensors"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2])
    else:
        sys.exit(not check(sys.argv[1:]))
