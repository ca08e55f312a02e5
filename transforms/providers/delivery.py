"""From the end of a job to a picture that has been checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..errors import FetchError
from ..fetch import fetch
from .entries import Bought
from .errors import ProviderError
from .lane import Lane
from .messages import Done, Failed, Trouble
from .outputs import Output, OutputError, read_output
from .pace import LONGEST_HOLD

# Answers of a media host that mean: gone, or no longer signed.
_GONE = ("http_403", "http_404", "http_410")
_DOWNLOADS = 5

Source = Callable[[], Awaitable[Done | None]]


class ExpiredError(Exception):
    """No source has the picture any more."""


class UselessError(Exception):
    """The picture arrived whole and cannot be used.

    Attributes:
      cost_usd: what the provider says it cost, None where it does not say.
    """

    def __init__(self, message: str, cost_usd: float | None) -> None:
        super().__init__(message)
        self.cost_usd = cost_usd


async def deliver(
    lane: Lane, sources: Sequence[Source], size: tuple[int, int] | None, attempt: int
) -> tuple[Done, bytes, Output]:
    """Gets the picture from the first source that still has it.

    Args:
      lane: the provider.
      sources: each gives where the picture is, or None.
      size: the source picture's, when known.
      attempt: goes into the error.

    Returns:
      The answer that led to it, the encoded picture, and the same decoded.

    Raises:
      ExpiredError: it is gone everywhere.
      UselessError: it has no transparency, or another shape than the source.
      ProviderError: it could not be downloaded whole now. The job is never submitted anew for
        that: a later run downloads again.
    """
    message = "the provider no longer knows where the picture is"
    for source in sources:
        done = await source()
        if done is None:
            continue
        try:
            data, output = await _obtain(lane, done, size, attempt)
        except _GoneError as error:
            message = str(error)
            continue
        return done, data, output
    raise ExpiredError(message)


class _GoneError(Exception):
    """The media host has it no longer."""


async def _obtain(
    lane: Lane, done: Done, size: tuple[int, int] | None, attempt: int
) -> tuple[bytes, Output]:
    asked = 0.0
    for tries in range(_DOWNLOADS):
        if tries:
            await lane.rest(tries - 1, min(asked, LONGEST_HOLD))
        try:
            return await lane.blocking(_download, lane, done.media, size)
        except FetchError as error:
            if error.kind in _GONE:
                raise _GoneError(lane.clean(error.message)) from None
            trouble, again, asked = error.message, error.retryable, error.retry_after or 0.0
        except OutputError as error:
            if not error.damaged:
                raise UselessError(str(error), done.cost_usd) from None
            trouble, again = str(error), isinstance(done.media, str)
        if not again:
            break
    failed = Failed(Trouble.RETRYABLE, f"the result cannot be downloaded: {lane.clean(trouble)}")
    raise ProviderError(lane.adapter.name, failed, attempt)


def _download(lane: Lane, media: str | bytes, size: tuple[int, int] | None) -> tuple[bytes, Output]:
    data = fetch(media, lane.fetch_limits).data
    return data, _decoded(lane, data, size)


def _decoded(lane: Lane, data: bytes, size: tuple[int, int] | None) -> Output:
    cropped = bool(lane.adapter.result_options().get("crop_to_bbox"))
    return read_output(data, size, cropped=cropped, max_pixels=lane.settings.max_image_pixels)


def _read(lane: Lane, bought: Bought, size: tuple[int, int] | None) -> tuple[bytes, Output]:
    data = lane.ledger.media(bought)
    return data, _decoded(lane, data, size)


async def stored(lane: Lane, bought: Bought, size: tuple[int, int] | None) -> tuple[bytes, Output]:
    """Reads a picture that was bought before.

    Raises:
      ProviderError: it is no longer what was bought.
    """
    try:
        return await lane.blocking(_read, lane, bought, size)
    except (FileNotFoundError, ValueError, OutputError) as error:
        failed = Failed(Trouble.FAILED, f"the picture bought before cannot be used: {error}")
        raise ProviderError(lane.adapter.name, failed, bought.attempt) from None
