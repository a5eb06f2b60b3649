"""Rows for the benchmark: texts as long as film reviews with a label that can be learned, from the bundled WordNet entries.

* A text is a run of entries ("wirehair: a wire-haired terrier."); its label says whether living things or other things are named more
  often. `SIGNAL` of the entries are drawn from the label's side, so short texts are hard, long ones easy, and no model is perfect.
* Lengths are log-normal with the given mean, as those of reviews are (longest of 32 rows : mean ≈ 3), and are counted in tokens of the
  bundled tokenizer.
* Every draw is a hash of the row's number: any number of rows, made anywhere, is the same text.
"""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

from w2s_cli.statistics.draw import uniform

PACKAGE = Path(__file__).parents[2] / "w2s_cli"
BUNDLED = PACKAGE / "bundled"
SIGNAL = 0.85  # share of a text's entries that are of its label's side
SPREAD = 0.6  # standard deviation of the logarithm of a text's length
SHORTEST, LONGEST = 12, 1000  # tokens


def rows(count: int, mean_tokens: int) -> Iterator[dict[str, Any]]:
    """`count` rows {id, text, label}; both labels are as frequent."""
    entries = _entries()
    middle = math.log(mean_tokens) - SPREAD**2 / 2
    for number in range(count):
        label = int(uniform("bench", "label", number) < 0.5)
        drawn = NormalDist(middle, SPREAD).inv_cdf(min(max(uniform("bench", "length", number), 1e-9), 1 - 1e-9))
        room = min(max(round(math.exp(drawn)), SHORTEST), LONGEST)
        parts: list[str] = []
        while room > 0:
            at = len(parts)
            side = label if uniform("bench", "side", number, at) < SIGNAL else 1 - label
            text, tokens = entries[side][int(uniform("bench", "entry", number, at) * len(entries[side]))]
            parts.append(text)
            room -= tokens
        yield {"id": f"b{number}", "text": " ".join(parts), "label": label}


def write(path: Path, count: int, mean_tokens: int) -> Path:
    """Write rows as a .jsonl file."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count, mean_tokens):
            file.write(json.dumps(row) + "\n")
    return path


def problems(path: Path, count: int) -> Path:
    """Write bundled arithmetic problems as .jsonl: id, prompt, chosen (the true solution) and rejected (that of the next problem)."""
    with gzip.open(BUNDLED / "data" / "arithmetic" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(count), strict=False)]
    with path.open("w", encoding="utf-8") as file:
        for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            prompt = f"Question: {row['question']}\nAnswer:"
            line = {"id": row["id"], "prompt": prompt, "chosen": row["solution"], "rejected": other["solution"]}
            file.write(json.dumps(line) + "\n")
    return path


def _entries() -> list[list[tuple[str, int]]]:
    """(text, tokens) of every entry, of things [0] and of living things [1]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "models" / "wordnet-l" / "tokenizer.json"))
    sides: list[list[str]] = [[], []]
    with gzip.open(BUNDLED / "data" / "wordnet" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            sides[entry["label"]].append(f"{entry['word']}: {entry['gloss']}.")
    return [
        [(text, len(code.ids)) for text, code in zip(side, tokenizer.encode_batch(side), strict=True)] for side in sides
    ]
