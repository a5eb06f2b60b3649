"""Identity: the same job has the same key, whoever writes it down and however."""

import math
from pathlib import Path

import pytest

from w2s_cli.store.keys import ast_hash, canonical_json, identity, stage_key


def test_key_does_not_depend_on_the_order_in_which_fields_are_written() -> None:
    one = identity("finetune", 1, {"lr": 1e-3, "seed": 0}, {"rows": "aaa", "labels": "bbb"})
    other = identity("finetune", 1, {"seed": 0, "lr": 0.001}, {"labels": "bbb", "rows": "aaa"})
    assert stage_key(one) == stage_key(other)


def test_golden_key() -> None:
    """A change here makes every finished artifact in the world unreachable: raise FORMAT on purpose, or do not."""
    ident = identity(
        "label", 1, {"max_length": 32, "precision": "bf16", "text": "ü"}, {"model": "0123456789ab", "runs": ["a", "b"]}
    )
    assert canonical_json(ident) == (
        '{"format":2,"inputs":{"model":"0123456789ab","runs":["a","b"]},"kind":"label",'
        '"params":{"max_length":32,"precision":"bf16","text":"ü"},"version":1}'
    )
    assert stage_key(ident) == "10ee89915d8e"


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: 2}, {"a": {1, 2}}, object(), b"bytes", Path("x")])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json({"param": value})


FIRST = '''"""Doc."""
from torch import Tensor


def f(x: Tensor, *, a, b: float = 0.5) -> Tensor:
    """What."""
    y = x * b
    return y
'''
SAME = {
    "comments, docstrings and layout": "def f(x, *, a, b=0.5):\n\n    y = (x * b)  # half\n    return y\n",
    "imports": "import torch\nfrom elsewhere import Tensor\n" + FIRST.split("\n", 2)[2],
    "annotations": "def f(x: int, *, a: str, b: Annotated[float, Ge(0)] = 0.5):\n    y: float = x * b\n    z: int\n    return y\n",
    "imports for type checkers": FIRST.replace("from torch", "if TYPE_CHECKING:\n    import numpy\nfrom torch"),
}
OTHER = {
    "a constant": FIRST.replace("0.5", "0.25"),
    "a default's place": FIRST.replace("a, b: float = 0.5", "a=0.5, b"),
    "a name": FIRST.replace("* b", "* a"),
    "a type of constant": FIRST.replace("0.5", "True"),
    "a condition": FIRST.replace("    return y", "    if b:\n        return y"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_code_hash_ignores(text: str, tmp_path: Path) -> None:
    assert hashed(text, tmp_path) == hashed(FIRST, tmp_path)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_code_hash_sees(text: str, tmp_path: Path) -> None:
    assert hashed(text, tmp_path) != hashed(FIRST, tmp_path)


def test_code_hash_is_the_same_under_every_python_version(tmp_path: Path) -> None:
    assert hashed(FIRST, tmp_path) == "865689abc514"


def hashed(text: str, folder: Path) -> str:
    (folder / "loss.py").write_text(text)
    return ast_hash(folder / "loss.py")
