"""The site of docs/: built without a warning, with every page, with nothing from another host; its generated pages are current."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from scripts.papers_page import page as papers
from scripts.papers_page import papers as cited
from tests.browser import browse, needs_browser
from tests.conftest import ROOT, environment, once
from tests.local_server import serving

pytest.importorskip("mkdocs")
DOCS = ROOT / "docs"
# a window cannot be as narrow as a phone, a frame can; the title tells how wide the page in it wants to be
FRAME = """<!DOCTYPE html><title>loading</title><style>body {{ margin: 0 }}</style>
<iframe src="/{page}" style="border: 0; width: {width}px; height: 2000px"
onload="document.title = `wide ${{this.contentDocument.documentElement.scrollWidth}}`"></iframe>"""
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict`, as scripts/docs calls it."""
    words = ["build", "--strict", "--config-file", str(root / "mkdocs.yml"), "--site-dir", str(site)]
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=root,
        env=environment(NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        timeout=240,
    )


def build_once(folder: Path) -> None:
    done = build(ROOT, folder / "site")
    (folder / "printed").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the built site, and with what the build printed."""
    return once(tmp_path_factory, "built_site", build_once)


def test_the_site_is_built_without_a_warning_and_has_every_page(built: Path) -> None:
    code, _, printed = (built / "printed").read_text().partition("\n")
    assert code == "0", printed
    assert "WARNING" not in printed
    for page in DOCS.rglob("*.md"):
        assert (built / "site" / page.relative_to(DOCS)).with_suffix(".html").is_file()
    navigation = (built / "site" / "index.html").read_text()
    for page in DOCS.rglob("*.md"):
        assert f'href="{page.relative_to(DOCS).with_suffix(".html").as_posix()}"' in navigation, "not in the navigation"


class Loaded(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.classes |= set((values.get("class") or "").split())
        if tag in LOADED and values.get(LOADED[tag]):
            self.addresses.append(str(values[LOADED[tag]]))


def test_no_page_loads_anything_from_another_host(built: Path) -> None:
    pages = list((built / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # with those of the repository's files
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        assert "mermaid" not in loaded.classes  # material fetches its program from a host
        for address in loaded.addresses:
            assert not re.match(r"(\w+:)?//", address), f"{page}: {address}"
            local = address.partition("?")[0].partition("#")[0]
            place = built / "site" / local.lstrip("/") if local.startswith("/") else page.parent / local  # of 404.html
            assert local.startswith("data:") or place.exists(), f"{page}: {address}"
    for style in (built / "site").rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:\w+:)?//", style.read_text()), style


def test_the_search_has_the_pages_and_not_the_files_of_the_repository(built: Path) -> None:
    entries = json.loads((built / "site" / "search" / "search_index.json").read_text())["docs"]
    pages = {entry["location"].partition("#")[0] for entry in entries}
    assert pages == {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert any("PGR" in entry["text"] for entry in entries)


def test_a_link_out_of_docs_leads_to_a_page_with_the_file(built: Path) -> None:
    own = (built / "site" / "own.html").read_text()
    assert 'href="repository/configs/method/bootstrapping.yaml.html"' in own
    assert "hop_labels" in (built / "site" / "repository/configs/method/bootstrapping.yaml.html").read_text()
    models = (built / "site" / "repository/configs/model/files.html").read_text()
    assert 'href="gpt2.yaml.html"' in models
    assert (built / "site" / "repository/configs/model/gpt2.yaml.html").is_file()


@pytest.mark.slow
def test_a_broken_link_a_broken_anchor_and_an_unlisted_page_end_the_build(tmp_path: Path) -> None:
    for name in ("docs", "configs", "w2s_cli", "scripts"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors", "*.gz", "__pycache__")
        )
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path / name)
    links = ["runs.md#no-such-heading", "no-such-page.md", "../configs/no_such_file.yaml"]
    (tmp_path / "docs" / "unlisted.md").write_text("# Unlisted\n\n" + "".join(f"[a link]({link})\n" for link in links))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    for fault in ("'#no-such-heading'", "'no-such-page.md'", "'../configs/no_such_file.yaml'", "not included in the"):
        assert len([line for line in warned if fault in line]) == 1, done.stderr
    assert len(warned) == 4


class Site(SimpleHTTPRequestHandler):
    """The files of the site, and `/frame/WIDTH/PAGE`, a page in a frame; `log_message` keeps the requests without an answer."""

    def __init__(self, *arguments: object, missing: list[str], **named: object) -> None:
        self.missing = missing
        super().__init__(*arguments, **named)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if frame := re.fullmatch(r"/frame/(\d+)/(.+)", self.path):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(FRAME.format(width=frame[1], page=frame[2]).encode())
        else:
            super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        if len(arguments) == 3 and str(arguments[1]) >= "400" and "favicon.ico" not in str(arguments[0]):
            self.missing.append(str(arguments[0]))


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("page", ["index.html", "fields.html", "recipes/own-data.html"])
def test_a_browser_shows_a_page_without_errors_and_no_wider_than_its_window(
    built: Path, tmp_path: Path, page: str
) -> None:
    from PIL import Image

    missing: list[str] = []
    with serving(partial(Site, directory=str(built / "site"), missing=missing)) as address:  # type: ignore[arg-type]

        def opened(path: str, *options: str) -> subprocess.CompletedProcess[str]:
            return browse(f"{address}/{path}", tmp_path, *options, host="127.0.0.1")

        shown = opened(page, "--dump-dom")
        assert "CONSOLE" not in shown.stderr, shown.stderr
        assert "md-content" in shown.stdout, shown.stderr
        assert missing == []
        for width in (390, 1400):
            picture = tmp_path / f"{width}.png"
            options = ["--blink-settings=preferredColorScheme=1", f"--window-size={max(width, 500)},1800"]
            opened(f"frame/{width}/{page}", *options, f"--screenshot={picture}")
            grey = Image.open(picture).convert("L").crop((0, 0, width, 1800))
            assert len(set(grey.resize((60, 60)).tobytes())) > 30, "the picture is blank"
            assert sorted(grey.tobytes())[grey.width * grey.height // 2] > 200, "light was asked for"
            framed = opened(f"frame/{width}/{page}", f"--window-size={max(width, 500)},1800", "--dump-dom")
            assert f"<title>wide {width}</title>" in framed.stdout, re.findall(r"<title>[^<]*", framed.stdout)
        missing.clear()
        opened("no-such-page.html", "--dump-dom")
        assert missing == ["GET /no-such-page.html HTTP/1.1"]  # the server tells


def test_the_page_of_papers_is_made_from_the_files() -> None:
    assert (DOCS / "papers.md").read_text() == papers(), "python -m scripts.papers_page > docs/papers.md"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "EnsemW2S (Agrawal et al. 2024): AdaBoost (Dawid & Skene 1979)",
            ["Agrawal et al. 2024", "Dawid & Skene 1979"],
        ),
        ("by Yang, Ma & Liu 2024, as in EleutherAI 2024", ["Yang, Ma & Liu 2024", "EleutherAI 2024"]),
        ("Lang et al. 2025, table 2; again Lang et al. 2025", ["Lang et al. 2025"]),
        ("the sandbox of 2026, with 2,024 rows", []),
    ],
)
def test_a_text_names_its_papers(text: str, names: list[str]) -> None:
    assert cited(text) == names
