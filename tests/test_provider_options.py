"""Typed options and stand-in addresses: what is taken, and the one line that refuses the rest."""

from __future__ import annotations

import pytest

from alphabeam.transforms.providers.catalogue import ADAPTERS, make_adapter
from alphabeam.transforms.providers.endpoints import Endpoints
from alphabeam.transforms.providers.timing import Timing


@pytest.mark.parametrize(
    ("provider", "options", "message"),
    [
        ("fal-bria", {"sinc_mode": True}, "unknown option sinc_mode; did you mean sync_mode?"),
        ("fal-bria", {"crop_to_bbox": True}, "unknown option crop_to_bbox; its options: sync_mode"),
        ("fal-bria", {"sync_mode": "yes"}, 'option sync_mode="yes": give true or false'),
        ("fal-bria", {"transport": "pigeon"}, "give one of queue, sync"),
        ("fal-bria", {"start_timeout": 0.1}, "give more than 0.1"),
        ("fal-bria", {"start_timeout": float("nan")}, "give a finite number"),
        ("fal-bria", {"start_timeout": float("inf")}, "give a finite number"),
        ("fal-bria", {"webhook_url": "https://me.example/a b"}, "give an absolute http(s) address"),
        ("pixazo-bria", {"webhook_url": "https://me.example/\nX: y"}, "give an absolute http(s)"),
        ("pixazo-bria", {"webhook_url": "https://me.example/ä"}, "give an absolute http(s)"),
        ("gmi-bria", {"organization_id": " org"}, "without spaces around it"),
        ("fal-bria", {"webhook_url": "me.example"}, "give an absolute http(s) address"),
        (
            "fal-rembg",
            {"transport": "sync", "webhook_url": "https://me.example/"},
            "option webhook_url='https://me.example/' goes only with transport 'queue'",
        ),
        (
            "fal-bria",
            {"transport": "sync", "priority": "low"},
            "option priority='low' goes only with transport 'queue'",
        ),
        (
            "fal-bria",
            {"transport": "sync", "max_queue_length": 5},
            "option max_queue_length=5 goes only with transport 'queue'",
        ),
        ("fal-bria", {"max_queue_length": 0}, "give at least 1"),
        ("fal-bria", {"no_retry": 1}, "give true or false"),
        ("fal-bria", {"runner_hint": "a\nb"}, "give printable ASCII text"),
        ("fal-bria", {"runner_hint": ""}, "give printable ASCII text"),
        ("gmi-bria", {"organization_id": "Müller"}, "give printable ASCII text"),
        ("pixazo-bria", {"image_url": "x"}, "unknown option image_url; its options: webhook_url"),
        ("gmi-bria", {"image_form": "url"}, "give one of data_uri, base64"),
        ("runware-bria", {"outputtype": "URL"}, "did you mean outputType?"),
        ("runware-bria", {"outputFormat": "JPG"}, "JPG has no transparency; give PNG or WEBP"),
        ("runware-bria", {"outputFormat": "TIFF"}, "give one of PNG, WEBP"),
        ("runware-bria", {"outputQuality": 19}, "give at least 20"),
        ("runware-bria", {"outputQuality": 100}, "give at most 99"),
        ("runware-bria", {"outputQuality": True}, "give a whole number"),
        ("runware-bria", {"outputQuality": 90.5}, "give a whole number"),
        ("runware-bria", {"ttl": 59}, "give at least 60"),
        ("runware-bria", {"ttl": 60, "outputType": "dataURI"}, "goes only with outputType 'URL'"),
    ],
)
def test_an_option_that_will_not_do_is_refused_in_one_line(provider, options, message):
    with pytest.raises(ValueError, match="option") as caught:
        make_adapter(provider, options)
    assert message in str(caught.value)
    assert str(caught.value).startswith(provider)
    assert "\n" not in str(caught.value)


def test_an_unknown_provider_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean pixazo-bria"):
        make_adapter("pixaso-bria")


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_price_names_its_source_and_date(name):
    price = ADAPTERS[name].price
    assert price.source.startswith("https://")
    assert price.checked >= "2026-11"
    assert 0 < price.usd <= price.reserve_usd


def test_only_options_that_change_the_picture_are_part_of_a_purchase():
    same = make_adapter("runware-bria", {"outputType": "dataURI", "deliveryMethod": "async"})
    assert same.result_options() == make_adapter("runware-bria").result_options()
    other = make_adapter("runware-bria", {"preserveAlpha": True})
    assert other.result_options() != same.result_options()
    assert make_adapter("fal-rembg", {"crop_to_bbox": True}).result_options() == {
        "crop_to_bbox": True
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("fal_queue", "give NAME=URL"),
        ("fal_quue=http://127.0.0.1", "did you mean fal_queue?"),
        ("gmi=127.0.0.1:80", r"give http\(s\)://HOST\[:PORT\]"),
        ("gmi=http://127.0.0.1:99999", r"give http\(s\)://HOST\[:PORT\]"),
        ("gmi=http://127.0.0.1/path", "scheme, host and port only"),
        ("gmi=http://me:secret@127.0.0.1", "scheme, host and port only"),
    ],
)
def test_a_base_address_that_will_not_do_is_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        Endpoints.parse([entry])


def test_a_base_address_replaces_scheme_host_and_port_and_leaves_the_path():
    endpoints = Endpoints.parse(["runware=http://127.0.0.1:81/", "fal_rest=http://127.0.0.1:82"])
    assert endpoints.url("runware", "/v1") == "http://127.0.0.1:81/v1"
    assert endpoints.localise("https://im.runware.ai/image/a.png?x=1#y") == (
        "http://127.0.0.1:81/image/a.png?x=1#y"
    )
    assert endpoints.localise("https://rest.fal.ai/a") == "http://127.0.0.1:82/a"
    assert endpoints.localise("https://v3.fal.media/a") == "https://v3.fal.media/a"
    assert endpoints.localise("https://notrunware.ai/a") == "https://notrunware.ai/a"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/queue.fal.run",
        "https://queue.fal.run.evil.example/x",
        "http://queue.fal.run/x",
        "https://queue.fal.run:444@evil.example/x",
        "//queue.fal.run/x",
        "https://[queue.fal.run]/x",
        "https://queue.fal.run/\0",
        None,
        7,
    ],
)
def test_an_address_elsewhere_is_not_the_providers_own(url):
    assert Endpoints().own(url, "fal_queue") is None


def test_a_lease_that_a_submit_could_outlast_is_refused():
    with pytest.raises(ValueError, match="lease"):
        Timing(lease=100.0)
    assert Timing().scaled(0.5).submit_timeout == Timing().submit_timeout / 2
    assert Timing().scaled(0.5).poll_factor == Timing().poll_factor
