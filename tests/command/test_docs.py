"""The pages under docs/ name what there is, and nothing that is not."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

GROUPS = ("method", "loss", "combine", "select", "control", "stopping", "train")
NOT_LISTED = {"pretrain", "none", "weighted", "co_supervised"}


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_of_methods_names_every_choice_of_a_group(group: str) -> None:
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "methods.md").read_text()))
    choices = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
    assert choices - NOT_LISTED - named == set()


def test_the_rules_of_ones_own_run_as_the_page_has_them(
    w2s: Callable[..., subprocess.CompletedProcess[str]], tiny: list[str], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        path, yaml, content = re.findall(r"# (\S+), with (\S+): (.*)", code)[0]
        for name, text in ((path, code), (yaml, content)):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    for words in re.findall(r"w2s train (--config-dir mine .*)", page):
        words = words.replace("margin=0.3", "margin=0.001")  # the tiny supervisor is torn everywhere
        found = w2s("train", *words.split(), *tiny, "ensemble=2" if "ensemble" in words else "seed=0")
        assert "PGR" in found.stdout
    (tmp_path / "mine" / "combining" / "boldest.py").write_text("def boldest(votes):\n    return votes[0]\n")
    broken = w2s("train", "--config-dir", "mine", "method=ensemble", "combine=boldest", *tiny, "ensemble=2", code=2)
    assert "boldest" in broken.stderr
    assert "line 2" in broken.stderr
    assert "Traceback" not in broken.stderr
