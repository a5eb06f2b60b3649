"""A model's folder as a repository of the Hugging Face hub.

* A repository is new or empty: nothing that others may use is replaced. A new one is private; its page makes it public.
* The token is that of the environment or of `hf auth login`; w2s never sees it.
"""

from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.remotes.address import reason

OF_THE_HUB = {".gitattributes"}  # files of an empty repository


def check_repository(repo: str) -> bool:
    """Whether the repository exists, and is empty.

    Raises:
        UserError: it has files, its name is no name, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        if not api.repo_exists(repo):
            api.whoami()
            return False
        files = sorted(set(api.list_repo_files(repo)) - OF_THE_HUB)
    except Exception as error:  # the hub client raises what its transport raises
        raise _refused(error, repo) from error
    if files:
        raise UserError(
            f"{repo} has files on the hub ({files[0]}, …), and nothing there is replaced: choose another name."
        )
    return True


def push_model(folder: Path, repo: str, *, exists: bool) -> str:
    """Upload the folder's files in one commit; returns the address of the repository.

    Raises:
        UserError: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    try:
        if not exists:
            api.create_repo(repo, private=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Exported by w2s")
    except Exception as error:  # as above
        refused = _refused(error, repo)
        raise UserError(f"{refused} The export itself is complete; push it with: hf upload {repo} {folder}") from error
    return f"{api.endpoint}/{repo}"


def _refused(error: Exception, repo: str) -> UserError:
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    if isinstance(error, HFValidationError):
        return UserError(
            f'--push "{repo}": this is no name of a repository: OWNER/NAME, of letters, digits, "-", "_", ".".'
        )
    response: Any = getattr(error, "response", None)
    if isinstance(error, LocalTokenNotFoundError) or (response is not None and response.status_code in (401, 403)):
        return UserError(
            f"the hub refuses to write {repo}: log in with `hf auth login`, or set HF_TOKEN, to a token that may write to "
            f"{repo.partition('/')[0]}."
        )
    return UserError(f"{repo} cannot be pushed to the hub: {reason(error)}.")
