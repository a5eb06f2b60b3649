"""What the checks found: lines while they run, a table at the end, and a JSON file that is written anew after every check."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.document import number
from scripts.gpu_checks.processes import DONE, FAILED, Answer

MARKS = {True: "ok", False: "MISSED", None: ""}


@dataclass(frozen=True)
class Ran:
    """A check on a shape, and what became of it."""

    check: str
    shape: str
    answer: Answer
    seconds: float
    expected_s: float

    @property
    def passed(self) -> bool | None:
        """Whether it ran and no target is missed; None if it did not run."""
        if self.answer.state == DONE:
            return all(one["met"] is not False for one in self.answer.records)
        return False if self.answer.state == FAILED else None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "check": self.check,
            "shape": self.shape,
            "state": self.answer.state,
            "passed": self.passed,
            "why": self.answer.why,
            "seconds": round(self.seconds, 1),
            "expected_s": self.expected_s,
            "rows": [row(one) for one in self.answer.records],
            "log": self.answer.log,
        }


@dataclass
class Report:
    """All checks of a command."""

    path: Path
    about: dict[str, Any]  # machine, size, device, command
    ran: list[Ran] = field(default_factory=list)
    finished: bool = False

    @property
    def passed(self) -> bool:
        """Whether every check that ran has passed, and one ran."""
        verdicts = [one.passed for one in self.ran if one.passed is not None]
        return bool(verdicts) and all(verdicts)

    def add(self, one: Ran) -> None:
        """Note a check, print its lines, and write the file."""
        self.ran.append(one)
        self.write()
        mark = {True: "passed", False: "FAILED", None: "skipped"}[one.passed]
        print(
            f"{one.check} {one.shape}: {mark} after {one.seconds:.1f} s{f' ({one.answer.why})' if one.answer.why else ''}"
        )
        for record in one.answer.records:
            print(f"  {record['name']}: {figure(record)}{wanted(record, ', ')}  {MARKS[record['met']]}".rstrip())
        if one.answer.log:
            print("  " + one.answer.log.replace("\n", "\n  "))

    def write(self) -> None:
        """The JSON file, whole or as it was."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        checks = [one.plain() for one in self.ran]
        content = {**self.about, "finished": self.finished, "passed": self.passed, "checks": checks}
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        temporary.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        os.replace(temporary, self.path)

    def table(self) -> None:
        """Print every figure, and every check without one."""
        table = Table(title=title(self.about))
        for column in ("check", "what", "figure", "target", ""):
            table.add_column(column, overflow="fold")
        for one in self.ran:
            name = f"{one.check} {one.shape}"
            for record in one.answer.records:
                table.add_row(name, record["name"], figure(record), wanted(record), MARKS[record["met"]])
                name = ""
            if one.answer.state != DONE:
                table.add_row(name, one.answer.why, "", "", "FAILED" if one.passed is False else "skipped")
            table.add_section()
        Console(width=max(120, Console().width)).print(table)


def row(record: dict[str, Any]) -> dict[str, Any]:
    """A record for the file."""
    return {
        "what": record["name"],
        "figure": record["value"],
        "unit": record["unit"],
        "target": record["target"],
        "better": record["better"],
        "ok": record["met"],
        "note": record["note"],
    }


def figure(record: dict[str, Any]) -> str:
    """'3.2 × (note)'."""
    value = "no number" if record["value"] is None else number(record["value"])
    note = f" ({record['note']})" if record["note"] else ""
    return f"{value} {record['unit']}{note}"


def wanted(record: dict[str, Any], before: str = "") -> str:
    """'≥ 1' after the words `before`; nothing without a target."""
    if record["target"] is None:
        return ""
    return f"{before}{'≥' if record['better'] == 'more' else '≤'} {number(record['target'])}"


def title(about: dict[str, Any]) -> str:
    """The machine in one line."""
    machine = about["machine"]
    gpu, packages = machine["gpu"], machine["packages"]
    where = machine["processor"]
    if gpu:
        where = f"{gpu['name']}, {gpu['memory_gib']:.0f} GiB, driver {gpu['driver']}, CUDA {gpu['cuda']}"
    return f"{where}; torch {packages['torch']}, transformers {packages['transformers']}; {about['size']} size"
