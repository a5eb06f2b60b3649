"""The command line of `scripts/bench`."""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.benchmarks import document, stored
from scripts.benchmarks.processes import ROOT, ProcessFailed
from scripts.benchmarks.records import regressions
from scripts.benchmarks.settings import SIZES, Settings

ORDER = ("pipeline", "training", "probe", "writing", "sweep", "startup", "store", "memory", "gpu")  # of the page


def parts() -> list[str]:
    """Names of the parts: the files of parts/; those of `ORDER` first."""
    names = sorted(path.stem for path in (Path(__file__).parent / "parts").glob("*.py") if path.stem != "__init__")
    return [name for name in ORDER if name in names] + [name for name in names if name not in ORDER]


def headings() -> dict[str, tuple[str, str]]:
    """part → title and text of its section: its docstring."""
    texts = {}
    for part in parts():
        docstring = str(importlib.import_module(f"scripts.benchmarks.parts.{part}").__doc__).strip()
        title, _, text = docstring.partition("\n\n")
        texts[part] = (title.rstrip("."), " ".join(text.split()))
    return texts


def main(argv: Sequence[str]) -> int:
    """Measure, then write or check."""
    made = argparse.ArgumentParser(prog="scripts/bench", description="Measure w2s; see docs/benchmarks.md.")
    made.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts())}; none: all")
    made.add_argument("--size", choices=sorted(SIZES), default="full", help="default: full")
    made.add_argument("--quick", action="store_const", const="quick", dest="size", help="small sizes: minutes")
    made.add_argument(
        "--check", action="store_true", help="compare with this processor's stored ratios; writes nothing, 1 if worse"
    )
    made.add_argument("--threads", type=int, help="CPU threads of every program (default 1)")
    made.add_argument("--repeats", type=int, help="runs of each program, each with its own seed")
    made.add_argument("--work", type=Path, help="scratch folder, kept (default: a temporary one)")
    made.add_argument("--docs", type=Path, default=ROOT / "docs", help="where benchmarks.json and .md are")
    options = made.parse_args(argv)
    unknown = [name for name in options.parts if name not in parts()]
    if unknown:
        made.error(f"there is no part {unknown[0]}; there are {', '.join(parts())}")
    with tempfile.TemporaryDirectory(prefix="w2s-bench-") as temporary:
        settings = SIZES[options.size]((options.work or Path(temporary)).absolute())
        settings.work.mkdir(parents=True, exist_ok=True)
        settings = replace(settings, threads=options.threads or settings.threads)
        settings = replace(settings, repeats=options.repeats or settings.repeats)
        try:
            return measure(settings, options.parts or parts(), options.docs, told(options), check=options.check)
        except ProcessFailed as error:
            print(f"scripts/bench: {error}", file=sys.stderr)
            return 1


def told(options: argparse.Namespace) -> list[str]:
    """The words of the command that matter to its figures: no folders of this machine."""
    words = [*options.parts, *(["--quick"] if options.size == "quick" else []), *(["--check"] if options.check else [])]
    words += ["--size", "tiny"] if options.size == "tiny" else []
    for name in ("threads", "repeats"):
        words += [f"--{name}", str(getattr(options, name))] if getattr(options, name) else []
    return words


def measure(settings: Settings, chosen: Sequence[str], docs: Path, words: Sequence[str], *, check: bool) -> int:
    """Measure the chosen parts; write each as soon as it is there, or compare with what is stored."""
    path, worse = docs / "benchmarks.json", list[str]()
    for part in chosen:
        print(f"{part}:", flush=True)
        around = stored.circumstances(words, settings.threads)
        records = importlib.import_module(f"scripts.benchmarks.parts.{part}").measure(settings, _say)
        if settings.size != "full":  # the targets are for that: start-up weighs more in less work
            records = [replace(one, target=None, met=None) for one in records]
        for one in records:
            mark = {True: "  met", False: "  MISSED", None: ""}[one.met]
            print(
                f"  = {one.name}: {document.number(one.value)} {one.unit}{f' ({one.note})' if one.note else ''}{mark}",
                flush=True,
            )
        if check:
            before = stored.records(stored.read(path), settings.size, part)
            if not before:
                others = ", ".join(stored.read(path)) or "none"
                print(f"  no record of {part} at size {settings.size} on {stored.processor()}, only of: {others}")
            worse += regressions(before, records)
        # without a GPU here, the records of another machine stay
        elif records or not stored.records(stored.read(path), settings.size, part):
            stored.keep(path, settings.size, part, records, around)
            (docs / "benchmarks.md").write_text(document.markdown(stored.read(path), headings()), encoding="utf-8")
    if worse:
        print("\nmore than 20 % worse than stored:\n  " + "\n  ".join(worse))
    return 1 if worse else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
