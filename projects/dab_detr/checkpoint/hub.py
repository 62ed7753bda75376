"""Weights on the Hugging Face hub: `hf://owner/repository`, in the layout of transformers, or one file in it."""

from pathlib import Path

PREFIX = "hf://"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order of preference
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


def split_address(address: str) -> tuple[str, str | None, str | None]:
    """The repository, the revision and the file in `hf://owner/repository[@revision][/file]`.

    Raises ValueError for any other form.
    """
    owner, _, rest = address.removeprefix(PREFIX).partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not owner or not repository:
        raise ValueError(f"{address}: write hf://owner/repository, optionally with @revision or /file after it")
    return f"{owner}/{repository}", revision or None, file or None


def hub_path(address: str) -> str:
    """Return the folder on this machine with weights and config of a repository, or the file that the address names.

    huggingface_hub downloads them into its own cache ($HF_HOME), or with HF_HUB_OFFLINE=1 only looks there.

    Raises ValueError for a repository without them, OSError for one that cannot be downloaded, and ImportError if
    huggingface_hub is not installed.
    """
    repository, revision, file = split_address(address)
    if file:
        return download(address, repository, revision, file)
    folder = Path(download(address, repository, revision, CONFIG)).parent
    find(address, repository, revision, (PROCESSOR,))
    if not find(address, repository, revision, WEIGHTS):
        raise ValueError(f"{address}: the repository has no {' or '.join(WEIGHTS)}: name a repository with weights")
    return str(folder)


def find(address: str, repository: str, revision: str | None, names: tuple[str, ...]) -> str | None:
    """Download the first of some files that the repository has; None if it has none of them."""
    for name in names:
        try:
            return download(address, repository, revision, name)
        except MissingFileError:
            continue
    return None


class MissingFileError(ValueError):
    """Raised if a repository does not have a file."""


def download(address: str, repository: str, revision: str | None, file: str) -> str:
    """Return the path of a file in the hub's cache. Raises MissingFileError if the repository does not have it."""
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise ImportError(f"{address} needs huggingface_hub: pip install 'dab_detr[hub]'") from error
    try:
        return hf_hub_download(repository, file, revision=revision)
    except errors.LocalEntryNotFoundError as error:
        raise OSError(
            f"{address}: the hub cannot be reached, and its cache has no {file}. On a machine with a network, run "
            f"`hf download {repository} --local-dir folder`. Copy the folder here, and give its path instead. "
            f"({first_line(error.__cause__ or error)})"
        ) from error
    except errors.EntryNotFoundError as error:
        raise MissingFileError(f"{address}: the repository has no {file}") from error
    except errors.RepositoryNotFoundError as error:
        raise OSError(f"{address}: there is no such repository, or it needs a login (hf auth login)") from error
    except errors.RevisionNotFoundError as error:
        raise OSError(f"{address}: the repository has no revision {revision}") from error
    except errors.HFValidationError as error:
        raise ValueError(f"{address}: {first_line(error)}") from error
    except Exception as error:  # huggingface_hub and its HTTP client raise many kinds
        raise OSError(f"cannot download {file} of {address}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
