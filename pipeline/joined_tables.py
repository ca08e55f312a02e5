"""Many small tables made one, without all of them in memory one by one."""

from __future__ import annotations

import pyarrow as pa

_MOST_TABLES = 256


class JoinedTables:
    """Tables of one schema; small ones, alone, take far more memory than their rows do."""

    def __init__(self) -> None:
        self._joined: list[pa.Table] = []
        self._small: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Takes up a table behind the others."""
        self._small.append(rows)
        if len(self._small) == _MOST_TABLES:
            self._join()

    def table(self) -> pa.Table:
        """Gives all rows; there has to be a table at least."""
        self._join()
        return pa.concat_tables(self._joined)

    def _join(self) -> None:
        if self._small:
            self._joined.append(pa.concat_tables(self._small).combine_chunks())
        self._small = []
