"""The page of a run: complete, equal to the store and the tables, safe against what data and logs say, and shown by a real browser."""

import base64
import hashlib
import html
import html.parser
import json
import re
import shutil

import pytest
import yaml

from tests.browser import browse, needs_browser
from tests.small_sweep import small_sweep, sweep_folder
from w2s_cli.cli import dispatch
from w2s_cli.results.page import page
from w2s_cli.results.page.graph import BOX, TALL, layered, placed
from w2s_cli.results.page.markup import Html, escape, tag
from w2s_cli.results.reader import FORMAT, Run
from w2s_cli.results.text_table import results_table
from w2s_cli.store.store import Store

ATTACK = "<script>document.title='owned'</script><img src=http://page.invalid/x onerror=alert(1)>"
VOID = {"meta", "img", "br"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, the text, and whether what was opened was closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text += data

    def every(self, attribute):
        return [found[attribute] for _, found in self.elements if attribute in found]


@pytest.fixture
def copied(tmp_path):
    """A copy of the sweep's outputs, to break: its folder and its store."""
    shutil.copytree(small_sweep(), tmp_path / "outputs", symlinks=True)
    (folder,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    return folder, Store(tmp_path / "outputs")


def of(folder, store):
    return page(Run(folder, store))


@pytest.fixture(scope="module")
def written():
    return of(sweep_folder(), Store(small_sweep()))


def check_safe(text):
    """No script, no handler, no address outside the page."""
    found = Page(text)
    names = {name for name, _ in found.elements}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form", "foreignObject"}
    assert not [key for _, attributes in found.elements for key in attributes if key.startswith("on") or key == "style"]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.every("src"))
    assert all(target.startswith("#") for target in found.every("href"))
    return found


def test_the_page_needs_nothing_else_and_forbids_itself_everything_else(written):
    found = check_safe(written)
    (policy,) = [a["content"] for name, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    style = written[written.index("<style>") + 7 : written.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style


def test_every_stage_of_the_plan_is_there_once_with_its_key_and_every_link_has_its_place(written):
    found = Page(written)
    plan = json.loads((sweep_folder() / "plan.json").read_text())["stages"]
    ids = found.every("id")
    assert [name.removeprefix("stage-") for name in ids if name.startswith("stage-")] != []
    assert {name for name in ids if name.startswith("stage-")} == {f"stage-{stage['key']}" for stage in plan}
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in found.every("href")} <= set(ids)
    for stage in plan:
        folder = Store(small_sweep()).folder(stage["key"])
        log = (folder / "log.txt").read_text().strip()
        assert log.splitlines()[-1:] == [] or log.splitlines()[-1] in found.text


def test_the_tables_are_the_terminals(written):
    found = Page(written)
    for entry in json.loads((sweep_folder() / "results.json").read_text())["entries"]:
        for row in results_table(entry["metrics"]):
            assert all(f">{html.escape(cell)}<" in written for cell in row if cell)
        assert entry["key"] in found.text


def test_configuration_and_provenance_are_those_of_the_files(written):
    found = Page(written)
    first, second = yaml.safe_load_all((sweep_folder() / "config.yaml").read_text())
    assert yaml.safe_dump(first, sort_keys=False, allow_unicode=True) in found.text
    assert first["strong"]["name"] != second["strong"]["name"]
    assert second["strong"]["name"] in found.text
    (folder,) = small_sweep().glob("stages/finetune/student-wordnet-l-*")
    record = json.loads((folder / "record.json").read_text())["provenance"]
    for value in (
        record["git"]["commit"] if record["git"] else "no git checkout",
        record["host"],
        record["python"],
        record["command"],
    ):
        assert value in found.text
    assert f"torch {record['libraries']['torch']}" in found.text


def test_the_figures_are_in_the_page_and_the_absent_ones_say_why(written):
    found = Page(written)
    figures = [name for name in found.every("id") if name.startswith("figure-")]
    assert figures[0] == "figure-accuracy"
    assert set(figures) >= {"figure-scaling", "figure-calibration", "figure-agreement", "figure-curves"}
    assert "datasets: the run has one data set" in found.text
    pictures = [base64.b64decode(source.split(",")[1]) for source in found.every("src")]
    assert len(pictures) == len(figures)
    assert all(b"<svg" in picture and b"<script" not in picture for picture in pictures)
    assert all(found.every("alt"))


def test_the_same_run_gives_the_same_page(written):
    assert of(sweep_folder(), Store(small_sweep())) == written


def hostile(folder, store):
    """Write the attack wherever a user's text can stand."""
    results = json.loads((folder / "results.json").read_text())
    for entry in results["entries"]:
        entry["data"] = entry["weak"] = entry["method"] = ATTACK
        entry["metrics"]["pgr"]["note"] = ATTACK
    del results["sha256"]
    (folder / "results.json").write_text(json.dumps(results))
    configs = list(yaml.safe_load_all((folder / "config.yaml").read_text()))
    configs[0]["data"]["name"] = configs[0]["data"]["licence"] = ATTACK
    configs[0]["</pre></style>" + ATTACK] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump_all(configs))
    plan = json.loads((folder / "plan.json").read_text())
    del plan["sha256"], plan["config"]
    plan["stages"][-1]["name"] = plan["stages"][-1]["kind"] = '"><' + ATTACK
    (folder / "plan.json").write_text(json.dumps(plan))
    for stage in store.folders().values():
        (stage / "log.txt").write_text(f"\x1b[31m</pre>{ATTACK}\x00\x07\n")
        with (stage / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 1, ATTACK: 2.0}) + "\nnot json\n")


def test_what_data_logs_and_configurations_say_stays_text(copied):
    folder, store = copied
    hostile(folder, store)
    text = of(folder, store)
    found = check_safe(text)
    assert "\x00" not in text
    assert found.text.count(ATTACK) > 20
    assert f"</pre>{ATTACK}" in found.text
    assert "<title>w2s: &lt;script&gt;" in text


def test_markup_escapes_everything_but_itself():
    assert tag("p", "<b>", Html("<i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></p>'
    assert escape("a\x1b[31mb\x00") == "ab"


def test_an_unfinished_run_has_a_page_that_says_what_is_missing(copied):
    folder, store = copied
    (folder / "results.json").unlink()
    (folder / "config.yaml").write_text("weak: [")
    student = next(store.root.glob("stages/finetune/student-wordnet-l-*"))
    (student / "record.json").unlink()
    (student / "failed.json").write_text(json.dumps({"message": "out of memory at step 3"}))
    label = next(store.root.glob("stages/label/student-wordnet-l-*"))
    shutil.rmtree(label)
    found = check_safe(of(folder, Store(store.root)))
    for said in (
        "results.json is missing or cut short",
        "config.yaml was changed since it was written",
        f"student {student.name[-12:]} is failed: out of memory at step 3",
        f"student_test {label.name[-12:]} is missing: not begun",
        "No result yet.",
        "no accuracies to draw",
    ):
        assert said in found.text
    assert f"stage-{label.name[-12:]}" in found.every("id")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["", "[{", "{}", '["x"]', "[1]", "null", '{"format": 2, "entries": 1, "stages": {"key": "x"}}']
)
@pytest.mark.parametrize("name", ["plan.json", "results.json"])
def test_files_that_are_cut_short_give_a_page_too(copied, name, content):
    folder, store = copied
    (folder / name).write_text(content)
    assert f"{name} is missing or cut short" in check_safe(of(folder, store)).text


def test_a_long_log_is_cut_to_its_end(copied):
    folder, store = copied
    student = next(store.root.glob("stages/finetune/student-wordnet-l-*"))
    (student / "log.txt").write_text("".join(f"line {n} of a long log\n" for n in range(100_000)))
    text = of(folder, store)
    assert "line 99999 of a long log" in text
    assert "line 5000 of" not in text
    assert "the end of log.txt, 2" in text


@pytest.mark.slow
def test_a_sweep_of_more_than_a_hundred_stages_stays_small_and_is_drawn_by_names(copied):
    folder, store = copied
    made = Run(folder, store)
    plan = [{**s, "key": f"{n:03x}{s['key'][3:]}", "inputs": {}} for n in range(8) for s in made.plan]
    results = json.loads((folder / "results.json").read_text())["entries"]
    results = [{**e, "weak": f"weak-{n}"} for n in range(25) for e in results]
    (folder / "plan.json").write_text(json.dumps({"format": FORMAT, "stages": plan}))
    (folder / "results.json").write_text(json.dumps({"format": FORMAT, "entries": results}))
    (folder / "config.yaml").write_text(yaml.safe_dump_all(made.configs * 25))
    text = of(folder, store)
    assert len(plan) > 100
    assert len(text) < 3_000_000
    assert f"{len(plan)} stages, drawn by name." in text
    assert "student_test × 16" in text or "label × 16" in text


def test_the_layout_has_no_two_stages_in_one_place_and_every_input_above_what_reads_it():
    names = [f"n{i}" for i in range(14)]
    edges = {(names[i], names[j]) for i in range(14) for j in range(i + 1, 14) if (i * 7 + j * 3) % 5 == 0}
    layers = layered(names, edges)
    places, (width, height) = placed(layers)
    boxes = [places[name] for name in names]
    for i, (x, y) in enumerate(boxes):
        assert 0 <= x <= width - BOX
        assert 0 <= y <= height - TALL
        assert all(abs(x - u) >= BOX or abs(y - v) >= TALL for u, v in boxes[:i])
    assert all(places[one][1] + TALL < places[other][1] for one, other in edges)
    assert {(chain[0], chain[-1]) for chain in layers.chains} == edges


def test_a_layer_stands_in_the_order_of_the_plan_and_a_long_edge_where_it_comes_from():
    names = ["rows", "weak", "labels", "student", "ceiling", "pgr"]
    edges = {
        ("rows", "weak"),
        ("weak", "labels"),
        ("labels", "student"),
        ("weak", "pgr"),
        ("student", "pgr"),
        ("ceiling", "pgr"),
    }
    layers = layered(names, edges)
    assert [[name.replace("\n", " ") for name in row] for row in layers.rows] == [
        ["rows"],
        ["weak"],
        ["weak pgr 2", "labels"],
        ["weak pgr 3", "student", "ceiling"],
        ["pgr"],
    ]
    assert layers.empty == {"weak\npgr\n2", "weak\npgr\n3"}


def test_a_circle_of_names_is_drawn_all_the_same():
    layers = layered(["a", "b", "c"], {("a", "b"), ("b", "c"), ("c", "a")})
    assert sorted(name for row in layers.rows for name in row if name not in layers.empty) == ["a", "b", "c"]


def test_the_command_writes_the_page_and_prints_where(tmp_path, capsys, written):
    words = ["report", sweep_folder().name, f"outputs={small_sweep()}", f"out={tmp_path}/page.html"]
    assert dispatch(words) == 0
    assert capsys.readouterr().out.strip().endswith("page.html")
    assert (tmp_path / "page.html").read_text() == written


def test_without_out_the_page_lies_in_the_runs_folder(copied, capsys):
    folder, store = copied
    assert dispatch(["report", f"outputs={store.root}"]) == 0
    assert (folder / "report.html").exists()
    capsys.readouterr()


def test_without_a_name_the_latest_run_is_taken_and_said_finished_or_not(copied, capsys):
    folder, store = copied
    assert dispatch(["report", f"outputs={store.root}"]) == 0
    assert f"{folder.name}:" in capsys.readouterr().out
    running = folder.parent / "235959-running-0123abcd"
    running.mkdir()
    (running / "config.yaml").write_text("seed: 0\n")
    for words in ([], ["latest"], ["235959"]):
        assert dispatch(["report", *words, f"outputs={store.root}"]) == 0
        assert "235959-running-0123abcd, which is not finished:" in capsys.readouterr().out
        (running / "report.html").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], 'no run is called "nowhere"'),
        (["--out", "page.pdf"], "a report is an .html file"),
        (["--out", "/proc/no/page.html"], "cannot be written"),
        (["a", "b"], "unrecognized arguments: b"),
    ],
)
def test_wrong_words_of_report_get_one_message_and_exit_code_2(words, message, capsys):
    assert dispatch(["report", *words, "--outputs", str(small_sweep())]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("w2s: ")
    assert len(said.strip().splitlines()) == 1


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("attacked", [False, True], ids=["plain", "attacked"])
def test_a_browser_shows_the_page_without_errors_and_without_the_network(copied, tmp_path, attacked):
    folder, store = copied
    if attacked:
        hostile(folder, store)
    path = tmp_path / "page.html"
    path.write_text(of(folder, store))
    done = browse(path.as_uri(), tmp_path, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    found = check_safe(re.sub(r"^<!DOCTYPE[^>]*>", "", done.stdout).strip())
    title = done.stdout[done.stdout.index("<title>") : done.stdout.index("</title>")]
    assert title.startswith("<title>w2s: &lt;script" if attacked else "<title>w2s: wordnet-xs → 2 strong models")
    for said in (
        "Result",
        "Figures",
        "Provenance",
        "strong student" if attacked else "wordnet-l",
        ATTACK if attacked else "done",
    ):
        assert said in found.text
    control = tmp_path / "control.html"
    control.write_text('<!DOCTYPE html><img src="http://control.invalid/x">')
    here = asked(tmp_path)
    browse(control.as_uri(), tmp_path, "--dump-dom")
    assert "control.invalid" in asked(tmp_path)
    assert here <= asked(tmp_path) - {"control.invalid"}  # what the browser itself asks for, whatever it shows


def asked(folder):
    """Hosts that the browser wanted to reach."""
    return set(re.findall(r'"url":"(?:https?|wss?|ftp)://([^/:"]*)', (folder / "net.json").read_text()))


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_light_or_dark_as_the_browser_asks(copied, tmp_path, dark):
    from PIL import Image

    folder, store = copied
    path = tmp_path / "page.html"
    path.write_text(of(folder, store))
    options = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    browse(path.as_uri(), tmp_path, *options, "--window-size=900,1200", f"--screenshot={tmp_path}/page.png")
    picture = Image.open(tmp_path / "page.png").convert("L")
    assert (picture.getpixel((3, 3)) < 60) == dark
    darkest, lightest = picture.crop((0, 0, 900, 250)).getextrema()
    assert lightest - darkest > 150  # its letters can be read
