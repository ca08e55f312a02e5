"""Which truth belongs to which cutout: both sides brought together by their keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from ...transforms.records import ImageRecord
from .mattes import Mattes
from .rows import Outcome
from .statuses import DUPLICATE_KEY, FAILED, NO_CUTOUT
from .stored_mattes import StoredMatte
from .truth import Truths


@dataclass(frozen=True)
class Case:
    """One key, before anything of it is read.

    Attributes:
      key: names the cutout and its truth.
      partition: Hive values of the first dataset's row; None without.
      truth: where the truth is; None without.
      sides: for each dataset where its matte is, or why it has none.
    """

    key: str
    partition: str | None
    truth: ImageRecord | None
    sides: tuple[StoredMatte | Outcome, ...]


@dataclass
class Matching:
    """Brings truths and the rows of datasets together.

    Attributes:
      truths, datasets: what is matched.
      matched: how many truths have a row, of those taken so far.
      repeated: keys that several truths have, of those taken so far.
    """

    truths: Truths
    datasets: list[Mattes]
    matched: int = 0
    repeated: set[str] = field(default_factory=set)

    def cases(self) -> Iterator[Case]:
        """Gives one case a key: those of the truths, then what is left of the first dataset."""
        seen: set[str] = set()
        for truth in self.truths:
            known = [name for name in truth.names if any(name in data for data in self.datasets)]
            key = known[0] if known else truth.names[0]
            self.matched += bool(known)
            if key in seen:
                self.repeated.add(key)
                continue
            seen.add(key)
            yield self._case(key, truth.record)
        for key in self.datasets[0].keys():  # noqa: SIM118 - not a dict
            if key not in seen:
                yield self._case(key, None)

    def _case(self, key: str, truth: ImageRecord | None) -> Case:
        partition = self.datasets[0].partition(key)
        return Case(key, partition, truth, tuple(_side(data, key) for data in self.datasets))

    def no_match(self) -> str:
        """Says that nothing matched, with keys of both sides to compare."""
        truths = ", ".join(truth.names[-1] for truth in islice(self.truths, 3))
        dataset = self.datasets[0]
        rows = ", ".join(islice(dataset.keys(), 3)) or "no rows"
        return (
            f"--truth {self.truths.masks.uri} has no key of {dataset.root}: it names {truths}, the "
            f"dataset {rows}; give both the same key column, or call masks like keys"
        )


def _side(dataset: Mattes, key: str) -> StoredMatte | Outcome:
    if key in dataset.repeated:
        why = f"several rows of {dataset.root} have this key"
        return Outcome(DUPLICATE_KEY, "repeated_row", why)
    row = dataset.find(key)
    if row is None:
        return Outcome(NO_CUTOUT)
    return row if isinstance(row, StoredMatte) else Outcome(FAILED, row.error, row.message)
