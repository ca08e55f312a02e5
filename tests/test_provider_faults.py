"""Hundreds of pictures with one in ten requests going wrong: every one ends, none is paid twice."""

from __future__ import annotations

import pytest
from service import is_right, job_for, outcomes
from standins.faults import Faults
from standins.kinds import WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.settings import Result

PICTURES = 150

REQUESTS = {
    "submit": {
        "drop_before": 0.02,
        "drop_after": 0.03,
        "503": 0.02,
        "429:0": 0.01,
        "garbage": 0.01,
        "garbage_before": 0.01,
    },
    "poll": {"drop_before": 0.03, "drop_after": 0.03, "503": 0.02, "garbage": 0.02},
    "fetch": {"503": 0.04, "drop_after": 0.04, "garbage": 0.02},
    "find": {"503": 0.05, "drop_after": 0.05},
    "media": {
        "503": 0.02,
        "404": 0.02,
        "truncate": 0.02,
        "corrupt": 0.02,
        "jpeg": 0.01,
        "wide": 0.01,
        "vanish": 0.01,
    },
}
JOBS = {
    "fal-bria queue": {
        "fail_file_download_error": 0.03,
        "fail_image_load_error": 0.02,
        "fail_500": 0.02,
        "fail_runner": 0.03,
    },
    "fal-rembg queue": {"fail_runner": 0.1},
    "fal-bria sync": {"fail_file_download_error": 0.05, "fail_image_load_error": 0.05},
    "pixazo-bria 1": {"fail": 0.05, "fail_download": 0.05},
    "pixazo-bria 2": {"fail_error": 0.1},
    "gmi-bria queued": {"fail": 0.1},
    "runware-bria sync": {"fail_download": 0.05, "fail_server": 0.03, "fail_safety": 0.02},
    "runware-bria async": {"fail_download": 0.05, "fail_server": 0.03, "fail_input": 0.02},
}


@pytest.mark.parametrize("label", JOBS)
def test_every_picture_ends_and_none_is_paid_for_twice(label, tmp_path):
    way = WAYS[label]
    faults = Faults(rates={**REQUESTS, "job": JOBS[label]}, seed=4)
    with way.open(faults) as standin:
        jobs = [job_for(way, standin, number) for number in range(PICTURES)]
        settings = way.settings(standin, tmp_path)
        with Provider(settings) as provider:
            found = outcomes(provider, jobs)
            spent = provider.spent_usd
        right = [n for n, outcome in enumerate(found) if is_right(outcome, n)]
        errors = [outcome for outcome in found if isinstance(outcome, ProviderError)]
        assert len(right) + len(errors) == PICTURES
        assert len(right) > 0.7 * PICTURES
        assert set(standin.billed().values()) == {1}
        cheapest = min(r.cost_usd or 1.0 for r in found if isinstance(r, Result))
        assert spent >= len(standin.bills) * cheapest * 0.999
        submits = standin.steps["submit"]
        with Provider(settings) as provider:
            again = outcomes(provider, [jobs[number] for number in right])
        assert all(isinstance(result, Result) and result.reused for result in again)
        assert standin.steps["submit"] == submits
