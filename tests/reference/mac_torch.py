"""mac_torch.py - Memory of Amortized Contexts (arXiv 2403.04317) once more, in PyTorch.

Beside mac.c, for readers and for checks: the same networks and the same loss, written from the
paper's equations the way PyTorch wants them.  Sequences are padded to the longest of a batch and
masked (mac.c has ragged rows and no padding), gradients are autograd's, and parameters lie in a
dict under the names of the model file.  Where the file has a tensor per token or prefix vector
("mlps.0.", "mlps.1.", ...), the dict has all of them as one, under the name with "%d".

    m = load_model("people.safetensors", torch.float64)
    loss, stats = mac_loss(m, pad(docs), pad(q), pad(qa), torch.tensor(doc), group=8, guidance=0.1)

Letters as in mac.h:  B sequences or questions   S tokens   d LM width   H heads   V vocabulary
e encoder width   L LM layers   K documents   T vectors per document   P prefix positions
n = P*2L keys and values   G banks of a batch.      Needs PyTorch 1.12 or later, and numpy.
"""
import functools
import itertools
import json
import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

CONFIG = ("V S d L H e enc_L enc_H enc_dh enc_ff T P agg_B agg_H agg_dh pre_ff D Q A").split()
OFF = {"pad": 0}  # sizes that a file has only where they are not 0
LM, ENC, QENC = "base_lm.base_lm.transformer.", "enc_decoder.", "aggregator.question_encoder."
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
BUCKETS, FAR = 32, 128  # T5's relative positions


# ==== safetensors: 8 bytes of length, a JSON header, the numbers =================================
DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "U8": np.uint8}


def st_read(path):
    """-> ({name: array}, {key: text})"""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    meta, tensors = header.pop("__metadata__", {}), {}
    for name, t in header.items():
        part = data[slice(*t["data_offsets"])]
        tensors[name] = np.frombuffer(part, DTYPES[t["dtype"]]).reshape(t["shape"])
    return tensors, meta


def st_write(path, tensors, meta):
    """Names in the order of the dict; the numbers start at a multiple of 64 bytes."""
    header, at = {"__metadata__": meta}, 0
    for name, x in tensors.items():
        dtype = next(k for k, v in DTYPES.items() if v == x.dtype)
        header[name] = {"dtype": dtype, "shape": x.shape, "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.writelines(x.tobytes() for x in tensors.values())


# ==== parameters: names, shapes, files ===========================================================
def shapes(c):
    """{name: shape} of all parameters.  A name with "%d" stands for shape[0] tensors of a file."""
    s, n, inner, inner5 = {}, c.P * 2 * c.L, c.agg_H * c.agg_dh, c.enc_H * c.enc_dh

    def affine(name, *weight, bias=slice(-1)):  # weight [..,out,in], bias [..,out]
        s[name + ".weight"], s[name + ".bias"] = weight, weight[bias]

    def norm(name, *gain):
        affine(name, *gain, bias=slice(None))

    s[LM + "wte.weight"], s[LM + "wpe.weight"] = (c.V, c.d), (c.S, c.d)
    for l in range(c.L):
        at, d = f"{LM}h.{l}.", c.d
        for x, i, o in (("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, 4 * d),
                        ("mlp.c_proj", 4 * d, d)):
            affine(at + x, i, o, bias=slice(1, None))  # GPT-2 stores its matrices [in,out]
        norm(at + "ln_1", d), norm(at + "ln_2", d)
    norm(LM + "ln_f", c.d)
    attn = {**dict.fromkeys("qkv", (inner5, c.e)), "o": (c.e, inner5)}
    feed_forward = {"wi": (c.enc_ff, c.e), "wo": (c.e, c.enc_ff)}
    for t5 in (ENC, QENC):
        s[t5 + "shared.weight"], s[t5 + "learnable_prompts"] = (c.V, c.e), (1, c.T, c.e)
        for stack in ("encoder.", "decoder."):
            kinds = ("SelfAttention", "EncDecAttention")[:1 if stack == "encoder." else 2]
            for l, kind in itertools.product(range(c.enc_L), (*kinds, "DenseReluDense")):
                sub = kinds.index(kind) if kind in kinds else len(kinds)
                at = f"{t5}{stack}block.{l}.layer.{sub}."
                s[at + "layer_norm.weight"] = (c.e,)
                for x, shape in (attn if kind in kinds else feed_forward).items():
                    s[f"{at}{kind}.{x}.weight"] = shape
            s[t5 + stack + BIAS] = (BUCKETS, c.enc_H)
            s[t5 + stack + "final_layer_norm.weight"] = (c.e,)
    for at in ("mlps.%d.", "aggregator.mlps.%d."):
        norm(at + "mlp.0", c.T, c.e)
        affine(at + "mlp.1", c.T, c.d, c.e)
        affine(at + "mlp.3", c.T, c.d, c.d)
        if c.e != c.d:
            affine(at + "skip", c.T, c.d, c.e)
    for i in range(c.agg_B):
        at, ff = f"aggregator.cross_attention_list.{i}.", min(inner, c.d)
        norm(at + "norm1", c.d), norm(at + "norm_context", c.d), norm(at + "norm2", c.d)
        s.update({f"{at}attn.to_{x}.weight": (inner, c.d) for x in "qkv"})
        affine(at + "attn.to_out.0", c.d, inner)
        affine(at + "mlp.net.0", ff, c.d)
        affine(at + "mlp.net.3", c.d, ff)
    norm("token_SA.mlp_layers.%d.net.0", n, c.d)
    affine("token_SA.mlp_layers.%d.net.1", n, c.pre_ff, c.d)
    affine("token_SA.mlp_layers.%d.net.4", n, c.d, c.pre_ff)
    return s


class Model:
    """c: sizes under their letters.  w: {name: parameter}, leaf tensors of autograd.  gate: its
    tensors by name, if there is one."""

    def __init__(self, c, w, meta={}):
        self.c, self.w, self.meta, self.gate = c, w, meta, {}

    def __getitem__(self, name):
        return self.w[name]

    def train_only(self, wanted):
        """The parameters whose name is wanted need gradients, no other does; -> list of them."""
        return [p for name, p in self.w.items() if p.requires_grad_(wanted(name)).requires_grad]


def random_model(sizes, dtype=torch.float32, seed=1, std=0.02):
    """Random weights for {letter: size}, for tests and for benchmarks; gains of norms near one."""
    c = SimpleNamespace(**{"S": 0, **OFF, **sizes})
    c.S = c.S or c.P + c.D + c.Q + c.A
    rng, s = torch.Generator().manual_seed(seed), shapes(c)
    w = {name: std * torch.randn(s[name], generator=rng, dtype=dtype) for name in s}
    for name in s:
        bias = s.get(name.replace("weight", "bias"))
        if "weight" in name and (bias == s[name] or len(s[name]) == 1):
            w[name] += 1
    return Model(c, w)


def load_model(path, dtype=torch.float32):
    tensors, meta = st_read(path)
    if meta.get("format") != "mac-model-2":
        raise ValueError(f"{path}: not a model made by train")
    sizes = {**OFF, **meta}
    c, w = SimpleNamespace(**{k: int(sizes[k]) for k in (*CONFIG, *OFF)}), {}
    for name, shape in shapes(c).items():
        parts = [name % g for g in range(shape[0])] if "%d" in name else [name]
        lost = set(parts) - set(tensors)
        if lost:
            raise ValueError(f"{path}: there is no {min(lost)}")
        x = np.stack([tensors.pop(part) for part in parts])
        w[name] = torch.tensor(x if "%d" in name else x[0], dtype=dtype)
        if w[name].shape != shape:
            raise ValueError(f"{path}: {name} is {list(w[name].shape)}, not {list(shape)}")
    m = Model(c, w, meta)
    for name in [name for name in tensors if name.startswith("gate.")]:
        m.gate[name] = torch.tensor(tensors.pop(name), dtype=dtype)
    if tensors:
        raise ValueError(f"{path}: {min(tensors)} belongs to no model")
    return m


def save_model(m, path):
    tensors = {}
    for name, p in m.w.items():
        x = p.detach().numpy()
        tensors.update({name % g: x[g] for g in range(len(x))} if "%d" in name else {name: x})
    sizes = {k: str(getattr(m.c, k)) for k in (*CONFIG, *OFF) if getattr(m.c, k)}
    meta = {**m.meta, "format": "mac-model-2", **sizes}
    st_write(path, tensors, meta)


# ==== building blocks ============================================================================
class Padded(NamedTuple):
    ids: torch.Tensor  # [B,S] tokens, 0 behind the end
    n: torch.Tensor    # [B] tokens of each

    def real(self):
        """[B,S]: where there is a token."""
        return torch.arange(self.ids.shape[1]) < self.n[:, None]


def pad(lists):
    n = torch.tensor([len(x) for x in lists])
    ids = torch.zeros(len(lists), int(n.max()), dtype=torch.long)
    for row, x in zip(ids, lists):
        row[:len(x)] = torch.as_tensor(x)
    return Padded(ids, n)


def forbid(allowed, dtype):
    """What is added to scores: 0 where attention is allowed, else -inf."""
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -math.inf)


def attention(q, k, v, H, scale, bias):
    """softmax(scale q k^T + bias) v in H heads.  q [B,Sq,H*dh], k, v [B,Sk,H*dh]; bias fits
    [B,H,Sq,Sk].  -> what was read [B,Sq,H*dh], and the weights [B,H,Sq,Sk]."""
    q, k, v = (x.unflatten(2, (H, -1)).transpose(1, 2) for x in (q * scale, k, v))
    weights = (q @ k.transpose(2, 3) + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


def linear(m, x, name):
    return F.linear(x, m[name + ".weight"], m.w.get(name + ".bias"))


def layer_norm(m, x, name):
    """Over the last axis.  Gains are [d], or [G,d] for x [G,R,d]: a norm of its own per group."""
    g, b = m[name + ".weight"], m[name + ".bias"]
    if g.dim() == 1:
        return F.layer_norm(x, g.shape, g, b)
    return torch.addcmul(b[:, None], F.layer_norm(x, g.shape[-1:]), g[:, None])


def grouped_linear(m, x, name):
    """G linear layers at once: x [G,R,I] -> [G,R,O]."""
    return torch.baddbmm(m[name + ".bias"][:, None], x, m[name + ".weight"].transpose(1, 2))


# ==== the base LM [E5]: GPT-2 behind a key/value prefix ==========================================
def lm_hidden(m, ids, prefix=None, made=None, doc=None):
    """ids [B,S], padded behind -> hidden states [B,S,d].  prefix [P,2L,B,d] from prefix_expand.
    made: a list that gets the tokens' keys and values [B,S,d] of layer 0, of layer 1, ...
    doc [B]: so many first tokens are a document's, which has the last positions of the window; all
    others stand at P, P+1, ...
    No mask for padding: it stands to the right of every token that is ever asked."""
    c, S = m.c, ids.shape[1]
    if c.P + S > c.S:
        raise ValueError(f"{S} tokens, the LM's window leaves room for {c.S - c.P}")

    def conv1d(x, name):  # GPT-2's linear layer, W [in,out]
        return F.linear(x, m[name + ".weight"].t(), m[name + ".bias"])

    held = c.P if prefix is not None else 0
    may = torch.ones(S, held + S, dtype=torch.bool).tril(held)  # query i reads keys j <= i + held
    doc, i = torch.zeros(1, dtype=torch.long) if doc is None else doc, torch.arange(S)
    place = torch.where(i < doc[:, None], c.S, c.P) - doc[:, None] + i  # [B,S], or [1,S]
    h = F.embedding(ids, m[LM + "wte.weight"]) + m[LM + "wpe.weight"][place]
    causal = forbid(may, h.dtype)
    for l in range(c.L):
        at = f"{LM}h.{l}."
        q, k, v = conv1d(layer_norm(m, h, at + "ln_1"), at + "attn.c_attn").split(c.d, -1)
        if made is not None:
            made += k, v
        if held:  # index j = p*2L + 2l + (0 key | 1 value)
            k = torch.cat((prefix[:, 2 * l].transpose(0, 1), k), 1)
            v = torch.cat((prefix[:, 2 * l + 1].transpose(0, 1), v), 1)
        y, _ = attention(q, k, v, c.H, (c.d // c.H) ** -0.5, causal)
        h = h + conv1d(y, at + "attn.c_proj")
        y = F.gelu(conv1d(layer_norm(m, h, at + "ln_2"), at + "mlp.c_fc"), approximate="tanh")
        h = h + conv1d(y, at + "mlp.c_proj")
    return layer_norm(m, h, LM + "ln_f")


def lm_loss(m, x, asked=None, prefix=None, alike=False, doc=None):
    """Mean of -log p(token) where asked [B,S] is set (None: everywhere), never of a first token:
    over all of them, or, where `alike` is set, over the means of the sequences."""
    keep = (x.real() if asked is None else x.real() & asked)[:, 1:]
    rows = keep.flatten().nonzero().squeeze(1)  # the others need no logits
    h = lm_hidden(m, x.ids[:, :-1], prefix, doc=doc).flatten(0, 1).index_select(0, rows)
    target = x.ids[:, 1:].flatten()[rows]
    logits = F.linear(h, m[LM + "wte.weight"])
    if not alike:
        return F.cross_entropy(logits, target)
    share = keep.to(h.dtype) / (len(keep) * keep.sum(1, keepdim=True))
    return share.flatten()[rows] @ F.cross_entropy(logits, target, reduction="none")


# ==== amortization network and question encoder: T5, then an MLP per token ======================
@functools.lru_cache(maxsize=256)
def relative_buckets(S, both_sides):
    """[S,S] bucket of key j for query i: exact for near ones, then logarithmic up to FAR."""
    relative = torch.arange(S) - torch.arange(S)[:, None]  # j - i
    n = relative.abs() if both_sides else (-relative).clamp(min=0)
    half = BUCKETS // 2 if both_sides else BUCKETS
    exact = half // 2
    far = (n.double() / exact).clamp(min=1).log2() / math.log2(FAR / exact) * (half - exact)
    bucket = torch.where(n < exact, n, (exact + far.long()).clamp(max=half - 1))
    return bucket + half * (relative > 0) if both_sides else bucket


def rms_norm(m, x, name):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * m[name + ".weight"]


def t5_attention(m, x, at, kind, bias, source=None):
    """x + Attn(norm(x), source or norm(x)): no scale, no biases in the linear layers."""
    y = rms_norm(m, x, at + "layer_norm")
    source = y if source is None else source
    q, k, v = linear(m, y, at + kind + ".q"), *(linear(m, source, f"{at}{kind}.{w}") for w in "kv")
    return x + linear(m, attention(q, k, v, m.c.enc_H, 1, bias)[0], at + kind + ".o")


def t5_feed_forward(m, x, at):
    y = linear(m, rms_norm(m, x, at + "layer_norm"), at + "DenseReluDense.wi")
    return x + linear(m, y.relu(), at + "DenseReluDense.wo")


def enc_forward(m, t5, x):
    """The encoder reads the tokens; the decoder turns T learnable vectors into T states.
    -> [B,T,e].  t5: ENC or QENC.  Nobody attends to padding, unless c.pad is set: then, as in the
    official code, what is shorter is filled up to c.pad with PAD (token 0); the encoder does not
    attend to it, the decoder does."""
    c, B = m.c, len(x.n)
    x = x._replace(ids=F.pad(x.ids, (0, max(0, c.pad - x.ids.shape[1]))))
    S, seen = x.ids.shape[1], x._replace(n=x.n.clamp(min=c.pad))

    def position_bias(stack, S, both_sides):  # [1,H,S,S], shared by all layers of a stack
        return F.embedding(relative_buckets(S, both_sides), m[stack + BIAS]).permute(2, 0, 1)[None]

    h = F.embedding(x.ids, m[t5 + "shared.weight"])
    padding, unseen = (forbid(y.real(), h.dtype)[:, None, None] for y in (x, seen))  # [B,1,1,S]
    bias = position_bias(t5 + "encoder.", S, True) + padding
    for l in range(c.enc_L):
        at = f"{t5}encoder.block.{l}.layer."
        h = t5_attention(m, h, at + "0.", "SelfAttention", bias)
        h = t5_feed_forward(m, h, at + "1.")
    h = rms_norm(m, h, t5 + "encoder.final_layer_norm")
    y = m[t5 + "learnable_prompts"].expand(B, -1, -1)
    causal = forbid(torch.ones(c.T, c.T, dtype=torch.bool).tril(), h.dtype)
    bias = position_bias(t5 + "decoder.", c.T, False) + causal
    for l in range(c.enc_L):
        at = f"{t5}decoder.block.{l}.layer."
        y = t5_attention(m, y, at + "0.", "SelfAttention", bias)
        y = t5_attention(m, y, at + "1.", "EncDecAttention", unseen, h)
        y = t5_feed_forward(m, y, at + "2.")
    return rms_norm(m, y, t5 + "decoder.final_layer_norm")


def token_mlps(m, x, at):
    """An MLP per token, skip(x) + W2 tanh(W1 LN(x)): x [B,T,e] -> [B,T,d]."""
    x = x.transpose(0, 1).contiguous()  # [T,B,e]: group t has weights of its own
    y = grouped_linear(m, layer_norm(m, x, at + "mlp.0"), at + "mlp.1").tanh()
    y = grouped_linear(m, y, at + "mlp.3")
    skip = grouped_linear(m, x, at + "skip") if m.c.e != m.c.d else x
    return (skip + y).transpose(0, 1)


def encode(m, docs):
    """[E1] phi_k = g_amort(d_k): K documents -> [K,T,d]."""
    return token_mlps(m, enc_forward(m, ENC, docs), "mlps.%d.")


def encode_question(m, q):
    """g_input(x_i): B questions -> [B,T,d]."""
    return token_mlps(m, enc_forward(m, QENC, q), "aggregator.mlps.%d.")


# ==== aggregator [E3] and prefix [E4] ============================================================
def aggregate(m, z, phi, reads=None):
    """[E3] phi* = h_psi(z, phi) in G banks at once: z [G,B,T,d] from encode_question,
    phi [G,K,per,d], per = T vectors a document; reads [G,B,K]: which documents a question may
    see (None: all of its bank).
    -> phi* [G,B,T,d], and per block the attention on each document [G,B,K,agg_H,T], of every
    head and query token.  Nothing tells keys apart but what they hold: order does not matter."""
    c, (G, B, T, d), (K, per) = m.c, z.shape, phi.shape[1:3]
    q, phi, received, bias = z.reshape(G, B * T, d), phi.reshape(G, K * per, d), [], 0
    if reads is not None:  # a document's keys and a question's T queries are allowed alike
        reads = reads.repeat_interleave(T, 1).repeat_interleave(per, 2)
        bias = forbid(reads, z.dtype)[:, None]  # [G,1,B*T,K*per]
    for i in range(c.agg_B):
        at = f"aggregator.cross_attention_list.{i}."
        x, context = layer_norm(m, q, at + "norm1"), layer_norm(m, phi, at + "norm_context")
        k, v = (linear(m, context, f"{at}attn.to_{w}") for w in "kv")
        y, weights = attention(linear(m, x, at + "attn.to_q"), k, v, c.agg_H, c.agg_dh ** -0.5,
                               bias)
        received.append(weights.view(G, c.agg_H, B, T, K, per).sum(5).permute(0, 2, 4, 1, 3))
        q = q + linear(m, y, at + "attn.to_out.0")
        y = F.gelu(linear(m, layer_norm(m, q, at + "norm2"), at + "mlp.net.0"))
        q = q + linear(m, y, at + "mlp.net.3")
    return q.view(G, B, T, d), received


def prefix_expand(m, phi):
    """[E4] phi* [B,T,d] becomes n = P*2L keys and values: vector t is used n // T times in a row,
    the first n % T vectors once more; each use has its own y = x + W2 gelu(W1 LN x).
    -> [P,2L,B,d]"""
    c, n, at = m.c, m.c.P * 2 * m.c.L, "token_SA.mlp_layers.%d.net."
    t = torch.arange(c.T)
    x = phi.transpose(0, 1).index_select(0, t.repeat_interleave(n // c.T + (t < n % c.T).long()))
    y = F.gelu(grouped_linear(m, layer_norm(m, x, at + "0"), at + "1"))  # [n,B,pre_ff]
    return (x + grouped_linear(m, y, at + "4")).view(c.P, 2 * c.L, -1, c.d)


# ==== training, answers ==========================================================================
def read_banks(m, z, phi, bank):
    """Question b, z [B,T,d], reads bank[b] of phi [G,K,per,d] -> phi* [B,T,d]."""
    # Questions of one bank go together, so that nobody computes scores to mask them: question b
    # is number place[b] of its bank.  Where a bank has fewer, question 0 fills up, unread.
    same = (bank == bank[:, None]).tril(-1)
    place = same.sum(1)
    slot = torch.zeros(len(phi), int(place.max()) + 1, dtype=torch.long)
    slot[bank, place] = torch.arange(len(bank))
    z, _ = aggregate(m, z.index_select(0, slot.flatten()).unflatten(0, slot.shape), phi)
    return z.flatten(0, 1).index_select(0, bank * slot.shape[1] + place)


def finder(m, z, phi):
    """Ours, not the paper's: half of the first block's heads, rounded up, and of a question's
    vectors the first.  z [B,T,d], phi [K,T,d] -> its attention on each document [B,heads,K]."""
    c, at = m.c, "aggregator.cross_attention_list.0."
    q = linear(m, layer_norm(m, z[:, 0], at + "norm1"), at + "attn.to_q")
    k = linear(m, layer_norm(m, phi.flatten(0, 1), at + "norm_context"), at + "attn.to_k")
    q, k = (x.unflatten(1, (c.agg_H, -1))[:, :(c.agg_H + 1) // 2].transpose(0, 1) for x in (q, k))
    weights = (c.agg_dh ** -0.5 * q @ k.transpose(1, 2)).softmax(-1)  # [heads,B,K*T]
    return weights.unflatten(2, (len(phi), -1)).sum(3).transpose(0, 1)


BEFORE = 4  # tokens


def distance(m, prefix, docs, q, qa, doc):
    """Ours: |prefix - theirs|^2 / |theirs|^2.  Theirs are the keys and values that the LM itself
    makes in the document of the answer's tokens and of the one after them: position p of prefix
    [P,2L,B,d] against the p-th.  It reads no more than these and the few tokens before them, and
    the answer begins A places before the end of its window.  An answer that is not in its document
    has no part in this."""
    read, before, whose, made = [], [], [], []
    for b, k in enumerate(doc.tolist()):
        text = docs.ids[k, :docs.n[k]].tolist()
        answer = qa.ids[b, q.n[b]:qa.n[b] - 1].tolist()
        places = [i for i in range(len(text)) if answer and text[i:i + len(answer)] == answer]
        for at in places[:1]:
            first = max(0, at - BEFORE)
            read.append(text[first:at + min(m.c.P, len(answer) + 1)])
            before.append(at - first)
            whose.append(b)
    if not read:
        return prefix.new_zeros(())
    x = pad(read)
    with torch.no_grad():
        lm_hidden(m, x.ids, made=made, doc=torch.tensor(before) + m.c.A)
    made = torch.stack(made)  # [2L,B,S,d]
    rows = [(i, b, p, before[i] + p) for i, b in enumerate(whose)
            for p in range(int(x.n[i]) - before[i])]
    first = 2 if m.c.L > 1 else 0  # of several layers the first has no part in this
    mine = torch.stack([prefix[p, first:, b] for _, b, p, _ in rows])
    theirs = torch.stack([made[first:, i, at] for i, _, _, at in rows])
    return (mine - theirs).square().sum() / theirs.square().sum()


def mac_loss(m, docs, q, qa, doc, group, guidance=0.0, n_grad=None, distill=0.0, alike=False):
    """L = NLL(answer | LM(x; phi*)) + distill * distance of the prefix + guidance * mean of -log(
    the finder's attention on the right one of all documents); the last two are not the paper's.
    docs, q, qa: Padded documents, questions, questions with answer and EOS; doc [B] the document
    that answers.  Document i belongs to bank i % G where G banks of `group` make the batch; those
    from n_grad on get no gradient (backpropagation dropout).  alike: each answer counts the same.
    -> loss, {"answer": NLL, "distance": far, "mass": the finder's mean attention}"""
    G = len(docs.n) // group
    phi, z = encode(m, docs), encode_question(m, q)
    if n_grad is not None:
        phi = torch.cat((phi[:n_grad], phi[n_grad:].detach()))
    banks = phi.unflatten(0, (group, G)).transpose(0, 1)  # [G,group,T,d]: i = place * G + bank
    prefix = prefix_expand(m, read_banks(m, z, banks, doc % G))
    asked = torch.arange(qa.ids.shape[1]) >= q.n[:, None]  # from the answer's first token to EOS
    loss = lm_loss(m, qa, asked, prefix, alike)
    stats = {"answer": loss.item(), "distance": 0.0, "mass": 0.0}
    if distill:
        far = distance(m, prefix, docs, q, qa, doc)
        stats["distance"], loss = far.item(), loss + distill * far
    if guidance:
        right = finder(m, z, phi)[torch.arange(len(doc)), :, doc]
        stats["mass"], loss = right.mean().item(), loss - guidance * right.log().mean()
    return loss, stats


@torch.no_grad()
def answers(m, q, phi, cap):
    """Greedy answers (lists of at most cap tokens, without EOS) of B questions, phi [K,T,d]: the
    bank, None: the LM alone.  Without a cache: every step reads everything again."""
    B, eos, prefix = len(q.n), m.c.V - 1, None
    if phi is not None:
        prefix = prefix_expand(m, aggregate(m, encode_question(m, q)[None], phi[None])[0][0])
    ids, n, b = F.pad(q.ids, (0, cap)), q.n.clone(), torch.arange(B)
    running = torch.ones(B, dtype=torch.bool)
    for _ in range(cap):
        h = lm_hidden(m, ids[:, :int(n.max())], prefix)[b, n - 1]
        best = F.linear(h, m[LM + "wte.weight"]).argmax(-1)
        running &= best != eos
        if not running.any():
            break
        ids[b[running], n[running]] = best[running]
        n += running
    return [row[start:end].tolist() for row, start, end in zip(ids, q.n, n)]
