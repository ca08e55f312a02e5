"""The page: what was gathered, put into words and laid out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from ...transforms import storage
from ...transforms.fetch import shown
from ..cards.readme import engine_licence, licence_of
from . import formats
from .contents import Contents
from .figures import JUDGED, MEASURES, Figure, Measure, figure
from .flags import FLAGS, Flag, flags_of, reasons
from .histogram import Histogram
from .judgement import Judgement
from .pictures import Sample
from .survey import Group

_PARTITIONS = 24
_SETTINGS = 200
# Of an evaluation, for each partition.
_JUDGED = ("mae", "iou", "boundary_iou", "f_max", "s_measure", "sad")
# An unfinished run knows its engine's name alone.
_NO_ENGINE = {"model": "", "revision": "", "device": "", "dtype": ""}


@dataclass(frozen=True)
class Card:
    """One cutout on the page.

    Attributes:
      sample: the row and its pictures.
      key: as it can be shown.
      link: to the full picture, relative to the page; empty where it is no file of its own.
      flags: what it carries.
      reasons: to distrust it, in sentences.
      partition, engine: positions in the page's lists of these, for the filters.
    """

    sample: Sample
    key: str
    link: str
    flags: tuple[Flag, ...]
    reasons: list[str]
    partition: int
    engine: int


@dataclass(frozen=True)
class GroupRow:
    """A line in the table of partitions or engines."""

    name: str
    group: Group
    licence: str = ""


def render(contents: Contents) -> str:
    """Lays out the page.

    Everything that comes from pictures, manifests and servers is shown as text: the template
    escapes it, and the page's own policy forbids every script but the one it brings along and every
    request.
    """
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_resource),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "many", "number", "share", "duration", "size", "usd", "moment", "clean"):
        environment.filters[name] = getattr(formats, name)
    environment.filters["uri"] = lambda uri: formats.clean(shown(uri), 160)
    script = _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    survey, judgement = contents.survey, contents.judgement
    partitions = sorted(survey.partitions, key=lambda name: (-survey.partitions[name].rows, name))
    engines = sorted(survey.engines, key=lambda name: (-survey.engines[name].rows, name))
    cards = [_card(sample, partitions, engines) for sample in contents.samples]
    return environment.get_template("report.html.j2").render(
        contents=contents,
        survey=survey,
        totals=contents.totals,
        timing=contents.timing,
        name=formats.clean(storage.basename(contents.root) or contents.root),
        flags=[flag for flag in FLAGS if not flag.needs or flag.needs in survey.known],
        cards=cards,
        worst=[_worst(_card(sample, partitions, engines)) for sample in contents.worst],
        partitions=[GroupRow(name, survey.partitions[name]) for name in partitions],
        partitions_shown=_PARTITIONS,
        partition_choices=_choices(partitions, {card.partition for card in cards}),
        engines=[
            GroupRow(_engine_label(name), survey.engines[name], _licence(name)) for name in engines
        ],
        engine_choices=_choices(
            [_engine_label(name) for name in engines], {card.engine for card in cards}
        ),
        figures=_figures(MEASURES, {**survey.histograms, "latency": contents.timing.latency}),
        judgement=judgement,
        judged_figures=_figures(JUDGED, judgement.histograms) if judgement else [],
        judged_metrics=_judged_metrics(judgement) if judgement else [],
        settings=_flat(contents.settings["settings"])[:_SETTINGS],
        engine={**_NO_ENGINE, **contents.settings["engine"]},
        licence=licence_of(contents.settings["settings"]) or "not stated",
        css=Markup(_resource("report.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def _resource(name: str) -> str:
    return (resources.files(__name__.rpartition(".")[0]) / "templates" / name).read_text("utf-8")


def _card(sample: Sample, partitions: list[str], engines: list[tuple[str, ...]]) -> Card:
    row = sample.row
    raised = flags_of(row)
    return Card(
        sample=sample,
        key=formats.clean(row["key"].strip()) or "unnamed",
        link=_link(row["image_path"]),
        flags=tuple(flag for flag in FLAGS if flag.name in raised),
        reasons=reasons(row),
        partition=partitions.index(sample.partition),
        engine=engines.index(tuple(row[name] or "" for name in ("engine", "model", "revision"))),
    )


def _link(path: str | None) -> str:
    return "" if path is None or ".tar/" in path else f"./{quote(path)}"


def _worst(card: Card) -> Card:
    """Says of a card among the worst why it is there, also when nothing is wrong with it."""
    if card.reasons:
        return card
    reason = "Nothing but its confidence, which is among the lowest here: only a look can tell."
    return replace(card, reasons=[reason])


def _choices(labels: list[str], occurring: set[int]) -> list[tuple[int, str]]:
    """Gives the choices of a filter: those that occur among the cutouts shown."""
    return [(number, label) for number, label in enumerate(labels) if number in occurring]


def _engine_label(name: tuple[str, ...]) -> str:
    engine, model, revision = name
    return " · ".join(filter(None, [engine, model if model != engine else "", revision]))


def _licence(name: tuple[str, ...]) -> str:
    engine, model, _ = name
    return engine_licence(engine, {"model": model}) or "not stated"


def _judged_metrics(judgement: Judgement) -> list[dict[str, Any]]:
    return [metric for metric in judgement.summary["metrics"] if metric["name"] in _JUDGED]


def _figures(measures: Iterable[Measure], histograms: Mapping[str, Histogram]) -> list[Figure]:
    return [figure(measure, histograms[measure.name]) for measure in measures]


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Lists nested settings as dotted names and values."""
    if isinstance(value, Mapping) and value:
        return [
            line
            for key in value
            for line in _flat(value[key], f"{name}.{key}" if name else str(key))
        ]
    return [(name, json.dumps(value, ensure_ascii=False))]
