"""The Hugging Face hub: its cache on this machine, the commits of its branches, and the meaning of its refusals.

* `refusal` turns the client's errors into messages, for plans and for stages that load models or data sets. Advice for machines without
  a network differs, so the caller gives that sentence.
* `UnreachableError` differs from the other refusals: a plan works without the hub, a run does not.
* The cache's place follows huggingface_hub's rules without an import of that library, which most commands never need.
"""

import errno
import os
import re
from pathlib import Path

from w2s_cli.errors import UserError
from w2s_cli.store.places import check_name

ANSWER_SECONDS = 10  # how long the hub may take to answer
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class UnreachableError(UserError):
    """The hub is out of reach: no network, HF_HUB_OFFLINE, or a failure of the hub."""


def hub_cache() -> Path:
    """The folder of huggingface_hub's repositories, by the library's rules but without its import."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def is_commit(text: object) -> bool:
    """Whether a text is the id of a commit: 40 hex digits."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{40}", text) is not None


def cached_commit(repo_type: str, repo: str, revision: str) -> str | None:
    """The commit of a branch or tag in the hub cache; None without an entry.

    Raises:
        StoreError: the revision is no name.
    """
    path = _cached(repo_type, repo) / "refs" / check_name(revision, f"the revision of {repo_type} {repo}")
    try:
        commit = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None


def hub_commit(repo_type: str, repo: str, revision: str) -> str:
    """Ask the hub for the commit of a branch or tag.

    Raises:
        UserError: the hub refuses access, or is out of reach (UnreachableError).
    """
    local = "weak.path= or strong.path= with weak=local or strong=local" if repo_type == "model" else "data.path="
    advice = f"Run once on a machine with network, copy its hub cache here (HF_HOME), or use a local copy: {local}."
    if _offline():
        raise _out_of_reach(repo_type, repo, revision, "HF_HUB_OFFLINE is set", advice)
    from huggingface_hub import HfApi

    try:
        commit = HfApi().repo_info(repo, repo_type=repo_type, revision=revision, timeout=ANSWER_SECONDS).sha
    except Exception as error:  # the hub client raises what its transport raises
        raise refusal(error, repo_type, repo, revision, advice=advice) from error
    return str(commit)


def cached_config(repo: str, commit: str) -> str | None:
    """The path of a model's config.json in the hub cache; None without such a file."""
    path = _snapshot(repo, commit) / "config.json"
    return str(path) if path.is_file() else None


def hub_config(repo: str, commit: str) -> str:
    """Fetch a model's config.json into the hub cache; returns its path.

    Raises:
        UserError: the hub refuses access, has no such file, or is out of reach (UnreachableError).
    """
    path = _fetched(repo, commit, "config.json")
    if path is None:
        raise UserError(f"model {repo} has no config.json on the hub: it must be as save_pretrained writes it.")
    return path


def cached_tokenizer(repo: str, commit: str) -> str | None:
    """A model's folder in the hub cache, with the chat template if it has one; None before the hub was asked for the template.

    Another program may have fetched the tokenizer without the template. The hub client notes an absent file in `.no_exist`.
    """
    folder = _snapshot(repo, commit)
    absent = _cached("model", repo) / ".no_exist" / commit / CHAT_TEMPLATE
    return str(folder) if (folder / CHAT_TEMPLATE).is_file() or absent.is_file() else None


def hub_tokenizer(repo: str, commit: str) -> str:
    """Fetch the files of a model that may hold its chat template into the hub cache; returns their folder.

    Without the hub a cached tokenizer is taken as complete.

    Raises:
        UserError: the hub refuses access, or is out of reach (UnreachableError) and no tokenizer is cached.
    """
    folder = _snapshot(repo, commit)
    try:
        for name in ("tokenizer_config.json", CHAT_TEMPLATE):  # the last is the sign that both were asked for
            _fetched(repo, commit, name)
    except UnreachableError:
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise
    return str(folder)


def _fetched(repo: str, commit: str, name: str) -> str | None:
    """The path of a model's file, fetched into the hub cache; None if the hub has no such file."""
    advice = "Run once on a machine with network, and copy its hub cache here (HF_HOME)."
    if _offline():
        raise _out_of_reach("model", repo, commit, "HF_HUB_OFFLINE is set", advice)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # no bar for a file of a few hundred bytes
    try:
        return str(hf_hub_download(repo, name, revision=commit, etag_timeout=ANSWER_SECONDS))
    except RemoteEntryNotFoundError:
        return None
    except Exception as error:  # the hub client raises what its transport raises
        raise refusal(error, "model", repo, commit, advice=advice) from error


def refusal(error: Exception, repo_type: str, repo: str, revision: str, *, advice: str) -> UserError:
    """The message for an error of the hub client; `advice` helps where the hub is out of reach.

    Raises:
        OSError: the error itself, if this machine's disk is the cause.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    error = _first(error)
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        raise error
    if isinstance(error, HFValidationError):
        return UserError(
            f'"{repo}" is no id of a {repo_type} on the hub: OWNER/NAME, of letters, digits, "-", "_", ".".'
        )
    if isinstance(error, GatedRepoError):
        page = f"https://huggingface.co/{'datasets/' if repo_type == 'dataset' else ''}{repo}"
        return UserError(f"{repo_type} {repo} is gated: accept its terms at {page}, then log in with `hf auth login`.")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{repo_type} {repo} has no revision {revision} on the hub.")
    if isinstance(error, RepositoryNotFoundError):
        return UserError(
            f"there is no {repo_type} {repo} on the hub, or it is private: check the id, or log in with `hf auth login`."
        )
    if _status(error) in (401, 403):
        return UserError(
            f"the hub refuses access to {repo_type} {repo} with this token (HTTP {_status(error)}): log in again with "
            "`hf auth login`, or correct HF_TOKEN."
        )
    return _out_of_reach(repo_type, repo, revision, trouble(error), advice)


def trouble(error: Exception) -> str:
    """The reason of a failed request to the hub, in a few words."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    error = _first(error)
    if isinstance(error, OfflineModeIsEnabled) or _offline():
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, LocalEntryNotFoundError):
        return "only the cache is used"
    status = _status(error)
    return f"the hub answers HTTP {status}" if status else f"the hub cannot be reached ({type(error).__name__})"


def _first(error: Exception) -> Exception:
    """The error of the request itself: without a cached file the client reports only the missing file."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    cause = error.__cause__
    return cause if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, Exception) else error


def _status(error: Exception) -> int | None:
    """The HTTP status of the hub's answer, if it answered."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status else None


def _out_of_reach(repo_type: str, repo: str, revision: str, why: str, advice: str) -> UnreachableError:
    at = f"commit {revision[:12]}" if len(revision) == 40 else f"revision {revision}"
    return UnreachableError(f"{repo_type} {repo} ({at}) is not in the hub cache {hub_cache()}, and {why}. {advice}")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def _snapshot(repo: str, commit: str) -> Path:
    return _cached("model", repo) / "snapshots" / check_name(commit, f"the revision of model {repo}")


def _cached(repo_type: str, repo: str) -> Path:
    return hub_cache() / f"{repo_type}s--{repo.replace('/', '--')}"
