"""The engines within Beam's RunInference."""

import contextlib
import io
import pickle
import re
import textwrap
import weakref
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that
from photographs import photograph
from stub_engines import disc

from alphabeam.transforms import Matte, MattingModelHandler
from alphabeam.transforms.engines.contract import EngineUnusable
from alphabeam.transforms.errors import EngineError

ENGINE = "stub_engines:BatchedDisc"
DOCUMENT = Path(__file__).parent.parent / "docs" / "how-to" / "run-inference.md"


def pictures(count):
    return [photograph("chelsea")[: 20 + n, : 30 + n] for n in range(count)]


def run(elements, handler, check):
    with beam.Pipeline("FnApiRunner") as pipeline:
        results = pipeline | beam.Create(elements) | RunInference(handler)
        assert_that(results, check)


def test_every_picture_gets_its_own_matte():
    def right(results):
        assert len(results) == 9
        for result in results:
            assert isinstance(result.inference, Matte)
            assert result.model_id == ENGINE
            assert np.allclose(result.inference.alpha, disc(*result.example.shape[:2]))

    run(pictures(9), MattingModelHandler(ENGINE, batch_size=4), right)


def test_one_bad_picture_is_one_result_with_its_error_and_costs_no_other():
    bad = [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "cup.jpg",
    ]

    def right(results):
        errors = [r.inference for r in results if isinstance(r.inference, EngineError)]
        assert len(results) == 8
        assert {error.kind for error in errors} == {"bad_picture"}
        told = " ".join(error.message for error in errors)
        for part in ("shape (4, 4)", "float32", "shape (0, 4, 3)", "a str"):
            assert part in told

    run([*pictures(4), *bad], MattingModelHandler(ENGINE, batch_size=8), right)


def test_a_picture_the_engine_refuses_is_one_result_with_its_error():
    def right(results):
        by_width = {r.example.shape[1]: r.inference for r in results}
        assert sorted(by_width) == [30, 31, 32, 33]
        for width, inference in by_width.items():
            assert isinstance(inference, EngineError if width % 2 else Matte)

    run(pictures(4), MattingModelHandler("stub_engines:Choosy", batch_size=4), right)


def test_the_model_may_be_shared_by_the_processes_of_a_machine():
    handler = MattingModelHandler(ENGINE, share_model_across_processes=True)
    assert handler.share_model_across_processes()
    assert not MattingModelHandler(ENGINE).share_model_across_processes()

    def right(results):
        assert sum(isinstance(result.inference, Matte) for result in results) == 3

    run(pictures(3), handler, right)


def test_batches_are_bounded_and_counted_cheaply_and_the_model_can_be_referred_to():
    handler = MattingModelHandler(ENGINE, batch_size=3)
    assert handler.batch_elements_kwargs() == {"min_batch_size": 3, "max_batch_size": 3}
    assert handler.get_num_bytes(pictures(2)) == 3 * (20 * 30 + 21 * 31)
    model = handler.load_model()
    assert weakref.ref(model)() is model
    assert pickle.loads(pickle.dumps(handler)).get_num_bytes([]) == 0


def test_what_cannot_work_is_refused_when_the_handler_is_made():
    with pytest.raises(EngineUnusable, match="did you mean 'grabcut'"):
        MattingModelHandler("grabcat")
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        MattingModelHandler(batch_size=0)


def documented_examples():
    docstring = MattingModelHandler.__doc__ or ""
    yield re.search(r"Example:\n(.*)", docstring, re.DOTALL).group(1)  # type: ignore[union-attr]
    yield re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)  # type: ignore[union-attr]


def test_the_documented_example_runs_and_is_the_same_in_both_places(monkeypatch):
    one, other = (textwrap.dedent(text) for text in documented_examples())
    assert one.strip() == other.strip()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(one, "example", "exec"), {"__name__": "example"})
    assert re.fullmatch(r"\(300, 451\) 0\.\d+\n", printed.getvalue())
