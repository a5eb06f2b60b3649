"""The address of a store: a path, or a URL that fsspec opens. Paths become plain folders, with or without file://.

* Credentials come from the environment or from fsspec's own configuration. A URL that holds some is refused, because commands, records
  and configurations keep their words.
* The packages behind s3:// and gs:// are extras of w2s; a missing one is told with the pip command, before anything is asked.
* Whatever a library raises on the way to a remote becomes an `UnreachableError`, which names the URL. The refusals of the hub are told in
  the words of plans and models (`hub_answers`).
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import locate
from w2s_cli.pipeline.packages import need
from w2s_cli.remotes.hub_answers import answer_of_hub, repository
from w2s_cli.store.places import StoreError

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
SLIP = re.compile(r"[A-Za-z][\w+.-]+(:/?[^/\\:]|//)")  # s3:/bucket, s3:bucket, s3//bucket; not C:\folder
OF_PATHS = ("file", "local")  # protocols of a folder on this machine
HUB = "hf"
GS = ("gs", "gcs")
AT_ONCE = 8  # stages that are copied side by side
LONGEST_REASON = 200  # characters of a library's message


class UnreachableError(UserError):
    """A remote cannot be reached, or refuses access."""


class Ended(Exception):  # noqa: N818 - no error of a remote
    """A copy stops, since another one failed or the user stopped the command."""


@dataclass(frozen=True)
class Remote:
    """A store elsewhere, with the layout of an outputs folder."""

    url: str  # for messages and records; without secrets
    fs: Any = field(repr=False, compare=False)  # of fsspec
    root: str  # its folder, in the words of `fs`
    folder: Path | None = None  # of a path on this machine
    writers: int = AT_ONCE  # stages that may be written side by side
    commits: bool = False  # a repository of the hub: what is written together is one commit

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Within, an error of the remote's library becomes an UnreachableError; an error of this machine must not occur within."""
        try:
            yield
        except (UserError, StoreError, Ended):
            raise
        except Exception as error:  # botocore, aiohttp, httpx, fsspec and the system have no common error
            told = answer_of_hub(error, self.root) if self.url.lower().startswith(f"{HUB}:") else None
            raise UnreachableError(f"{self.url} cannot be used: {told or reason(error)}.") from error


def reason(error: Exception) -> str:
    """A library's error in one line, without a stop at its end."""
    text = " ".join(str(error).split()).rstrip(".")
    name = type(error).__name__
    return f"{name}: {text[:LONGEST_REASON]}" if text else name


def check_url(url: str) -> None:
    """Refuse (UserError) a URL that holds secrets, names a chain of file systems, or is a path by a slip."""
    if re.match(r"[A-Za-z][\w+.-]*::", url):
        raise UserError("a chain of file systems (::) cannot be a store: name the store itself.")
    parts = URL.match(url)
    if parts is None:
        if SLIP.match(url):
            raise UserError(f"{url} is no URL: write SCHEME://BUCKET/FOLDER. A path with such a name is ./{url}")
        return
    user = parts[2].partition("/")[0].rpartition("@")[0]
    if ":" in user or "?" in parts[2] or "#" in parts[2]:
        shown = f"{parts[1]}://…{parts[2].partition('?')[0].rpartition('@')[2]}"
        raise UserError(
            f"{shown}: the URL of a store must not hold a password, token or query: commands and records keep it. Give credentials by the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN), by the tool's own "
            "login, or by fsspec's configuration (~/.config/fsspec/)."
        )


def open_remote(url: str) -> Remote:
    """The store at a URL or path; nothing is asked yet.

    Raises:
        UserError: the URL holds secrets, its protocol is unknown or lacks its package, or it names no folder.
    """
    check_url(url)
    parts = URL.match(url)
    if parts is None or parts[1].lower() in OF_PATHS:
        folder = locate(url if parts is None else parts[2])
        from fsspec.implementations.local import LocalFileSystem

        return Remote(os.fspath(folder), LocalFileSystem(), os.path.realpath(folder), folder)
    protocol = parts[1].lower()
    _need_package(protocol, url)
    if protocol in GS and "GCSFS_DEBUG" not in os.environ:
        # it warns at every request of a bucket whose type it may not ask for, and prints the tracebacks of errors that it raises as well
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    from fsspec.core import url_to_fs

    remote = Remote(url.rstrip("/"), None, "")
    with remote.reached():
        fs, root = url_to_fs(f"{protocol}://{parts[2]}")
    if not root.strip("/"):
        raise UserError(f"{url} names no folder: write {protocol}://BUCKET/FOLDER.")
    root = root.rstrip("/")
    if protocol != HUB:
        return Remote(remote.url, fs, root)
    kind, repo, _ = repository(root)
    if "/" not in repo:
        raise UserError(f"{url} names no repository: write hf://datasets/OWNER/NAME/FOLDER.")
    return Remote(remote.url, fs, root, writers=1, commits=kind != "bucket")  # a bucket of the hub has no commits


def _need_package(protocol: str, url: str) -> None:
    """Refuse (UserError) a protocol that fsspec does not have, or whose package is not installed."""
    from fsspec import available_protocols, get_filesystem_class
    from fsspec.registry import known_implementations

    if protocol not in available_protocols():
        raise UserError(f'{url}: unknown protocol "{protocol}".{did_you_mean(protocol, available_protocols())}')
    module = known_implementations.get(protocol, {}).get("class", "fsspec").partition(".")[0]
    need(module, f"{protocol}:// needs")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:  # a package of fsspec's own file system, such as paramiko, or one that is broken
        raise UserError(f"{protocol}:// cannot be used: {reason(error)}. Install its package with pip.") from error
