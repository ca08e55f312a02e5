"""fal's stand-in as fal's own client sees it: what that accepts, the driver meets."""

from __future__ import annotations

import base64

import fal_client
import httpx
import pytest
from service import picture
from standins.fal import ENDPOINTS, FalStandIn
from standins.faults import Faults


class _Redirecting(httpx.BaseTransport):
    """fal's client speaks https to its own hosts only; this leads it to a stand-in."""

    def __init__(self, standin: FalStandIn) -> None:
        self._doors = {"queue.fal.run": standin.doors[0], "fal.run": standin.doors[1]}
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        door = httpx.URL(self._doors[request.url.host])
        url = request.url.copy_with(scheme=door.scheme, host=door.host, port=door.port)
        return self._transport.handle_request(
            httpx.Request(request.method, url, headers=request.headers, content=request.read())
        )


@pytest.fixture
def fal():
    with FalStandIn() as standin:
        standin.absolute = True
        client = fal_client.SyncClient(key=standin.key)
        headers = client._client.headers
        client.__dict__["_client"] = httpx.Client(transport=_Redirecting(standin), headers=headers)
        yield standin, client


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_fals_client_submits_polls_and_reads_the_result(fal, endpoint):
    standin, client = fal
    url = standin.offer("a.png", picture(0))
    handle = client.submit(endpoint, {"image_url": url})
    states = list(handle.iter_events(interval=0.01))
    assert isinstance(states[-1], fal_client.Completed)
    image = handle.get()["image"]
    assert image["url"].startswith("https://v3.fal.media/")
    assert (image["width"], image["height"]) == (64, 48)
    assert len(standin.bills) == 1


def test_fals_client_runs_synchronously(fal):
    _, client = fal
    data = fal_client.encode(picture(0), "image/png")
    result = client.run(ENDPOINTS[0], {"image_url": data, "sync_mode": True})
    encoded = result["image"]["url"].partition(",")[2]
    assert base64.b64decode(encoded).startswith(b"\x89PNG")


def test_fals_client_sees_a_queued_job_and_cancels_it(fal):
    standin, client = fal
    standin.faults = Faults({"job": ["wedge_queued"]})
    handle = client.submit(ENDPOINTS[0], {"image_url": standin.offer("a.png", picture(0))})
    assert isinstance(handle.status(), fal_client.Queued)
    handle.cancel()
    assert standin.jobs[handle.request_id].state == "cancelled"


def test_fals_client_reads_the_errors(fal):
    standin, client = fal
    with pytest.raises(fal_client.FalClientHTTPError) as missing:
        client.run(ENDPOINTS[0], {})
    assert (missing.value.status_code, missing.value.message[0]["type"]) == (422, "missing")
    standin.money = 0.0
    with pytest.raises(fal_client.FalClientHTTPError, match="User is locked"):
        client.submit(ENDPOINTS[0], {"image_url": "https://x/y.png"})


def test_fals_client_bills_again_for_a_lost_answer_where_the_driver_does_not(fal):
    standin, client = fal
    standin.faults = Faults({"submit": ["drop_after", None]})
    client.submit(ENDPOINTS[0], {"image_url": standin.offer("a.png", picture(0))})
    assert len(standin.bills) == 2
