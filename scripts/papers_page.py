"""docs/papers.md, from the sources that the YAML and Python files of w2s name: `python -m scripts.papers_page > docs/papers.md`.

* A file names a paper in its head, as "Burns et al. 2023": in the comment of a YAML, the docstring of a Python file, or `source:` of an
  experiment. A link is made where one of the files has "arXiv" and the number behind that name.
* No list of papers, methods or rules is kept: the folders are asked. tests/command/test_site.py compares the page.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from w2s_cli.commands.config import RULES
from w2s_cli.paths import PACKAGE, configs_folder
from w2s_cli.plugins import code_names, find_code

GROUPS = {  # group of configs/ → what its choices are, in the order of the page
    "experiment": "Experiments: `w2s reproduce NAME`",
    "method": "Methods: `method=NAME`",
    "loss": "Losses: `loss=NAME`",
    "objective": "Objectives on texts and pairs: `objective=NAME`",
    "combine": "Rules for several supervisors: `combine=NAME`",
    "select": "Rules for labels: `select=NAME`",
    "control": "Controls: `control=NAME`",
    "stopping": "Early stopping: `stopping=NAME`",
    "train": "Kinds of training: `train=NAME`",
}
FOLDERS = {"choosing": "Rules that choose texts", "pairing": "Rules that make pairs of texts"}  # named by methods alone
NAME = r"[A-Z][\w’'-]+"
AUTHORS = rf"(?:{NAME} et al\.|{NAME}(?:, {NAME})* & {NAME}|EleutherAI)"
PAPER = re.compile(rf"({AUTHORS}) (\d{{4}})\b")
NUMBER = re.compile(r"^[^.;]{0,60}?\barXiv:? ?(\d{4}\.\d{4,5})")
COMMAND = re.compile(r"^#\s+w2s ")
HEAD = """\
# Papers

Made by `python -m scripts.papers_page`; do not edit. What w2s has of each paper, and the paper of each choice, as the files in
`configs/` and `w2s_cli/` name them; a formula has its equation in the docstring of its file. [methods.md](methods.md) and
[text.md](text.md) say how to use them, [experiments.md](experiments.md) what is compared with reported figures.
"""


def page() -> str:
    """The page as Markdown."""
    entries = [*_entries()]
    links = _links(text for _, _, _, text in entries)
    by_paper: dict[str, list[str]] = {}
    for _, word, _, text in entries:
        for paper in papers(text):
            by_paper.setdefault(paper, []).append(word)
    lines = [HEAD, "## By paper", "", "| paper | in w2s |", "|---|---|"]
    for paper in sorted(by_paper, key=str.casefold):
        lines.append(f"| {_linked(paper, links)} | {', '.join(f'`{word}`' for word in by_paper[paper])} |")
    for title in (*GROUPS.values(), *FOLDERS.values()):
        lines += ["", f"## {title}", "", "| name | what it is | papers |", "|---|---|---|"]
        for of, word, what, text in entries:
            if of == title:
                cited = "; ".join(_linked(paper, links) for paper in papers(text))
                lines.append(f"| `{re.split('[ =]', word)[-1]}` | {_cell(what)} | {cited or '–'} |")
    return "\n".join(lines) + "\n"


def papers(text: str) -> list[str]:
    """The papers that a text names, each once, in its order."""
    return list(dict.fromkeys(f"{authors} {year}" for authors, year in PAPER.findall(text)))


def _entries() -> Iterator[tuple[str, str, str, str]]:
    """Of each choice: the title of its part, the word that chooses it, what it is, and all that its files say in their heads."""
    for group, title in GROUPS.items():
        for path in sorted((configs_folder() / group).glob("*.yaml")):
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
            if fields.get("name", path.stem) in (None, "none"):
                continue  # the method's own rule, or no rule
            word = f"w2s reproduce {path.stem}" if group == "experiment" else f"{group}={path.stem}"
            comment = _comment(path)
            texts = [str(fields.get("source", "")), comment]
            rule = fields["rule"] if group == "control" else fields.get("name")
            if group in RULES and rule in code_names(RULES[group]):
                texts.append(_docstring(find_code(RULES[group], rule)))
            yield title, word, str(fields.get("title", "")) or _sentence(comment), " ".join(texts)
    for folder, title in FOLDERS.items():
        for name in code_names(folder):
            text = _docstring(PACKAGE / folder / f"{name}.py")
            yield title, name, _sentence(text.partition(": ")[2] or text), text


def _comment(path: Path) -> str:
    """The comment at the head of a YAML, without its commands."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not COMMAND.match(line):
            lines.append(line[1:].strip())
    return " ".join(lines)


def _docstring(path: Path) -> str:
    return " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())


def _sentence(text: str) -> str:
    """The first sentence of a text, without the papers that it names."""
    first = re.split(r"(?<!\bal)\. ", text)[0]
    bare = re.sub(r" \([^()]*\)", lambda bracket: "" if PAPER.search(bracket[0]) else bracket[0], first)
    bare = re.sub(rf"^{PAPER.pattern}, ", "", bare).rstrip(".")
    return bare[0].upper() + bare[1:] if re.match("[a-z]+ ", bare) else bare


def _links(texts: Iterator[str]) -> dict[str, str]:
    """Paper → number of arXiv, where a text has it behind the paper's name."""
    numbers: dict[str, str] = {}
    for text in texts:
        cited = list(PAPER.finditer(text))
        for paper, following in zip(cited, [*cited, None][1:], strict=True):
            behind = text[paper.end() : following.start() if following else None]
            if number := NUMBER.match(behind):
                name = f"{paper[1]} {paper[2]}"
                if numbers.setdefault(name, number[1]) != number[1]:
                    raise ValueError(f"{name} has two numbers of arXiv: {numbers[name]} and {number[1]}")
    return numbers


def _linked(paper: str, numbers: dict[str, str]) -> str:
    return f"[{paper}](https://arxiv.org/abs/{numbers[paper]})" if paper in numbers else paper


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    print(page(), end="")
