"""Make the bundled data set (``train.jsonl.gz`` and ``test.jsonl.gz``) from the WordNet 3.0 files.

One line is one noun: its word, whether it names a living thing, and the WordNet
facts (nearest hypernyms, gloss) from which the pretraining texts are made.

Decisions:

* The class comes from the lexicographer file of the synset: animal, person and
  plant are living (1); artifact, food, location, object and substance are not (0).
  Nouns of all other files (acts, feelings, groups, body parts...) are left out.
* Taxa ("genus Canis") are left out, as they name groups and their Latin endings
  give the class away, and so are gods and imaginary beings.
* One word per synset, its first lemma, and one synset per word, the word's most
  frequent sense (the first in ``index.noun``), so no two lines are synonyms or
  share a word. A word, letter case ignored, with senses in both classes is dropped.
* Only words without a space, hyphen, digit or full stop: in a phrase ("maple
  tree") the last word would give the class away.
* ``hypernyms`` are the first lemmas of the up to three nearest synsets up the
  first-hypernym (or instance-hypernym) chain, nearest first. The chain ends below
  the topmost synsets (``TOP``: "living thing", "object"...), so the class itself
  is never written; a noun with nothing below them is dropped. ``lineage`` is the
  same chain as one text, broadest first, as the pretraining text has it.
* ``gloss`` is the definition as it stands, without the usage examples.
* Both classes get the same number of lines: those whose synset id has the smallest
  SHA-256 digest, a fixed pseudo-random choice. The lines are sorted by that digest.
* The test split is a fixed range of these lines, set apart before any model was trained: every setting
  of the bundled experiment was chosen on lines outside it.

The output is byte-for-byte reproducible (gzip without name and time).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

LIVING = {"05": "animal", "18": "person", "20": "plant"}
NONLIVING = {"06": "artifact", "13": "food", "15": "location", "17": "object", "27": "substance"}
TOP = {"entity", "physical entity", "abstraction", "thing", "object", "whole", "matter", "part", "living thing"}
TOP |= {"organism", "causal agent", "attribute", "relation", "group"}
LEFT_OUT = {"taxonomic group", "spiritual being", "imaginary being"}
WORD = re.compile(r"[A-Za-z']+")


@dataclass(frozen=True)
class Synset:
    """One noun synset of ``data.noun``."""

    offset: str
    lexfile: str
    lemmas: tuple[str, ...]
    parent: str | None
    gloss: str

    @property
    def label(self) -> int | None:
        return 1 if self.lexfile in LIVING else 0 if self.lexfile in NONLIVING else None


def read_synsets(path: Path) -> dict[str, Synset]:
    """All synsets of a ``data.noun`` file by offset."""
    synsets: dict[str, Synset] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):  # the licence at the top of the file
            continue
        record, _, gloss = line.partition(" | ")
        parts = record.split()
        n_lemmas = int(parts[3], 16)
        lemmas = tuple(parts[4 + 2 * i].replace("_", " ") for i in range(n_lemmas))
        at = 4 + 2 * n_lemmas
        pointers = [parts[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(parts[at]))]
        parents = [p[1] for p in pointers if p[0] in ("@", "@i")]
        parent = parents[0] if parents else None
        definition = gloss.split('; "')[0].split(' "')[0].strip(" ;:")  # without usage examples
        synsets[parts[0]] = Synset(parts[0], parts[1], lemmas, parent, definition)
    return synsets


def read_senses(path: Path) -> dict[str, list[str]]:
    """Synset offsets by lower-case lemma from ``index.noun``, most frequent first."""
    senses: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            parts = line.split()
            senses[parts[0].replace("_", " ")] = parts[-int(parts[2]) :]
    return senses


def ancestors(synset: Synset, synsets: dict[str, Synset]) -> list[str]:
    """First lemmas up the first-hypernym chain, nearest first."""
    chain: list[str] = []
    parent = synset.parent
    while parent is not None:
        chain.append(synsets[parent].lemmas[0])
        parent = synsets[parent].parent
    return chain


def make_entries(wordnet: Path, per_class: int, max_hypernyms: int) -> list[dict[str, object]]:
    """The lines of the data file, sorted by the digest of their id."""
    synsets = read_synsets(wordnet / "data.noun")
    senses = read_senses(wordnet / "index.noun")
    by_label: dict[int, list[tuple[str, dict[str, object]]]] = {0: [], 1: []}
    for synset in synsets.values():
        word = synset.lemmas[0]
        if synset.label is None or not WORD.fullmatch(word):
            continue
        offsets = senses[word.lower()]
        if offsets[0] != synset.offset or 1 - synset.label in {synsets[o].label for o in offsets}:
            continue
        chain = ancestors(synset, synsets)
        below_top = [*itertools.takewhile(lambda lemma: lemma not in TOP, chain)]
        if not below_top or LEFT_OUT & {*chain, word}:
            continue
        nearest = below_top[:max_hypernyms]
        key = f"n{synset.offset}"
        entry = {"id": key, "word": word, "label": synset.label, "hypernyms": nearest}
        entry |= {"lineage": ", ".join(reversed(nearest)), "gloss": synset.gloss}
        by_label[synset.label].append((hashlib.sha256(key.encode()).hexdigest(), entry))
    for label, pairs in by_label.items():
        print(f"class {label}: {len(pairs)} nouns qualify")
        if len(pairs) < per_class:
            raise SystemExit(f"class {label} has only {len(pairs)} nouns: lower --per-class")
    chosen = [pair for pairs in by_label.values() for pair in sorted(pairs, key=itemgetter(0))[:per_class]]
    return [entry for _, entry in sorted(chosen, key=itemgetter(0))]


def write(path: Path, entries: Sequence[dict[str, object]]) -> None:
    """One JSON object a line, gzipped without name and time."""
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
    print(f"{path}: {len(entries)} lines, {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled WordNet noun data.")
    add = parser.add_argument
    add("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of data.noun, index.noun")
    add("--out", type=Path, required=True, help="the folder to write train.jsonl.gz and test.jsonl.gz to")
    add("--per-class", type=int, default=6000, help="lines of each class")
    add("--max-hypernyms", type=int, default=3, help="nearest hypernyms kept")
    add(
        "--test",
        type=int,
        nargs=2,
        default=(7500, 10000),
        metavar=("FROM", "TO"),
        help="the lines that are the test split",
    )
    args = parser.parse_args()
    entries = make_entries(args.wordnet, args.per_class, args.max_hypernyms)
    first, last = args.test
    write(args.out / "train.jsonl.gz", entries[:first] + entries[last:])
    write(args.out / "test.jsonl.gz", entries[first:last])


if __name__ == "__main__":
    main()
