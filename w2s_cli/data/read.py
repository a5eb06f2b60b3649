"""The rows of a split, read from jsonl, json, csv, tsv, parquet or arrow files, plain or gzipped.

* A row of a parquet or arrow file becomes a Python object only when it is needed: 10,000 of 3.6 million reviews, for example.
* The standard library reads JSON: pyarrow's reader would guess types and turn a text such as "2020-01-01" into a date.
* Rows of several text files have a further field `file`, the file's name without suffix: in some data sets only the file's name gives
  the class or the topic.
* CSV cells stay strings, because types would be guesses; an empty cell is a missing value. Where the header is written with ", ", the
  space belongs to the delimiter in every line; elsewhere a space at the beginning of a cell is the cell's.
"""

import csv
import gzip
import json
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.rows import Part, Rows
from w2s_cli.data.shards import one_table
from w2s_cli.data.sources import SplitFiles
from w2s_cli.errors import UserError

Row = dict[str, Any]
Numbered = Iterator[tuple[int | None, Row]]  # (line, row)
FILE = "file"  # the field with the name of a row's text file
CHUNK = 512  # rows made at a time
NO_JSON = (ValueError, RecursionError)  # the second: nested too deeply
PACKED = {"gzip": b"\x1f\x8b", "zip": b"PK\x03\x04", "bzip2": b"BZh", "xz": b"\xfd7zXZ", "zstd": b"\x28\xb5\x2f\xfd"}
CELL_BYTES = 2**27  # longest CSV cell


def read(files: SplitFiles) -> Rows:
    """The rows of a split.

    Raises:
        UserError: a file that is empty, cut short, or in another format; files whose columns do not fit together.
    """
    if files.format in ("parquet", "arrow"):
        rows = _from_tables([_table(file, files.format) for file in files.files], files)
    else:
        rows = _from_dicts([_numbered(file, files.format) for file in files.files], files)
    if not rows.count:
        raise UserError(f"{files.shown} has no rows.")
    return rows


@contextmanager
def _errors_said(file: Path, data_format: str) -> Iterator[None]:
    """The errors of a file's parser as messages."""
    try:
        yield
    except UnicodeDecodeError as error:
        if packed := _compression(file):
            raise UserError(
                f"{file} is a {packed} file: unpack it"
                + (", or name it FILE.gz." if packed == "gzip" else ", and give the file inside.")
            ) from error
        raise UserError(
            f"{file} cannot be read as {data_format}: it is not UTF-8 (byte {error.object[error.start]:#04x}). If it is text in "
            "another encoding, convert it: iconv -f latin1 -t utf8 FILE > NEW; else say its format (data.format=)."
        ) from error
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise UserError(
            f"{file} cannot be read as {data_format}: {str(error).rstrip('. ')}. The file is damaged, cut short, or of "
            "another format (data.format=)."
        ) from error


def _compression(file: Path) -> str | None:
    """The program that packed the file, by its first bytes; None for none of `PACKED`."""
    with file.open("rb") as opened:
        begin = opened.read(8)
    return next((name for name, sign in PACKED.items() if begin.startswith(sign)), None)


def _numbered(file: Path, data_format: str) -> tuple[list[Row], Sequence[int]]:
    """The rows of a text file, and the line on which each begins; of a JSON list no lines."""
    rows, lines = [], array("q")
    with _errors_said(file, data_format):
        if data_format in ("csv", "tsv"):
            numbered = _csv(file, "\t" if data_format == "tsv" else ",")
        else:
            numbered = _jsonl(file) if data_format == "jsonl" else _json(file)
        for line, row in numbered:
            rows.append(row)
            if line is not None:
                lines.append(line)
    return rows, lines


def _open(file: Path) -> TextIO:
    """The file as UTF-8 text (a byte order mark is skipped)."""
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _jsonl(file: Path) -> Numbered:
    with _open(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except NO_JSON as error:
                    _refuse_pretty_printed(file)
                    raise UserError(f"{file}, line {number}: not JSON ({error}).") from error
                yield number, _object(row, f"{file}, line {number}")


def _refuse_pretty_printed(file: Path) -> None:
    """UserError if the file's first JSON value takes several lines."""
    with _open(file) as opened:
        content = opened.read().strip()
    try:
        value, end = json.JSONDecoder().raw_decode(content)
    except NO_JSON:
        return
    if "\n" not in content[:end]:
        return
    if isinstance(value, list):
        raise UserError(
            f"{file} is a list of rows over several lines, not one row a line: read it as data.format=json."
        )
    if end == len(content):
        raise UserError(
            f"{file} is one JSON object over several lines, with the fields {', '.join(value)}. Rows are read from lines of one "
            'object each, or from a list: [{"text": "…", "label": 1}, …]. A list inside it: jq \'.FIELD\' FILE > NEW.json'
        )
    raise UserError(
        f"{file} is pretty-printed: each of its rows takes several lines. Write one row a line: jq -c . FILE > NEW.jsonl"
    )


def _json(file: Path) -> Numbered:
    """A list of objects; a file of JSON lines is read too, whatever its suffix."""
    with _open(file) as opened:
        content = opened.read()
    if not content.lstrip().startswith("["):
        yield from _jsonl(file)
        return
    try:
        rows = json.loads(content)
    except NO_JSON as error:
        raise UserError(f"{file}: not JSON ({error}).") from error
    for number, row in enumerate(rows, start=1):
        yield None, _object(row, f"{file}, row {number}")


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(
            f'{where}: a row must be an object such as {{"text": "…", "label": 1}}, not {type(row).__name__}.'
            + (" A list of rows is read as data.format=json." if isinstance(row, list) else "")
        )
    return row


def _csv(file: Path, delimiter: str) -> Numbered:
    """Rows of cells; column names are read without spaces around them."""
    csv.field_size_limit(CELL_BYTES)
    with _open(file) as lines:
        names = _header(csv.reader(lines, delimiter=delimiter, strict=True))
        spaced = len(names) > 1 and all(name.startswith(" ") for name in names[1:])  # written with ", " throughout
        lines.seek(0)
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced)
        header = [name.strip() for name in _header(reader)]
        _refuse_repeated(header, file)
        begins = reader.line_num + 1
        for cells in reader:
            line, begins = begins, reader.line_num + 1  # a quoted cell may have several lines
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{file}, line {reader.line_num}: {len(cells)} cells under a header of {len(header)} ({', '.join(header)})."
                )
            yield line, {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The cells of the first line that is not empty."""
    return next((cells for cells in reader if cells), [])


def _refuse_repeated(names: Sequence[str], file: Path) -> None:
    """UserError if two columns have one name: rows could have only one of them."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f'{file} has {names.count(name)} columns of the name "{name}": rename them, each with a name of its own.'
            )


def _table(file: Path, data_format: str) -> pa.Table:
    with _errors_said(file, data_format):
        if data_format == "parquet":
            _refuse_repeated(pq.read_schema(file).names, file)
        return pq.read_table(file, memory_map=True) if data_format == "parquet" else _arrow(file)


def _arrow(file: Path) -> pa.Table:
    with pa.memory_map(str(file)) as mapped:
        try:
            return pa.ipc.open_stream(mapped).read_all()  # what save_to_disk writes
        except pa.ArrowInvalid:
            mapped.seek(0)
            return pa.ipc.open_file(mapped).read_all()


def _from_tables(tables: Sequence[pa.Table], files: SplitFiles) -> Rows:
    table = one_table(tables, files.files)

    def take(indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(indices), CHUNK):
            yield from _python(table.take(pa.array(indices[start : start + CHUNK], pa.int64())), files.shown)

    return Rows(
        files.shown,
        tuple(table.column_names),
        table.num_rows,
        lambda name: _python(table.column(name), f'{files.shown}, column "{name}"'),
        take,
        [Part(file, made.num_rows, made.column_names) for file, made in zip(files.files, tables, strict=True)],
    )


def _python(values: pa.Table | pa.ChunkedArray, where: str) -> list[Any]:
    """The rows or values as Python objects; UserError for a text that is not UTF-8."""
    try:
        return list(values.to_pylist())
    except UnicodeDecodeError as error:
        text = error.object[:40]
        raise UserError(f"{where}: a text is not UTF-8, {text!r}: write the file again with texts in UTF-8.") from error


def _from_dicts(parts: Sequence[tuple[list[Row], Sequence[int]]], files: SplitFiles) -> Rows:
    if len(parts) > 1:
        for file, (part, _) in zip(files.files, parts, strict=True):
            part[:] = [{FILE: file.name.partition(".")[0], **row} for row in part]
    rows = [row for part, _ in parts for row in part]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    omits = files.format in ("jsonl", "json")  # a row of JSON may omit a null field, and so may all rows of a file
    return Rows(
        files.shown,
        columns,
        len(rows),
        lambda name: [row.get(name) for row in rows],
        lambda indices: (rows[index] for index in indices),
        [
            Part(file, len(part), columns if omits or not part else tuple(part[0]), lines)
            for file, (part, lines) in zip(files.files, parts, strict=True)
        ],
    )
