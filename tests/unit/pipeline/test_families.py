"""What a result says of its command: the words of its job, and the family that it shares with the other seeds of its setting only."""

from pathlib import Path

import pytest

from tests.conftest import ROOT, write_jsonl
from tests.data_sets import read_gz
from w2s_cli.config import compose
from w2s_cli.config.sweeps import Composed
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.families import result_family, stage_families
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.results.writer import entries
from w2s_cli.store.store import Store


def planned(folder: Path, *arguments: str) -> Graph:
    """The graph of a command line, planned and not run."""
    graphs: list[Graph] = []

    def plan(jobs: list[Composed], folders: list[Path]) -> int:
        graphs.append(build(jobs, Resolver(Store(folder), folders)))
        return 0

    compose.run([*arguments], plan)
    return graphs[0]


def families(folder: Path, *arguments: str) -> list[str]:
    """The family of each job's comparison."""
    graph = planned(folder, *arguments)
    stages = stage_families(graph)
    return [result_family(graph, job, "pgr", stages) for job in graph.jobs]


PLAIN = ("debug=tiny",)


@pytest.mark.parametrize(
    "words",
    [
        ["seed=3"],
        ["outputs=elsewhere", "launcher.jobs=7", "keep_weights=false"],
        ["bootstrap=50", "confidence=0.9"],
        ["data.licence=other", "loss.label=called"],
        ["train.lora.rank=64"],  # of an option that is off
        ["weak.parameters=7", "pairs=upper"],
    ],
    ids=lambda words: words[0],
)
def test_seeds_and_what_changes_no_result_leave_the_family(tmp_path: Path, words: list[str]) -> None:
    assert families(tmp_path, *PLAIN, *words) == families(tmp_path, *PLAIN)


@pytest.mark.parametrize(
    "words",
    [
        ["strong.lr=1e-3"],
        ["loss=logconf"],
        ["train.epochs=2"],
        ["weak=wordnet-s"],
        ["data.limits.strong_train=32"],
        ["train.labels=hard"],
        ["student.seed=0"],  # pinned, at the value that the run's seed has as well
        ["data.seed=1"],
        ["data.test_seed=1"],
    ],
    ids=lambda words: words[0],
)
def test_a_setting_makes_a_family_and_a_pinned_seed_is_a_setting(tmp_path: Path, words: list[str]) -> None:
    assert families(tmp_path, *PLAIN, *words) != families(tmp_path, *PLAIN)


@pytest.mark.slow
def test_seeds_of_one_command_or_of_several_are_one_family_of_any_method(tmp_path: Path) -> None:
    for words in ([], ["method=ensemble"], ["method=selection"], ["method=ensemw2s"], ["data.drop_overlap=true"]):
        words = ["debug=tiny", *words]
        apart = [family for seed in range(3) for family in families(tmp_path, *words, f"seed={seed}")]
        assert len(set(apart)) == 1, words
        assert families(tmp_path, *words, "seeds=3") == apart
    assert len(set(families(tmp_path, "-m", *PLAIN, "loss=xent,logconf", "seed=0,1"))) == 2


def test_each_job_of_a_sweep_has_the_words_of_all_jobs_and_its_own(tmp_path: Path) -> None:
    graph = planned(tmp_path, "-m", *PLAIN, "weak=wordnet-xs,wordnet-s", "seed=0,1", "strong.lr=1e-3")
    assert [list(job.words) for job in graph.jobs] == [
        ["debug=tiny", "strong.lr=1e-3", f"weak={weak}", f"seed={seed}"]
        for weak in ("wordnet-xs", "wordnet-s")
        for seed in (0, 1)
    ]
    for job in graph.jobs:  # the words make the job again
        (again,) = planned(tmp_path, *job.words).jobs
        assert (again.config, again.names) == (job.config, job.names)


def test_seeds_of_one_job_share_its_words_and_no_result_has_words_in_its_identity(tmp_path: Path) -> None:
    graph = planned(tmp_path, *PLAIN, "seeds=2")
    assert [list(job.words) for job in graph.jobs] == [["debug=tiny", "seeds=2"]] * 2
    assert set(graph.stages) == set(planned(tmp_path, "-m", *PLAIN, "seed=0,1").stages)
    assert entries(graph, Store(tmp_path)) == []  # nothing has run


def test_a_reference_to_the_seed_names_another_file_for_each_seed_and_the_seeds_stay_one_setting(
    tmp_path: Path,
) -> None:
    ids = [row["id"] for row in read_gz(ROOT / "w2s_cli" / "bundled" / "data" / "wordnet" / "train.jsonl.gz")]
    for seed in range(3):
        write_jsonl(
            tmp_path / f"labels-{seed}.jsonl", [{"id": name, "label": (seed + n) % 3 % 2} for n, name in enumerate(ids)]
        )
    words = ("debug=tiny", "labels=file", f"labels.path={tmp_path}/labels-${{seed}}.jsonl")
    for seeds in (["seeds=3"], ["-m", "seed=0,1,2"]):
        graph = planned(tmp_path, *words, *seeds)
        assert [job.config["labels"]["path"] for job in graph.jobs] == [
            f"{tmp_path}/labels-{seed}.jsonl" for seed in range(3)
        ]
        assert len({graph.stages[job.names["labels"]].identity["params"]["sha256"] for job in graph.jobs}) == 3
        [(jobs, _, _)] = graph.summaries
        assert jobs == graph.jobs


def test_a_reference_to_the_seed_in_data_path_names_other_data_for_each_seed(tmp_path: Path) -> None:
    for seed in range(3):
        write_jsonl(tmp_path / f"rows-{seed}.jsonl", [{"text": f"t{i} {seed}", "label": i % 2} for i in range(20)])
    data = ("data=local", f"data.path={tmp_path}/rows-${{seed}}.jsonl", "data.text=text", "data.label=label")
    for seeds in (["seeds=3"], ["-m", "seed=0,1,2"]):
        graph = planned(tmp_path, *PLAIN, *data, *seeds)
        assert [job.config["data"]["path"] for job in graph.jobs] == [f"{tmp_path}/rows-{n}.jsonl" for n in range(3)]
        for pool in ("rows:test", "rows:weak_train"):
            sources = [graph.stages[job.names[pool]] for job in graph.jobs]
            assert len({stage.identity["params"]["source"]["sha256"] for stage in sources}) == 3
        [(jobs, _, _)] = graph.summaries
        assert jobs == graph.jobs


def test_every_seed_has_its_own_training_rows_unless_data_seed_pins_them(tmp_path: Path) -> None:
    def pools(*words: str) -> dict[str, int]:
        graph = planned(tmp_path, *PLAIN, "seeds=3", *words)
        names = ("rows:test", "rows:weak_train", "rows:strong_train")
        return {name: len({job.names[name] for job in graph.jobs}) for name in names}

    assert pools() == {"rows:test": 1, "rows:weak_train": 3, "rows:strong_train": 3}
    assert pools("data.seed=5") == {"rows:test": 1, "rows:weak_train": 1, "rows:strong_train": 1}
