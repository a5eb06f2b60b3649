"""Where the files that travel with the package lie; w2s_cli/configs is a link to the checkout's configs/, and a folder in the wheel."""

from pathlib import Path

from w2s_cli.errors import UserError, did_you_mean

PACKAGE = Path(__file__).parent
BUNDLED = "bundled:"


def configs_folder() -> Path:
    """The folder of the YAML files."""
    return PACKAGE / "configs"


def locate(path: str) -> Path:
    """The absolute path of what a user named: "bundled:NAME" ships with w2s, the rest is relative to the launch directory."""
    if not path.startswith(BUNDLED):
        return Path(path).expanduser().absolute()
    root = PACKAGE / "bundled"
    name = path[len(BUNDLED) :]
    found = (root / name).resolve()
    if not found.is_relative_to(root.resolve()) or not found.exists():
        shipped = [p.relative_to(root).as_posix() for p in root.glob("*/*")]
        raise UserError(f'"{path}" does not ship with w2s.{did_you_mean(name, shipped)}')
    return found


def corpus_files(path: Path) -> list[Path]:
    """The files of a corpus: the one file, or the texts of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(
        found for found in path.iterdir() if found.name.removesuffix(".gz").endswith((".jsonl", ".json", ".txt"))
    )
