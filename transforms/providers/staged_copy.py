"""One picture's staged copy, through the attempts to buy it."""

from __future__ import annotations

import logging

from .errors import ProviderError
from .lane import Lane
from .messages import Failed, Picture, Trouble
from .staging import lifetime

_logger = logging.getLogger(__name__)

_PNG = b"\x89PNG"


class StagedCopy:
    """What stands in for a picture where the provider has to fetch it; elsewhere nothing."""

    def __init__(self, lane: Lane, picture: Picture, purchase: str) -> None:
        """Name the picture.

        Args:
          lane: the provider.
          picture: what is to be cut out.
          purchase: its name in the ledger.
        """
        self._lane = lane
        self._picture = picture
        self._purchase = purchase

    @property
    def is_needed(self) -> bool:
        """Tells whether the provider gets this picture by such a copy."""
        return self._lane.staging is not None and self._picture.data is not None

    async def put(self, attempt: int) -> Picture:
        """Puts the picture where the provider can fetch it, if that is how it gets pictures.

        To be called before anything is stored of the attempt: what goes wrong here is then trouble
        of the moment, and nothing has been paid.

        Returns:
          What is to be sent.

        Raises:
          ProviderError: the store does not take it.
        """
        lane, data = self._lane, self._picture.data
        if lane.staging is None or data is None:
            return self._picture
        name = await self._name(attempt, data)
        try:
            url = await lane.blocking(lane.staging.put, name, data, lifetime(lane.timing))
        except Exception as error:  # noqa: BLE001 - every store raises exceptions of its own
            told = f"the picture cannot be put under --staging_uri: {lane.clean(str(error))}"
            failed = Failed(Trouble.RETRYABLE, told, billed=False)
            raise ProviderError(lane.adapter.name, failed, attempt) from None
        return Picture(url=url)

    async def remove(self, attempt: int) -> None:
        """Removes it, once the attempt has ended."""
        lane, data = self._lane, self._picture.data
        if lane.staging is None or data is None:
            return
        name = await self._name(attempt, data)
        try:
            await lane.blocking(lane.staging.remove, name)
        except Exception as error:  # noqa: BLE001 - the attempt's end is stored; a copy is no loss
            _logger.warning("%s stays under --staging_uri: %s", name, lane.clean(str(error)))

    async def _name(self, attempt: int, data: bytes) -> str:
        ledger = self._lane.ledger
        task_id = await self._lane.blocking(ledger.task_id, self._purchase, attempt)
        return f"{task_id}.{'png' if data.startswith(_PNG) else 'jpg'}"
