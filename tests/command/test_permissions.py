"""Files and folders that the user names and may not open: one message with the path, and exit code 2."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import command, environment, write_jsonl

# root may open every file, so a test by root gives up that right
AS_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
pytestmark = pytest.mark.skipif(bool(AS_OTHERS) and not shutil.which(AS_OTHERS[0]), reason="root without setpriv")

DATA = ["data=local", "data.path=closed.jsonl", "data.text=text", "data.label=label"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a closed file, a closed folder, a folder that is for reading only, and a loss whose code is closed."""
    write_jsonl(tmp_path / "closed.jsonl", [{"text": "a", "label": 0}])
    for place, text in (("own/loss/mine.yaml", "name: mine\n"), ("own/losses/mine.py", "")):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(text)
    for name, mode in (("closed", 0), ("readable", 0o555), ("closed.jsonl", 0), ("own/losses/mine.py", 0)):
        (tmp_path / name).mkdir(exist_ok=True) if "." not in name else None
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["plan", *DATA], "closed.jsonl"),
        (["data", "check", *DATA], "closed.jsonl"),
        (["plan", "labels=file", "labels.path=closed.jsonl"], "closed.jsonl"),
        (["plan", "weak=local", "weak.path=closed"], "closed/config.json"),
        (["plan", "--config-dir", "closed"], "closed"),
        (["plan", "--config-dir", "own", "loss=mine"], "own/losses/mine.py"),
        (["train", "debug=tiny", "outputs=closed/out"], "closed/out"),
        (["train", "debug=tiny", "outputs=readable/out"], "readable/out"),
        (["ls", "outputs=closed"], "closed"),
        (["table", "closed/mine.yaml"], "closed/mine.yaml"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_path_that_may_not_be_opened_is_named_in_one_message(folder: Path, words: list[str], path: str) -> None:
    done = subprocess.run(
        [*AS_OTHERS, *command(words)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stdout + done.stderr
    [message] = done.stderr.strip().splitlines()
    assert path in message
    assert "ermission denied" in message
