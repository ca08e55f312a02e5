"""The key after a run in which everything went wrong: nowhere but in the requests' headers."""

from __future__ import annotations

import logging
import pickle
import traceback
from dataclasses import replace

import pytest
from service import job_for
from standins.faults import Faults
from standins.kinds import QUICK, WAYS

from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError, ProviderStoppedError

KEY = "keyid-4711-abcdef:keysecret-0815-ghijkl"
PARTS = ("keyid-4711", "keysecret-0815")

SCRIPT = {
    "submit": ["503", "429:0", "drop_after", "garbage", None, None, "400", "422", None, None],
    "poll": ["503", "429", "drop_before", "404", "garbage", None],
    "fetch": ["500", "404", None],
    "find": ["503", None],
    "media": ["404", "truncate", "jpeg", "503", None],
    "job": ["fail", None, "wedge", None],
}
LAST_WORDS = {"fal": "403", "pixazo": "402", "gmi": "402", "runware": "402"}


@pytest.mark.parametrize(
    "label",
    ["fal-bria queue", "fal-bria sync", "pixazo-bria 2", "gmi-bria queued", "runware-bria async"],
)
def test_no_error_log_pickle_or_file_holds_the_key(label, tmp_path, caplog):
    way = WAYS[label]
    with way.open(Faults(SCRIPT), key=KEY) as standin:
        standin.gossip = f"(your key is {KEY}, that is {PARTS[0]}-abcdef)"
        timing = replace(QUICK, deadline=0.3, grace=0.1, submit_timeout=1.0)
        settings = way.settings(standin, tmp_path, timing=timing)
        errors: list[BaseException] = []
        with caplog.at_level(logging.DEBUG), Provider(settings) as provider:
            shown = repr(vars(provider)) + repr(vars(provider._lane()))
            for number in range(10):
                future = provider.submit(job_for(way, standin, number))
                error = future.exception(60)
                if error is not None:
                    errors.append(error)
            standin.faults = Faults({"submit": [LAST_WORDS[label.partition("-")[0]]]})
            stopped = provider.submit(job_for(way, standin, 11)).exception(60)
            assert isinstance(stopped, ProviderStoppedError)
        standin.key = "another"
        with Provider(settings) as provider:
            refused = provider.submit(job_for(way, standin, 12)).exception(60)
            assert isinstance(refused, ProviderStoppedError)
        errors += [stopped, refused]
        assert any(isinstance(error, ProviderError) for error in errors)
        assert any("***" in str(error) for error in errors)
        texts = [shown, caplog.text, pickle.dumps(provider).decode("latin-1")]
        texts += [record.getMessage() for record in caplog.records]
        for error in errors:
            texts += ["".join(traceback.format_exception(error)), repr(error), repr(vars(error))]
            texts.append(pickle.dumps(error).decode("latin-1"))
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        texts += [file.read_bytes().decode("latin-1") for file in files]
        texts += [request.path + str(request.query) for request in standin.seen]
        texts += [str(request.document) for request in standin.seen]
        assert files
        assert not [text for text in texts if any(part in text for part in PARTS)]
