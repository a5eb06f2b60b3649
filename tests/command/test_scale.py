"""scripts/scale_table.py, which makes the table of docs/scale.md, on a sweep of 20 stages."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT, environment


@pytest.mark.slow
def test_the_table_of_scale_has_a_row_for_each_command() -> None:
    words = [sys.executable, str(ROOT / "scripts" / "scale_table.py"), "20"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    cell = r"[\d.]+ s, \d+ MiB"
    rows = re.findall(rf"^\| (w2s [^|]+) \| {cell}(?:; first {cell})? \|$", done.stdout, re.MULTILINE)
    assert re.findall(rf"^\| (w2s [^|]+) \| {cell}; first", done.stdout, re.MULTILINE) == rows[-3:]
    planned, looked = ["w2s plan"], ["w2s ls", "w2s table", "w2s plan of a run, all cached"]
    submitted = ["w2s train --detach", "w2s status", "w2s train --detach again"]
    assert rows in ([*planned, *submitted, *looked], [*planned, *looked])  # the latter on a machine without Slurm
