"""The lines of the pages' shell blocks that are no commands of w2s: scripts, Python files, installations.

* What a test can run is run, here or where `ELSEWHERE` says. That list is the whole of what is not run here: it cannot grow unseen.
* A script exists and has the options; an extra of pip is in pyproject.toml; a Python file is one that the page writes.
"""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chat_server import chat_server
from tests.conftest import ROOT, environment
from tests.doc_pages import DOCS, PAGES, command_lines, shell_lines, written_files

Run = Callable[..., subprocess.CompletedProcess[str]]
ELSEWHERE = {  # line → who runs it, or why nobody does
    "./scripts/demo": "continuous integration: .ci/run",
    "./scripts/docs": "continuous integration; tests/command/test_site.py by its line of mkdocs",
    "./scripts/docs serve": "it does not end; it builds what ./scripts/docs builds",
    "./scripts/setup": "tests/command/test_setup.py; continuous integration begins with it",
    "source .venv/bin/activate": "the shell's; scripts/setup makes the file",
    "./scripts/test": "continuous integration runs it with --slow",
    "./scripts/test --slow": "continuous integration",
    "./scripts/test --faults": "30 minutes: by hand, for docs/reliability.md",
    "./scripts/test tests/command/test_docs.py": "this test would run itself",
    "./scripts/bench --check --quick": "minutes on a quiet machine; its parts: tests/command/test_bench.py",
    "./scripts/gpu_check": "tests/command/test_gpu_check.py, on the CPU",
    "scripts/gpu_check": "the same",
    "scripts/gpu_check attention training --minutes 4": "the same",
    "scripts/pretrain_bundled": "two hours",
    "scripts/methods_table": "an hour",
    "scripts/coverage": "an hour",
    "python -m tests.opening_peak make lora /tmp/large 1536 20": "3 GB; tests/unit/training/test_weight_files.py, with small ones",
    "python -m tests.opening_peak make lora /tmp/small 64 2": "the same",
    "python -m tests.opening_peak lora /tmp/large /tmp/small asked": "the same",
    "python -m tests.opening_peak lora /tmp/large /tmp/small fp32": "the same",
    "python -m pytest -m slow tests/unit/training/test_processes.py -k whole_model": "continuous integration, as one of the slow tests",
    "python -m tests.unit.pipeline.test_memory_peak": "seven minutes; the test of the same file, with smaller models",
    "python scripts/scale_table.py": "ten minutes; tests/command/test_scale.py has a small size",
    "python scripts/threads_table.py": "an hour; tests/command/test_tables.py has a small row",
    'modal run mine/on_modal.py --words "weak=gpt2 strong=qwen seeds=5"': "an account of Modal; its file is compiled below",
    "modal volume get w2s-outputs / outputs": "the same",
    'pip install "w2s[slurm]"': "a package index; the tests have all extras of the pages installed",
    'pip install "w2s[qlora]"': "the same",
    'pip install "w2s[s3]"': "the same",
    "export API_URL=http://localhost:8000/v1 API_KEY=key API_MODEL=my-model": "below, with the address of a server here",
    "python -m w2s_cli.run.processes N STAGE_DIR": "tests/command/test_processes.py, by launcher.processes",
    "accelerate launch --multi_gpu --num_processes N --num_machines 1 -m w2s_cli.run.worker STAGE_DIR": "the same",
    "scripts/slurm_single_node w2s train debug=tiny seeds=2 launcher=slurm launcher.gpus=0 launcher.cpus=1 "
    "launcher.minutes=30": "tests/cluster/test_pages.py",
}
HERE = {
    "python mine/make_words.py",
    "python mine/check_gce.py",
    "python mine/label_by_api.py api.jsonl outputs/stages/rows/wordnet_living-{strong_train,test}-*/result/rows.parquet",
    'eval "$(w2s completion bash)"',
    "python -m w2s_cli.run.worker STAGE_DIR",
}


def test_every_line_is_run_here_or_is_in_the_list() -> None:
    lines = {line for page in PAGES for line in shell_lines(page)}
    assert lines == HERE | set(ELSEWHERE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_line_names_what_exists(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = written_files(page)
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] == "pip":
            for names in re.findall(r"\[([\w,]+)\]", line):
                assert set(names.split(",")) <= set(extras), line
        elif words[:2] == ["python", "-m"] or words[0] == "accelerate":
            assert importlib.util.find_spec(words[words.index("-m") + 1]), line
        elif words[0] == "python":
            assert words[1] in files or (ROOT / words[1]).is_file(), line
        elif words[:2] == ["modal", "run"]:
            compile(files[words[2]], words[2], "exec")
        elif "scripts/" in words[0]:
            script = ROOT / words[0]
            assert os.access(script, os.X_OK), line
            for option in words[1:] if script.name != "slurm_single_node" else ():
                assert not option.startswith("-") or option in script.read_text(), line


def shell(folder: Path, line: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """What bash does with a line of a page; `python` and `w2s` are those of the tests."""
    bin_folder = folder / "programs"
    bin_folder.mkdir(exist_ok=True)
    for name, words in (("python", ""), ("w2s", " -m w2s_cli")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    variables = environment(PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}", **extra)
    return subprocess.run(["bash", "-c", line], cwd=folder, env=variables, capture_output=True, text=True, timeout=240)


def line_of(page: str, begins: str) -> str:
    """The line of a page that begins with these words."""
    (line,) = (line for line in shell_lines(DOCS / page) if line.startswith(begins))
    return line


def test_the_script_that_makes_a_file_of_ones_own_makes_what_the_page_shows(own: Path) -> None:
    (own / "words.jsonl").unlink()
    done = shell(own, line_of("recipes/own-data.md", "python"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (own / "words.jsonl").open()]
    assert len(rows) == 12_000
    shown = re.search(r"# words.jsonl: (\{.*\})", (DOCS / "recipes/own-data.md").read_text())
    assert shown is not None
    assert rows[0] == json.loads(shown[1])


@pytest.mark.slow
def test_the_check_of_a_loss_of_ones_own_passes_and_notices_another_formula(own: Path) -> None:
    line = line_of("recipes/own-loss.md", "python")
    done = shell(own, line)
    assert done.stdout.strip() == "gce is right", done.stderr
    loss = own / "mine" / "losses" / "gce.py"
    loss.write_text(loss.read_text().replace("(1 - p**q) / q", "(1 - p**q)"))
    assert "AssertionError" in shell(own, line).stderr


@pytest.mark.slow
def test_labels_of_an_api_become_a_run_as_the_page_has_it(own: Path, w2s_inside: Run) -> None:
    page = DOCS / "recipes/api-labels.md"
    small = ["debug=tiny", "bootstrap=200"]
    before, after = command_lines(page)
    w2s_inside(*before, *small)
    (own / "api.jsonl").unlink()
    line = line_of("recipes/api-labels.md", "python")
    (own / "mine/label_by_api.py").write_text(
        (own / "mine/label_by_api.py").read_text().replace("WAIT_S = 8, 6, 1.0", "WAIT_S = 8, 6, 0.01")
    )
    with chat_server() as (address, answered):
        api = {"API_URL": address, "API_KEY": "key", "API_MODEL": "my-model"}
        refused = shell(own, line, **{**api, "API_KEY": "wrong"})
        assert "401" in refused.stderr
        assert not (own / "api.jsonl").read_text()
        done = shell(own, line, **api)
        assert done.stdout == "128 rows, 128 labelled now, 0 without a readable answer\n", done.stderr
        assert len(answered) == 128
        with (own / "api.jsonl").open("r+") as file:  # stopped after 28 rows
            kept = file.readlines()[:28]
            file.seek(0)
            file.truncate()
            file.writelines(kept)
        assert shell(own, line, **api).stdout.startswith("128 rows, 100 labelled now")
        assert len(answered) == 228
    assert "weak" in w2s_inside(*after, *small).stdout


@pytest.mark.slow
def test_an_answer_that_is_neither_yes_nor_no_becomes_no_label(own: Path, w2s_inside: Run) -> None:
    w2s_inside("train", "method=baselines", "debug=tiny", "bootstrap=200")
    import pyarrow.parquet as pq

    (table,) = own.glob("outputs/stages/rows/wordnet_living-strong_train-*/result/rows.parquet")
    row = pq.read_table(table).to_pylist()[5]
    (own / "api.jsonl").unlink()
    with chat_server(dumb=row["text"].rstrip(":"), busy=False) as (address, _):
        api = {"API_URL": address, "API_KEY": "key", "API_MODEL": "my-model"}
        done = shell(own, line_of("recipes/api-labels.md", "python"), **api)
    assert done.returncode == 1
    assert f"no label for {row['id']}" in done.stderr
    labelled = {json.loads(line)["id"] for line in (own / "api.jsonl").open()}
    assert len(labelled) == 127
    assert row["id"] not in labelled


def test_the_shell_takes_the_completion(own: Path) -> None:
    done = shell(own, f"{line_of('runs.md', 'eval')} && complete -p w2s")
    assert done.returncode == 0, done.stderr
    assert "w2s" in done.stdout


def test_a_finished_stage_answers_the_worker_that_is_started_by_hand(ran: list[str], tmp_path: Path) -> None:
    stage = next(tmp_path.glob("outputs/stages/finetune/*/record.json")).parent
    done = shell(
        tmp_path, line_of("runs.md", "python -m w2s_cli.run.worker").replace("STAGE_DIR", shlex.quote(str(stage)))
    )
    assert done.returncode == 0, done.stderr
    assert "cached" in done.stdout
