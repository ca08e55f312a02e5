"""The chain: records -> fetch -> decode -> engine -> compose -> encode, as one generator."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2

from .codec import DecodeLimits, Picture, decode
from .engines.contract import Matte
from .engines.loaded import LoadedEngine
from .errors import ComposeError, DecodeError, EngineError, FetchError, ImageError, ManifestError
from .fetch import FetchLimits, fetch
from .matte import ComposeSettings, compose, final_alpha, to_levels
from .records import Cutout, EngineInfo, Failure, ImageRecord, SourceInfo
from .stream import batched, flattened, ordered_map

Given = TypeVar("Given", bound="_Fetched | _Decoded | _Matted")
Made = TypeVar("Made")


@dataclass(frozen=True)
class ChainSettings:
    """How a picture goes through the chain.

    Attributes:
      fetch: what the fetcher may do.
      decode: which pictures are refused.
      compose: what happens to matte and picture.
      fetch_threads: pictures fetched at the same time; more hides more network latency and holds
        more encoded pictures in memory.
      cpu_threads: pictures decoded, and as many composed, at the same time; None for the cores.
      batch_size: pictures in one call of the engine; None for what the engine likes best.
    """

    fetch: FetchLimits = field(default_factory=FetchLimits)
    decode: DecodeLimits = field(default_factory=DecodeLimits)
    compose: ComposeSettings = field(default_factory=ComposeSettings)
    fetch_threads: int = 16
    cpu_threads: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class _Fetched:
    record: ImageRecord
    data: bytes
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Decoded:
    record: ImageRecord
    picture: Picture
    source: SourceInfo
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Matted:
    record: ImageRecord
    picture: Picture
    source: SourceInfo
    matte: Matte
    seconds: Mapping[str, float]


def cut_out(
    records: Iterable[ImageRecord], engine: LoadedEngine, settings: ChainSettings
) -> Iterator[Cutout | Failure]:
    """Cuts the subject out of every picture, in order, one result a record.

    The stages overlap, each in threads of its own; an engine that takes single pictures on the CPU
    shares those of decoding and composing. How far a stage runs ahead is bounded, so memory depends
    on the settings and the pictures' size, never on how many records there are.

    Args:
      records: taken lazily, from the consumer's thread.
      engine: ready to predict.
      settings: limits, output form and concurrency.

    Returns:
      An iterator of one `Cutout` or `Failure` a record; whatever is wrong with a picture is a
      `Failure`.
    """
    cv2.setNumThreads(1)  # pictures run in parallel; a pool inside each call would only compete
    cores = settings.cpu_threads or os.cpu_count() or 1
    batch_size = settings.batch_size or engine.batch_size
    name = engine.info.engine

    fetched = ordered_map(
        lambda record: _fetch(record, settings.fetch, name),
        records,
        threads=settings.fetch_threads,
        lookahead=2 * settings.fetch_threads,
    )
    compose_settings = settings.compose
    refined_there = engine.refines and compose_settings.refine_foreground
    if refined_there:  # and with the final alpha, so that this is done as well
        compose_settings = replace(
            compose_settings, refine_foreground=False, alpha_threshold=None, preserve_alpha=False
        )

    def decoded(item: _Fetched | Failure) -> _Decoded | Failure:
        return _guarded(DecodeError, item, name, lambda i: _decode(i, settings.decode))

    def matted(batch: list[_Decoded | Failure]) -> list[_Matted | Failure]:
        results = _predict(batch, engine)
        return _refine(results, engine, settings.compose) if refined_there else results

    def composed(item: _Matted | Failure) -> Cutout | Failure:
        return _guarded(
            ComposeError, item, name, lambda i: _compose(i, compose_settings, engine.info)
        )

    if engine.parallel and batch_size == 1:
        # One thread a picture: it stays in its core's cache, and no stage waits for another one.
        return ordered_map(
            lambda item: composed(matted([decoded(item)])[0]),
            fetched,
            threads=cores,
            lookahead=2 * cores,
        )
    predictors = cores if engine.parallel else engine.predictors
    pictures = ordered_map(decoded, fetched, threads=cores, lookahead=cores + batch_size)
    mattes = ordered_map(
        matted, batched(pictures, batch_size), threads=predictors, lookahead=predictors + 1
    )
    return ordered_map(composed, flattened(mattes), threads=cores, lookahead=2 * cores)


def _guarded(
    trouble: type[ImageError],
    item: Given | Failure,
    engine: str,
    function: Callable[[Given], Made],
) -> Made | Failure:
    """Runs one stage on one picture; passes failures on, and turns what is raised into one."""
    if isinstance(item, Failure):
        return item
    try:
        return function(item)
    except ImageError as error:
        return Failure(item.record, error, engine, item.seconds)
    except Exception as error:  # noqa: BLE001 - one picture's trouble never ends the unit
        return Failure(item.record, trouble(type(error).__name__, str(error)), engine, item.seconds)


def _fetch(record: ImageRecord, limits: FetchLimits, engine: str) -> _Fetched | Failure:
    start = time.perf_counter()
    # The row goes on without the encoded picture: it is either held as data or not needed again.
    bare = replace(record, source=None) if isinstance(record.source, bytes) else record
    try:
        if record.trouble is not None:
            raise record.trouble
        if record.source is None:
            raise ManifestError("no_image", "the row names no image")
        data = fetch(record.source, limits).data
    except ImageError as error:
        return Failure(bare, error, engine, {"fetch": time.perf_counter() - start})
    except Exception as error:  # noqa: BLE001 - one picture's trouble never ends the unit
        trouble = FetchError(type(error).__name__, str(error))
        return Failure(bare, trouble, engine, {"fetch": time.perf_counter() - start})
    return _Fetched(bare, data, {"fetch": time.perf_counter() - start})


def _decode(item: _Fetched, limits: DecodeLimits) -> _Decoded:
    start = time.perf_counter()
    picture = decode(item.data, limits)
    height, width = picture.rgb.shape[:2]
    source = SourceInfo(
        format=picture.format,
        width=width,
        height=height,
        bytes=len(item.data),
        sha256=hashlib.sha256(item.data).hexdigest(),
        exif_orientation=picture.exif_orientation,
        icc_converted=picture.icc_converted,
    )
    seconds = {**item.seconds, "decode": time.perf_counter() - start}
    return _Decoded(item.record, picture, source, seconds)


def _predict(batch: list[_Decoded | Failure], engine: LoadedEngine) -> list[_Matted | Failure]:
    start = time.perf_counter()
    decoded = [item for item in batch if isinstance(item, _Decoded)]
    mattes = iter(engine.predict([item.picture.rgb for item in decoded]))
    share = (time.perf_counter() - start) / max(len(decoded), 1)
    results: list[_Matted | Failure] = []
    for item in batch:
        if isinstance(item, Failure):
            results.append(item)
            continue
        seconds = {**item.seconds, "engine": share}
        matte = next(mattes)
        if isinstance(matte, EngineError):
            results.append(Failure(item.record, matte, engine.info.engine, seconds))
        else:
            results.append(_Matted(item.record, item.picture, item.source, matte, seconds))
    return results


def _refine(
    batch: list[_Matted | Failure], engine: LoadedEngine, settings: ComposeSettings
) -> list[_Matted | Failure]:
    """Settles the alphas of a batch and lets the engine's device estimate the colours."""
    start = time.perf_counter()

    def settled(item: _Matted) -> _Matted:
        levels = to_levels(item.matte.alpha, item.source.width, item.source.height)
        alpha = final_alpha(item.picture, levels, settings)
        return replace(item, matte=replace(item.matte, alpha=alpha))

    results = [_guarded(ComposeError, item, engine.info.engine, settled) for item in batch]
    matted = [item for item in results if isinstance(item, _Matted)]
    colours = iter(
        engine.refine([item.picture.rgb for item in matted], [item.matte.alpha for item in matted])
        if matted
        else []
    )
    share = (time.perf_counter() - start) / max(len(matted), 1)
    for index, item in enumerate(results):
        if isinstance(item, Failure):
            continue
        seconds = {**item.seconds, "engine": item.seconds["engine"] + share}
        rgb = next(colours)
        if isinstance(rgb, EngineError):
            results[index] = Failure(item.record, rgb, engine.info.engine, seconds)
        else:
            picture = replace(item.picture, rgb=rgb)
            results[index] = replace(item, picture=picture, seconds=seconds)
    return results


def _compose(item: _Matted, settings: ComposeSettings, engine: EngineInfo) -> Cutout:
    start = time.perf_counter()
    levels = to_levels(item.matte.alpha, item.source.width, item.source.height)
    composed = compose(item.picture, levels, settings)
    return Cutout(
        record=item.record,
        image=composed.image,
        mask=composed.mask,
        format=settings.output_format,
        width=composed.width,
        height=composed.height,
        source=item.source,
        stats=composed.stats,
        confidence=item.matte.confidence,
        engine=engine,
        seconds={**item.seconds, "compose": time.perf_counter() - start},
    )
