"""levels_model.py - levels 7 and 9 of tests/vectors once more, with PyTorch and mac_torch.py, from
tests/vectors/README.md: answers from a bank, the gate, trainings.  As in levels.py, a kind is a
function of {input: array}, the model and the type of numbers (here PyTorch's)."""
import numpy as np
import torch
import torch.nn.functional as F

import levels
import mac_torch as mac
from levels import number, whole


def split(x, name):
    """Token lists of the texts under `name`."""
    n = x[name + "_n"].astype(int).tolist()
    return [part.astype(int).tolist() for part in np.split(x[name], np.cumsum(n)[:-1])]


def tensor(x, dtype):
    return torch.tensor(x, dtype=dtype)


# ==== level 7: from bank to prefix ===============================================================
def received_by(m, z, phi, finding):
    """[B,K]"""
    if finding:
        return mac.finder(m, z, phi).mean(1)
    blocks = torch.stack(mac.aggregate(m, z[None], phi[None])[1])  # [agg_B,1,B,K,agg_H,T]
    return blocks.mean((0, 4, 5))[0]


def read(m, z, phi):
    return mac.aggregate(m, z[None], phi[None])[0][0]


def hierarchy(m, z, phi, M):
    """One question, z [1,T,d]."""
    while True:
        phi = torch.cat([read(m, z, part) for part in phi.split(M)])
        if len(phi) == 1:
            return phi


def share(m, z, beside, K):
    """[B]: a document's share is what the least of the finder's heads gives it."""
    return mac.finder(m, z, beside)[:, :, :K].min(1).values.max(1).values


def logit(p):
    return torch.logit(p.clamp(1e-6, 1 - 1e-6))


def sure(m, share):
    slope, shift = m.gate["gate.fit"][:2]
    return torch.sigmoid(slope * logit(share) + shift)


def threshold(m, K):
    low, fall = m.gate["gate.fit"][2:]
    return torch.sigmoid(logit(low) - fall * np.log(max(K, 16) / 16))


def phi_star(m, z, phi, x, out):
    """[B,T,d]; received and sure_of go into out."""
    K, N, M = len(phi), whole(x, "select"), whole(x, "hierarchy")
    if 0 < M < K:
        return torch.cat([hierarchy(m, q[None], phi, M) for q in z])
    beside = torch.cat((phi, m.gate["gate.strangers"])) if number(x, "sure") else phi
    finding = 0 < N < K or number(x, "sure") > 0
    got = received_by(m, z, beside, finding)[:, :K] if K else z.new_zeros(len(z), 1)
    if K and not M:
        out["received"] = got
    if number(x, "sure"):
        out["sure_of"] = sure(m, share(m, z, beside, K) if K else got[:, 0])
        out["threshold"] = threshold(m, K)[None]
    if not 0 < N < K:
        return read(m, z, phi)
    best = [sorted(sorted(range(K), key=lambda k: -float(row[k]))[:N]) for row in got]
    return torch.cat([read(m, q[None], phi[chosen]) for q, chosen in zip(z, best)])


# ==== level 7: from prefix to tokens =============================================================
def next_logits(m, ids, doc, prefix):
    """After the last of ids, of which the first `doc` are a document's; prefix [P,2L,1,d]."""
    h = mac.lm_hidden(m, torch.tensor([ids]), prefix, doc=torch.tensor([doc]))[0, -1]
    return m[mac.LM + "wte.weight"] @ h


def greedy(m, ids, doc, prefix, most):
    answer = []
    while len(answer) < most:
        logits = next_logits(m, ids + answer, doc, prefix).tolist()
        best = logits.index(max(logits))
        if best == m.c.V - 1:
            break
        answer.append(best)
    return answer


def beam_search(m, ids, doc, prefix, most, W, G, penalty):
    w, eos, ended_best = W // G, m.c.V - 1, None
    groups, ended = [[(0.0, [])] for _ in range(G)], [0] * G

    def end(tokens, mean):
        nonlocal ended_best
        if ended_best is None or mean > ended_best[0]:
            ended_best = (mean, tokens)

    step = 0
    while step < most and min(ended) < w:
        taken = [0] * m.c.V
        for g in range(G):
            if ended[g] >= w:
                continue
            found = []
            for score, tokens in groups[g]:
                logp = F.log_softmax(next_logits(m, ids + tokens, doc, prefix), -1).tolist()
                found += [(score + logp[v] - penalty * taken[v], tokens, v) for v in range(eos + 1)]
            found = sorted(found, key=lambda c: -c[0])[:2 * w]  # which keeps the order of ties
            groups[g] = []
            for i, (score, tokens, v) in enumerate(found):
                if len(groups[g]) == w:
                    break
                if v != eos:
                    taken[v] += 1
                    groups[g].append((score, tokens + [v]))
                elif i < w:
                    ended[g] += 1
                    end(tokens, score / (step + 1))
        step += 1
    for g in range(G):
        for score, tokens in groups[g] if ended[g] < w else []:
            end(tokens, score / step)
    return ended_best[1]


@torch.no_grad()
def answer(x, m, dtype):
    q, out, most = split(x, "q"), {}, whole(x, "most")
    context = split(x, "context") if "context" in x else [[]] * len(q)
    prefix = None
    if not number(x, "alone"):
        phi = tensor(x.get("phi", np.zeros((0, m.c.d))), dtype).view(-1, m.c.T, m.c.d)
        phi = phi.half().to(dtype) if number(x, "half") else phi
        z = mac.encode_question(m, mac.pad([torch.tensor(ids) for ids in q]))
        prefix = mac.prefix_expand(m, phi_star(m, z, phi, x, out))
        out["prefix"] = prefix.flatten(0, 2)
    rows = []
    for b, ids in enumerate(q):
        own = None if prefix is None else prefix[:, :, b:b + 1]
        asked = (m, context[b] + ids, len(context[b]), own, most)
        W = whole(x, "beams")
        tokens = (beam_search(*asked, W, max(1, whole(x, "groups")), number(x, "penalty"))
                  if W > 1 else greedy(*asked))
        rows += tokens + [-1] * (most - len(tokens))
    return {**out, "answers": torch.tensor(rows)}


# ==== level 7: the gate ==========================================================================
def about(m, phi):
    """[K,T,d], or rows of strangers [K,F,d], to what is compared."""
    return F.layer_norm(phi, phi.shape[-1:], eps=1e-5).flatten(1)


@torch.no_grad()
def versions(x, m, dtype):
    at, T, d = m.gate["gate.vectors"].long(), m.c.T, m.c.d
    own, held = (about(m, tensor(x[n], dtype).view(-1, T, d)[:, at]) for n in ("phi", "bank"))
    rows = m.gate["gate.strangers"].view(-1, d)
    n = len(rows) // len(at)
    strangers = about(m, rows[:n * len(at)].view(n, len(at), d))
    return {"ratio": (held - own).norm(dim=1) / (strangers - own).norm(dim=1).min()}


def encoded(m, x, name, encode):
    return encode(m, mac.pad([torch.tensor(ids) for ids in split(x, name)]))


@torch.no_grad()
def gate(x, m, dtype):
    T, d, heads = m.c.T, m.c.d, (m.c.agg_H + 1) // 2
    strangers, docs = (encoded(m, x, n, mac.encode) for n in ("strangers", "docs"))
    z, doc, n = encoded(m, x, "q", mac.encode_question), x["doc"].astype(int), len(strangers)
    got = received_by(m, z[:64], strangers.reshape(n * T, 1, d), True).sum(0).view(n, T).sum(0)
    F_ = max(1, int((got >= min(len(z), 64) / (2 * heads)).sum()))
    kept = sorted(sorted(range(T), key=lambda t: -float(got[t]))[:F_])
    R = -(-n * F_ // T)
    rows = torch.stack([strangers[i // F_ % n, kept[i % F_]] for i in range(R * T)])
    deal, rng = [], levels.Random(1)
    for i in range(len(docs)):
        j = rng.whole(i + 1)
        deal.append(i)
        deal[i], deal[j] = deal[j], i
    shares = []
    def ask(G, g, y):
        bank = docs[[i for i in range(len(docs)) if deal[i] % G == g]]
        asked = [b for b in range(len(z)) if deal[doc[b]] % G == (g if y else (g + 1) % G)]
        if not asked:
            return []
        return logit(share(m, z[asked], torch.cat((bank, rows.view(R, T, d))), len(bank))).tolist()

    for G in (len(docs), len(docs) // 16, 2):
        for g in range(G if G > 1 else 0):
            shares += [(y, s) for y in (0, 1) for s in ask(G, g, y)]
    y, s = (np.array(a, np.float64) for a in zip(*shares))
    H = np.array([[0.01 + (s * s).sum() / 4, s.sum() / 4], [s.sum() / 4, len(s) / 4]])
    ab = np.array([1.0, 0.0])
    for _ in range(300):
        p = 1 / (1 + np.exp(-(ab[0] * s + ab[1])))
        ab -= np.linalg.solve(H, [ab[0] / 100 + ((p - y) * s).sum(), (p - y).sum()])
    one = sum((ask(len(docs), g, 1) for g in range(len(docs))), [])
    one, all_ = (sorted(x)[len(x) // 20] for x in (one, ask(1, 0, 1)))
    low = 1 / (1 + np.exp(-(ab[0] * one + ab[1])))
    fall = ab[0] * (one - all_) / np.log(len(docs) / 16) if len(docs) > 16 else 0
    return {"gate.vectors": torch.tensor(kept), "gate.strangers": rows,
            "gate.fit": torch.tensor([*ab, low, max(0, fall)], dtype=torch.float64)}


# ==== level 9 ====================================================================================
def is_matrix(name, p):
    tables = ("wte", "wpe", "shared", "relative_attention_bias", "prompts", "mlps.")
    return p.dim() == 2 + ("%d" in name) and not any(t in name for t in tables)


def muon(w, m, g, lr, decay, momentum):
    """Five steps of Newton and Schulz towards the orthogonal factor of the next momentum."""
    m = momentum * m + g
    x = g + momentum * m
    size, turned = x.square().sum((-2, -1), keepdim=True).sqrt(), x.shape[-2] > x.shape[-1]
    x = torch.where(size > 1e-15, x / size, 0 * x)
    x = x.mT if turned else x  # a group [G,R,C] is G matrices
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.mT if turned else x
    return w - lr * decay * w - lr * 0.2 * max(w.shape[-2:]) ** 0.5 * x, m


def adam(w, m, v, g, t, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    step = m / (1 - 0.9 ** t) / ((v / (1 - 0.999 ** t)).sqrt() + 1e-8)
    return w - lr * decay * w - lr * step, m, v


def mac_step_loss(x, m):
    docs, q, qa = (mac.pad([torch.tensor(t) for t in split(x, n)]) for n in ("docs", "q", "qa"))
    return mac.mac_loss(m, docs, q, qa, torch.tensor(x["doc"].astype(int)), whole(x, "group"),
                        number(x, "guidance"), whole(x, "n_grad"), number(x, "distill"),
                        bool(number(x, "alike")))[0]


def lm_step_loss(x, m):
    ids, mask = split(x, "ids"), split({"m": x["asked"], "m_n": x["ids_n"]}, "m")
    return mac.lm_loss(m, mac.pad([torch.tensor(t) for t in ids]),
                       mac.pad([torch.tensor(t) for t in mask]).ids.bool(),
                       alike=bool(number(x, "alike")),
                       doc=torch.tensor(x["ids_doc"].astype(int)))


def share_start(m, sharp):
    w = {name: x.astype(np.float64) for name, x in levels.flat(m).items()}
    levels.shared_start(w, m.c, sharp, np.float64)
    for name, p in m.w.items():
        new = np.stack([w[name % i] for i in range(len(p))]) if "%d" in name else w[name]
        p.data = tensor(new, p.dtype)


def training(x, m, dtype):
    lm, total = "ids" in x, whole(x, "total")
    m = mac.Model(m.c, {n: p.detach().clone() for n, p in m.w.items()})
    if number(x, "sharp"):
        share_start(m, number(x, "sharp"))
    moving = m.train_only(lambda name: name.startswith("base_lm.") == lm)
    names = [name for name, p in m.w.items() if p.requires_grad]
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in zip(names, moving)}
    momentum, decay, clip = (number(x, n) for n in ("momentum", "decay", "clip"))
    losses, norms = [], []
    for step in range(total):
        loss = lm_step_loss(x, m) if lm else mac_step_loss(x, m)
        grads = torch.autograd.grad(loss, moving, allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g for p, g in zip(moving, grads)]
        norm = sum(g.square().sum() for g in grads).sqrt().item()
        lr = float(levels.rate_of(x, step, np.float64))
        for name, p, g in zip(names, moving, grads):
            g, (a, v) = g * min(1, clip / norm), moments[name]
            if is_matrix(name, p):
                p.data, a = muon(p.data, a, g, lr, decay, momentum)
            else:
                p.data, a, v = adam(p.data, a, v, g, step + 1, lr, decay)
            moments[name] = (a, v)
        losses.append(loss.item()), norms.append(norm)
    return {"losses": torch.tensor(losses, dtype=torch.float64),
            "norms": torch.tensor(norms, dtype=torch.float64)}


KINDS = {"answer": (answer, "q q_n context context_n phi half alone most beams groups penalty "
                            "select hierarchy sure"),
         "versions": (versions, "phi bank"),
         "gate": (gate, "strangers strangers_n docs docs_n q q_n doc"),
         "training": (training,
                      "ids ids_n ids_doc asked docs docs_n q q_n qa qa_n doc group n_grad guidance "
                      "distill alike lr warmup total cosine momentum decay clip sharp")}
