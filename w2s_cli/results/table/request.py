"""The request of a table: configs/table/NAME.yaml with OPTION=VALUE words over it. It is plain YAML without Hydra, for a quick table.

* A word whose name is no option is a filter: `w2s table pgr data=sciq loss=xent,logconf`.
* A word without "=" is a table's name, a YAML file, or a run or sweep (without any: all runs).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder, read_mapping
from w2s_cli.results.runs import LATEST
from w2s_cli.results.table.measures import BASELINES, RULES

FORMATS = ("text", "markdown", "csv", "latex", "parquet", "json")
SUFFIXES = {".txt": "text", ".md": "markdown", ".csv": "csv", ".tex": "latex", ".parquet": "parquet", ".json": "json"}
METRIC = "{metric}"  # in `about`: the name of the table's metric
LISTS = ("rows", "columns", "metric", "tests")
SWITCHES = {"true": True, "false": False, "yes": True, "no": False}


@dataclass
class Request:
    """The fields of configs/table/*.yaml."""

    about: str = "results"  # the title, with METRIC in the place of the metric's name
    # fields, also any dotted field of a configuration; others: all other fields in which rows differ
    rows: list[str] = field(default_factory=lambda: ["data", "weak", "strong", "setting", "others"])
    columns: list[str] = field(default_factory=list)  # fields, as of rows
    # pgr, pgr_auroc, weak, student, ceiling, labels, student.auroc, gap, gain, agreement, …; NAME.interval
    metric: list[str] = field(default_factory=lambda: ["pgr"])
    where: dict[str, list[str]] = field(default_factory=dict)  # FIELD=VALUE,…: the rows to show; also FIELD=VALUE alone
    aggregate: str = "median"  # of several settings in a cell: median | median_runs | mean
    baselines: str = "per_seed"  # of PGR: per_seed | mean (over all stored seeds)
    intervals: bool = True  # beside each figure
    digits: int | None = None  # null: 2 for PGR, else 3
    tests: list[str] = field(default_factory=list)  # all | first | COLUMN:COLUMN, paired over the rows
    # text | markdown | csv | latex | parquet | json; null: by the suffix of `out`, else text
    format: str | None = None
    out: str | None = None  # a file: .txt .md .csv .tex .parquet .json
    runs: list[str] = field(default_factory=list)  # run and sweep folders; empty: all

    @property
    def by_seed(self) -> bool:
        """Whether each seed is a setting of its own."""
        return "seed" in (*self.rows, *self.columns)

    @property
    def written_as(self) -> str:
        return self.format or (SUFFIXES.get(Path(self.out).suffix.lower(), "text") if self.out else "text")


OPTIONS = tuple(option.name for option in fields(Request) if option.name != "runs")


def read_request(words: Sequence[str], config_dir: str | None = None) -> Request:
    """The request of a command line.

    Raises:
        UserError: an unknown option, table or value.
    """
    folders = [Path(config_dir).expanduser() / "table"] if config_dir else []
    folders.append(configs_folder() / "table")
    loose = [word for word in words if "=" not in word]
    name, runs = _table_name(
        loose, folders, fields_set=any(w.partition("=")[0] in ("rows", "columns", "metric") for w in words)
    )
    request = Request(runs=runs)
    if name:
        _take(request, read_mapping(name), f"{name.name}")
    options: dict[str, Any] = {}
    for word in words:
        option, sign, value = word.partition("=")
        if not sign:
            continue
        if option == "where":
            options.setdefault("where", {}).update(_clauses(value))
        elif option in OPTIONS:
            options[option] = value
        else:
            options.setdefault("where", {})[option] = _split(value)
    options["where"] = {**request.where, **options.get("where", {})}
    _take(request, options, "w2s table")
    return request


def tables(folders: Sequence[Path]) -> dict[str, Path]:
    """Name → file of every table; the user's folder comes first."""
    return {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}


def _table_name(loose: Sequence[str], folders: Sequence[Path], *, fields_set: bool) -> tuple[Path | None, list[str]]:
    """(file of the table, run folders) of the words without "="."""
    files = tables(folders)
    if loose and loose[0] in files:
        return files[loose[0]], list(loose[1:])
    if loose and loose[0].endswith((".yaml", ".yml")):
        if not Path(loose[0]).is_file():
            raise UserError(
                f"{loose[0]} does not exist; w2s table NAME reads configs/table/NAME.yaml, or a YAML file by its path."
            )
        return Path(loose[0]), list(loose[1:])
    if (
        loose and loose[0] != LATEST and not any(letter in loose[0] for letter in "/-0123456789")
    ):  # no run has such a name
        raise UserError(f'there is no table "{loose[0]}".{did_you_mean(loose[0], files)}')
    return (None if fields_set else files.get("settings")), list(loose)


def _take(request: Request, options: dict[str, Any], where: str) -> None:
    """Check and set the options."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise UserError(f'{where}: unknown option "{name}".{did_you_mean(name, OPTIONS, at_most=20)}')
        if name in LISTS:
            value = _split(value) if isinstance(value, str) else [str(item) for item in value or []]
        elif name == "where":
            if not isinstance(value, dict):
                raise UserError(f"{where}: `where` is a mapping of field to value or list of values.")
            value = {k: [_text(item) for item in (v if isinstance(v, list) else [v])] for k, v in value.items()}
        elif name == "intervals":
            value = SWITCHES.get(str(value).lower())
        elif name == "digits" and value is not None:
            value = int(value) if str(value).isdigit() and int(value) <= 10 else None
        else:
            _check_choice(name, value, where)
        if value is None and name in ("intervals", "digits") and options[name] is not None:
            raise UserError(
                f"{where}: {name}={options[name]}: {'true or false' if name == 'intervals' else 'a number up to 10'}."
            )
        setattr(request, name, value)
    if not request.metric:
        raise UserError(f"{where}: metric is empty; for example metric=pgr or metric=weak,student,ceiling.")
    if not request.rows and not request.columns:
        raise UserError(f"{where}: a table needs rows or columns, for example rows=data columns=method,loss.")


def _check_choice(name: str, value: Any, where: str) -> None:
    choices = {"aggregate": RULES, "baselines": BASELINES, "format": FORMATS}.get(name)
    if choices and value is not None and value not in choices:
        raise UserError(f"{where}: {name}={value}: choose one of {', '.join(choices)}.")
    if name == "out" and value is not None and Path(str(value)).suffix.lower() not in SUFFIXES:
        raise UserError(f"out={value}: the suffix gives the format; use one of {', '.join(SUFFIXES)}.")


def _split(value: str) -> list[str]:
    """The values of "a,b" or "[a,b]"."""
    return [item.strip() for item in value.strip("[]").split(",") if item.strip()]


def _clauses(value: str) -> dict[str, list[str]]:
    """`loss=xent,logconf,data=sciq` → field → values; a part with "=" begins a new field."""
    clauses: dict[str, list[str]] = {}
    name = ""
    for part in value.split(","):
        field_name, sign, first = part.partition("=")
        if sign:
            name = field_name.strip()
        elif not name:
            raise UserError(f"where={value}: write FIELD=VALUE, for example where=loss=xent,logconf")
        clauses.setdefault(name, []).append((first if sign else part).strip())
    return clauses


def _text(value: Any) -> str:
    """A YAML value in the form of the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
