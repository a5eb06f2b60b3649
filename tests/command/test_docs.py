"""README.md, CONTRIBUTING.md and the pages under docs/ name what w2s has, and nothing else.

* A command of a code block is planned with the files that the pages write (docs/own.md) and small files in place of the user's. The hub
  is not asked. Of a command that only reads results, its name and its options are checked.
* A path is checked where it begins with a folder of the repository, and where it is the target of a link.
"""

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import small_texts
from tests.conftest import ROOT, once, train_in
from tests.doc_pages import DOCS, PAGES, README, blocks, command_lines, inline_commands
from w2s_cli.commands import COMMANDS, train

Run = Callable[..., subprocess.CompletedProcess[str]]

GROUPS = ("method", "loss", "combine", "select", "control", "stopping", "train")
NOT_LISTED = {"pretrain", "none", "weighted", "co_supervised"}
NOT_MEASURED = {"pretrain", "baselines", "misfit_gain", "delta_theory", "none"}  # without a student on the bundled data
COMPOSED = ("train", "label", "evaluate", "plan", "pretrain", "data")  # commands whose words make a configuration
CHOICES = {  # command → the file of its first word
    "reproduce": "configs/experiment/{}.yaml",
    "table": "configs/table/{}.yaml",
    "plot": "w2s_cli/results/figures/{}.py",
    "ls": "w2s_cli/stages/{}.py",
}
MAY_REFUSE = {  # a figure of several models, no reproduction yet, a warning, problems of data, several seeds, a store that does not exist
    *(("plot", "scaling"), ("reproduce", "--summary"), ("doctor",), ("doctor", "--verify"), ("data", "check")),
    *(("power",), ("power", "--figure"), ("power", "latest")),  # tests/command/test_power.py
    ("push", "s3://team/outputs"),
}
LONG = {  # minutes to hours, or a hub; tests/command/test_reproduce.py runs an experiment, tests/unit/stages one small pretraining
    "pretrain pretrain=wordnet-xs",
    "reproduce gpt2_replication",
    "reproduce gpt2_replication --scale demo",
}
NEED_HUB = {  # these ask for models or data that no test has; they are planned
    "train --config-dir mine launcher=cluster weak=gpt2 strong=qwen data=sciq seeds=5 --detach",
    "train --config-dir mine launcher=our_cluster weak=gpt2 strong=qwen",
    "train -m method=naive,bootstrapping 'ladder=[gpt2-medium,gpt2-large]' weak=gpt2 strong=gpt2-xl seed=0,1,2",
    "train data=hh_harmless weak=gpt2 strong=qwen",
    "train method=ensemble 'ensemble=[gpt2,opt-125m,pythia-160m]' combine=flyingsquid strong=qwen",
    "train method=naive_text weak=gpt2 strong=qwen data=local data.path=questions.jsonl data.prompt=question "
    "data.answer=answer data.solution=solution data.grader=number data.new_tokens=128",
    "train method=w2sr data=gsm8k weak=qwen2.5-1.5b-instruct strong=qwen2.5-7b tune.mode=lora",
    "train strong=local strong.id=OWNER/NAME strong.name=mine strong.lr=2e-5",
    "train weak=gpt2 strong=qwen",
    "train weak=gpt2 strong=qwen data=sciq launcher.processes=2",
    "train weak=gpt2 strong=qwen data=sciq launcher.processes=2 launcher.fsdp=true",
    "train weak=gpt2 strong=qwen data=sciq 'launcher.resources.student={processes: 2, fsdp: true}'",
    "train weak=gpt2 strong=qwen data=sciq loss=logconf",
    "train weak=gpt2 strong=qwen data=sciq loss=logconf strong.lr=3e-5 seed=3",
    "train weak=gpt2 strong=qwen data=sciq seeds=4",
    "train weak=gpt2 strong=qwen data=sciq seeds=4 'launcher.device=[cuda:0,cuda:2]'",
    "train weak=gpt2 strong=qwen seeds=5 launcher=slurm launcher.partition=gpu launcher.minutes=240",
    "train weak=gpt2 strong=qwen seeds=5 launcher=slurm launcher.partition=gpu launcher.minutes=240 --detach",
    "train weak=local weak.path=checkpoints/mine strong=qwen",
    "train weak=qwen3-0.6b-base strong=qwen3-8b-base data=sciq train=lora",
}
PLACEHOLDERS = re.compile(r"NAME|KEY|RUN|DIR|FILE|=N$|[*<>{…]")
MOST_LINES = 150  # of the README
CLUSTERS = ("ssh", "qsub", "sky", "kubectl")  # of the lines of launcher=command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_that_w2s_accepts(
    page: Path, own: Path, w2s_inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_no_hub(monkeypatch)
    for name, *words in command_lines(page):
        assert name in COMMANDS, name
        if name in COMPOSED:
            words = words[1:] if name == "data" else words
            extra = ["method=pretrain"] if name == "pretrain" else []
            assert "stages" in w2s_inside("plan", *extra, *words).stdout
        elif name == "config":
            w2s_inside(name, *words)
        else:
            check_options(name, words, w2s_inside)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_prose_of_a_page_is_one_that_w2s_accepts(
    page: Path, own: Path, w2s_inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of docs/scale.md that need a GPU or many nodes, too: they are planned."""
    ask_no_hub(monkeypatch)
    for name, *words in inline_commands(page):
        assert name in COMMANDS, name
        if name not in COMPOSED:
            check_options(name, words, w2s_inside)
        elif name != "data" and words and not any(PLACEHOLDERS.search(word) or word == "|" for word in words):
            done = w2s_inside("plan", *(word for word in words if word != "--detach"), code=None)
            lacks_package = "which is not installed: pip install" in done.stderr
            assert "stages" in done.stdout or lacks_package, f"w2s {name} {shlex.join(words)}: {done.stderr}"


def test_the_answers_that_a_page_quotes_are_those_of_w2s(own: Path, w2s_inside: Run) -> None:
    quoted = re.findall(r"^\$ w2s (.*)\n(w2s: .*)$", (DOCS / "runs.md").read_text(), re.MULTILINE)
    assert quoted
    for words, answer in quoted:
        assert w2s_inside(*words.split(), code=2).stderr.strip() == answer


@pytest.mark.slow
def test_what_no_test_runs_of_the_commands_is_this_list(
    own: Path, w2s_inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_no_hub(monkeypatch)
    asks, long = set(), set()
    for page in PAGES:
        for name, *words in command_lines(page):
            if name in COMPOSED and name not in ("data", "plan") and needs_hub(name, words, w2s_inside):
                asks.add(shlex.join([name, *words]))
            elif name in ("pretrain", "reproduce") and not {"--plan", "--summary"} & set(words) and words:
                long.add(shlex.join([name, *words]))
    assert asks == NEED_HUB
    assert long == LONG
    told = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert f"{len(NEED_HUB)} that ask for models or data of a hub are only planned, and {len(LONG)} that" in told


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_that_needs_no_hub_runs(
    page: Path, own: Path, small_run: Path, w2s_inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_no_hub(monkeypatch)
    path = stand_ins(own / "bin")
    (own / "mine" / "pod.json").write_text(blocks(DOCS / "clusters.md", "json")[0])
    shutil.copytree(small_run, own / "outputs", symlinks=True)
    wrong, on_clusters = [], set()
    for number, (name, *words) in enumerate(runnable(page)):
        if name in COMPOSED and name != "data":
            words = [*words, *([] if "debug=tiny" in words else ["debug=tiny"])]
        if "launcher=command" in words:
            words = [*words, f"outputs=elsewhere-{number}"]  # nothing is cached there
            on_clusters |= {cluster for cluster in CLUSTERS if any(f".template={cluster} " in word for word in words)}
        done = w2s_inside(name, *map(named_in(own), words), code=None, PATH=path)
        unsure = "leaves none of the 64 rows with a label" in done.stderr  # the supervisor of a tiny run
        if done.returncode and (name, *words[:1]) not in MAY_REFUSE and not unsure:
            wrong.append(f"w2s {name} {shlex.join(words)} → {done.returncode}\n{done.stderr}")
    assert not wrong, "\n\n".join(wrong)
    started = (own / "bin" / "started").read_text().split() if on_clusters else []
    assert all(started.count(name) >= 11 for name in on_clusters), started
    assert on_clusters == (set(CLUSTERS) if page.name == "clusters.md" else set())


def test_the_pages_have_commands_of_each_kind_that_a_test_runs() -> None:
    names = [name for page in PAGES for name, *_ in runnable(page)]
    assert {"train", "evaluate", "table", "plot", "report", "show", "why", "diff", "rm", "gc", "config"} <= set(names)
    assert names.count("train") > 15


def runnable(page: Path) -> list[list[str]]:
    """The commands of a page that need neither a hub, nor hours, nor Slurm (tests/cluster/test_pages.py)."""
    lines = [list(line) for line in command_lines(page)]
    return [line for line in lines if shlex.join(line) not in NEED_HUB | LONG and "launcher=slurm" not in line]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of `w2s train debug=tiny`, which most commands of the pages build on."""
    return once(tmp_path_factory, "small run", lambda folder: train_in(folder, ["debug=tiny"])) / "outputs"


def ask_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans ask neither the hub nor its cache."""
    resolver = train.Resolver
    monkeypatch.setattr(train, "Resolver", lambda store, folders, hub: resolver(store, folders, hub="never"))


def needs_hub(name: str, words: list[str], w2s_inside: Run) -> bool:
    """Whether a command asks for a model or data of the hub."""
    method = ["method=pretrain"] if name == "pretrain" else []
    return "the hub cannot be reached" in w2s_inside("plan", *method, *words).stdout


def stand_ins(folder: Path) -> str:
    """PATH with an `ssh`, a `qsub`, … that run the worker here, in an environment of their own, as another machine would."""
    folder.mkdir()
    for name in CLUSTERS:
        # the last word is the worker; kubectl has its path in the JSON of this word
        worker = 'echo "$last" | grep -o \'/[^" ]*/worker.sh\''
        script = f'for last; do :; done\necho {name} >> "{folder}/started"\ncd / && exec env -i PATH="$PATH" sh "$({worker})"\n'
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def named_in(folder: Path) -> Callable[[str], str]:
    """A function that puts a key or a run of the folder in the place of KEY and RUN."""

    def name(word: str) -> str:
        if word == "KEY":
            return max(path.parent.name[-12:] for path in folder.glob("outputs/stages/finetune/*/record.json"))
        if word in ("RUN", "RUN_A", "RUN_B"):
            runs = [path.name for path in folder.glob("outputs/runs/*/*")]
            return max(runs) if word == "RUN_B" else min(runs)
        return word

    return name


def test_the_experiment_and_the_notebook_of_the_pages_work(own: Path, w2s_inside: Run, finished: Path) -> None:
    (code,) = (code for code in blocks(DOCS / "experiments.md", "yaml") if code.startswith("name: mine"))
    (own / "mine" / "experiment").mkdir(parents=True)
    (own / "mine" / "experiment" / "mine.yaml").write_text(code)
    assert "runs of w2s train" in w2s_inside("reproduce", "mine", "--config-dir", "mine", "--plan").stdout
    (notebook,) = (code for code in blocks(DOCS / "runs.md", "python") if "w2s_cli.load" in code)
    shutil.copytree(finished, own / "outputs", symlinks=True)
    with contextlib.chdir(own):
        exec(compile(notebook, "docs/runs.md", "exec"), {})


def check_options(name: str, words: list[str], w2s_inside: Run) -> None:
    """Every option of a command line is in the help of its command; a table or figure that is named exists."""
    helped = options_of(name, w2s_inside)
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= helped, f"w2s {name} {words}"
    if name in CHOICES and words and re.fullmatch(r"[a-z0-9_]+", words[0]) and words[0] != "latest":
        assert (ROOT / CHOICES[name].format(words[0])).is_file(), f"w2s {name} {words}"


@functools.cache
def options_of(name: str, w2s_inside: Run) -> set[str]:
    """The options in the help of a command."""
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", w2s_inside(name, "--help").stdout))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:w2s_cli|configs|docs|scripts|tests|\.ci)/[^`\s]*)`", text):
        named = ROOT / (path.split("NAME")[0].rpartition("/")[0] if PLACEHOLDERS.search(path) else path)
        assert named.exists(), path
    for target in re.findall(r'(?:\]\(|src=")(?!https?:)([^)"]+)', text):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page are called."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_links_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for page in (path for path in PAGES[1:] if path.parent.name != "recipes"):
        assert f"]({page.relative_to(ROOT)})" in text  # mkdocs.yml has all: tests/command/test_site.py


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_of_methods_names_every_choice_of_a_group(group: str) -> None:
    pages = (DOCS / "methods.md").read_text() + (DOCS / "text.md").read_text()
    named = set(re.findall(r"`(\w+)`", pages))
    choices = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
    assert choices - NOT_LISTED - named == set()


@pytest.mark.parametrize("group", GROUPS[:-1])
def test_the_table_of_results_has_every_choice_of_a_group(group: str) -> None:
    tables = [code for code in blocks(DOCS / "results.md", "") if code.startswith("results by setting")]
    [table] = [code for code in tables if " wordnet-l " in code]
    choices = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")} - NOT_MEASURED - small_texts.methods()
    combined = {"weighted"} if group == "combine" else set()  # by weighted_ensemble
    assert {choice for choice in choices - combined if not re.search(rf"\b{choice}\b", table)} == set()
    assert f"{table.count(' wordnet-l ') + 1} settings" in (DOCS / "results.md").read_text()  # and one self_pair


@pytest.mark.slow
def test_the_rules_of_ones_own_run_as_the_page_has_them(
    w2s_inside: Callable[..., subprocess.CompletedProcess[str]], ran: list[str], own: Path
) -> None:
    page = DOCS / "methods.md"
    for words in command_lines(page):
        if "--config-dir" not in words:
            continue
        words = [word.replace("margin=0.3", "margin=0.001") for word in words]  # the tiny supervisor is torn everywhere
        shown = w2s_inside(*words, *ran, "ensemble=2" if "method=ensemble" in words else "seed=0").stdout
        assert "PGR" in shown
    (own / "mine" / "combining" / "boldest.py").write_text("def boldest(votes):\n    return votes[0]\n")
    broken = w2s_inside(
        "train", "--config-dir", "mine", "method=ensemble", "combine=boldest", *ran, "ensemble=2", code=2
    )
    assert "boldest" in broken.stderr
    assert "line 2" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_grader_of_ones_own_reads_as_the_page_has_it(own: Path) -> None:
    from w2s_cli.graders import Grade, Problem, load_grader

    grader = load_grader({"name": "yes_no", "args": {"last": True}}, [own / "mine"])
    problem = Problem("Is it?", "Yes")
    assert grader.grade("Hm. No. Or yes?", problem, grader.answer(problem)) == Grade("yes", "right", False)
    assert grader.grade("Nobody knows", problem, "yes").outcome == "no answer"


def test_a_loss_and_a_stage_kind_of_ones_own_run_as_the_page_has_them(
    w2s_inside: Run, ran: list[str], own: Path
) -> None:
    loss, kind = ["loss=focal", "loss.args.gamma=1.5"], ["method=smoothed"]
    for words in (loss, kind):
        assert ["train", "--config-dir", "mine", *words] in list(command_lines(DOCS / "own.md"))
    assert "PGR" in w2s_inside("train", "--config-dir", "mine", *loss, *kind, *ran).stdout
    assert len(list((own / "outputs" / "stages" / "smooth").glob("*/record.json"))) == 1
