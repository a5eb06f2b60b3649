"""Names, paths and texts of data are text in every format: LaTeX is compiled, Markdown and CSV are read back."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from w2s_cli.results.escaping import csv_cell, latex, latex_comment, markdown
from w2s_cli.results.table.formats import as_csv
from w2s_cli.results.table.formats import latex as latex_table
from w2s_cli.results.table.formats import markdown as markdown_table

HOSTILE = [
    "a & b % c $ d # e _ f { g } ~ h ^ i \\ j",
    "quotes \" ' `` and ?` -- --- <<>> |",
    "[1ex] starts like a length",
    "*starts like a starred command",
    "two\nlines \\end{tabular} \x1b[31m red \r \u2028 end",
    "\\input{/etc/passwd} \\write18{ls}",
    "a–b → c × d ± e … − f",
]
FIGURES = ["0.33 [0.12, 0.53]", "-0.05 [-0.27, 0.13]", "no gap", "–[1]", "0.31 (2) n=3–5", "1,234", "-"]


def columns_of(document: str) -> str:
    return re.findall(r"\\begin\{tabular\}\{(\w+)\}", document)[-1]


def test_latex_right_aligns_figures_only_and_has_a_minus() -> None:
    rows = [["setting", "note", "PGR"], ["naive", "unset", "-0.05 [-0.27, 0.13]"], ["boosted", "below", "no gap"]]
    made = latex_table([rows], "title", [])
    assert columns_of(made) == "llr"
    assert "$-$0.05 [$-$0.27, 0.13]" in made
    assert latex("wordnet-xs - wordnet-l") == "wordnet-xs $-$ wordnet-l"  # the hyphen of a name stays


def test_the_title_of_a_latex_table_stays_a_comment() -> None:
    made = latex_table([[["data"], ["a"]]], "PGR\n\\input{x}\r\x0bz\u2028y", ["note\nnext"])
    code = [line for line in made.splitlines() if not line.startswith("%")]
    assert code[0] == r"\begin{tabular}{l}"
    assert code[1:] == [r"\toprule", r"data \\", r"\midrule", r"a \\", r"\bottomrule", r"\end{tabular}"]
    assert "\n" not in latex_comment("a\nb\u2029c")


def test_letters_that_pdflatex_lacks_are_named_above_the_table() -> None:
    made = latex_table([[["data"], ["日本 é – →"]]], "title", [])
    assert "% needs \\usepackage{booktabs}, and XeLaTeX or LuaLaTeX with a font that has 日本\n" in made
    assert "XeLaTeX" not in latex_table([[["data"], ["é ü – → ł"]]], "title", [])


@pytest.mark.skipif(
    not (shutil.which("pdflatex") or shutil.which("tectonic")), reason="neither pdflatex nor tectonic is installed"
)
def test_a_latex_file_of_two_tables_with_any_names_compiles(tmp_path: Path) -> None:
    rows = [["data [x]", "weak", "weak acc.", "PGR"]]
    rows += [[text, f"*{text}", "0.711", FIGURES[place % len(FIGURES)]] for place, text in enumerate(HOSTILE)]
    tests = [["compared", "n", "t p"], ["[a] - b", "3", "-0.123"]]
    table = latex_table([rows, tests], "\n".join(HOSTILE), HOSTILE)
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "table.tex").write_text(f"{head}{table}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    command = command if shutil.which("pdflatex") else ["tectonic", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "table.pdf").stat().st_size > 0
    assert "\\bigskip" in table  # the second is below the first, not beside it


def test_markdown_has_no_picture_link_address_or_tag_from_a_text() -> None:
    text = "![i](http://example.org/p.png) <img src=x> `code` a|b [l](u) www.example.org https://example.org ~~s~~ $x$"
    made = markdown(text)
    for sign in "![]<>`|~$":
        assert not re.search(rf"(?<!\\){re.escape(sign)}", made), sign
    assert r"http\://" in made
    assert r"https\://" in made
    assert r"www\.example" in made
    assert "\n" not in markdown("a\n| b |\n# c")
    assert all(markdown(figure) == figure for figure in FIGURES)
    lines = markdown_table([["data", "x"], [text, "0.1"]], text, [text]).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")} == {3}


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1+1"])
def test_a_text_of_a_csv_file_is_no_formula(text: str) -> None:
    written = as_csv([{text: text, "value": -0.5, "keys": ["a", "b"]}])
    header, row = csv.reader(io.StringIO(written, newline=""))
    assert header[0] == row[0] == f"'{text.strip()}"
    assert row[1:] == ["-0.5", "a b"]  # a negative number is a number


def test_numbers_and_unset_fields_of_a_csv_file_stay() -> None:
    for value in (-1.5, None, 3, "-", "-1.5", "+3", "1e-5", "a=b", "naive, xent"):
        assert csv_cell(value) == value
