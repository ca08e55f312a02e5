"""What cuts out: an engine of this machine, a hosted provider, or a chain of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .conditions import Condition
from .cutout import ChainSettings, cut_out
from .engines import registry
from .engines.contract import EngineUnusable
from .engines.loaded import LoadedEngine
from .errors import EngineError
from .hosted import cut_out_hosted, engine_info
from .providers import keys
from .providers.catalogue import ADAPTERS, make_adapter
from .providers.driver import Provider
from .providers.endpoints import Endpoints
from .providers.settings import ProviderSettings
from .records import Cutout, EngineInfo, Failure, ImageRecord, Payment
from .sharing import Share, acquire_engine
from .stream import ordered_map

# After these nobody knows, or it is certain, that the picture was paid for: asking another
# provider for it could pay twice.
_MAYBE_PAID = ("ambiguous",)
_SECOND_OPINIONS = 16  # pictures asked of a further engine at the same time


class Cutter(Protocol):
    """Turns records into cutouts."""

    info: EngineInfo

    def cut_out(
        self, records: Iterable[ImageRecord], settings: ChainSettings
    ) -> Iterator[Cutout | Failure]:
        """Gives one cutout or failure a record, in order."""
        ...

    def close(self) -> None:
        """Lets go of what this run alone needs."""
        ...


class LocalCutter:
    """An engine of this machine."""

    def __init__(self, engine: LoadedEngine) -> None:
        self.info = engine.info
        self._engine = engine

    def cut_out(
        self, records: Iterable[ImageRecord], settings: ChainSettings
    ) -> Iterator[Cutout | Failure]:
        return cut_out(records, self._engine, settings)

    def close(self) -> None:
        pass  # the engine stays loaded for the next run in this process


class HostedCutter:
    """A provider.

    With `goes_on`, a provider that stops (its key, account or budget is at an end) is the trouble
    of each picture that is asked of it, so that the next engine of a chain can take over;
    otherwise it ends the run.
    """

    def __init__(self, settings: ProviderSettings, *, goes_on: bool = False) -> None:
        self._provider = Provider(settings)
        self._provider.open()
        self._goes_on = goes_on
        self.info = engine_info(self._provider)

    def cut_out(
        self, records: Iterable[ImageRecord], settings: ChainSettings
    ) -> Iterator[Cutout | Failure]:
        return cut_out_hosted(records, self._provider, settings, stops=not self._goes_on)

    def close(self) -> None:
        self._provider.close()


class ChainCutter:
    """Several in turn: each row goes to the next one where the one before failed or is doubtful.

    A picture that may have been paid for is never asked of another provider. Where the last word
    is a failure, a doubtful cutout of an earlier engine is kept.
    """

    def __init__(self, cutters: Sequence[Cutter], doubtful: Condition | None) -> None:
        self._first, *self._others = cutters
        self._doubtful = doubtful
        self.info = self._first.info

    def cut_out(
        self, records: Iterable[ImageRecord], settings: ChainSettings
    ) -> Iterator[Cutout | Failure]:
        waiting: deque[ImageRecord] = deque()

        def noted() -> Iterator[ImageRecord]:
            for record in records:
                waiting.append(record)  # failures come back without the picture's bytes
                yield record

        def first() -> Iterator[tuple[ImageRecord, Cutout | Failure]]:
            for result in self._first.cut_out(noted(), settings):
                yield waiting.popleft(), result

        def settled(answered: tuple[ImageRecord, Cutout | Failure]) -> Cutout | Failure:
            record, result = answered
            for cutter in self._others:
                if not self._goes_further(result):
                    break
                result = _better(result, next(cutter.cut_out([record], settings)))
            return result

        return ordered_map(
            settled,
            first(),
            threads=_SECOND_OPINIONS,
            lookahead=2 * _SECOND_OPINIONS,
        )

    def close(self) -> None:
        for cutter in (self._first, *self._others):
            cutter.close()

    def _goes_further(self, result: Cutout | Failure) -> bool:
        if isinstance(result, Failure):
            return isinstance(result.error, EngineError) and result.error.kind not in _MAYBE_PAID
        return self._doubtful is not None and self._doubtful.holds(result)


def _better(first: Cutout | Failure, second: Cutout | Failure) -> Cutout | Failure:
    """Keeps the later cutout, with what the one before found; never trades one for a failure."""
    if isinstance(second, Failure) and isinstance(first, Cutout):
        return _paid_before(first, second.payments)
    if isinstance(first, Failure) or isinstance(second, Failure):
        return _paid_before(second, first.payments)
    costs = [cost for cost in (first.engine.cost_usd, second.engine.cost_usd) if cost is not None]
    engine = replace(
        second.engine,
        cost_usd=sum(costs) if costs else None,
        escalated_from=first.engine.engine,
        escalated_confidence=first.confidence,
    )
    return replace(second, engine=engine, payments=first.payments + second.payments)


def _paid_before(result: Cutout | Failure, payments: tuple[Payment, ...]) -> Cutout | Failure:
    """Adds what another engine was paid for the same picture."""
    if not payments:
        return result
    both = payments + result.payments
    if isinstance(result, Failure):
        return replace(result, payments=both)
    cost = (result.engine.cost_usd or 0.0) + sum(paid.usd for paid in payments)
    return replace(result, payments=both, engine=replace(result.engine, cost_usd=cost))


@dataclass(frozen=True)
class CutterSettings:
    """What cuts out, in turn; picklable.

    Attributes:
      engines: names, in the order in which they are asked.
      options: of the engines that run here, by name.
      providers: settings of the hosted ones, by name.
      doubtful: which cutouts are asked of the next one, too.
      share: who shares a loaded model.
    """

    engines: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    doubtful: Condition | None = None
    share: Share = "process"


def check_cutter(settings: CutterSettings) -> None:
    """Checks what can be known of what cuts out without running it.

    Raises:
      EngineUnusable: no such engine, or it takes no such option.
      ValueError: a provider takes no such option, or its key is not given by reference.
    """
    for name in settings.engines:
        if name in settings.providers:
            provider = settings.providers[name]
            make_adapter(provider.provider, provider.options, Endpoints(provider.provider_urls))
            keys.check_reference(provider.api_key)
        elif name in ADAPTERS:
            raise EngineUnusable(
                f"the engine {name} is paid for: a ledger, a folder for what was bought, has to "
                f"be given, so that nothing is paid for twice"
            )
        else:
            registry.create(name, settings.options.get(name, {}))


def make_cutter(settings: CutterSettings) -> Cutter:
    """Makes ready what cuts out, once a process.

    Raises:
      EngineUnusable: an engine cannot run on this machine.
      ValueError: a provider's key is not where its reference points.
    """
    cutters: list[Cutter] = []
    for name in settings.engines:
        if name in settings.providers:
            goes_on = name != settings.engines[-1]
            cutters.append(HostedCutter(settings.providers[name], goes_on=goes_on))
        else:
            options = settings.options.get(name, {})
            cutters.append(LocalCutter(acquire_engine(name, options, settings.share)))
    return cutters[0] if len(cutters) == 1 else ChainCutter(cutters, settings.doubtful)
