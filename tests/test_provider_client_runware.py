"""Runware's stand-in as Runware's own client sees it: what that accepts, the driver meets."""

from __future__ import annotations

import asyncio
import base64

import pytest
from service import picture
from standins.faults import Faults
from standins.runware import RunwareStandIn

sdk = pytest.importorskip("runware", reason="runware-sdk needs Python 3.11")


def runware(standin: RunwareStandIn, use, key: str | None = None):
    async def run():
        client = sdk.Runware(
            api_key=key or standin.key,
            transport="rest",
            http_base_url=f"{standin.url}/v1",
            retry_delay=1,
        )
        async with client:
            return await use(client)

    return asyncio.run(run())


def task(**others):
    image = base64.b64encode(picture(0)).decode()
    return {
        "taskType": "removeBackground",
        "model": "bria:2@1",
        "inputs": {"image": image},
        "outputFormat": "PNG",
        **others,
    }


@pytest.mark.parametrize("method", ["sync", "async"])
@pytest.mark.parametrize("output", ["URL", "base64Data", "dataURI"])
def test_runwares_client_gets_a_picture(method, output):
    with RunwareStandIn() as standin:
        sent = task(deliveryMethod=method, outputType=output, includeCost=True)
        (item,) = runware(standin, lambda client: client.run(sent))
        fields = {"URL": "imageURL", "base64Data": "imageBase64Data", "dataURI": "imageDataURI"}
        assert item[fields[output]]
        assert item["cost"] == 0.018
        assert len(standin.bills) == 1


def test_runwares_client_reads_the_errors():
    with RunwareStandIn() as standin:
        with pytest.raises(sdk.errors.RunwareError) as caught:
            runware(standin, lambda client: client.run(task(inputs={}, deliveryMethod="sync")))
        assert (caught.value.code, caught.value.parameter) == ("validation", "inputs.image")
        standin.money = 0.0
        with pytest.raises(sdk.errors.RunwareError) as caught:
            runware(standin, lambda client: client.run(task(deliveryMethod="sync")))
        assert (caught.value.code, caught.value.status_code) == ("quota", 402)
        with pytest.raises(sdk.errors.RunwareError) as caught:
            runware(standin, lambda client: client.run(task(deliveryMethod="sync")), "wrong")
        assert (caught.value.code, caught.value.status_code) == ("auth", 401)


def test_runwares_client_meets_the_conflict_that_a_repeated_task_makes():
    with RunwareStandIn(Faults({"submit": ["drop_after", None]})) as standin:
        with pytest.raises(sdk.errors.RunwareError) as caught:
            runware(standin, lambda client: client.run(task(deliveryMethod="sync")))
        assert (caught.value.code, caught.value.parameter) == ("validation", "taskUUID")
        assert len(standin.bills) == 1
        task_id = next(iter(standin.jobs))
        (item,) = runware(standin, lambda client: client.get_response({"taskUUID": task_id}))
        assert item["status"] == "success"
        (past,) = runware(standin, lambda client: client.get_task_details({"taskUUID": task_id}))
        assert past["response"]["data"][0]["imageURL"]
