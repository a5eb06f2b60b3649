"""Make the bundled data set of pairs (``train.jsonl.gz`` and ``test.jsonl.gz``) from single-turn dialogues of Anthropic's HH-RLHF.

The source are the three files ``harmless_train_gt.jsonl``, ``harmless_train_w2s.jsonl`` and ``harmless_test.jsonl``
of github.com/keven980716/weak-to-strong-deception @ a3958f6dfe9a, folder
``weak-to-strong/data/hh-single-turn`` (MIT): the single-turn part of harmless-base of
github.com/anthropics/hh-rlhf (MIT, hub: Anthropic/hh-rlhf), 4,000 pairs each::

    python scripts/make_hh_data.py --out w2s_cli/bundled/data/hh_harmless FILE FILE FILE

Decisions:

* One line is one pair: the question, the reply that people found less harmful (``chosen``) and the other one (``rejected``),
  without the markers "Human:" and "Assistant:".
* Only short pairs, question and reply of at most 130 characters together, so that small models read them whole.
* A pair that comes twice is kept once, and not at all if another reply won each time.
* Left out: replies to different questions, equal replies, and lines with an e-mail address, a link or five
  digits in a row (invented or real addresses and telephone numbers).
* The source holds offensive and harmful language on purpose. Lines that bring children and sex together, or hold
  racial slurs, are left out; nothing else is softened.
* All pairs with the same question (letter case and spaces ignored) are in one file and have one value of
  ``question``: the test file has the questions whose SHA-256 digest is in the lowest quarter. Lines are sorted by
  the digest of the pair.

The output is byte-for-byte reproducible (gzip without name and time; the order of the arguments does not matter).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST = 130  # characters of a question and a reply
TEST_SHARE = 0.25  # of the questions
MARKER = "\n\nAssistant:"
PERSONAL = re.compile(r"\d{5}|\d{3}[-. ]\d{4}|@\w|https?:|www\.")
CHILDREN = re.compile(r"\b(child|kid|minor|underage|teen|toddler|baby|schoolgirl|little (girl|boy)|year[- ]old)", re.I)
SEX = re.compile(r"\b(sex|porn|naked|nude|rap(e|ing|ist)|molest|pedo|grop|fuck|penis|vagina|erotic|strip)", re.I)
SLURS = re.compile(r"\b(n[i1]gg|f[a@]gg|k[i1]ke|sp[i1]c\b|ch[i1]nk|g[o0]{2}k|tr[a@]nn(y|ies)|c[o0]{2}n\b)", re.I)


def main() -> None:
    """Read the arguments, write the two files, say how many pairs there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+", help="the source's files, .jsonl or .jsonl.gz")
    args = parser.parse_args()
    rows = select(row for file in args.files for row in lines(file))
    for split in ("train", "test"):
        chosen = [row for row in rows if in_test(row["prompt"]) == (split == "test")]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
        (args.out / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
        print(f"{split}: {len(chosen):,} pairs")


def lines(file: Path) -> list[dict[str, str]]:
    """The rows of a JSON lines file."""
    content = file.read_bytes()
    text = gzip.decompress(content) if file.suffix == ".gz" else content
    return [json.loads(line) for line in text.decode().splitlines() if line.strip()]


def select(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The pairs that are kept, each once, sorted by digest."""
    kept: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        (prompt, chosen), (other, rejected) = (split_reply(row[field]) for field in ("chosen", "rejected"))
        text = f"{prompt}\n{chosen}\n{rejected}"
        plain = not (PERSONAL.search(text) or SLURS.search(text) or (CHILDREN.search(text) and SEX.search(text)))
        short = len(prompt) + max(len(chosen), len(rejected)) <= LONGEST
        if prompt == other and prompt and chosen and rejected and short and plain:
            twins = (normal(prompt), *sorted((normal(chosen), normal(rejected))))
            name = digest("\n".join(twins))[:12]
            pair = {
                "id": name,
                "question": digest(normal(prompt))[:12],
                "prompt": prompt,
                "chosen": chosen,
                "rejected": rejected,
            }
            if twins[1] != twins[2]:
                kept.setdefault(twins, []).append(pair)
    agreed = [twins[0] for twins in kept.values() if len({normal(pair["chosen"]) for pair in twins}) == 1]
    return sorted(agreed, key=lambda pair: pair["id"])


def split_reply(dialogue: str) -> tuple[str, str]:
    """(question, reply) of a single-turn dialogue."""
    question, _, reply = dialogue.rpartition(MARKER)
    return question.removeprefix("\n\nHuman:").strip(), reply.strip()


def in_test(prompt: str) -> bool:
    """Whether a question's pairs are test rows."""
    return int(digest(normal(prompt))[:8], 16) < TEST_SHARE * 16**8


def normal(text: str) -> str:
    """Lower case, single spaces."""
    return " ".join(text.lower().split())


def digest(text: str) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
