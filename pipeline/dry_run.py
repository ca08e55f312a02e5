"""A run that is only checked."""

from __future__ import annotations

from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions, TestOptions

from .errors import UsageError
from .resumable import check_output
from .settings import JobSettings

_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class DryRun:
    """What a run would do that was checked and not begun.

    Attributes:
      job: what it is.
    """

    job: JobSettings

    broken = False

    def text(self) -> str:
        """Gives the closing line."""
        return (
            f"dry run: the pictures of {self.job.manifest.uri} would be cut out into "
            f"{self.job.output}; the flags and what is there were checked, and no picture was "
            f"fetched, bought or written"
        )


def is_dry_run(options: PipelineOptions) -> bool:
    """Tells whether a job is only checked, and makes it so for Beam, to which any word says yes.

    Raises:
      UsageError: the flag has another value than a yes or a no.
    """
    view = options.view_as(TestOptions)
    given = str(view.dry_run).lower()
    if given not in (*_TRUE, *_FALSE):
        raise UsageError(f"--dry_run is True or False: given {view.dry_run}")
    view.dry_run = given in _TRUE
    return view.dry_run


def check_only(job: JobSettings) -> DryRun:
    """Checks what a run would find at its output.

    Raises:
      UsageError: it could not begin.
    """
    check_output(job)
    return DryRun(job)
