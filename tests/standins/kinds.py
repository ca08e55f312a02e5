"""The stand-ins by the provider name they stand in for, and settings to use them with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alphabeam.transforms.providers.contract import Adapter
from alphabeam.transforms.providers.settings import ProviderSettings
from alphabeam.transforms.providers.timing import Timing

from .fal import FalStandIn
from .faults import Faults
from .gmi import GmiStandIn
from .pixazo import PixazoStandIn
from .runware import RunwareStandIn
from .studio import Studio

STAND_INS: dict[str, type[Studio]] = {
    "fal-bria": FalStandIn,
    "fal-rembg": FalStandIn,
    "pixazo-bria": PixazoStandIn,
    "gmi-bria": GmiStandIn,
    "runware-bria": RunwareStandIn,
}

# A second of the providers' lives lasts 10 ms; limits of single requests stay long enough for a
# busy machine.
QUICK = Timing(
    poll_first=0.005,
    poll_cap=0.05,
    retry_first=0.01,
    retry_cap=0.2,
    connect_timeout=5.0,
    submit_timeout=20.0,
    read_timeout=20.0,
    deadline=60.0,
    grace=0.3,
    find_for=1.0,
    retry_for=20.0,
    lease=60.0,
    second=0.01,
)


def hurry(
    set_timing: Callable[[type, str, object], None] = setattr, timing: Timing = QUICK
) -> None:
    """Lets a second of the providers' last 10 ms in this process."""
    for adapter in (Adapter, *Adapter.__subclasses__()):
        set_timing(adapter, "timing", timing)


def settings_for(
    name: str,
    standin: Studio,
    ledger: object,
    options: Mapping[str, Any] | None = None,
    **others: Any,
) -> ProviderSettings:
    """Makes settings that lead a provider to its stand-in, quick and with the right key."""
    os.environ["STANDIN_KEY"] = standin.key
    others = {"timing": QUICK, "api_key": "env:STANDIN_KEY", **others}
    return ProviderSettings(
        name,
        ledger=str(ledger),
        options=options or {},
        provider_urls=standin.urls(),
        allow_private_hosts=True,
        **others,
    )


@dataclass(frozen=True)
class Way:
    """One way of using a provider.

    Attributes:
      provider: its name.
      options: given to the client.
      standin: attributes set on the stand-in.
      as_data: pictures are sent inside the request, not by address.
    """

    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    standin: Mapping[str, Any] = field(default_factory=dict)
    as_data: bool = False

    def open(self, faults: Faults | None = None, **others: Any) -> Studio:
        """Makes the stand-in, to be entered."""
        standin = STAND_INS[self.provider](faults, **others)
        for name, value in self.standin.items():
            setattr(standin, name, value)
        return standin

    def settings(self, standin: Studio, ledger: object, **others: Any) -> ProviderSettings:
        """Makes settings that lead to it."""
        return settings_for(self.provider, standin, ledger, self.options, **others)


WAYS: dict[str, Way] = {
    "fal-bria queue": Way("fal-bria", standin={"absolute": True}),
    "fal-bria sync": Way("fal-bria", {"transport": "sync"}, as_data=True),
    "fal-bria sync_mode": Way("fal-bria", {"sync_mode": True}),
    "fal-bria sync inline": Way("fal-bria", {"transport": "sync", "sync_mode": True}, as_data=True),
    "fal-rembg queue": Way("fal-rembg", as_data=True),
    "pixazo-bria 1": Way("pixazo-bria"),
    "pixazo-bria 2": Way("pixazo-bria", standin={"dialect": 2}),
    "pixazo-bria immediate": Way("pixazo-bria", standin={"immediate": True}),
    "gmi-bria queued": Way("gmi-bria"),
    "gmi-bria blocking": Way(
        "gmi-bria", {"image_form": "base64"}, {"blocking": True}, as_data=True
    ),
    "runware-bria sync": Way("runware-bria"),
    "runware-bria async": Way("runware-bria", {"deliveryMethod": "async"}, as_data=True),
    "runware-bria joint": Way(
        "runware-bria", {"tasks_per_request": 8, "outputType": "base64Data"}, as_data=True
    ),
    "runware-bria webp": Way(
        "runware-bria", {"outputFormat": "WEBP", "outputType": "dataURI", "outputQuality": 90}
    ),
}

QUEUED = (
    "fal-bria queue",
    "fal-rembg queue",
    "pixazo-bria 1",
    "gmi-bria queued",
    "runware-bria async",
)
"""One way of each provider; all of them go through a ticket."""
