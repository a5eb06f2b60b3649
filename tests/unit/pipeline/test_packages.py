"""Packages of rules: which imports a file cannot do without, and how a missing one is installed."""

from pathlib import Path

import pytest

from tests.small_stores import hide
from w2s_cli.errors import UserError
from w2s_cli.paths import PACKAGE
from w2s_cli.pipeline.packages import need_imports

OPTIONAL = "try:\n    import w2s_absent\nexcept ImportError:\n    w2s_absent = None\n"
NEEDED = "try:\n    import w2s_absent\nexcept ImportError as error:\n    raise ValueError from error\n"
IN_HANDLER = "try:\n    import json\nexcept ImportError:\n    import w2s_absent\n"


@pytest.mark.parametrize("code", [OPTIONAL, "import json, os.path\n", "from .sibling import rule\n", "def rule(:\n"])
def test_a_file_without_a_missing_package_passes(tmp_path: Path, code: str) -> None:
    (tmp_path / "rule.py").write_text(code)
    need_imports(tmp_path / "rule.py")


@pytest.mark.parametrize(
    "code",
    ["def rule():\n    import w2s_absent.part as part\n", "from w2s_absent.part import rule\n", NEEDED, IN_HANDLER],
)
def test_a_missing_package_is_named_with_the_file(tmp_path: Path, code: str) -> None:
    (tmp_path / "rule.py").write_text(code)
    with pytest.raises(UserError, match=r"/rule\.py imports w2s_absent, which is not installed: install its package"):
        need_imports(tmp_path / "rule.py")


@pytest.mark.parametrize(
    ("file", "module", "package"),
    [
        ("graders/math.py", "math_verify", r"math-verify\[antlr4-9-3\]"),
        ("graders/chess_move.py", "chess", "chess"),
        ("data/transforms/best_move.py", "chess", "chess"),
    ],
)
def test_a_package_of_an_extra_is_told_as_pip_takes_it(
    file: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, module)
    with pytest.raises(UserError, match=rf'imports {module}, which is not installed: pip install "{package}"\.'):
        need_imports(PACKAGE / file)
