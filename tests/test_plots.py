"""The figure of a run: its formats, what it shows, and that the same metrics give the same bytes."""

import re

import pytest

from w2s_cli.errors import UserError
from w2s_cli.plots import plot_run


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
    for text in ("0.694", "0.717", "0.772", "PGR 0.29", "[0.06, 0.52]", "largest class 0.50", "WordNet"):
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
        "PGR -2.30",
        "unbounded",
        "weak",
        "student",
        "ceiling",
    ):
        assert text in found


def test_long_titles_and_names_are_broken_to_fit(tmp_path):
    name = "wordnet-xs → wordnet-l on wordnet_living"
    plot_run({name: metrics(), "logconf": metrics()}, tmp_path / "runs.svg", f"{name} (naive, xent, seeds 0, 1, 2)")
    found = texts(tmp_path / "runs.svg")
    assert "wordnet-xs → wordnet-l" in found
    assert max(map(len, found)) <= 45


def test_a_run_without_a_weak_supervisor_is_drawn_without_pgr(tmp_path):
    plot_run({"file": metrics(roles=("student", "ceiling"))}, tmp_path / "run.svg")
    assert not [text for text in texts(tmp_path / "run.svg") if "PGR" in text or "supervisor" in text]


def test_drawing_leaves_the_users_matplotlib_settings_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_run({"naive": metrics()}, tmp_path / "run.svg")
    assert dict(matplotlib.rcParams) == before


def test_unknown_suffixes_empty_runs_and_bad_paths_are_refused(tmp_path):
    with pytest.raises(UserError, match=r'"\.gif" file; use one of \.png, \.svg, \.pdf'):
        plot_run({"naive": metrics()}, tmp_path / "run.gif")
    with pytest.raises(UserError, match="no finished run"):
        plot_run({}, tmp_path / "run.png")
    with pytest.raises(UserError, match="cannot be written"):
        plot_run({"naive": metrics()}, tmp_path / "missing" / "run.png")
