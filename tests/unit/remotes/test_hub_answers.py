"""A refusal of the hub as a message: the hub's answer is looked for behind the errors that its client raises from one another."""

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from w2s_cli.remotes.hub_answers import answer_of_hub, repository

ROOT = "datasets/me/store/outputs"


def answered(kind: type[HfHubHTTPError], status: int, words: str | None = None) -> HfHubHTTPError:
    """The client's error for an HTTP status."""
    request = httpx2.Request("GET", "https://hub.example/api/datasets/me/store")
    return kind("refused", response=httpx2.Response(status, request=request), server_message=words)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("me/store", ("model", "me/store", "")),
        ("datasets/me/store/outputs/stages", ("dataset", "me/store", "")),
        ("datasets/me/store@v2/outputs", ("dataset", "me/store", "v2")),
        ("spaces/me/store", ("space", "me/store", "")),
        ("buckets/me/store/x", ("bucket", "me/store", "")),
        ("datasets/me", ("dataset", "me", "")),
    ],
)
def test_a_path_names_its_repository(path: str, place: tuple[str, str, str]) -> None:
    assert repository(path) == place


def test_only_a_repository_that_a_good_token_does_not_see_is_offered_to_be_made() -> None:
    """The hub hides the repositories of others: without a token, or with a wrong one, it answers 401 for all of them."""
    missing, hidden = (answer_of_hub(answered(RepositoryNotFoundError, status), ROOT) for status in (404, 401))
    assert missing is not None
    assert hidden is not None
    assert "hf repos create me/store --type dataset" in missing
    assert "hf repos create" not in hidden
    assert "hf auth login" in hidden


def test_the_answer_is_told_however_often_the_client_wrapped_it() -> None:
    error = RuntimeError("Error while uploading 'x' to the Hub.")
    error.__cause__ = answered(HfHubHTTPError, 413, "the file is too large")
    assert answer_of_hub(error, ROOT) == "the hub answers HTTP 413: the file is too large"


def test_an_error_without_an_answer_is_not_the_hub_s() -> None:
    assert answer_of_hub(ConnectionError("refused"), ROOT) is None
