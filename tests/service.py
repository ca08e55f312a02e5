"""Pictures, jobs and outcomes for tests of the provider driver."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from photographs import NAMES, photograph
from standins.faults import Faults
from standins.kinds import WAYS, Way
from standins.studio import Studio

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.messages import Picture
from alphabeam.transforms.providers.settings import Job, Result

SIZE = (64, 48)


@cache
def picture(number: int) -> bytes:
    """Gives one of many different small photographs, as PNG."""
    pixels = cv2.resize(photograph(NAMES[number % len(NAMES)]), SIZE, interpolation=cv2.INTER_AREA)
    pixels[0, 0] = (number % 256, number // 256, 7)
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def job_for(way: Way, standin: Studio, number: int = 0) -> Job:
    """Makes a job in the form that a way takes."""
    data = picture(number)
    sent = Picture(data=data) if way.as_data else Picture(url=standin.offer(f"{number}.png", data))
    return Job(hashlib.sha256(data).hexdigest(), sent, SIZE)


def outcomes(provider: Provider, jobs: Iterable[Job]) -> list[Result | ProviderError]:
    """Gets pictures, each a result or the error of its row."""
    found: list[Result | ProviderError] = []
    for future in provider.submit_all(jobs):
        try:
            found.append(future.result(60))
        except ProviderError as error:
            found.append(error)
    return found


def matte(number: int) -> np.ndarray:
    """Gives a picture's alpha by the rule of the stand-ins."""
    source = cv2.imdecode(np.frombuffer(picture(number), np.uint8), cv2.IMREAD_COLOR)
    grey = cv2.cvtColor(source, cv2.COLOR_BGR2GRAY).astype(int)
    return np.clip((220 - grey) * 8, 0, 255)


def is_right(result: object, number: int = 0) -> bool:
    """Tells whether a result is the cutout of a picture, by the rule of the stand-ins."""
    return isinstance(result, Result) and np.array_equal(result.rgba[..., 3], matte(number))


def run_one(
    label: str, folder: object, script: Mapping[str, Iterable[str | None]], **others: Any
) -> tuple[Result | ProviderError, Any]:
    """Gives one picture's outcome under a script of faults, and the stand-in after it."""
    way = WAYS[label]
    with way.open(Faults(script)) as standin:
        with Provider(way.settings(standin, folder, **others)) as provider:
            (outcome,) = outcomes(provider, [job_for(way, standin)])
        return outcome, standin


def found_late(way: Way, standin: Studio, folder: object) -> Result:
    """Gives a picture whose submit was lost, and shows in the history when the next run looks."""
    settings, job = way.settings(standin, folder), job_for(way, standin)
    standin.recording_lag = 1e9
    with Provider(settings) as provider, pytest.raises(ProviderError, match="lost"):
        provider.cut_out(job)
    standin.recording_lag = 0.0
    with Provider(settings) as provider:
        return provider.cut_out(job)
