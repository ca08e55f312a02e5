"""A refusal that may be about the picture's address: one look whether it can be fetched at all."""

from __future__ import annotations

from dataclasses import replace

from ..errors import FetchError
from ..fetch import FetchLimits, fetch
from .lane import Lane
from .messages import Failed, Picture, Trouble


async def looked_at(lane: Lane, picture: Picture, failed: Failed) -> Failed:
    """Gives a refusal with what a look at the picture's address told.

    Where the address cannot be fetched for now, the refusal is no verdict on the picture, and another
    run may submit it again.
    """
    if not failed.suspects_address or picture.url is None:
        return failed
    settings = lane.settings
    limits = FetchLimits(
        max_bytes=settings.max_image_bytes,
        timeout=lane.timing.read_timeout,
        attempts=1,
        allow_private_hosts=settings.allow_private_hosts,
    )
    try:
        await lane.blocking(fetch, picture.url, limits)
    except FetchError as error:
        told = f"{failed.message}; its address cannot be fetched: {lane.clean(error.message)}"
        trouble = Trouble.FAILED if error.retryable else failed.trouble
        return replace(failed, trouble=trouble, message=told)
    return replace(failed, message=f"{failed.message}; its address can be fetched")
