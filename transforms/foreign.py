"""RemoveBackground for pipelines that give plain values only: Beam YAML and other languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, cast, get_args, get_type_hints

import apache_beam as beam
from apache_beam.pvalue import PCollection, Row
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

from . import background as records
from .codec import DecodeLimits
from .cutout import ChainSettings
from .cutters import CutterSettings
from .engine_choice import Hosting, choose
from .engines import registry
from .fetch import FetchLimits
from .inline import is_inline
from .matte import ComposeSettings, parse_background
from .records import Failure, ImageRecord
from .row_form import FAILURE_FIELDS, RowForm, failure_values, or_none
from .sharing import SHARES, Share

# What the options are called that Beam YAML and other languages know.
_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
}
_ABOVE_ZERO = (
    "batch_size", "max_image_bytes", "max_image_pixels", "fetch_threads", "fetch_timeout",
    "cpu_threads", "lookahead",
)  # fmt: skip
_GOOD = "good"
_LONGEST_URI = 4096


@dataclass(eq=False)
class RemoveBackground(beam.PTransform):
    """Cuts the subject out of every image of a PCollection of rows.

    The rows that come out hold the cutout (`image`, the encoded picture, and what is known of it),
    then the other columns of the rows that went in.

    A picture that cannot be cut out ends the pipeline, unless `error_handling` names an output for
    such rows. They are as Beam YAML has them: `element` is the row that went in, less a picture
    that it held itself, `msg` says what was wrong, `stack` is empty. The columns of an error of
    alphabeam's follow: `key`, `source_uri`, `stage`, `error`, `retryable`, `attempts`, `engine`.

    Attributes:
      engine: a name that `alphabeam engines` lists, or `package.module:Class`; several with commas
        between are a chain.
      ledger: folder, any fsspec URI, of what hosted engines were paid for: no picture is bought
        twice by pipelines with the same one.
      image_column, key_column: by convention when None.
      base: folder that relative paths resolve against.
      lookahead: images of a bundle that are worked on together.
      error_handling: `{output: NAME}`: where rows go whose picture cannot be cut out.
      All others are the flags of `alphabeam run` of the same name.
    """

    engine: str = "grabcut"
    image_column: str | None = None
    key_column: str | None = None
    base: str = ""
    model: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    resolution: int | None = None
    patch_order: str | None = None
    compile: bool = False
    subject_labels: str | None = None
    trust_remote_code: bool = False
    onnx_mean: str | None = None
    onnx_std: str | None = None
    onnx_scale: str | None = None
    onnx_output: str | None = None
    onnx_activation: str | None = None
    output_format: str = "png"
    output_quality: int = 90
    save_mask: bool = False
    refine_foreground: bool = False
    crop_to_bbox: bool = False
    crop_margin: int = 0
    background: str | None = None
    preserve_alpha: bool = False
    alpha_threshold: float | None = None
    max_image_bytes: int = 100_000_000
    max_image_pixels: int = 100_000_000
    allow_private_hosts: bool = False
    fetch_threads: int = 16
    fetch_timeout: float = 30.0
    cpu_threads: int | None = None
    share_model: str = "process"
    ledger: str | None = None
    api_key: str | None = None
    provider_options: Mapping[str, Any] | None = None
    provider_url: Sequence[str] | None = None
    provider_concurrency: int | None = None
    max_cost_usd: float | None = None
    repay_ambiguous: bool = False
    escalate_when: str | None = None
    staging_uri: str | None = None
    staging_url: str | None = None
    download_first: bool = False
    lookahead: int = 32
    error_handling: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Checks everything that can be known before there are rows.

        Raises:
          ValueError: a value is out of its range, or the engine cannot be had.
        """
        super().__init__()
        self._check_values()
        if self.share_model not in SHARES:
            raise ValueError(f"share_model is {' or '.join(SHARES)}: given {self.share_model!r}")
        self._errors = _output_of(self.error_handling)
        self._cut_out = _RemoveBackground(
            self._cutter(),
            settings=self._settings(),
            image_column=self.image_column,
            key_column=self.key_column,
            base=self.base,
            lookahead=self.lookahead,
        )

    def expand(self, pcoll: PCollection) -> PCollection | dict[str, PCollection]:
        removed: Any = pcoll | "CutOut" >> self._cut_out
        cutouts, failures = removed
        if self._errors is not None:
            return {_GOOD: cutouts, self._errors: failures}
        _ = failures | "Fail" >> beam.Map(_fail)
        return cutouts

    def _check_values(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value, kinds = getattr(self, name), get_args(hint) or (hint,)
            kind = next((kind for kind in kinds if kind in _KINDS), None)
            if kind is None or (value is None and type(None) in kinds):
                continue
            fitting, called = _KINDS[kind]
            if not isinstance(value, fitting) or (isinstance(value, bool) and kind is not bool):
                raise ValueError(f"{name} is {called}: given {value!r}")
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0: given {value}")

    def _cutter(self) -> CutterSettings:
        local = {name: getattr(self, name) for name in (*registry.OPTIONS, "batch_size")}
        share = cast(Share, self.share_model)
        hosting = Hosting(**{field.name: getattr(self, field.name) for field in fields(Hosting)})
        return choose(self.engine, local, hosting, self.escalate_when, share)

    def _settings(self) -> ChainSettings:
        compose = {field.name: getattr(self, field.name) for field in fields(ComposeSettings)}
        if self.background is not None:
            compose["background"] = parse_background(self.background)
        return ChainSettings(
            fetch=FetchLimits(
                max_bytes=self.max_image_bytes,
                timeout=self.fetch_timeout,
                allow_private_hosts=self.allow_private_hosts,
            ),
            decode=DecodeLimits(max_bytes=self.max_image_bytes, max_pixels=self.max_image_pixels),
            compose=ComposeSettings(**compose),
            fetch_threads=self.fetch_threads,
            cpu_threads=self.cpu_threads,
            batch_size=self.batch_size,
        )


def _output_of(error_handling: Mapping[str, Any] | None) -> str | None:
    """Gives the name of the output for errors.

    Raises:
      ValueError: it has none, or asks for more than that.
    """
    if error_handling is None:
        return None
    given = error_handling if isinstance(error_handling, Mapping) else error_handling._asdict()
    keys = {name for name in given if not name.startswith("__")}  # Beam YAML notes lines there
    if keys != {"output"} or not isinstance(given["output"], str) or given["output"] == _GOOD:
        raise ValueError(
            f"error_handling takes {{output: NAME}}, of another name than {_GOOD!r}: "
            f"given {dict(given)}"
        )
    return given["output"]


def _fail(failure: Any) -> None:
    raise RuntimeError(
        f"{failure.source_uri or failure.key}: {failure.stage}: {failure.msg} ({failure.error}); "
        f"error_handling: {{output: NAME}} keeps such rows apart"
    )


class _StandardErrors(RowForm):
    """Rows whose failures are as Beam YAML has them; no picture is ever part of one."""

    _FIELDS = tuple(field for field in FAILURE_FIELDS if field[0] != "message")

    def __init__(
        self, element_type: Any, image_column: str | None, key_column: str | None, base: str
    ) -> None:
        super().__init__(element_type, image_column, key_column, base)
        kept = [
            (name, or_none(kind) if name == self.columns.image else kind)
            for name, kind in named_fields_from_element_type(element_type)
        ]
        self._names = [name for name, _ in kept]
        self.failure_type = RowTypeConstraint.from_fields(
            [
                ("element", RowTypeConstraint.from_fields(kept)),
                ("msg", str),
                ("stack", str),
                *self._FIELDS,
            ]
        )

    def record(self, element: Any, row: int) -> ImageRecord:
        values = element._asdict()
        image = values[self.columns.image]
        if not _is_reference(image):
            values[self.columns.image] = None
        return replace(super().record(element, row), columns=values)

    def failure(self, failure: Failure) -> Row:
        values, columns = failure_values(failure), failure.record.columns
        return Row(
            element=Row(**{name: columns[name] for name in self._names}),
            msg=values["message"],
            stack="",
            **{name: values[name] for name, _ in self._FIELDS},
        )


def _is_reference(image: Any) -> bool:
    """Tells a path or URI from a picture that the row itself holds."""
    return isinstance(image, str) and len(image) <= _LONGEST_URI and not is_inline(image.strip())


class _RemoveBackground(records.RemoveBackground):
    _row_form = _StandardErrors
