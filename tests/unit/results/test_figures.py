"""The kinds of figures: what each shows is what the metrics say, at the width and letter size of a paper, and nothing covers anything."""

import itertools
import json
import statistics
import tempfile
from pathlib import Path

import matplotlib.text
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from matplotlib.transforms import Bbox
from safetensors.numpy import save_file

from tests.small_sweep import small_sweep, sweep_folder
from w2s_cli.cli import dispatch
from w2s_cli.errors import UserError
from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.pgr import median_pgr, window
from w2s_cli.results.drawing.sizes import count_parameters, flops, parameters
from w2s_cli.results.figures import draw_kind, kinds, save, settings
from w2s_cli.results.figures.calibration import reliability
from w2s_cli.results.reader import FORMAT, Run
from w2s_cli.statistics.figures import calibration_error
from w2s_cli.store.store import Store

SIZES = {"pythia-70m": 70.0, "pythia-410m": 405.0, "pythia-1b": 1012.0, "qwen2.5-7b": 7616.0}
LEVELS = dict(zip(SIZES, (0.62, 0.7, 0.78, 0.9), strict=True))
FOLDER = tempfile.TemporaryDirectory(prefix="w2s-figures-")
ALL = [
    "accuracy",
    "agreement",
    "calibration",
    "curves",
    "datasets",
    "lengths",
    "levels",
    "samples",
    "scaling",
    "theory",
]


def block(level):
    figures = {"accuracy": level, "auroc": level, "ece": 0.05}
    per_seed = {name: [value] for name, value in figures.items()}
    return figures | {"interval": [level - 0.02, level + 0.02], "per_seed": per_seed}


def entry(weak, strong, data="sciq", loss="xent", shift=0.0):
    low, high = LEVELS[weak] + shift, LEVELS[strong] + shift
    student = low + (high - low) * (0.3 if loss == "xent" else 0.6)
    bounded = high - low > 0.02
    value = (student - low) / (high - low) if high != low else None
    shares = {"overall": 0.8, "when_weak_right": 0.9, "when_weak_wrong": 0.5}
    return {
        "stage": "pgr",
        "key": f"{abs(hash((weak, strong, data, loss))):012x}"[-12:],
        **{
            "weak": weak,
            "strong": strong,
            "data": data,
            "loss": loss,
            "method": "naive",
            "train": "full",
            "seeds": [0],
        },
        "metrics": {
            **{"seeds": 1, "rows": 1000, "majority": 0.5, "confidence": 0.95},
            **{"weak": block(low), "student": block(student), "ceiling": block(high)},
            "pgr": {
                **{"value": value, "interval": [value - 0.1, value + 0.1] if bounded else None, "per_seed": [value]},
                **{"mean_of_ratios": value, "flags": [], "note": None},
            },
            "agreement": {n: {"value": v, "interval": [v - 0.04, v + 0.04]} for n, v in shares.items()},
            "misfit": {"squared": 0.02 + shift, "gain": 0.05 - shift, "cross_entropy": 0.6},
        },
    }


def run_with(entries, sizes=SIZES, plan=(), store=None):
    """A run whose files say this."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER.name))
    configs = [{"strong": {"name": name, "parameters": size}, "weak": {"name": name}} for name, size in sizes.items()]
    (folder / "config.yaml").write_text(yaml.safe_dump_all(configs))
    (folder / "plan.json").write_text(json.dumps({"format": FORMAT, "stages": list(plan)}))
    (folder / "results.json").write_text(json.dumps({"format": FORMAT, "entries": list(entries)}))
    return Run(folder, store or Store(Path("nowhere")))


def grid(data=("sciq", "boolq", "cosmos_qa"), losses=("xent", "logconf"), weak=("pythia-70m", "pythia-410m")):
    return [
        entry(w, s, d, loss, 0.01 * i)
        for i, d in enumerate(data)
        for w in weak
        for s in SIZES
        if s != w
        for loss in losses
    ]


def real():
    return Run(sweep_folder(), Store(small_sweep()))


CASES = {
    "one-run": ("accuracy", lambda: run_with([entry("pythia-70m", "qwen2.5-7b")])),
    "rows": ("accuracy", lambda: run_with(grid())),
    "agreement": ("agreement", lambda: run_with(grid(("sciq",)))),
    "calibration": ("calibration", real),
    "curves": ("curves", real),
    "datasets": ("datasets", lambda: run_with(grid([f"a_data_set_{i}" for i in range(10)], weak=("pythia-70m",)))),
    "scaling": ("scaling", lambda: run_with(grid(("sciq",)))),
    "scaling-median": ("scaling", lambda: run_with(grid())),
    "scaling-unknown": ("scaling", lambda: run_with(grid(), dict.fromkeys(SIZES))),
    "theory": ("theory", lambda: run_with(grid())),
}


def test_the_kinds_are_the_files_and_each_has_its_function():
    assert kinds() == ALL
    with pytest.raises(UserError, match=r'no figure "scalings"\. Did you mean "scaling"'):
        draw_kind("scalings", run_with([]))
    for kind in ALL:
        with pytest.raises(NoDataError):
            draw_kind(kind, run_with([]))


def written(label):
    """The box of a label's letters, without the empty lines that move it down."""
    box, lines = label.get_window_extent(), label.get_text().split("\n")
    empty = next(i for i, line in enumerate(lines) if line)
    return Bbox([[box.x0, box.y0], [box.x1, box.y1 - box.height * empty / len(lines) - 2]])


@pytest.mark.slow
@pytest.mark.parametrize("inches", [3.25, 6.75])
@pytest.mark.parametrize("case", CASES)
def test_at_either_width_letters_are_seven_points_nothing_is_cut_and_the_legend_covers_no_axes(case, inches):
    kind, make = CASES[case]
    with settings():
        figure = draw_kind(kind, make(), inches=inches)
        assert figure.get_figwidth() == inches
        assert figure.get_figheight() < 10.5
        figure.draw_without_rendering()
        whole = figure.bbox
        said = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]
        said = [text for text in said if text.get_window_extent().width]
        assert min(text.get_fontsize() for text in said) >= 7
        ticks = {label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
        for text in said:
            if text not in ticks:  # matplotlib keeps labels of ticks beyond the axes
                box = text.get_window_extent()
                assert min(box.x0 - whole.x0, whole.x1 - box.x1, box.y0 - whole.y0, whole.y1 - box.y1) > -1, (
                    text.get_text()
                )
        for legend in figure.legends:
            for axes in figure.axes:
                assert not legend.get_window_extent().overlaps(axes.get_window_extent())
        for axes in figure.axes:
            for legend in filter(None, [axes.get_legend()]):
                assert not legend.get_window_extent().overlaps(axes.get_window_extent())
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_text()]
                boxes = [written(t.label1) for t in shown if t.label1.get_visible()]
                for i, box in enumerate(boxes):
                    assert not [other for other in boxes[:i] if box.overlaps(other)], [
                        t.label1.get_text() for t in shown
                    ]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_run_gives_the_same_bytes_and_no_date(tmp_path, suffix):
    for kind in ("scaling", "calibration"):
        made = real()
        for name in ("one", "two"):
            save(draw_kind(kind, made), tmp_path / f"{name}.{suffix}")
        content = (tmp_path / f"one.{suffix}").read_bytes()
        assert content == (tmp_path / f"two.{suffix}").read_bytes()
        assert b"dc:date" not in content
        assert b"CreationDate" not in content


def drawn(axes, colour):
    """Heights of the thick line of a colour, by places."""
    (line,) = [
        one for one in axes.lines if one.get_color() == colour and len(one.get_xdata()) > 2 and one.get_linewidth() > 1
    ]
    return [float(y) for y in line.get_ydata()]


def test_scaling_draws_medians_over_data_sets_against_the_size():
    entries = grid(losses=("xent",), weak=("pythia-70m",))
    with settings():
        figure = draw_kind("scaling", run_with(entries))
    accuracy, pgr = figure.axes
    strong = [name for name in SIZES if name != "pythia-70m"]
    expected = [
        statistics.median(e["metrics"]["student"]["accuracy"] for e in entries if e["strong"] == name)
        for name in strong
    ]
    assert drawn(accuracy, "#0072B2") == pytest.approx(expected)
    ceilings = [
        statistics.median(e["metrics"]["ceiling"]["accuracy"] for e in entries if e["strong"] == n) for n in strong
    ]
    assert drawn(accuracy, "0.1") == pytest.approx(ceilings)
    assert drawn(pgr, "#0072B2") == pytest.approx([0.3] * 3)
    places = [float(x) for x in pgr.get_xticks()]
    assert places == pytest.approx([SIZES[name] * 1e6 for name in strong])
    assert pgr.get_xscale() == "log"


def test_scaling_does_not_draw_a_pgr_whose_gap_may_be_nothing_and_says_so():
    entries = [entry("pythia-70m", name) for name in SIZES]
    entries[0]["metrics"]["pgr"]["value"] = -41.0
    with settings():
        figure = draw_kind("scaling", run_with(entries))
    _, pgr = figure.axes
    assert pgr.get_title(loc="left") == "1 of 4 have no gap beyond its noise"
    assert pgr.get_ylim()[0] > -1


def test_a_pgr_far_off_does_not_press_the_others_flat():
    assert window([0.2, 0.4]) == (-0.1, 1.1)
    assert window([-41.0, 0.4])[0] == -1.0
    assert window([-41.0, 0.4])[1] < 1.2
    assert window([0.3, 9.0])[1] == 2.0


def test_a_pgr_beyond_the_axis_has_an_arrow_at_its_edge_and_is_said():
    entries = [entry("pythia-70m", name) for name in SIZES if name != "pythia-70m"]
    entries[0]["metrics"]["pgr"] |= {"value": -9.0, "interval": [-12.0, -7.0], "flags": []}
    entries[1]["metrics"]["pgr"] |= {"value": 0.5, "interval": [-7.0, 0.9], "flags": []}
    with settings():
        figure = draw_kind("scaling", run_with(entries))
    _, pgr = figure.axes
    low = pgr.get_ylim()[0]
    marks = [one for one in pgr.lines if one.get_marker() == "v"]
    assert [list(one.get_ydata()) for one in marks] == [[low], [low]]
    assert marks[0].get_markersize() > marks[1].get_markersize()
    said = pgr.get_title(loc="left").replace("\n", " ")
    assert said == "1 beyond the axis (arrows), 1 interval cut (small arrows)"


def test_scaling_refuses_an_unknown_axis_and_a_single_strong_model():
    with pytest.raises(UserError, match='no axis "time"; use one of size, compute'):
        draw_kind("scaling", run_with(grid()), axis="time")
    with pytest.raises(NoDataError, match="one strong model"):
        draw_kind("scaling", run_with([entry("pythia-70m", "pythia-1b")]))


def test_median_pgr_follows_the_rule_of_the_papers_notebook():
    pairs = [entry("pythia-70m", "pythia-1b"), entry("pythia-70m", "qwen2.5-7b", loss="logconf")]
    dropped = [entry("pythia-70m", "pythia-70m"), entry("qwen2.5-7b", "pythia-1b")]
    assert median_pgr(run_with([*pairs, *dropped]).entries) == pytest.approx(np.median([0.3, 0.6]))
    assert median_pgr(run_with(dropped).entries) is None


def test_datasets_has_a_bar_for_every_role_and_interval_and_pgr_beside_it():
    entries = grid(losses=("xent",), weak=("pythia-70m",))
    entries = [e for e in entries if e["strong"] == "qwen2.5-7b"]
    with settings():
        figure = draw_kind("datasets", run_with(entries))
    left, right = figure.axes
    ends = sorted(bar.get_x() + bar.get_width() for bar in left.patches)
    expected = sorted(e["metrics"][role]["accuracy"] for e in entries for role in ("weak", "student", "ceiling"))
    assert ends == pytest.approx(expected)
    assert [label.get_text() for label in left.get_yticklabels()] == ["sciq", "boolq", "cosmos_qa"]
    shown = sorted(float(line.get_xdata()[0]) for line in right.lines if line.get_marker() == "o")
    assert shown == pytest.approx([0.3] * 3)


def test_agreement_shows_both_shares_of_every_setting():
    entries = grid(("sciq",))
    with settings():
        figure = draw_kind("agreement", run_with(entries))
    for marker, value in (("o", 0.9), ("D", 0.5)):
        shown = [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() == marker]
        assert shown == pytest.approx([value] * len(entries))


def test_reliability_bins_are_those_of_the_metrics_ece():
    drawn_from = np.random.default_rng(0)
    first = drawn_from.uniform(size=500)
    p, truth = np.stack([first, 1 - first], axis=1), drawn_from.integers(0, 2, 500)
    mean, right, rows = reliability(p, truth)
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == truth
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        assert rows[b] == inside.sum()
        if inside.any():
            assert mean[b] == pytest.approx(confidence[inside].mean())
            assert right[b] == pytest.approx(hit[inside].mean())
    some = rows > 0
    ece = np.sum(rows[some] * np.abs(mean[some] - right[some])) / 500
    assert ece == pytest.approx(calibration_error(p, truth))


POINTS = [[0.08, 0.1], [0.25, 0.3], [0.1, 0.12], [0.2, 0.1], [0.05, 0.06]]  # misfit, gain


def theory_stage(tmp_path):
    folder = tmp_path / "outputs" / "stages" / "theory" / f"points-{'ab' * 6}"
    (folder / "result").mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    columns = {"misfit": [one[0] for one in POINTS], "gain": [one[1] for one in POINTS]}
    pq.write_table(pa.table(columns), folder / "result" / "points.parquet")
    plan = [{"key": "ab" * 6, "name": "theory", "kind": "theory", "inputs": {}}]
    return run_with([], plan=plan, store=Store(tmp_path / "outputs"))


def test_theory_draws_the_points_of_a_theory_stage_with_the_diagonal(tmp_path):
    with settings():
        figure = draw_kind("theory", theory_stage(tmp_path))
    (axes,) = figure.axes
    assert axes.collections[0].get_offsets().tolist() == POINTS
    diagonal = axes.lines[0]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert diagonal.get_xdata()[1] > 0.25


def test_theory_without_such_a_stage_draws_the_misfit_of_every_evaluation():
    entries = grid()
    with settings():
        figure = draw_kind("theory", run_with(entries))
    points = sorted(tuple(point) for one in figure.axes[0].collections for point in one.get_offsets().tolist())
    assert points == sorted((e["metrics"]["misfit"]["squared"], e["metrics"]["misfit"]["gain"]) for e in entries)


@pytest.mark.parametrize("most", [0.011, 0.0041, 3.0])
def test_labels_of_theorys_axis_stand_apart(most):
    entries = grid()
    for i, one in enumerate(entries):
        one["metrics"]["misfit"] |= {"squared": most * i / len(entries), "gain": 0.001 * i}
    with settings():
        figure = draw_kind("theory", run_with(entries), inches=3.25)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        low, high = axes.get_xlim()
        boxes = [t.label1.get_window_extent() for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
    assert len(boxes) >= 2
    assert all(after.x0 - before.x1 > 5 for before, after in itertools.pairwise(boxes))


def test_plot_finds_a_run_of_theory_stages_without_results(tmp_path, capsys):
    made = theory_stage(tmp_path)
    for name, plan in (("110000-other", []), ("100000-theory", made.plan)):
        run = tmp_path / "outputs" / "runs" / "2026-01-01" / name
        run.mkdir(parents=True)
        (run / "plan.json").write_text(json.dumps({"format": FORMAT, "stages": plan}))
        (run / "results.json").write_text(json.dumps({"format": FORMAT, "entries": []}))
    for words in (["theory"], ["theory", "100000"], ["100000"], ["latest"]):
        assert dispatch(["plot", *words, f"outputs={tmp_path / 'outputs'}", "--out", str(tmp_path / "made")]) == 0
        assert "100000-theory" in capsys.readouterr().out


def test_parameters_are_the_configurations_millions_else_counted_in_the_weights(tmp_path):
    save_file({"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float16)}, tmp_path / "model.safetensors")
    save_file({"a": np.zeros((9, 9), np.float32)}, tmp_path / "adapter_model.safetensors")
    assert count_parameters(tmp_path) == 22
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    assert count_parameters(tmp_path) == 0
    assert count_parameters(tmp_path / "missing") == 0
    one = entry("pythia-70m", "pythia-1b")
    assert parameters(run_with([one]).entries[0]) == 1012e6
    assert parameters(run_with([one], dict.fromkeys(SIZES)).entries[0]) is None


def test_compute_is_six_times_parameters_and_tokens_of_the_students_training():
    made = real()
    for one in made.settings:
        size = parameters(one)
        (folder,) = small_sweep().glob(f"stages/finetune/student-{one.fields['strong']}-*")
        manifest = json.loads((folder / "result" / "manifest.json").read_text())
        params = json.loads((folder / "stage.json").read_text())["params"]
        assert flops(one) == 6 * size * manifest["metrics"]["tokens"] * params["epochs"]
    small, large = (parameters(one) for one in made.settings)
    assert 1e6 < small < large < 1e7


def test_plot_draws_what_the_run_has_data_for_and_says_what_it_lacks(tmp_path, capsys):
    assert dispatch(["plot", "--outputs", str(small_sweep()), "--out", str(tmp_path / "made" / "f.pdf")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert dispatch(["plot", "--outputs", str(small_sweep()), "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().out
    assert "no datasets: the run has one data set" in said
    assert "no theory: 2 of the 5 points of misfit and gain" in said
    names = {path.name for path in (tmp_path / "made").iterdir()}
    expected = {f"figure-{kind}.png" for kind in ("agreement", "calibration", "curves", "scaling")}
    assert names == {"figure.png", *expected}


def test_plot_takes_a_kind_the_digest_of_a_run_a_width_and_a_file(tmp_path, capsys):
    name = sweep_folder().name[-8:]
    words = [
        "plot",
        "scaling",
        name,
        f"outputs={small_sweep()}",
        f"out={tmp_path}/wide.svg",
        "--width",
        "full",
        "--x",
        "compute",
    ]
    assert dispatch(words) == 0
    assert 'width="486pt"' in (tmp_path / "wide.svg").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["wide.svg"]
    assert dispatch(["plot", str(sweep_folder()), "--outputs", str(small_sweep()), "--out", f"{tmp_path}/all.svg"]) == 0
    assert {"all.svg", "all-scaling.svg"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scalings", "x"], 'there is no figure "scalings". Did you mean "scaling"'),
        (["nowhere"], '"nowhere" is no kind of figure either'),
        (["scaling", "nowhere"], 'no run is called "nowhere"'),
        (["accuracy", "--out", "figure.gif"], 'cannot draw a ".gif" file; use one of .png, .svg, .pdf'),
        (["accuracy", "--out", "/proc/no/figure.png"], "cannot be written"),
        (["--out", "/proc/no"], "cannot be made"),
        (["datasets"], "w2s plot datasets: the run has one data set"),
        (["accuracy", "--width", "wide"], "invalid choice"),
    ],
)
def test_wrong_words_of_plot_get_one_message_and_exit_code_2(words, message, capsys):
    assert dispatch(["plot", *words, "--outputs", str(small_sweep())]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("w2s: ")
    assert len(said.strip().splitlines()) == 1


def test_plot_of_a_run_without_results_says_how_to_go_on(tmp_path, capsys):
    folder = tmp_path / "outputs" / "runs" / "2026-01-01" / "120000-a-b-c-01234567"
    folder.mkdir(parents=True)
    (tmp_path / "outputs" / "stages").mkdir()
    (folder / "results.json").write_text(json.dumps({"format": FORMAT, "entries": []}))
    assert dispatch(["plot", "01234567", "--outputs", str(tmp_path / "outputs")]) == 2
    assert f"has no results yet: w2s status {folder.name} outputs=" in capsys.readouterr().err
