"""Where a provider was to fetch a picture itself: what is done when it may not have been able to."""

from __future__ import annotations

from dataclasses import replace

from ..errors import FetchError
from ..fetch import fetch
from .errors import ProviderError
from .lane import Lane
from .messages import Failed, Picture, Trouble

# What may be sent inside a request.
_SENDABLE = (b"\x89PNG", b"\xff\xd8\xff")


async def looked_at(lane: Lane, picture: Picture, failed: Failed) -> Failed:
    """Gives a refusal with what a look at the picture's address told.

    Where the address cannot be fetched for now, the refusal is no verdict on the picture, and another
    run may submit it again.
    """
    if not failed.suspects_address or picture.url is None:
        return failed
    try:
        await _fetched(lane, picture.url)
    except FetchError as error:
        told = f"{failed.message}; its address cannot be fetched: {lane.clean(error.message)}"
        trouble = Trouble.FAILED if error.retryable else failed.trouble
        return replace(failed, trouble=trouble, message=told)
    return replace(failed, message=f"{failed.message}; its address can be fetched")


async def as_data(lane: Lane, picture: Picture, attempt: int) -> Picture:
    """Fetches a picture that a provider could not fetch, to be sent inside the request.

    Returns:
      The picture as it was where the provider takes no data, or not of its form.

    Raises:
      ProviderError: its address cannot be fetched from here either.
    """
    if picture.url is None or "data" not in lane.adapter.takes:
        return picture
    try:
        data = await _fetched(lane, picture.url)
    except FetchError as error:
        trouble = Trouble.RETRYABLE if error.retryable else Trouble.REJECTED_INPUT
        told = f"neither it nor this machine can fetch the picture: {lane.clean(error.message)}"
        failed = Failed(trouble, told, billed=False)
        raise ProviderError(lane.adapter.name, failed, attempt) from None
    return Picture(data=data) if data.startswith(_SENDABLE) else picture


async def _fetched(lane: Lane, url: str) -> bytes:
    return (await lane.blocking(fetch, url, lane.fetch_limits)).data
