"""exchange_torch.py - a trained model goes from C to PyTorch and back; `make twin-exchange`.

    python3 tests/reference/exchange_torch.py EXCHANGE EXCHANGE64 FOLDER

EXCHANGE is tests/reference/exchange.c, EXCHANGE64 the same with numbers of 64 bits.  ./train makes a small
model of people in FOLDER; mac_torch.py must say what the C code says: logits, and greedy answers
to 100 questions.  Then PyTorch takes some Adam steps and writes the model; the C code must say what
PyTorch says of it, and ./run must answer what PyTorch answers.  Exit 1 when one of them does not.
"""
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import numpy as np
import torch
import torch.nn.functional as F

import mac_torch as mac
from check_torch import TOLERANCE, padded

DOCS, QUESTIONS, STEPS = 40, 100, 10
SIZES = ("--d 32 --L 2 --H 2 --e 32 --enc_L 1 --enc_H 2 --enc_ff 64 --T 6 --P 2 --agg_H 2 "
         "--pre_ff 32 --vocab 500")
TRAIN = ("--steps-lm 500 --steps 300 --group 4 --docs 16 --eval-every 1000 --eval-questions 32 "
         "--threads 1")
failed = []


def say(what, ok, figure):
    print(f"| {what} | {figure} |" + ("" if ok else " FAILED |"), flush=True)
    if not ok:
        failed.append(what)


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"exchange: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def corpus(folder):
    """FOLDER/data, made here, and its first DOCS test documents as a file of their own."""
    call("./run", "people", "--out", folder + "/data", "--docs", "600")
    path = folder + "/few.jsonl"
    with open(folder + "/data/test.jsonl", encoding="utf-8") as f, \
            open(path, "w", encoding="utf-8") as few:
        lines = [next(f) for _ in range(DOCS)]
        few.writelines(lines)
    return path, [qa["q"] for line in lines for qa in json.loads(line)["qas"]][:QUESTIONS]


# ==== what each side says ========================================================================
def from_c(program, model, path, folder):
    out = f"{folder}/said.safetensors"
    call(program, model, path, str(QUESTIONS), out)
    tensors, _ = mac.st_read(out)
    return {name: torch.tensor(x).squeeze(0) for name, x in tensors.items()}


def texts(said, name):
    return padded(said[name], said[name + "_n"])


@torch.no_grad()
def from_torch(m, said):
    """-> logits [N,V] of all tokens of qa, greedy answers."""
    q, qa, phi = texts(said, "q"), texts(said, "qa"), mac.encode(m, texts(said, "docs"))
    z, _ = mac.aggregate(m, mac.encode_question(m, q)[None], phi[None])
    h = mac.lm_hidden(m, qa.ids, mac.prefix_expand(m, z[0]))[qa.real()]
    return F.linear(h, m[mac.LM + "wte.weight"]), mac.answers(m, q, phi, m.c.A)


def compare(what, said, m, dtype):
    logits, answers = from_torch(m, said)
    error = float((logits - said["logits"]).abs().max() / said["logits"].abs().max())
    say(f"{what}: logits, {len(logits)} x {m.c.V}", error <= TOLERANCE[dtype], f"{error:.1e}")
    theirs = [x.tolist() for x in said["answers"].long().split(said["answers_n"].long().tolist())]
    same = sum(a == b for a, b in zip(theirs, answers))
    kinds = len({tuple(a) for a in answers})
    say(f"{what}: equal greedy answers ({kinds} different ones)",
        same == len(answers) == len(theirs) == QUESTIONS and kinds > 5, f"{same} of {QUESTIONS}")
    return logits, answers


# ==== training in PyTorch ========================================================================
def adam_steps(m, said):
    """STEPS steps on the documents of the file, the LM frozen; -> losses before and after."""
    batch = (*(texts(said, name) for name in ("docs", "q", "qa")), said["doc"].long())
    adam = torch.optim.Adam(m.train_only(lambda name: not name.startswith(mac.LM)), lr=1e-3)
    losses = []
    for _ in range(STEPS + 1):
        loss, _ = mac.mac_loss(m, *batch, group=DOCS // 4, guidance=0.1, distill=0.5)
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        if len(losses) <= STEPS:
            adam.step()
    return losses[0], losses[-1]


def spell(m, ids):
    """The tokenizer of the model's metadata: bytes, then merges of two earlier tokens."""
    words = [bytes([i]) for i in range(256)]
    for line in m.meta["tokenizer"].splitlines():
        a, b = map(int, line.split())
        words.append(words[a] + words[b])
    return b"".join(words[i] for i in ids).decode("utf-8", "replace").strip(" ")


def run_answers(model, path, folder):
    bank = folder + "/bank.safetensors"
    if os.path.exists(bank):
        os.remove(bank)
    call("./run", "learn", "--model", model, "--bank", bank, path)
    lines = call("./run", "ask", "--model", model, "--bank", bank, "--data", path, "--limit",
                 "100000", "--json").splitlines()
    return {x["question"]: x["answer"] for x in map(json.loads, lines)}


def main(program, program64, folder):
    path, questions = corpus(folder)
    model, changed = f"{folder}/model.safetensors", f"{folder}/twin.safetensors"
    call("./train", "--data", folder + "/data", "--out", model, *SIZES.split(), *TRAIN.split())
    print("| C to PyTorch and back | |\n|---|---|")
    for name, c_side, dtype in (("float32", program, torch.float32),
                                ("double", program64, torch.float64)):
        said = from_c(c_side, model, path, folder)
        logits, _ = compare(f"trained here, {name}", said, mac.load_model(model, dtype), dtype)
    m = mac.load_model(model)
    said = from_c(program, model, path, folder)
    before, after = adam_steps(m, said)
    say(f"loss over {STEPS} Adam steps in PyTorch", after < before, f"{before:.3f} to {after:.3f}")
    mac.save_model(m, changed)
    new, answers = compare("changed there, float32", from_c(program, changed, path, folder), m,
                           torch.float32)
    moved = float((new - logits).abs().max() / logits.abs().max())
    say("changed there: logits have moved by", moved > 0.01, f"{moved:.2f}")
    spoken = run_answers(changed, path, folder)
    same = sum(spoken[q] == spell(m, a) for q, a in zip(questions, answers))
    say("changed there: ./run ask answers what PyTorch does", same == len(questions) == QUESTIONS,
        f"{same} of {QUESTIONS}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(1)
    main(*sys.argv[1:])
    sys.exit(bool(failed))
