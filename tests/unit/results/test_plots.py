"""The figure of a run: its formats, what it shows, and that the same metrics give the same bytes."""

import itertools
import re
from pathlib import Path

import matplotlib
import pytest

from w2s_cli.errors import UserError
from w2s_cli.results.drawing.bars import bars
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.style import save, settings
from w2s_cli.results.reader import Entry, Run
from w2s_cli.statistics import ROLES
from w2s_cli.store.store import Store


def metrics(pgr=0.29, interval=(0.06, 0.52), roles=("weak", "student", "ceiling")):
    accuracies = {"weak": 0.694, "student": 0.717, "ceiling": 0.772}
    found = {"seeds": 3, "majority": 0.503}
    for role in roles:
        level = accuracies[role]
        found[role] = {
            "accuracy": level,
            "interval": [level - 0.02, level + 0.02],
            "per_seed": {"accuracy": [level - 0.01, level, level + 0.01]},
        }
    if len(roles) == 3:
        found["pgr"] = {"value": pgr, "interval": interval and list(interval)}
    return found


def plot_run(runs, path, title=""):
    with settings():
        figure = bars(runs, title, None)
    save(figure, path)


def texts(path):
    """Texts of an SVG: matplotlib draws glyphs and names each text in a comment."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_is_the_format_and_the_bytes_are_the_same_twice(tmp_path, suffix, start):
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path in paths:
        plot_run({"naive": metrics()}, path, "WordNet")
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_one_run_shows_the_figures_and_pgr_with_its_interval(tmp_path):
    plot_run({"naive": metrics()}, tmp_path / "run.svg", "WordNet")
    found = texts(tmp_path / "run.svg")
    for text in ("0.694", "0.717", "0.772", "PGR 0.29", "[0.06, 0.52]", "WordNet"):
        assert text in found


def test_several_runs_stand_side_by_side_each_with_its_pgr(tmp_path):
    runs = {"naive": metrics(), "logconf": metrics(0.53, (0.31, 0.74)), "noise": metrics(-2.3, None)}
    plot_run(runs, tmp_path / "runs.svg")
    found = texts(tmp_path / "runs.svg")
    for text in (
        "naive",
        "logconf",
        "PGR 0.53",
        "[0.31, 0.74]",
        "PGR: no gap",
        "weak",
        "student",
        "ceiling",
    ):
        assert text in found
    assert not [text for text in found if "2.3" in text]


def test_one_run_without_a_gap_says_so_and_shows_no_number(tmp_path):
    plot_run({"naive": metrics(-2.3, None)}, tmp_path / "run.svg")
    found = texts(tmp_path / "run.svg")
    assert "PGR: no gap" in found
    assert not [text for text in found if "2.3" in text]


UNDER = {**metrics(), "majority": 0.74}  # the ceiling only is better than the largest class
NO_WEAK = {**metrics(roles=("student", "ceiling")), "majority": 0.75}


@pytest.mark.parametrize(
    "runs",
    [
        {"naive": metrics()},
        {"naive": UNDER},
        {"file": NO_WEAK},
        {"no gap": {**metrics(-2.3, None), "majority": 0.73}},
        {"wide": {**metrics(-2.3, (-123.44, -100.51)), "majority": 0.73}},
        {"naive": metrics(), "logconf": metrics()},
        {"one": UNDER, "two": metrics()},
        {"one": {**metrics(), "majority": 0.6}, "two": metrics()},
    ],
    ids=["above", "under", "no-weak", "no-gap", "wide-interval", "groups", "two-data-sets", "two-shares"],
)
def test_bars_begin_at_the_largest_class_or_at_0_and_the_axis_says_so(runs):
    with settings():
        figure = bars(runs, "title", None)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    roles = [(one[role]["accuracy"], one["majority"]) for one in runs.values() for role in ROLES if role in one]
    from_zero = any(level < share for level, share in roles)
    begins = [bar.get_y() for bar in axes.patches]
    assert begins == ([0.0] * len(roles) if from_zero else [share for _, share in roles])
    assert [bar.get_y() + bar.get_height() for bar in axes.patches] == pytest.approx([level for level, _ in roles])
    assert axes.get_ylim()[0] <= min(begins)
    label = axes.get_ylabel().replace("\n", " ")
    shares = {f"{one['majority']:.2f}" for one in runs.values()}
    share = f", {min(shares)}" if len(shares) == 1 else ""
    assert label == f"test accuracy (bars from {'0' if from_zero else 'the largest class' + share})"
    written = [text for text in axes.texts if "largest" in text.get_text()]
    drawn = axes.get_window_extent()
    assert len(written) == (from_zero and len(shares) == 1)
    others = [text.get_window_extent() for text in axes.texts if text not in written]
    for text in written:
        place = text.get_window_extent()
        assert place.x0 >= drawn.x1
        assert not [other for other in others if place.overlaps(other)]
    names = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(names))


def entry(**changed):
    plain = {"weak": "xs", "strong": "l", "data": "wordnet", "method": "naive", "loss": "xent", "train": "full"}
    written = {**plain, "seeds": [0], "stage": "pgr", "key": "0123", "metrics": {}, **changed}
    return Entry.of(written, Run(Path("run"), Store(Path("nowhere"))))


@pytest.mark.parametrize(
    ("entries", "title", "names"),
    [
        ([entry()], "xs → l on wordnet (naive, xent, seed 0)", [""]),
        ([entry(), entry(loss="logconf")], "xs → l on wordnet (naive, seed 0)", ["xent", "logconf"]),
        ([entry(seeds=[n]) for n in (0, 1)], "xs → l on wordnet (naive, xent)", ["seed 0", "seed 1"]),
        ([entry(), entry(strong="m")], "xs → 2 strong models on wordnet (naive, xent, seed 0)", ["l", "m"]),
        (
            [entry(), entry(weak="s", strong="m", data="boolq")],
            "2 weak → 2 strong models on 2 data sets (naive, xent, seed 0)",
            ["xs → l, wordnet", "s → m, boolq"],
        ),
        ([entry(), entry(weak="s")], "2 weak models → l on wordnet (naive, xent, seed 0)", ["xs", "s"]),
        (
            [entry(stage="summary", evaluates=name) for name in ("pgr", "pgr_weak")],
            "xs → l on wordnet (naive, xent, seed 0)",
            ["pgr", "pgr_weak"],
        ),
        ([entry(), entry(key="4567")], "xs → l on wordnet (naive, xent, seed 0)", ["0123", "4567"]),
    ],
)
def test_the_title_is_what_results_share_and_the_names_are_what_differs(entries, title, names):
    assert heading(entries) == title
    assert group_names(entries) == names


def test_long_titles_and_names_are_broken_to_fit(tmp_path):
    name = "wordnet-xs → wordnet-l on wordnet_living"
    plot_run({name: metrics(), "logconf": metrics()}, tmp_path / "runs.svg", f"{name} (naive, xent, seeds 0, 1, 2)")
    found = texts(tmp_path / "runs.svg")
    assert {"wordnet-xs →", "wordnet-l on"} <= set(found)
    assert max(map(len, found)) <= 45


def test_a_run_without_a_weak_supervisor_is_drawn_without_pgr(tmp_path):
    plot_run({"file": metrics(roles=("student", "ceiling"))}, tmp_path / "run.svg")
    assert not [text for text in texts(tmp_path / "run.svg") if "PGR" in text or "supervisor" in text]


@pytest.mark.parametrize("others", [0, 1])
def test_graded_answers_have_no_largest_class_alone_or_beside_classifiers(tmp_path, others):
    graded = {name: value for name, value in metrics().items() if name != "majority"}
    runs = {"texts": graded, "more texts": graded} | {f"labels {n}": metrics() for n in range(others)}
    plot_run(runs, tmp_path / "run.svg")
    assert sum("largest class" in text for text in texts(tmp_path / "run.svg")) == others


def test_drawing_leaves_the_users_matplotlib_settings_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    plot_run({"naive": metrics()}, tmp_path / "run.svg")
    assert dict(matplotlib.rcParams) == before


def test_unknown_suffixes_and_bad_paths_are_refused(tmp_path):
    with pytest.raises(UserError, match=r'"\.gif" file; use one of \.png, \.svg, \.pdf'):
        plot_run({"naive": metrics()}, tmp_path / "run.gif")
    with pytest.raises(UserError, match="cannot be written"):
        plot_run({"naive": metrics()}, tmp_path / "missing" / "run.png")
