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
        '{"format":1,"inputs":{"model":"0123456789ab","runs":["a","b"]},"kind":"label",'
        '"params":{"max_length":32,"precision":"bf16","text":"ü"},"version":1}'
    )
    assert stage_key(ident) == "7541f88db97b"


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: 2}, {"a": {1, 2}}, object(), b"bytes", Path("x")])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json({"param": value})


def test_code_hash_ignores_comments_docstrings_and_layout_but_not_constants(tmp_path: Path) -> None:
    def hashed(text: str) -> str:
        (tmp_path / "loss.py").write_text(text)
        return ast_hash(tmp_path / "loss.py")

    first = hashed('"""Doc."""\ndef f(x):\n    """What."""\n    return x * 0.5  # half\n')
    assert hashed("def f(x):\n\n    return (x * 0.5)\n") == first
    assert hashed("def f(x):\n    return x * 0.25\n") != first
