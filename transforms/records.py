"""What flows through the chain: an image record in, a cutout or a failure out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ImageError
from .mask_stats import MaskStats


@dataclass(frozen=True)
class ImageRecord:
    """One manifest row.

    Attributes:
      key: names the image; not yet safe as a file name.
      source: where the picture is: a URI, a local path or a data URI as `str`, or the encoded
        picture itself as `bytes`. None when the row names no image.
      source_uri: what the output's rows say about the origin; short, also for inline pictures.
      columns: the manifest's other columns.
      row: position within the work unit, from 0.
      trouble: set when the row could not be read; it then becomes an error row as it is.
    """

    key: str
    source: str | bytes | None
    source_uri: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    row: int = 0
    trouble: ImageError | None = None


@dataclass(frozen=True)
class SourceInfo:
    """What is known of the source picture.

    Attributes:
      format: the encoded form, lower case: `jpeg`, `png`, `webp`, …
      width, height: pixels, upright (after EXIF orientation).
      bytes: size of the encoded picture.
      sha256: of the encoded picture, hexadecimal.
      exif_orientation: 1..8, 1 when absent.
      icc_converted: True when an embedded profile was converted to sRGB.

    All but the size is None where a provider fetched the picture itself.
    """

    format: str | None
    width: int
    height: int
    bytes: int | None
    sha256: str | None
    exif_orientation: int | None
    icc_converted: bool | None


@dataclass(frozen=True)
class EngineInfo:
    """Which engine answered, as every row records it.

    Attributes:
      engine, model, revision, device, dtype: its name, and what it ran.
      attempts: submits of the picture, 1 for engines of this machine.
      cost_usd: what was paid for the picture, by engines before it in a chain as well; None where
        nothing had to be.
      provider_request_id: of a hosted engine's answer.
      provider_resized: whether that answer had another size than the source and was scaled back;
        None where no provider answered, or one that fetched the source itself.
      escalated_from, escalated_confidence: the engine whose cutout was doubtful, and how sure it
        was; None where the first answer stands.
    """

    engine: str
    model: str
    revision: str
    device: str
    dtype: str
    attempts: int = 1
    cost_usd: float | None = None
    provider_request_id: str | None = None
    provider_resized: bool | None = None
    escalated_from: str | None = None
    escalated_confidence: float | None = None


@dataclass(frozen=True)
class Payment:
    """What one provider was paid for one picture.

    Attributes:
      purchase: its name in the ledger, the same for all rows that share it.
      usd: dollars, as far as known.
    """

    purchase: str
    usd: float


@dataclass(frozen=True)
class Cutout:
    """One finished picture.

    Attributes:
      record: the row it came from.
      image: the encoded cutout.
      mask: the matte as an 8-bit grey PNG of the cutout's size, when asked for.
      format: `png`, `webp` or `jpg`.
      width, height: of the cutout, pixels.
      source: what is known of the source picture.
      stats: the quality columns, of the upright picture's matte before any crop.
      confidence: mean |2p - 1| of the engine's probabilities, None where it has none.
      engine: which engine answered.
      seconds: time spent by stage; goes into the unit's commit marker, never into a row.
      payments: what providers were paid for it, by all engines of a chain.
    """

    record: ImageRecord
    image: bytes
    mask: bytes | None
    format: str
    width: int
    height: int
    source: SourceInfo
    stats: MaskStats
    confidence: float | None
    engine: EngineInfo
    seconds: Mapping[str, float]
    payments: tuple[Payment, ...] = ()


@dataclass(frozen=True)
class Failure:
    """One image that could not be cut out, and why.

    Attributes:
      record: the row it came from.
      error: why.
      engine: which engine was asked last.
      seconds: time spent by stage.
      payments: what is taken to have been paid for it, in vain.
    """

    record: ImageRecord
    error: ImageError
    engine: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    payments: tuple[Payment, ...] = ()
