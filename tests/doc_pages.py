"""README.md, CONTRIBUTING.md and the pages under docs/: their code blocks, commands and files, and a folder in which these run."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, sentences, write_jsonl
from tests.data_sets import read_gz

README, DOCS = ROOT / "README.md", ROOT / "docs"
GENERATED = {"benchmarks.md"}  # a program writes it
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(page for page in DOCS.rglob("*.md") if page.name not in GENERATED)]
BUNDLED = ROOT / "w2s_cli" / "bundled" / "data" / "wordnet"


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page that are marked with one of the languages."""
    marked = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [code for language, code in marked if language in languages]


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words after `w2s` of every command in a page's code blocks."""
    for line in "".join(blocks(page, "bash", "")).splitlines():
        line = line.removeprefix("scripts/slurm_single_node ")  # which runs the command behind it
        if re.match(r"w2s [a-z]", line):
            shown = re.split(r"\s{2,}(?=[^#\s])", line)[0]  # a description may stand two spaces further
            yield shlex.split(shown, comments=True)[1:]


def shell_lines(page: Path) -> Iterator[str]:
    """Every line of a page's shell blocks that is no command of w2s, without its comment."""
    for line in "".join(blocks(page, "bash")).splitlines():
        if line and not re.match(r"#|w2s ", line):
            yield re.split(r"\s+# ", line)[0]


def inline_commands(page: Path) -> Iterator[list[str]]:
    """The words after `w2s` of every command in the prose of a page."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for words in re.findall(r"`w2s ([a-z][^`]*)`", prose):
        yield words.replace("…", "").split()


def written_files(page: Path) -> dict[str, str]:
    """Path → text of every code block that begins with a comment `# mine/…`."""
    files = {}
    for code in blocks(page, "python", "yaml"):
        match = re.match(r"# (mine/\S+?\.\w+)(?:, with (\S+): (.*))?\n", code)
        if match:
            files[match[1]] = code
            if match[2]:
                files[match[2]] = match[3]
    return files


@pytest.fixture
def own(tmp_path: Path, tiny_models: dict[str, Path]) -> Path:
    """A folder with the files that the pages write, and with small ones in place of the user's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for page in PAGES:
        for name, text in written_files(page).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    rows = sentences(240)
    write_jsonl(tmp_path / "my.jsonl", [{"prompt": row["text"], "is_safe": row["label"]} for row in rows])
    questions = [{"question": f"{row['text']}?", "answer": ("no", "yes")[int(str(row["label"]))]} for row in rows]
    questions = [{**row, "solution": f"so {row['answer']}"} for row in questions]
    write_jsonl(tmp_path / "questions.jsonl", questions)
    bundled = [row for split in ("train", "test") for row in read_gz(BUNDLED / f"{split}.jsonl.gz")]
    for name in ("mine.jsonl", "api.jsonl"):
        write_jsonl(tmp_path / name, [{"id": row["id"], "label": number % 2} for number, row in enumerate(bundled)])
    kinds = [
        {"id": row["id"], "word": row["text"], "kind": ("thing", "living")[int(str(row["label"]))]} for row in rows
    ]
    write_jsonl(tmp_path / "words.jsonl", kinds)
    reviews = [
        {"product": f"p{number}", "title": "It", "body": row["text"], "stars_above_3": int(str(row["label"]))}
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(reviews), tmp_path / "reviews.parquet")
    shutil.copytree(tiny_models["weak"], tmp_path / "checkpoints" / "mine")
    return tmp_path
