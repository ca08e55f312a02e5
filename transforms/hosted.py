"""The chain with a hosted provider in the engine's place: records -> request -> compose."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg

from .codec import Picture, decode, encode_jpg
from .cutout import ChainSettings
from .errors import EngineError, ImageError, ManifestError
from .fetch import fetch
from .matte import compose
from .providers import messages
from .providers.driver import Provider
from .providers.errors import ProviderError, ProviderStoppedError
from .providers.outputs import Output, place
from .providers.settings import Job, Result
from .records import Cutout, EngineInfo, Failure, ImageRecord, Payment, SourceInfo
from .stream import ordered_map

_STORED_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SENT_QUALITY = 95  # of pictures that have to be encoded anew: EXIF turned, ICC converted, 16 bit


@dataclass(frozen=True)
class _Request:
    """What is asked of a provider for one record, and what is known of its source.

    Attributes:
      job: for the driver.
      data: the encoded source, decoded once more when the answer is there, since decoded pictures
        would fill the memory while they wait; None where the provider fetches it itself.
      source: what is known of it.
    """

    job: Job
    data: bytes | None
    source: SourceInfo | None


def cut_out_hosted(
    records: Iterable[ImageRecord],
    provider: Provider,
    settings: ChainSettings,
    *,
    stops: bool = True,
) -> Iterator[Cutout | Failure]:
    """Has a provider cut the subject out of every picture, in order, one result a record.

    A stored image id is passed on as it is, and so is a public URL, where the provider takes them
    and nothing has to be known of the source; the picture is then neither downloaded nor uploaded,
    and what is known of it comes from the result: whether the provider turned it by its EXIF
    orientation, or scaled it, stays unknown. Every other picture is fetched, checked, brought
    upright and to sRGB, and sent along.

    Args:
      records: taken lazily, from the consumer's thread.
      provider: driver and ledger make sure that each picture is paid for once.
      settings: limits, output form and concurrency.
      stops: whether a provider that stops raises; otherwise that is each picture's trouble.

    Returns:
      An iterator of one `Cutout` or `Failure` a record.

    Raises:
      ProviderStoppedError: key, account or budget is at an end, so that nothing more can be had.
        Where it is money, what was submitted before has been polled for by then.
    """
    threads = provider.settings.concurrency or provider.adapter.concurrency
    results = ordered_map(
        lambda record: _cut_out(record, provider, settings, stops),
        records,
        threads=threads,
        lookahead=2 * threads,
    )
    return _until_stopped(results)


def _until_stopped(
    results: Generator[Cutout | Failure | ProviderStoppedError, None, None],
) -> Iterator[Cutout | Failure]:
    stopped: ProviderStoppedError | None = None
    with closing(results):
        for result in results:
            if isinstance(result, ProviderStoppedError):
                stopped = stopped or result
            elif stopped is None:
                yield result
    if stopped is not None:
        raise stopped


def engine_info(
    provider: Provider, result: Result | None = None, size: tuple[int, int] | None = None
) -> EngineInfo:
    """Gives what rows record of a provider, and of one answer to a source of a size, if known."""
    name = provider.adapter.name
    info = EngineInfo(name, provider.adapter.model, "", "hosted", "")
    if result is None:
        return info
    return replace(
        info,
        attempts=result.attempts,
        cost_usd=result.cost_usd,
        provider_request_id=result.request_id,
        provider_resized=None if size is None else result.resized,
    )


def _cut_out(
    record: ImageRecord, provider: Provider, settings: ChainSettings, stops: bool
) -> Cutout | Failure | ProviderStoppedError:
    bare = replace(record, source=None) if isinstance(record.source, bytes) else record
    seconds: dict[str, float] = {}
    try:
        with _Clock(seconds, "fetch"):
            request = _request(record, provider, settings)
        with _Clock(seconds, "engine"):
            result = provider.cut_out(request.job)
        with _Clock(seconds, "compose"):
            return _composed(bare, request, result, provider, settings, seconds)
    except ProviderError as error:
        payments = () if error.payment is None else (error.payment,)
        return Failure(bare, error, provider.adapter.name, seconds, payments)
    except ImageError as error:
        return Failure(bare, error, provider.adapter.name, seconds)
    except ProviderStoppedError as error:
        if stops and error.trouble is messages.Trouble.AUTH:
            raise
        if stops:  # later pictures may be in the ledger, or still to be polled for
            return error
        kind = messages.Trouble.AMBIGUOUS.value if error.maybe_billed else "provider_stopped"
        trouble = EngineError(kind, str(error), retryable=True)
        return Failure(bare, trouble, provider.adapter.name, seconds)
    except Exception as error:  # noqa: BLE001 - one picture's trouble never ends the unit
        trouble = EngineError(type(error).__name__, f"{provider.adapter.name}: {error}")
        return Failure(bare, trouble, provider.adapter.name, seconds)


class _Clock:
    """Adds the seconds that a block takes to a stage's."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._stage] = time.perf_counter() - self._start


def _request(record: ImageRecord, provider: Provider, settings: ChainSettings) -> _Request:
    if record.trouble is not None:
        raise record.trouble
    source = record.source
    if source is None:
        raise ManifestError("no_image", "the row names no image")
    if (
        isinstance(source, str)
        and "stored_id" in provider.adapter.takes
        and _STORED_ID.fullmatch(source)
    ):
        picture = messages.Picture(stored_id=source)
        return _Request(Job(f"stored:{source}", picture), None, None)
    if isinstance(source, str) and _passes_on(source, provider, settings):
        return _Request(Job(f"url:{source}", messages.Picture(url=source)), None, None)
    data = fetch(source, settings.fetch).data
    decoded = decode(data, settings.decode)
    height, width = decoded.rgb.shape[:2]
    digest = hashlib.sha256(data).hexdigest()
    known = SourceInfo(
        decoded.format,
        width,
        height,
        len(data),
        digest,
        decoded.exif_orientation,
        decoded.icc_converted,
    )
    sent = data if _is_plain(data, decoded) else encode_jpg(decoded.rgb, _SENT_QUALITY)
    picture = messages.Picture(data=sent)
    refusal = provider.refusal(picture)
    if refusal is not None:
        raise EngineError("needs_url", f"{refusal}, or use another provider")
    return _Request(Job(digest, picture, (width, height)), data, known)


def _passes_on(source: str, provider: Provider, settings: ChainSettings) -> bool:
    """Tells whether the provider may fetch a picture itself: nothing here needs its pixels."""
    is_web = source.lower().startswith(("http://", "https://"))
    needs_source = (
        settings.compose.preserve_alpha or _crops(provider) or provider.settings.download_first
    )
    return is_web and "url" in provider.adapter.takes and not needs_source


def _crops(provider: Provider) -> bool:
    """Tells whether the provider gives only the subject's bounding box."""
    return bool(provider.adapter.result_options().get("crop_to_bbox"))


def _is_plain(data: bytes, picture: Picture) -> bool:
    """Tells whether a picture may be sent as it is: upright 8-bit sRGB, as JPEG or PNG."""
    if picture.exif_orientation != 1 or picture.icc_converted:
        return False
    if picture.format == "jpeg":
        return simplejpeg.decode_jpeg_header(data)[2] != "CMYK"
    return picture.format == "png" and data[24] == 8


def _composed(
    record: ImageRecord,
    request: _Request,
    result: Result,
    provider: Provider,
    settings: ChainSettings,
    seconds: dict[str, float],
) -> Cutout:
    source, rgba = request.source, result.rgba
    if request.data is not None:
        picture = decode(request.data, settings.decode)
        output = Output(
            rgba, result.format, result.resized, is_blank=result.is_blank, is_full=result.is_full
        )
        # The source's own colours at its own size; the provider's alpha decides what stays.
        alpha = np.ascontiguousarray(place(output, picture.rgb, cropped=_crops(provider))[..., 3])
    else:
        alpha = np.ascontiguousarray(rgba[..., 3])
        picture = Picture(np.ascontiguousarray(rgba[..., :3]), None, result.format, 1, False)
    height, width = alpha.shape
    if source is None:
        source = SourceInfo(None, width, height, None, None, None, None)
    composed = compose(picture, alpha, settings.compose)
    return Cutout(
        record=record,
        image=composed.image,
        mask=composed.mask,
        format=settings.compose.output_format,
        width=composed.width,
        height=composed.height,
        source=source,
        stats=composed.stats,
        confidence=None,
        engine=engine_info(provider, result, request.job.size),
        seconds=seconds,
        payments=(Payment(result.purchase, result.cost_usd or 0.0),),
    )
