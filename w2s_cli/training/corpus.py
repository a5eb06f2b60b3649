"""From a corpus file to the texts and token rows of pretraining, and a tokenizer trained on these texts.

* A corpus has one text per line (.txt) or one JSON entry per line (.jsonl), plain or gzipped. An entry becomes one text per template,
  so one fact can have several phrasings. A template with a missing or empty field gives no text.
* An entry is held out with all its texts. A hash, not a random state, chooses the held-out entries.
* The tokenizer is a byte-level BPE, so it encodes any text. Every encoded text starts with the end-of-text token, in pretraining and
  later, so a first word always has the same tokens.
"""

import gzip
import hashlib
import json
import string
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.paths import corpus_files
from w2s_cli.training.batching import epoch_order

END, PAD = "<|endoftext|>", "<|pad|>"


class _Fields(string.Formatter):
    """Format strings over an entry: lists are joined by ", " or indexed by `{name[0]}`. Attributes are not reachable."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Any) -> tuple[Any, str]:
        name, bracket, index = field_name.partition("[")
        value = kwargs[name]
        if bracket:
            value = value[int(index.removesuffix("]"))]
        if value is None or value == "" or value == []:
            raise KeyError(name)
        return ", ".join(map(str, value)) if isinstance(value, list) else value, name


def render(template: str, entry: dict[str, Any]) -> str | None:
    """The text of one entry, or None if a field of the template is missing or empty.

    Raises:
        UserError: the template is malformed.
    """
    try:
        return _Fields().vformat(template, (), entry)
    except (KeyError, IndexError):
        return None
    except (ValueError, TypeError) as error:
        raise UserError(
            f'corpus template "{template}": {error}; fields are written {{word}} or, of a list, {{hypernyms[0]}}'
        ) from error


def read_texts(path: Path, templates: Sequence[str]) -> list[list[str]]:
    """The texts of each entry, in file order, without entries that have no text. A folder's files are read in order of their names.

    Raises:
        UserError: a file is missing, unreadable or not text, or no entry gives a text.
    """
    texts = [entry for file in corpus_files(path) for entry in _read_file(file, templates)]
    if not texts:
        raise UserError(f"corpus {path} gives no text with templates {list(templates)}: check the field names")
    return texts


def _read_file(path: Path, templates: Sequence[str]) -> list[list[str]]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = [line.strip() for line in content.decode("utf-8").split("\n")]
    except FileNotFoundError as error:
        raise UserError(f"corpus {path} does not exist") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(
            f"corpus {path} cannot be read: {error}; it must be UTF-8 .txt or .jsonl, plain or .gz"
        ) from error
    if not path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
        return [[line] for line in lines if line]
    texts = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"corpus {path}, line {number}: not JSON ({error})") from error
        if not isinstance(entry, dict):
            raise UserError(f"corpus {path}, line {number}: expected a JSON object with fields")
        rendered = [text for text in (render(template, entry) for template in templates) if text is not None]
        if rendered:
            texts.append(rendered)
    return texts


def hold_out(entries: list[list[str]], share: float) -> tuple[list[str], list[str]]:
    """(training texts, validation texts); the `share` of the entries with the smallest hashes is held out."""
    ranked = sorted(range(len(entries)), key=lambda i: hashlib.sha256(f"{i} {entries[i][0]}".encode()).digest())
    held = set(ranked[: round(share * len(entries))])
    train = [text for i, texts in enumerate(entries) if i not in held for text in texts]
    return train, [text for i in sorted(held) for text in entries[i]]


def train_tokenizer(texts: Sequence[str], vocab_size: int, add_prefix_space: bool, max_length: int) -> Any:
    """A fast tokenizer (byte-level BPE), loadable by AutoTokenizer; ids 0 and 1 are END and PAD.

    With `add_prefix_space` a word has the same tokens at the start of a text as inside it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < 258:
        raise UserError(
            f"tokenizer.vocab_size={vocab_size}: at least 258 are needed (256 bytes and two special tokens)"
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END, eos_token=END, pad_token=PAD, padding_side="right",
        model_max_length=max_length, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def token_rows(tokenizer: Any, texts: Sequence[str], sequence: str, max_length: int, seed: int) -> list[np.ndarray]:
    """Rows of token ids [≤ max_length], each text between two END tokens.

    sequence="entries": one row per text, cut at max_length. "packed": texts in shuffled order, end to end, in rows of exactly
    max_length; the last, incomplete row is dropped.
    """
    encoded = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(list(texts))]
    if sequence == "entries":
        return [np.array([*ids, tokenizer.eos_token_id][:max_length], dtype=np.int32) for ids in encoded]
    if sequence != "packed":
        raise UserError(f'sequence={sequence} is unknown; use "entries" or "packed"')
    joined = np.concatenate([np.array(encoded[i], dtype=np.int32) for i in epoch_order(len(encoded), seed, 0)])
    if len(joined) < max_length:
        return [joined]
    return list(joined[: len(joined) // max_length * max_length].reshape(-1, max_length))
