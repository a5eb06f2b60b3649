"""Token rows shared by stages: tokenised once, never the wrong ones."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig

from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.paths import locate
from w2s_cli.store.context import Context
from w2s_cli.store.files import digest
from w2s_cli.training.prompting import encode_for
from w2s_cli.training.token_cache import shared
from w2s_cli.training.tokens import TokenRows, encode, open_tokenizer

Run = Callable[..., subprocess.CompletedProcess[str]]

TEXTS = ["a dog that barks", "", "grass", "a very long entry " * 9]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(locate("bundled:models/wordnet-xs"), tmp_path / "model"))


def some_rows(texts: list[str] = TEXTS, second: list[str] | None = None) -> Rows:
    ids = [str(number) for number in range(len(texts))]
    return Rows(Path("rows"), ids, texts, np.zeros(len(texts), np.int64), ["no", "yes"], second)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "tokens").glob("*"))


def asked_for(tmp_path: Path, folder: Path, rows: Rows, limit: int = 12) -> tuple[TokenRows, bool]:
    """The token rows, and whether they had to be made."""
    made = []

    def make() -> TokenRows:
        made.append(True)
        tokenizer = open_tokenizer(folder, "right", trust_remote_code=False)
        return encode(tokenizer, rows.texts, limit, rows.second)

    ctx = Context(tmp_path, tmp_path, tmp_path, cache=tmp_path / "cache")
    return shared(ctx, folder, rows, ["right", limit, None], make), bool(made)


def equal(one: TokenRows, other: TokenRows) -> bool:
    def lists(rows: list[np.ndarray] | None) -> Any:
        return None if rows is None else [row.tolist() for row in rows]

    return (
        lists(one.ids) == lists(other.ids)
        and lists(one.second) == lists(other.second)
        and one.lengths.tolist() == other.lengths.tolist()
        and one.truncated == other.truncated
    )


@pytest.mark.parametrize("second", [None, [*TEXTS[1:], "a cat"]])
def test_the_second_stage_reads_what_the_first_made(tmp_path: Path, folder: Path, second: list[str] | None) -> None:
    rows = some_rows(second=second)
    first, made = asked_for(tmp_path, folder, rows)
    again, made_again = asked_for(tmp_path, folder, rows)
    assert (made, made_again) == (True, False)
    assert equal(first, again)
    assert first.truncated == 1 if second is None else 2
    assert isinstance(again.ids[0].base.base if again.ids[0].base is not None else None, np.memmap)


def test_another_text_limit_tokenizer_or_second_text_is_another_entry(tmp_path: Path, folder: Path) -> None:
    asked_for(tmp_path, folder, some_rows())
    assert asked_for(tmp_path, folder, some_rows(), limit=13)[1]
    assert asked_for(tmp_path, folder, some_rows([*TEXTS[:3], "another"]))[1]
    assert asked_for(tmp_path, folder, some_rows(["a dog that", " barks", *TEXTS[1:]]))[1]
    assert asked_for(tmp_path, folder, some_rows(second=TEXTS[::-1]))[1]
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert asked_for(tmp_path, folder, some_rows())[1]
    assert len(entries(tmp_path)) == 6


def test_another_class_of_tokenizer_is_another_entry(tmp_path: Path, folder: Path) -> None:
    """config.json names the class, and is not hashed."""
    ctx = Context(tmp_path, tmp_path, tmp_path, cache=tmp_path / "cache")
    tokenizer, config = open_tokenizer(folder, "right", trust_remote_code=False), AutoConfig.from_pretrained(folder)
    for count in (1, 1):
        encode_for(config, tokenizer, some_rows(), 12, folder, ctx)
        assert len(entries(tmp_path)) == count
    tokenizer.__class__ = type("Other", (type(tokenizer),), {})
    encode_for(config, tokenizer, some_rows(), 12, folder, ctx)
    assert len(entries(tmp_path)) == 2


def test_ids_and_labels_of_the_rows_and_weights_of_the_model_have_no_part_in_it(tmp_path: Path, folder: Path) -> None:
    asked_for(tmp_path, folder, some_rows())
    (folder / "model.safetensors").write_bytes(b"others")
    assert not asked_for(tmp_path, folder, replace(some_rows(), ids=list("wxyz"), labels=np.ones(4, np.int64)))[1]


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no entry.json", "unlisted", "pickled"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, folder: Path, damage: str) -> None:
    first, _ = asked_for(tmp_path, folder, some_rows())
    (entry,) = entries(tmp_path)
    path = entry / ("entry.json" if damage == "no entry.json" else "ids.npy")
    content = path.read_bytes()
    match damage:
        case "changed":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            path.write_bytes(content[:-4])
        case "unlisted" | "pickled":
            index = json.loads((entry / "entry.json").read_text())
            if damage == "unlisted":  # another end, which no digest of entry.json is of
                np.save(entry / "ids-ends.npy", np.arange(4))
                del index["files"]["ids-ends.npy"]
            else:
                np.save(path, np.array([{}]), allow_pickle=True)
                index["files"]["ids.npy"] = digest(path)
            (entry / "entry.json").write_text(json.dumps(index))
        case _:
            path.unlink()
    again, made = asked_for(tmp_path, folder, some_rows())
    assert made
    assert equal(first, again)
    assert not asked_for(tmp_path, folder, some_rows())[1]


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert asked_for(tmp_path, folder, some_rows())[1]
    assert asked_for(tmp_path, folder, some_rows())[1]
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / "tokens").symlink_to(tmp_path / "elsewhere")
    assert asked_for(tmp_path, folder, some_rows())[1]
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_one_run_tokenises_each_pool_once_for_each_tokenizer_and_gc_finds_what_is_old(
    w2s_inside: Run, tmp_path: Path
) -> None:
    w2s_inside("train", "debug=tiny", "strong=wordnet-s")
    found = sorted((tmp_path / "outputs" / ".cache" / "tokens").iterdir())
    # the bundled models' tokenizer: weak_train, strong_train; as a finished model saved it: strong_train, test
    assert len(found) == 4
    assert "token rows" not in w2s_inside("gc").stdout
    os.utime(found[0], (0, 0))
    assert found[0].name in w2s_inside("gc").stdout
    w2s_inside("gc", "--yes")
    assert not found[0].exists()
    assert found[1].exists()
