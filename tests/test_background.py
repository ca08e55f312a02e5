"""RemoveBackground within other people's pipelines."""

import io
import threading
import typing

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.typehints.schemas import named_fields_from_element_type
from photographs import write_photographs
from PIL import Image
from stub_engines import Disc, disc

from alphabeam.transforms import (
    ChainSettings,
    Condition,
    Cutout,
    CutterSettings,
    Failure,
    ImageRecord,
    RemoveBackground,
    cut_out,
)
from alphabeam.transforms.engines.loaded import LoadedEngine

ENGINE = "stub_engines:Disc"


class Product(typing.NamedTuple):
    id: int
    image: str
    price: float
    width: int


@pytest.fixture
def photos(tmp_path):
    return [str(tmp_path / name) for name in write_photographs(str(tmp_path), 4)]


def check(function):
    """Makes an assertion over a whole PCollection."""

    def checked(elements):
        function(list(elements))

    return checked


def test_records_become_cutouts_and_failures(photos):
    records = [ImageRecord(f"k{n}", photo) for n, photo in enumerate(photos)]
    records.append(ImageRecord("gone", "/nowhere/x.jpg"))
    records.append(ImageRecord("bytes", open(photos[0], "rb").read()))  # noqa: SIM115
    records.append(ImageRecord("torn", open(photos[0], "rb").read()[:900]))  # noqa: SIM115

    def cutouts_are_whole(cutouts):
        assert sorted(c.record.key for c in cutouts) == ["bytes", "k0", "k1", "k2", "k3"]
        for cutout in cutouts:
            assert isinstance(cutout, Cutout)
            picture = np.asarray(Image.open(io.BytesIO(cutout.image)))
            assert np.abs(picture[..., 3] / 255 - disc(*picture.shape[:2])).max() < 0.01
            assert not isinstance(cutout.record.source, bytes)

    def failures_hold_no_pixels(failures):
        assert sorted(f.record.key for f in failures) == ["gone", "torn"]
        for failure in failures:
            assert isinstance(failure, Failure)
            assert not isinstance(failure.record.source, bytes)

    with beam.Pipeline("FnApiRunner") as pipeline:
        results = pipeline | beam.Create(records) | RemoveBackground(ENGINE)
        assert_that(results.cutouts, check(cutouts_are_whole), "cutouts")
        assert_that(results.failures, check(failures_hold_no_pixels), "failures")
        assert results.cutouts.element_type is Cutout
        assert results.failures.element_type is Failure


def test_rows_keep_their_other_columns_and_types(photos):
    rows = [Product(n, photo, n / 2, 7) for n, photo in enumerate([*photos, "/nowhere/x.jpg"])]

    def cutouts_are_rows(cutouts):
        assert sorted((c.key, c.id, c.price, c.manifest_width) for c in cutouts) == [
            (str(n), n, n / 2, 7) for n in range(4)
        ]
        for cutout in cutouts:
            assert Image.open(io.BytesIO(cutout.image)).size == (cutout.width, cutout.height)
            assert sum(cutout.alpha_histogram) == cutout.width * cutout.height

    def the_failure_is_a_row(failures):
        (failure,) = failures
        assert (failure.id, failure.stage, failure.error) == (4, "fetch", "not_found")

    with beam.Pipeline("FnApiRunner") as pipeline:
        cutouts, failures = (
            pipeline | beam.Create(rows).with_output_types(Product) | RemoveBackground(ENGINE)
        )
        assert_that(cutouts, check(cutouts_are_rows), "cutouts")
        assert_that(failures, check(the_failure_is_a_row), "failures")
        types = dict(named_fields_from_element_type(cutouts.element_type))
        assert (types["image"], types["price"], types["width"]) == (bytes, np.float64, np.int64)
        assert (types["mask"], types["bbox_x"]) == (bytes | None, np.int64 | None)
        assert typing.Any not in types.values()


def test_beam_rows_work_without_a_class(photos):
    def one_each(cutouts):
        assert sorted(c.tag for c in cutouts) == ["t0", "t1", "t2", "t3"]

    with beam.Pipeline("FnApiRunner") as pipeline:
        cutouts, _ = (
            pipeline
            | beam.Create(list(enumerate(photos)))
            | beam.MapTuple(lambda n, photo: beam.Row(path=photo, tag=f"t{n}")).with_output_types(
                beam.row_type.RowTypeConstraint.from_fields([("path", str), ("tag", str)])
            )
            | RemoveBackground(ENGINE, settings=ChainSettings(fetch_threads=2))
        )
        assert_that(cutouts, check(one_each))


def test_failures_go_to_an_error_handler(photos):
    records = [ImageRecord("good", photos[0]), ImageRecord("gone", "/nowhere/x.jpg")]

    def keys(expected):
        return check(lambda results: [r.record.key for r in results] == expected or 1 / 0)

    with beam.Pipeline("FnApiRunner") as pipeline:
        with ErrorHandler(beam.Map(lambda failure: failure.error.kind)) as handler:
            cutouts = (
                pipeline
                | beam.Create(records)
                | RemoveBackground(ENGINE).with_error_handler(handler)
            )
        assert_that(cutouts, keys(["good"]), "cutouts")
        assert_that(handler.output(), check(lambda kinds: kinds == ["not_found"] or 1 / 0), "kinds")


def test_elements_without_a_schema_are_refused(photos):
    with (
        pytest.raises(ValueError, match="ImageRecords or rows with a schema"),
        beam.Pipeline("FnApiRunner") as pipeline,
    ):
        _ = pipeline | beam.Create(photos) | RemoveBackground(ENGINE)


def test_windows_and_timestamps_are_kept(photos):
    windows = beam.transforms.window
    records = [ImageRecord(f"k{n}", photo) for n, photo in enumerate(photos)]

    class Stamp(beam.DoFn):
        def process(self, cutout, time=beam.DoFn.WindowParam):
            yield cutout.record.key, int(time.start)

    with beam.Pipeline("FnApiRunner") as pipeline:
        cutouts, _ = (
            pipeline
            | beam.Create(list(enumerate(records)))
            | beam.MapTuple(
                lambda n, record: windows.TimestampedValue(record, 10 * n)
            ).with_output_types(ImageRecord)
            | beam.WindowInto(windows.FixedWindows(10))
            | RemoveBackground(ENGINE)
        )
        stamped = cutouts | beam.ParDo(Stamp())
        assert_that(
            stamped | "Global" >> beam.WindowInto(windows.GlobalWindows()),
            check(lambda found: sorted(found) == [(f"k{n}", 10 * n) for n in range(4)] or 1 / 0),
        )


@pytest.mark.parametrize("batch_size", [1, 2])
def test_no_more_threads_predict_than_the_settings_allow(photos, batch_size):
    class Noting(Disc):
        def predict(self, pictures):
            threads.add(threading.get_ident())
            return super().predict(pictures)

    threads = set()
    records = [ImageRecord(str(number), photo) for number, photo in enumerate(photos)]
    settings = ChainSettings(cpu_threads=1, batch_size=batch_size)
    results = list(cut_out(records * 4, LoadedEngine(Noting(), "noting"), settings))
    assert len(results) == 4 * len(records)
    assert len(threads) == 1


def test_a_chain_gives_each_record_its_own_cutout(photos):
    """Records of somebody else's pipeline need not be numbered."""
    chain = CutterSettings((ENGINE, "stub_engines:BatchedDisc"), doubtful=Condition("coverage > 0"))
    records = [ImageRecord(f"k{n}", photo) for n, photo in enumerate(photos)]
    records.append(ImageRecord("gone", "/nowhere/x.jpg"))

    def second_opinions(cutouts):
        assert {c.record.key: c.record.source for c in cutouts} == {
            f"k{n}": photo for n, photo in enumerate(photos)
        }
        for cutout in cutouts:
            assert cutout.engine.engine == "stub_engines:BatchedDisc"
            assert cutout.engine.escalated_from == ENGINE

    def only_the_missing_one(keys):
        assert keys == ["gone"]

    with beam.Pipeline("FnApiRunner") as pipeline:
        removed = pipeline | beam.Create(records) | RemoveBackground(chain)
        assert_that(removed.cutouts, check(second_opinions), "cutouts")
        keys = removed.failures | beam.Map(lambda failure: failure.record.key)
        assert_that(keys, check(only_the_missing_one), "failures")


def test_a_paid_engine_without_a_ledger_is_refused():
    with pytest.raises(ValueError, match="fal-bria is paid for: a ledger"):
        RemoveBackground("fal-bria")
