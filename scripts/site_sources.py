"""A hook of mkdocs (mkdocs.yml): pages of the site for the files outside of docs/ that a page links to.

* On GitHub `../configs/table` is a link to a folder. The site has no such folder, and the project has no address of its repository that
  could be linked. So each target becomes a page `repository/<path>`: the text of a file, the list of a folder.
* These pages are in neither the navigation nor the search. What a page of them links to becomes a page too.
* A target that does not exist keeps its link, and `mkdocs build --strict` fails for it.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PLACE = "repository"  # the folder of the site
CODE = re.compile(r"(^ *(`{3,}).*?^ *\2`*[ \t]*$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?:(?<=\]\()|(?<= src=\"))([^)\s#:\"]+)(?=[#)\"])")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json"}
HEAD = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each target outside of docs/, and for the targets of those pages."""
    docs = Path(config.docs_dir)
    waiting = [(file.content_string, _folder(file.src_uri, docs)) for file in files.documentation_pages()]
    made: set[Path] = set()
    while waiting:
        text, folder = waiting.pop()
        for path in sorted(set(_targets(text, folder, docs)) - made):
            made.add(path)
            shown = _page(path)
            page = File.generated(config, _uri(path), content=HEAD + shown, inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(page)
            waiting.append((shown, _folder(page.src_uri, docs)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with links to the pages of the site."""
    docs = Path(config.docs_dir)
    here = page.file.src_uri
    folder = _folder(here, docs)

    def link(target: str) -> str:
        path = (folder / target).resolve()
        if _outside(path, docs):
            to = _uri(path)
        elif _of_repository(here) and path.is_relative_to(docs):
            to = path.relative_to(docs).as_posix()
        else:
            return target
        return posixpath.relpath(to, posixpath.dirname(here) or ".")

    return _with_links(markdown, link)


def _of_repository(uri: str) -> bool:
    return uri.startswith(f"{PLACE}/")


def _folder(uri: str, docs: Path) -> Path:
    """The folder from which the links of a page's text go."""
    return (ROOT / uri.removeprefix(f"{PLACE}/") if _of_repository(uri) else docs / uri).parent


def _with_links(text: str, link: Callable[[str], str]) -> str:
    """The text with the targets of its links replaced; code stays."""
    parts = []
    end = 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(lambda match: link(match[0]), text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(lambda match: link(match[0]), text[end:])])


def _targets(text: str, folder: Path, docs: Path) -> list[Path]:
    """The files and folders of the repository, outside of docs/, to which a text links."""
    paths = [(folder / target).resolve() for target in LINK.findall(CODE.sub("", text))]
    return [path for path in paths if _outside(path, docs)]


def _outside(path: Path, docs: Path) -> bool:
    return path.exists() and path.is_relative_to(ROOT) and path != ROOT and not path.is_relative_to(docs)


def _uri(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return f"{PLACE}/{name}/files.md" if path.is_dir() else f"{PLACE}/{name.removesuffix('.md')}.md"


def _page(path: Path) -> str:
    """The text of a Markdown file, any other file as code, or the files of a folder as links."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.is_file())
        return f"# {name}\n\n" + "".join(f"* [{file}]({file})\n" for file in inside)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    fence = max([2, *(len(run) for run in re.findall(r"`+", text))]) + 1
    return f"# {name}\n\n{'`' * fence}{LANGUAGES.get(path.suffix, '')}\n{text}\n{'`' * fence}\n"
