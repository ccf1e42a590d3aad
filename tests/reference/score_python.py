"""score_python.py - what SQuAD's official script takes from Python's strings, for data/score.c.

    python3 tests/reference/score_python.py     writes data/unicode.h and tests/unit/score.txt

data/unicode.h holds what str.lower, str.split and \\w of a regular expression know of a character;
tests/unit/score.txt is a checksum of the script's normalisation for each of 65 blocks of 512 spans in all
scripts, made by spans() as tests/unit/test_data.c makes them.  Run with Python 3.11 (Unicode 14)."""
import re
import string
import sys
import unicodedata

MASK = (1 << 64) - 1


def normalize_answer(s):
    """As in SQuAD's evaluate-v1.1.py."""
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


# ---- data/unicode.h
def character_class(code):
    if 0xD800 <= code < 0xE000:
        return 0
    c = chr(code)
    cased = ("1" + c + "\u03a3").lower()[-1] == "\u03c2"  # a sigma behind it is a last one
    ignored = not cased and ("A" + c + "\u03a3").lower()[-1] == "\u03c2"
    return bool(re.match(r"\w", c)) + 2 * cased + 4 * ignored + 8 * c.isspace()


def runs():
    found = []
    for code in range(0x110000):
        k = character_class(code)
        if found and found[-1][1] == k:
            found[-1][0] += 1
        else:
            found.append([1, k])
    return [n << 4 | k for n, k in found]


def lowered():
    """Rows of first, last, step, difference: one by one, or every other letter."""
    rows = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or code == 0x130:  # which becomes two characters
            continue
        low = chr(code).lower()
        assert len(low) == 1, code
        add = ord(low) - code
        if not add:
            continue
        last = rows[-1] if rows else None
        if last and last[3] == add and code - last[1] <= 2 and (
                last[0] == last[1] or last[2] == code - last[1]):
            last[1], last[2] = code, code - last[1]
        else:
            rows.append([code, code, 1, add])
    return rows


def lines(items):
    out = "    "
    for item in items:
        if len(out) + len(item) + 1 > 100:
            yield out
            out = "    "
        out += item + ","
    yield out


def table():
    yield "/* unicode.h - what Python knows of characters, made by tests/reference/score_python.py from"
    yield f" * Unicode {unicodedata.unidata_version}.  For score.c alone. */"
    yield "enum { WORD = 1, CASED = 2, IGNORED = 4, BLANK = 8 };  /* \\w; what sigma looks at; split */"
    yield "/* From U+0000 on: how many characters in a row are alike, times 16, and their class. */"
    yield "static const unsigned unicode_run[] = {"
    yield from lines(map(str, runs()))
    yield "};"
    yield "/* Capital letters first..last, each step-th of them: what to add for the small one. */"
    yield "static const struct { int first, last, step, add; } unicode_lower[] = {"
    yield from lines("{%d,%d,%d,%d}" % tuple(row) for row in lowered())
    yield "};"


# ---- tests/unit/score.txt
class Random:  # splitmix64, as in tests/unit/test_data.c
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return (z ^ z >> 31) % n


ODD = [0x3A3, 0x3A3, 0x130, 0x49, 0x301, 0xAD, 0x2019, 0xA0, 0x3000, 0x85, 0x1C, 0x200B]


def span(rng, window):
    """Up to ten pieces: characters of a window of 128, articles, ASCII, what is treated apart."""
    s = ""
    for _ in range(1 + rng.below(10)):
        kind = rng.below(8)
        if kind == 0:
            s += ["the", "a", "An", " The "][rng.below(4)]
        elif kind == 1:
            s += chr(32 + rng.below(95))
        elif kind == 2:
            s += chr(ODD[rng.below(12)])
        else:
            code = window * 128 + rng.below(128)
            s += " " if code == 0 or 0xD800 <= code < 0xE000 else chr(code)
    return s


def checksums():
    for block in range(65):  # planes 0 and 1, and the tags and variants of plane 14
        rng, h = Random(block), 0xCBF29CE484222325
        for i in range(512):
            window = block * 16 + i // 32 if block < 64 else 0xE0000 // 128 + i // 32 % 4
            for byte in normalize_answer(span(rng, window)).encode() + b"\n":
                h = (h ^ byte) * 0x100000001B3 & MASK
        yield f"{h:016x}"


if __name__ == "__main__":
    assert sys.version_info[:2] == (3, 11), "another Python may know other letters"
    with open("data/unicode.h", "w") as f:
        f.write("\n".join(table()) + "\n")
    with open("tests/unit/score.txt", "w") as f:
        f.write("\n".join(checksums()) + "\n")
