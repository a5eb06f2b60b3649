"""Files that are always complete (temporary name, fsync, rename), and their sha256 digests.

* `write_json` survives a kill at any byte: readers see the old file or the new file.
* A file has the mode of the umask and, in a folder with the setgid bit, the folder's group: so others can read a shared store.
* A sealed JSON file has the digest of its own content: figures that no other file vouches for are not read from changed bytes.
* `sha256_file` caches digests by (path, size, mtime_ns, ctime_ns, inode), because every plan needs the digests of weights of gigabytes.
  An editor or a copy can set the old mtime again; nobody can set ctime. A reader that hashes the bytes itself corrects the entry.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

LARGEST_YAML = 100_000  # values; the configurations of a sweep have no aliases
DIGESTS = "digests.json"  # the cache's name in outputs/.cache
SEAL = "sha256"


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace `path` atomically; without `durable`, the file may be empty or the old one after the machine has lost its power."""
    temporary = path.with_name(f".{unique()}.tmp")
    try:
        with temporary.open("xb") as file:  # not mkstemp, whose files nobody else may read
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Errors of libraries in Rust (safetensors, tokenizers) as the OSErrors that they are: they have the number in their text only."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def give_mode(files: Iterable[Path], like: Path) -> None:
    """Give files the mode of one that was written by the umask: safetensors writes files that nobody else may read."""
    mode = stat.S_IMODE(like.stat().st_mode)
    for file in files:
        file.chmod(mode)


def unique() -> str:
    """A part of a temporary name that no other process or thread uses."""
    return secrets.token_hex(8)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace `path` by readable JSON, as `write_bytes`; NaN is refused."""
    write_bytes(path, json_bytes(value), durable=durable)


def json_bytes(value: Any) -> bytes:
    """Readable JSON of a value, as the store's files have it; ValueError for NaN."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """As `write_json`, with the digest of the other fields as the field `sha256`."""
    write_json(path, {**value, SEAL: _seal(value)})


def is_broken(value: Any) -> bool:
    """Whether a value of JSON has another digest than its content; one without a digest is not broken."""
    return (
        isinstance(value, dict)
        and SEAL in value
        and value[SEAL] != _seal({name: part for name, part in value.items() if name != SEAL})
    )


def _seal(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: Path) -> Any:
    """The file's value, or None if the file is missing or no JSON (`parse_json`)."""
    try:
        return parse_json(path.read_bytes()) if path.is_file() else None  # a pipe would wait for its writer
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_json(content: bytes) -> Any:
    """The value of JSON, or None of what is none: cut short, nested too deeply, or with half a character."""
    try:
        text = content.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate can be neither printed nor written
        return value
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def read_yaml(text: str) -> Any:
    """The value of a YAML text; {} of an empty one.

    Raises:
        yaml.YAMLError: it is no YAML, or no tree of a usable size (`check_yaml`).
    """
    import yaml

    check_yaml(text)
    return yaml.load(text, Loader=_loader()) or {}


def check_yaml(text: str) -> None:
    """Refuse YAML that becomes more than LARGEST_YAML values when its aliases are written out, or whose depth has no end.

    Raises:
        yaml.YAMLError: such a text, or no YAML.
    """
    import yaml

    sizes: dict[int, int] = {}  # id of a node → its values; 0 as long as they are being counted

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0
            inside = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = (part for item in inside for part in (item if isinstance(item, tuple) else (item,)))
            sizes[id(node)] = 1 + sum(map(size, parts))
        elif not sizes[id(node)]:
            raise yaml.YAMLError("an alias stands inside its own anchor")
        return sizes[id(node)]

    if "&" not in text or "*" not in text:
        return
    try:
        roots = list(yaml.compose_all(text, Loader=_loader()))
        large = sum(size(root) for root in roots if root is not None) > LARGEST_YAML
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    if large:
        raise yaml.YAMLError(f"its aliases (*) make it larger than {LARGEST_YAML:,} values")


def read_configs(text: str) -> list[dict[str, Any]]:
    """The mappings of YAML with several documents, as a command writes its configurations; [] if one is no JSON in the form of YAML."""
    import yaml

    try:
        check_yaml(text)
        documents = list(yaml.load_all(text, Loader=_loader()))
        json.dumps(documents, ensure_ascii=False).encode()  # neither a date nor a list in itself
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        return []
    return [document for document in documents if isinstance(document, dict)]


def _loader() -> Any:
    """The safe loader, by the parser in C where there is one."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder; links are not followed."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def files_size(folder: Path) -> int:
    """Bytes of a file, or of all files below a folder; a file that goes meanwhile counts for nothing."""
    size = 0
    for path in [folder] if folder.is_file() else walk(folder):
        with contextlib.suppress(FileNotFoundError):
            size += path.lstat().st_size
    return size


def safe_name(text: str) -> str:
    """`text` as a part of a folder name: letters, digits, dots and dashes, at most 80 characters. Users choose the names."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")[:80] or "unnamed"


def sync(path: Path) -> None:
    """Make the content of a file, or the renames inside a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """sha256 of the file's bytes, read now.

    Raises:
        OSError: no such file, or a pipe or device, which has no bytes to read twice.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "this is no regular file; write its content to one", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_file(path: Path, cache: Path | None = None, *, again: bool = False) -> str:
    """sha256 of the file's bytes; with `cache` (a JSON file) they are read only if size, time or inode changed, or `again`."""
    if cache is None:
        return digest(path)
    status = path.stat()
    stamp = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{status.st_ino}"
    cached = _cached(cache).get(stamp)
    if isinstance(cached, str) and not again:
        return cached
    value = digest(path)
    if value != cached:
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time, not correctness
            cache.parent.mkdir(exist_ok=True)  # in the outputs folder, which a plan does not make
            write_sealed(cache, {**_cached(cache), stamp: value})
    return value


def _cached(cache: Path) -> dict[str, Any]:
    """The cached digests; none of a file that is no cache, or is damaged."""
    digests = read_json(cache)
    if not isinstance(digests, dict) or is_broken(digests):
        return {}
    return {stamp: value for stamp, value in digests.items() if stamp != SEAL}
