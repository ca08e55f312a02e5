"""How long to wait for what: every duration of the driver in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Timing:
    """Durations in seconds, and two growth factors.

    Attributes:
      poll_first, poll_factor, poll_cap: pauses between polls: the first, its growth, its limit.
      retry_first, retry_factor, retry_cap: pauses before a failed request is repeated.
      connect_timeout, submit_timeout, read_timeout: limits of one HTTP request; the submit has
        its own because some providers answer it only when the picture is finished.
      deadline: how long a job may take before it counts as lost. Queues of fifteen minutes and
        jobs wedged for ever are both on record, so it is far above any HTTP timeout.
      grace: how long a job is still polled after its deadline.
      find_for: how long a submit is looked for after its answer was lost; lists and histories lag
        behind.
      retry_for: how long a submit that fails in passing is repeated.
      lease: how long another worker's intent is left alone; longer than any submit takes.
      second: what the graces that adapters state in seconds are multiplied with.
    """

    poll_first: float = 1.0
    poll_factor: float = 1.5
    poll_cap: float = 10.0
    retry_first: float = 1.0
    retry_factor: float = 2.0
    retry_cap: float = 60.0
    connect_timeout: float = 15.0
    submit_timeout: float = 180.0
    read_timeout: float = 60.0
    deadline: float = 1800.0
    grace: float = 60.0
    find_for: float = 180.0
    retry_for: float = 300.0
    lease: float = 420.0
    second: float = 1.0

    def __post_init__(self) -> None:
        if self.lease <= 2 * (self.submit_timeout + self.connect_timeout):
            raise ValueError(
                f"lease={self.lease} s must exceed twice submit_timeout + connect_timeout = "
                f"{self.submit_timeout + self.connect_timeout} s, or a second worker could take "
                "a submit that is still under way for a lost one"
            )

    def scaled(self, factor: float) -> Timing:
        """Multiplies every duration; growth factors stay."""
        return Timing(
            **{
                f.name: getattr(self, f.name) * (1.0 if f.name.endswith("_factor") else factor)
                for f in fields(self)
            }
        )
