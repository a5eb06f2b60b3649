"""The hub's refusals of a store in one of its repositories, in the words that plans and models have for them (`w2s_cli.hub`)."""

# first part of a path on the hub → kind of its repository
KINDS = {"datasets": "dataset", "spaces": "space", "buckets": "bucket"}


def repository(root: str) -> tuple[str, str, str]:
    """The kind, OWNER/NAME and revision ("" if none is named) of a path on the hub: OWNER/NAME/…, datasets/OWNER/NAME@REVISION/…"""
    first, _, rest = root.partition("/")
    repo, _, revision = "/".join((rest if first in KINDS else root).split("/")[:2]).partition("@")
    return KINDS.get(first, "model"), repo, revision


def answer_of_hub(error: Exception, root: str) -> str | None:
    """The hub's answer behind an error of its client, in one line without a stop at its end; None if it did not answer."""
    answer: BaseException | None = error  # the client raises its own errors from those of the request
    while answer is not None and getattr(answer, "response", None) is None:
        answer = answer.__cause__
    if not isinstance(answer, Exception):
        return None
    from huggingface_hub.errors import RepositoryNotFoundError

    from w2s_cli import hub

    kind, repo, revision = repository(root)
    refusal = hub.refusal(answer, kind, repo, revision or "main", advice="")
    if isinstance(refusal, hub.UnreachableError):
        words = getattr(answer, "server_message", None)
        return hub.trouble(answer) + (f": {words}" if words else "")
    # HTTP 401 is the answer to a wrong token and to none, whether the repository exists or not
    missing = isinstance(answer, RepositoryNotFoundError) and answer.response.status_code == 404
    make = f"; `hf repos create {repo} --type {kind} --private` makes one" if missing else ""
    return str(refusal).rstrip(".") + make
