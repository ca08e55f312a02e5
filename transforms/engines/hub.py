"""Downloads from the Hugging Face hub, with its troubles in one line each."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from .contract import EngineUnusable

DEFAULT_BRANCH = "main"

_COMMIT_DIGITS = 40


class MissingFile(EngineUnusable):
    """A file that is not where it was looked for; something else may do."""


def is_commit(revision: str | None) -> bool:
    """Tells whether a revision names one commit for good: 40 hexadecimal digits."""
    return (
        revision is not None
        and len(revision) == _COMMIT_DIGITS
        and all(digit in "0123456789abcdef" for digit in revision)
    )


def download(
    model: str, revision: str | None, names: Sequence[str], optional: Sequence[str] = ()
) -> tuple[Path, str]:
    """Brings files of one commit into the hub's own cache, or finds them there.

    The token is the one of `HF_TOKEN` or `hf auth login`.

    Args:
      model: hub id such as `briaai/RMBG-2.0`.
      revision: branch, tag or commit; None for the default branch.
      names: what is needed; top-level files.
      optional: what is taken along where it is there.

    Returns:
      The folder that holds them, and the commit.

    Raises:
      EngineUnusable: they cannot be had; the message says what would do.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise EngineUnusable(
            f"--model {model}: there is no such folder, and a hub id needs huggingface_hub: "
            f"pip install 'alphabeam[torch]'"
        )
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{model}"
    try:
        first = _fetch(model, names[0], revision)
        commit = first.parent.name
        for name in names[1:]:
            _fetch(model, name, commit)
        for name in optional:
            with contextlib.suppress(errors.EntryNotFoundError):
                _fetch(model, name, commit)
    except errors.GatedRepoError as error:
        trouble = (
            f"--model {model} is gated: accept its licence at {page} and set HF_TOKEN to a token "
            f"of that account"
        )
        raise EngineUnusable(trouble) from error
    except errors.RevisionNotFoundError as error:
        raise EngineUnusable(f"--revision {revision}: {page} has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        trouble = (
            f"--model {model}: there is no such folder and no such model at {page}; give a "
            f"folder, an fsspec URI or a hub id, and set HF_TOKEN if the model is private"
        )
        raise EngineUnusable(trouble) from error
    except errors.LocalEntryNotFoundError as error:
        trouble = (
            f"--model {model} is not in the cache and {constants.ENDPOINT} cannot be reached "
            f"({_told(error.__context__ or error)}): allow the network, or give a folder that "
            f"holds {' and '.join(names)}"
        )
        raise MissingFile(trouble) from error
    except errors.EntryNotFoundError as error:
        raise MissingFile(f"--model {model}: {page} holds no {' or '.join(names)}") from error
    except errors.HFValidationError as error:
        trouble = (
            f"--model {model}: there is no such folder, and it is no hub id, which looks like "
            f"owner/name"
        )
        raise EngineUnusable(trouble) from error
    except Exception as error:
        raise EngineUnusable(f"--model {model} cannot be downloaded: {_told(error)}") from error
    return first.parent, commit


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _fetch(model: str, name: str, revision: str | None) -> Path:
    """Brings one file into the hub's cache, without waiting long for a hub that is out of reach."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    def cached() -> Path:
        return Path(hf_hub_download(model, name, revision=revision, local_files_only=True))

    if is_commit(revision):
        with contextlib.suppress(errors.LocalEntryNotFoundError):
            return cached()
    try:
        get_hf_file_metadata(hf_hub_url(model, name, revision=revision))
    except (
        errors.EntryNotFoundError,
        errors.HFValidationError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
    ):
        raise
    except Exception:  # noqa: BLE001 - no answer; the kinds differ with the hub's HTTP library
        return cached()
    return Path(hf_hub_download(model, name, revision=revision))
