"""levels.py - levels 4, 5, 6 and 8 of tests/vectors once more, from tests/vectors/README.md alone.

Optimizer, random numbers, text, hashes and files in plain Python and numpy: in 64 bits, and in 32
bits in the order that the page states, which must give bits.safetensors.  A kind is a function of
{input: array}, the model and the type of numbers, and returns {output: array}.  check_torch.py
compares.  Levels 7 and 9 are in levels_model.py.
"""
import math
import re

import numpy as np

import mac_torch as mac

ONES, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15
SIZES = ("V S d L H e enc_L enc_H enc_dh enc_ff T P agg_B agg_H agg_dh pre_ff D Q A").split()


def number(x, name):
    return float(x[name][0]) if name in x else 0.0


def whole(x, name):
    return int(number(x, name))


def word(x):
    return sum(int(part) << 16 * i for i, part in enumerate(x))


def parts(value):
    return np.array([value >> 16 * i & 0xFFFF for i in range(4)], np.float64)


def text(x):
    return bytes(x[:-1].astype(np.uint8))


def texts(x):
    return text(x).split(b"\0")


def numbers(data):
    return np.frombuffer(bytes(data), np.uint8).astype(np.float64)


# ==== level 4 ====================================================================================
def row_sum(terms, real):
    s = np.zeros(16, real)
    for i, x in enumerate(terms.ravel()):
        s[i % 16] += x
    for half in (8, 4, 2, 1):
        s[:half] += s[half:2 * half]
    return s[0]


def product(a, b, start=None):
    """Each element adds its products in order."""
    y = np.zeros((len(a), b.shape[1]), a.dtype) if start is None else start.copy()
    for k in range(a.shape[1]):
        y += np.outer(a[:, k], b[k])
    return y


def power(x, n):
    y = type(x)(1)
    while n:
        y = y * x if n & 1 else y
        x, n = x * x, n >> 1
    return y


def rate_of(x, step, real):
    lr, warmup, total = real(number(x, "lr")), whole(x, "warmup"), whole(x, "total")
    if step < warmup:
        return lr * real(step + 1) / real(warmup)
    if not number(x, "cosine") or total <= warmup:
        return lr
    done = min(real(step - warmup) / real(total - warmup), real(1))
    return lr * (real(0.505) + real(0.495) * cosine(real(math.pi) * done))


def adam(w, m, v, g, s, t, lr, decay):
    real, one = w.dtype.type, w.dtype.type(1)
    b1, b2, g = real(0.9), real(0.999), g * s
    m, v = b1 * m + (one - b1) * g, b2 * v + (one - b2) * (g * g)
    r, q = lr / (one - power(b1, t)), one / np.sqrt(one - power(b2, t))
    return w * (one - lr * decay) - r * m / (np.sqrt(v) * q + real(1e-8)), m, v


def muon(w, m, g, s, lr, decay, momentum):
    real, tall = w.dtype.type, w.shape[0] > w.shape[1]
    m = momentum * m + g * s
    x = g * s + momentum * m
    size = np.sqrt(row_sum(x * x, real))
    x = x / size if size > 1e-15 else x * 0
    for _ in range(5):
        A = product(x.T, x) if tall else product(x, x.T)
        B = real(-4.7750) * A + real(2.0315) * product(A, A)
        x = product(x, B, real(3.4445) * x) if tall else product(B, x, real(3.4445) * x)
    rate = lr * real(0.2) * np.sqrt(real(max(w.shape)))
    return w * (real(1) - lr * decay) - rate * x, m


def rate(x, m, real):
    return {"rate": np.array([rate_of(x, i, real) for i in range(whole(x, "n"))])}


def steps(x, model, real):
    W, b = x["W"].astype(real), x["b"].astype(real)
    m, v, mb, vb = W * 0, W * 0, b * 0, b * 0
    clip, decay, momentum = (real(number(x, n)) for n in ("clip", "decay", "momentum"))
    rates, norms = [], []
    for i, (gW, gb) in enumerate(zip(x["gW"].astype(real), x["gb"].astype(real))):
        norm = np.sqrt(real(0) + row_sum(gW * gW, real) + row_sum(gb * gb, real))
        s, lr = clip / norm if 0 < clip < norm else real(1), rate_of(x, i, real)
        if momentum > 0:
            W, m = muon(W, m, gW, s, lr, decay, momentum)
        else:
            W, m, v = adam(W, m, v, gW, s, i + 1, lr, decay)
        b, mb, vb = adam(b, mb, vb, gb, s, i + 1, lr, decay)
        rates.append(lr), norms.append(norm)
    out = {"rate": np.array(rates), "norm": np.array(norms), "W_next": W, "W_mean": m,
           "b_next": b, "b_mean": mb, "b_square": vb}
    return out if momentum > 0 else {**out, "W_square": v}


# ==== level 5 ====================================================================================
def whole_number(x):
    return x + np.float32(3 << 22) - np.float32(3 << 22)


def logarithm(x):
    """Of numbers in (0, 1].  In 32 bits as the page has it."""
    if x.dtype == np.float64:
        return np.log(x)
    f, bits = np.float32, x.view(np.int32)
    k = (bits - 0x3F3504F3) >> 23
    m = (bits - (k << 23)).astype(np.int32).view(f)
    s = (m - f(1)) / (m + f(1))
    z, p, k = s * s, f(0), k.astype(f)
    for n in (5, 4, 3, 2, 1):
        p = (p + f(1) / f(2 * n + 1)) * z
    hi, lo = f(float.fromhex("0x1.62e4p-1")), f(float.fromhex("0x1.7f7d1cp-20"))
    return k * hi + (f(2) * s + (f(2) * s * p + k * lo))


def cosine(x, quarter=1):
    """cos x; sin x where quarter is 0."""
    x = np.asarray(x)
    if x.dtype == np.float64:
        return np.cos(x) if quarter else np.sin(x)
    f = np.float32
    a, b, c = (f(float.fromhex(h)) for h in ("0x1.92p0", "0x1.fb4p-12", "0x1.4442d18p-24"))
    k = whole_number(x * f(0.6366197723675814))
    r = x - k * a - k * b - k * c
    z, s, c = r * r, f(0), f(0)
    for i in (5, 4, 3, 2, 1, 0):
        s = f(1 / math.factorial(2 * i + 1)) - s * z
        c = f(1 / math.factorial(2 * i)) - c * z
    q = (k.astype(np.int64) + quarter) & 3
    y = np.where(q & 1, c, s * r)
    return np.where(q & 2, -y, y)


class Random:
    def __init__(self, seed):
        self.state = seed

    def next(self, n):
        z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(self.state)
        self.state = self.state + n * GOLDEN & ONES
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)

    def uniform(self, n, real):
        return (self.next(n) >> np.uint64(40)).astype(real) / real(1 << 24)

    def below(self, n, limit):
        return (self.next(n) >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)

    def whole(self, limit):
        return int(self.below(1, limit)[0])

    def normal(self, n, real):
        u = self.uniform(2 * n, real)
        radius = np.sqrt(real(-2) * logarithm(real(1) - u[0::2]))
        return radius * cosine(real(2 * math.pi) * u[1::2])


def random(x, m, real):
    n, seed = whole(x, "n"), word(x["seed"])
    draws = Random(seed).next(n)
    return {"next": np.array([parts(int(z)) for z in draws]),
            "uniform": Random(seed).uniform(n, real), "normal": Random(seed).normal(n, real),
            "whole": Random(seed).below(n, whole(x, "below")).astype(np.float64)}


def deviation(name, shape, c, real):
    """0: a constant."""
    s, end = real(0.64 / math.sqrt(c.d)), name.split(".")
    if name.endswith("bias") or "norm" in name or ".ln_" in name:
        return 0
    if re.search(r"mlps\.\d+\.mlp\.0|net\.0\.weight$", name) and len(shape) == 1:
        return 0
    if name.startswith(mac.LM):
        return s / real(math.sqrt(2 * c.L)) if "c_proj" in name else s
    if "shared" in name:
        return real(1)
    if "learnable_prompts" in name:
        return real(0.02)
    inverse = {"q": c.e * c.enc_dh, "k": c.e, "v": c.e, "o": c.enc_H * c.enc_dh, "wi": c.e,
               "wo": c.enc_ff, "relative_attention_bias": c.e, "to_q": 3 * c.d, "to_k": 3 * c.d,
               "to_v": 3 * c.d}.get(end[-2], 3 * shape[-1])
    return real(math.sqrt(1 / inverse))


def look_back(w, c, real):
    C, wpe, dh = w[mac.LM + "h.0.attn.c_attn.weight"], w[mac.LM + "wpe.weight"], c.d // c.H
    size, g = real(2.56 / math.sqrt(c.d)), real(math.sqrt(5.76 / math.sqrt(dh)))
    circle, turn, i = real(2 * math.pi), real(0.43), np.arange(c.S).astype(real)
    C[:, :dh] = C[:, c.d:c.d + dh] = 0
    for f in range(0, dh - 1, 2):
        angle = circle * (turn * i - np.floor(turn * i))
        wpe[:, f], wpe[:, f + 1] = size * cosine(angle), size * cosine(angle, 0)
        C[f, f] = C[f + 1, f + 1] = g * cosine(circle * turn)
        C[f + 1, f] = g * cosine(circle * turn, 0)
        C[f, f + 1] = -C[f + 1, f]
        C[f, c.d + f] = C[f + 1, c.d + f + 1] = g
        turn = turn * (real(dh) / real(dh + 8))


TOPS = (mac.LM, mac.ENC, mac.QENC, "mlps.", "aggregator.mlps.", "aggregator.cross", "token_SA.")
WORDS = ("wte wpe shared learnable ln_1 c_attn attn.c_proj ln_2 c_fc mlp.c_proj norm1 norm_context "
         "to_q to_k to_v to_out norm2 net.0 net.3 .q. .k. .v. .o. .wi. .wo. layer_norm relative "
         "ln_f").split()


def place(name):
    """Where a file has it: by network, encoder or decoder, layer, and kind."""
    top = next(i for i, start in enumerate(TOPS) if name.startswith(start))
    if "%d" in name:  # the twin's order
        return (top,)
    layers = [int(n) for n in re.findall(r"(?:\.h|block|\.layer|list)\.(\d+)", name)]
    last = [99] if "final" in name or "ln_f" in name else layers or [-1]
    kind = next(i for i, w in enumerate(WORDS) if w in name)
    return (top, "decoder." in name[len(TOPS[top]):], *last, kind, name.endswith("bias"))


def file_order(c):
    """[(name, shape)] as a model file has them; a group's tensors follow one another."""
    shapes, order = mac.shapes(c), []
    for name in sorted(shapes, key=place):
        shape = shapes[name]
        order += ([(name % i, shape[1:]) for i in range(shape[0])] if "%d" in name
                  else [(name, shape)])
    return order


def first_weights(c, seed, real):
    rng, w = Random(seed), {}
    for name, shape in file_order(c):
        std, n = deviation(name, shape, c, real), int(np.prod(shape))
        w[name] = std * rng.normal(n, real).reshape(shape) if std else np.full(
            shape, 0 if name.endswith("bias") else 1, real)
    if c.H > 1 and c.L > 1:
        look_back(w, c, real)
    return w


def identity(w):
    n = min(w.shape)
    w[:n, :n] = np.eye(n)


def expansion(w, c):
    for j in range(c.P * 2 * c.L):
        lm, at = f"{mac.LM}h.{j // 2 % c.L}.", f"token_SA.mlp_layers.{j}.net."
        first, h = (1 + j % 2) * c.d, min(c.pre_ff // 2, c.d)
        A = w[lm + "attn.c_attn.weight"][:, first:first + c.d]
        into, out = w[at + "1.weight"], w[at + "4.weight"]
        into[:2 * h], w[at + "1.bias"][:2 * h], out[:] = 0, 0, 0
        bias = w[lm + "attn.c_attn.bias"][first:first + c.d].copy()
        for k in range(c.d):
            bias += A[k] * w[lm + "ln_1.bias"][k]
        for k in range(h):
            into[k, k], into[h + k, k] = 1, -1
            out[:, k] = A[k] * w[lm + "ln_1.weight"][k] - np.eye(c.d, dtype=A.dtype)[k]
            out[:, h + k] = -out[:, k]
        w[at + "4.bias"][:] = bias


def shared_start(w, c, sharp, real):
    wte, block = w[mac.LM + "wte.weight"], "aggregator.cross_attention_list."
    square = real(0)
    for x in (wte * wte).ravel():
        square += x
    r = real(1) / np.sqrt(square / real(wte.size))
    if c.e == c.d:
        w[mac.ENC + "shared.weight"][:] = r * wte
    for h in range(min(c.enc_H - 1, 7)):
        w[mac.ENC + "encoder." + mac.BIAS][h + 1, h] += 5
    if c.H > 1 and c.L > 1 and c.e == c.d and c.enc_H > 1:
        at, lm = mac.ENC + "encoder.block.0.layer.0.SelfAttention.", mac.LM + "h.0."
        n = min(c.d // c.H, c.enc_dh)
        A = w[lm + "attn.c_attn.weight"][:, 2 * c.d:2 * c.d + n]
        w[at + "v.weight"][:n] = (A * w[lm + "ln_1.weight"][:, None]).T
        w[at + "o.weight"][:, :n] = (w[lm + "attn.c_proj.weight"][:n] * r).T
    for name in w:
        if name.startswith(mac.ENC) and re.search(r"EncDecAttention\.[vo]\.", name):
            identity(w[name])
    for new, old in ((mac.QENC, mac.ENC), ("aggregator.mlps.", "mlps.")):
        for name in [name for name in w if name.startswith(old)]:
            w[new + name[len(old):]] = w[name].copy()
    for i in range(c.agg_B):
        identity(w[f"{block}{i}.attn.to_v.weight"])
        identity(w[f"{block}{i}.attn.to_out.0.weight"])
    expansion(w, c)
    n = (c.agg_H + 1) // 2 * c.agg_dh
    w[block + "0.attn.to_q.weight"][:n] *= real(sharp)
    w[block + "0.attn.to_k.weight"][:n] = w[block + "0.attn.to_q.weight"][:n]


def sizes(x):
    return mac.SimpleNamespace(**{n: int(v) for n, v in zip(SIZES, x["sizes"])}, pad=0)


def start(x, m, real):
    c = sizes(x)
    w = first_weights(c, word(x["seed"]), real)
    if number(x, "sharp"):
        shared_start(w, c, number(x, "sharp"), real)
    return w


# ---- a batch, without exchanged names and answers ----
class Corpus:
    def __init__(self, x):
        self.title, self.text, q, a = (texts(x[name]) for name in ("titles", "texts", "q", "a"))
        self.qas = [[] for _ in self.text]
        for k, *qa in zip(x["doc"].astype(int), q, a):
            self.qas[k].append(qa)


def draw_document(rng, c, beside):
    """-> its index, and its questions with their answers.  beside: it is not the batch's first."""
    k = rng.whole(len(c.text))
    rng.next(3)
    if beside and rng.whole(2):
        rng.next(1)
    rng.next(1 + 2 * len({a for _, a in c.qas[k]}))
    small = (rng.next(len(c.qas[k])) >> np.uint64(11)).astype(np.float64) / 2 ** 53 < 0.2
    return k, [(q.lower() if low else q, a) for (q, a), low in zip(c.qas[k], small)]


def sequence(q, a):
    """Ids of bytes alone."""
    q, a = list(question(q)), list(b" " + a) + [256]
    return q, a


def from_place(items, first):
    return items[first:] + items[:first]


def lm_batch(x, c, rng):
    read, documents, asked = [], [], []
    for _ in range(whole(x, "batch_lm")):
        qas = []
        while not qas:
            k, qas = draw_document(rng, c, False)
        kind, first = rng.whole(8), rng.whole(len(qas))
        ids = list(c.text[k] + b"\n") if kind else []
        documents.append(len(ids))
        mask = [0] * len(ids)
        for q, a in (sequence(*qa) for qa in from_place(qas, first)[:len(qas) if kind > 1 else 1]):
            if len(ids + q + a) > whole(x, "S"):
                break
            ids, mask = ids + q + a, mask + [0] * len(q) + [1] * len(a)
        read.append(ids)
        asked += mask if kind > 1 else [1] * len(ids)
    return {"read": read, "read_doc": documents, "asked": asked}


def mac_batch(x, c, rng):
    n = whole(x, "docs")
    n_grad, d = n - int(n * number(x, "drop")), []
    for i in range(n):
        tries = 0
        while True:
            if i:
                rng.whole(i)
            k, qas = draw_document(rng, c, i > 0)
            double = tries < 50 and c.title[k] in [c.title[other] for other, _ in d]
            if not double and (qas or i >= n_grad):
                break
            tries += 1
        d.append((k, qas))
    q, qa, of = [], [], []
    for i, (k, qas) in enumerate(d):
        first = rng.whole(len(qas)) if qas else 0
        for pair in from_place(qas, first)[:whole(x, "questions") if i < n_grad else 0]:
            ask, tell = sequence(*pair)
            q.append(ask), qa.append(ask + tell), of.append(i)
    powers = whole(x, "group").bit_length() - 1
    pick, other = rng.whole(2), rng.whole(powers + 1)
    return {"read": [list(c.text[k] + b"\n") for k, _ in d], "read_q": q, "read_qa": qa,
            "read_doc": of, "bank_size": [1 << powers if pick else 1 << other],
            "n_grad": [n_grad]}


def batch(x, m, real):
    rng, c = Random(word(x["state"])), Corpus(x)
    out = (lm_batch if number(x, "batch_lm") else mac_batch)(x, c, rng)
    for name in [name for name in out if name in ("read", "read_q", "read_qa")]:
        out[name + "_n"] = [len(ids) for ids in out[name]]
        out[name] = sum(out[name], [])
    return {"state_next": parts(rng.state),
            **{name: np.array(value, np.float64) for name, value in out.items()}}


# ==== level 6 ====================================================================================
BLANKS = b"\t\n\v\f\r "


def is_letter(byte):
    return byte >= 128 or bytes([byte]).isalpha()


def run_of(data, at, most, wanted):
    end = at
    while end < len(data) and end < at + most and wanted(data[end]):
        end += 1
    return end


def chunk(data):
    data = data[:64]
    if data[0] in BLANKS and not (data[:1] == b" " and len(data) > 1 and data[1] not in BLANKS):
        end = run_of(data, 0, 64, lambda byte: byte in BLANKS)
        return data[:end - (end < len(data) and data[end - 1] == 32)]
    at = int(data[:1] == b" ")
    if is_letter(data[at]):
        return data[:run_of(data, at, 64, is_letter)]
    if 48 <= data[at] < 58:
        return data[:run_of(data, at, 4, lambda byte: 48 <= byte < 58)]
    return data[:at + 1]


def chunks(data):
    while data:
        yield chunk(data)
        data = data[len(chunk(data)):]


def merged(ids, pair, new):
    out = []
    for i in ids:
        if out and (out[-1], i) == pair:
            out[-1] = new
        else:
            out.append(i)
    return out


def merges(x, m, real):
    rows = [list(c) for t in texts(x["texts"]) for c in chunks(t)]
    learned = []
    while len(learned) < whole(x, "vocab") - 257:
        count = {}
        for row in rows:
            for pair in zip(row, row[1:]):
                count[pair] = count.get(pair, 0) + 1
        best = min(count, key=lambda pair: (-count[pair], pair), default=None)
        if best is None or count[best] < 2:
            break
        rows = [merged(row, best, 256 + len(learned)) for row in rows]
        learned.append(best)
    return {"merges": np.array(learned, np.float64)}


def encode(data, learned):
    rank, ids = {tuple(pair): i for i, pair in enumerate(learned)}, []
    for c in chunks(data):
        row = list(c)
        while True:
            best = min((rank[p] for p in zip(row, row[1:]) if p in rank), default=None)
            if best is None:
                break
            row = merged(row, learned[best], 256 + best)
        ids += row
    return ids


def spell(i, learned):
    return bytes([i]) if i < 256 else b"".join(spell(k, learned) for k in learned[i - 256])


def pairs(x):
    return [tuple(pair) for pair in x["merges"].astype(int).reshape(-1, 2).tolist()]


def tokens(x, m, real):
    ids = encode(text(x["text"]), pairs(x))
    return {"ids": np.array(ids, np.float64),
            "back": numbers(b"".join(spell(i, pairs(x)) for i in ids))}


def question(data):
    data = data.strip(BLANKS)
    if data[:1].islower():
        data = data[:1].upper() + data[1:]
    ascii_end = data[-1:].isalnum()
    latin = len(data) > 1 and data[-1] >= 128 and 0xC3 <= data[-2] <= 0xCA
    return data + b"?" if ascii_end or latin else data


def prompt(x, m, real):
    what, most, data = whole(x, "what"), whole(x, "most"), text(x["text"])
    data = (data, question(data), b" " + data)[what]
    last = ([10], [], [256 + len(pairs(x))])[what]
    ids = encode(data, pairs(x))
    cut = len(ids) > most - len(last)
    ids = ids[:most - len(last)] + last
    return {"ids": np.array(ids + [-1] * (most - len(ids)), np.float64), "cut": np.array([cut])}


# ==== level 8 ====================================================================================
def half(x, m, real):
    with np.errstate(over="ignore"):
        bits = x["x"][0::2] + x["x"][1::2] * 65536
        h = bits.astype(np.uint32).view(np.float32).astype(np.float16)
    back = h.astype(np.float32).view(np.uint32)
    return {"half": h.view(np.uint16).astype(np.float64),
            "back": np.stack((back & 0xFFFF, back >> 16), 1).astype(np.float64)}


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & ONES
    return h


def siphash(data):
    def turned(x, by):
        return (x << by | x >> 64 - by) & ONES

    def rounds(v, n):
        for _ in range(n):
            v[0] = v[0] + v[1] & ONES
            v[1] = turned(v[1], 13) ^ v[0]
            v[0] = turned(v[0], 32)
            v[2] = v[2] + v[3] & ONES
            v[3] = turned(v[3], 16) ^ v[2]
            v[0] = v[0] + v[3] & ONES
            v[3] = turned(v[3], 21) ^ v[0]
            v[2] = v[2] + v[1] & ONES
            v[1] = turned(v[1], 17) ^ v[2]
            v[2] = turned(v[2], 32)

    first = b"somepseudorandomlygeneratedbytes"
    v = [int.from_bytes(first[i:i + 8], "big") for i in range(0, 32, 8)]
    whole_words = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 255])
    for i in range(0, len(whole_words), 8):
        block = int.from_bytes(whole_words[i:i + 8], "little")
        v[3] ^= block
        rounds(v, 2)
        v[0] ^= block
    v[2] ^= 0xFF
    rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def hashes(x, m, real):
    data = text(x["text"])
    return {"fnv": parts(fnv(data)), "siphash": parts(siphash(data))}


def fingerprint_of(c, w):
    data = b"".join(getattr(c, name).to_bytes(4, "little") for name in SIZES if getattr(c, name))
    for name, _ in file_order(c):
        data += w[name].astype("<f4").tobytes()
    return fnv(data)


def flat(m):
    """The twin's weights under the names of files."""
    w = {}
    for name, p in m.w.items():
        p = p.detach().numpy()
        w.update({name % i: x for i, x in enumerate(p)} if "%d" in name else {name: p})
    return w


def fingerprint(x, m, real):
    return {"fingerprint": parts(fingerprint_of(m.c, flat(m)))}


def quoted(string):
    return '"' + "".join("\\" + ch if ch in '"\\' else f"\\u{ord(ch):04x}" if ch < " " else ch
                         for ch in string) + '"'


def header(meta, tensors, least=0):
    """tensors: (name, dtype, shape, bytes)."""
    at, fields = 0, ",".join(f"{quoted(k)}:{quoted(v)}" for k, v in meta.items())
    out = f'{{"__metadata__":{{{fields}}}'
    for name, dtype, shape, n in tensors:
        shape = ",".join(str(i) for i in shape)
        out += f',{quoted(name)}:{{"dtype":"{dtype}","shape":[{shape}],'
        out += f'"data_offsets":[{at},{at + n}]}}'
        at += n
    out = (out + "}").encode()
    size = max(least, -(-(8 + len(out)) // 64) * 64)
    return (size - 8).to_bytes(8, "little") + out.ljust(size - 8)


def checksum(data):
    h = 0
    data += bytes(8 - len(data) % 8) + len(data).to_bytes(8, "little")
    for i in range(0, len(data), 8):
        h = (h ^ int.from_bytes(data[i:i + 8], "little")) * GOLDEN & ONES
        h ^= h >> 29
    return f"{h:016x}"


def bank_file(kept, shape, half_precision, model, made_with):
    T, d = shape
    dtype = np.dtype("<f2") if half_precision else np.dtype("<f4")
    phi = b"".join(rows.astype("<f4").astype(dtype).tobytes() for rows, _ in kept)
    entries = b"".join(entry for _, entry in kept)
    meta = {"format": "mac-bank", "model": f"{model:016x}", "tokens": f"{made_with:016x}",
            "hash": "siphash", "sum": checksum(phi + entries)}
    if not made_with:
        del meta["tokens"]
    name, most, row = "F16" if half_precision else "F32", 2 ** 31 - 1, T * d * dtype.itemsize
    room = header(meta, [("phi", name, (most, T, d), most * row), ("entries", "U8", (most,), most)])
    head = header(meta, [("phi", name, (len(kept), T, d), len(phi)),
                         ("entries", "U8", (len(entries),), len(entries))], len(room))
    return head + phi + entries


def bank(x, m, real):
    T, phi, kept, seen, added = whole(x, "T"), x["phi"], [], set(), []
    forget = texts(x["forget"]) if "forget" in x else []
    for k, (i, title, t) in enumerate(zip(*(texts(x[n]) for n in ("ids", "titles", "texts")))):
        added.append(siphash(t) not in seen)
        if added[-1] and i not in forget:
            entry = i + b"\0" + title + b"\0" + f"{siphash(t):016x}".encode() + b"\0"
            kept.append((phi[k * T:k * T + T], entry))
        seen.add(siphash(t))
    data = bank_file(kept, (T, phi.shape[1]), number(x, "half"), word(x["model"]),
                     word(x["tokens"]))
    return {"added": np.array(added, np.float64),
            "file" if number(x, "half") else "bits_file": numbers(data)}


def model_file(x, m, real):
    c = sizes(x)
    w = first_weights(c, word(x["seed"]), np.float32)
    meta = {"format": "mac-model-2", **{n: str(getattr(c, n)) for n in SIZES if getattr(c, n)},
            "tokenizer": "".join(f"{a} {b}\n" for a, b in pairs(x))}
    tensors = [(name, "F32", shape, 4 * w[name].size) for name, shape in file_order(c)]
    data = b"".join(w[name].astype("<f4").tobytes() for name, *_ in tensors)
    return {"bits_file": numbers(header(meta, tensors) + data)}


# kind: (function, inputs)
KINDS = {"rate": (rate, "lr warmup total cosine n"),
         "steps": (steps, "W b gW gb lr warmup total cosine momentum decay clip"),
         "random": (random, "seed n below"), "start": (start, "sizes seed sharp"),
         "batch": (batch, "titles texts q a doc state S docs questions group drop batch_lm"),
         "merges": (merges, "texts vocab"), "tokens": (tokens, "merges text"),
         "prompt": (prompt, "merges text what most"), "half": (half, "x"), "hash": (hashes, "text"),
         "fingerprint": (fingerprint, ""),
         "bank": (bank, "T ids titles texts phi half model tokens forget"),
         "model_file": (model_file, "sizes seed merges")}
