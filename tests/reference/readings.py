"""readings.py - would the vector files notice?

readings.txt has ways to get the mathematics wrong and still have an implementation that runs and
learns.  Each is a change of the twin's text; what it computes is held against all vector files.
Prints the first case that notices each.  A name that ends in "(open)" is one that nobody notices
yet: a case for it is wanted.  Exits with 1 when any other is not noticed, or an open one is.

    python3 tests/reference/readings.py [WORD]      `make readings`; WORD: only names that have it

The twin computes in double, so that what differs is the reading.  Noticed is what is noticed in 32
bits too: an error above 2e-5 of a tensor's largest number (tests/vectors/README.md).
"""
import os
import sys
import types

sys.dont_write_bytecode = True
import torch

HERE, VECTORS = os.path.dirname(os.path.abspath(__file__)), "tests/vectors"
NOTICED = 2e-5


def read_readings():
    """Paragraphs "name: what the reader thought", then lines "- text of the twin" and "+ what it
    becomes".  -> [(name, sentence, [(old, new), ...])]"""
    found = []
    with open(os.path.join(HERE, "readings.txt")) as f:
        for line in f.read().splitlines():
            sign, text = line[:2], line[2:]
            if sign == "- " and found[-1][2] and found[-1][2][-1][1] is None:
                found[-1][2][-1][0] += "\n" + text
            elif sign == "- ":
                found[-1][2].append([text, None])
            elif sign == "+ ":
                old = found[-1][2][-1]
                old[1] = text if old[1] is None else old[1] + "\n" + text
            elif line and not line.startswith("===="):
                found.append((*line.split(": ", 1), []))
    return found


def twin(changes):
    """check_torch.py and what it imports, with these changes of their text."""
    texts = {}
    for name in ("mac_torch", "levels", "levels_model", "check_torch"):
        with open(os.path.join(HERE, name + ".py")) as f:
            texts[name] = f.read()
    for old, new in changes:
        found = [name for name in texts for _ in range(texts[name].count(old))]
        if len(found) != 1:
            raise ValueError(f"the twin has this {len(found)} times, not once:\n{old}")
        texts[found[0]] = texts[found[0]].replace(old, new)
    for name, text in texts.items():
        sys.modules[name] = types.ModuleType(name)
        exec(compile(text, name, "exec"), sys.modules[name].__dict__)
    return sys.modules["check_torch"]


def all_cases(check):
    """[(file, case, tensors, model or None)], what takes longest at the end."""
    cases, files = [], [f for f in os.listdir(VECTORS) if f.endswith(".safetensors")]
    for file in sorted(files, key=lambda f: ("training" in f, "answers" in f, f)):
        if file.endswith("_model.safetensors") or file == "bits.safetensors":
            continue
        tensors, meta = check.mac.st_read(os.path.join(VECTORS, file))
        m = None
        if "model" in meta:
            m = check.mac.load_model(os.path.join(VECTORS, meta["model"]), torch.float64)
        cases += [(file.split(".")[0], name, x, m) for name, x in check.cases_of(tensors).items()]
    return cases


def first_notice(check, cases):
    """-> what notices it, or the largest error; and whether something does"""
    most = 0.0
    for file, name, x, m in cases:
        level = name.split("/")[0] in {**check.levels.KINDS, **check.levels_model.KINDS}
        try:
            errors = (check.level_errors if level else check.case_errors)(name, x, m, torch.float64)
        except ValueError as other:  # other sizes
            return str(other), True
        for tensor, error in errors.items():
            if not error <= NOTICED:
                return f"{name} of {file}, {tensor}: {error:.1e}", True
            most = max(most, error)
    other = check.check_bits(VECTORS)[1]
    return (f"{other[0]}: other bits", True) if other else (f"NOBODY: {most:.1e}", False)


def main(word):
    """-> whether the page itself is right, and all but the open readings are noticed."""
    tried = noticed = wrong = 0
    cases = all_cases(twin([]))
    for name, sentence, changes in [("none", "the page is right", [])] + read_readings():
        if word not in name:
            continue
        where, found = first_notice(twin(changes), cases)
        print(f"| {name} | {sentence} | {where} |", flush=True)
        tried, noticed = tried + bool(changes), noticed + (found and bool(changes))
        wrong += found == (not changes or name.endswith("(open)"))
    print(f"{tried} readings, {noticed} noticed; {wrong} not as they should be")
    return not wrong


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(not main(" ".join(sys.argv[1:])))
