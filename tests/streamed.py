"""The job as a stream that ends when there is a file `stop`, on a runner of this machine.

As a process: `python -m streamed INBOX OUTPUT ENGINE`.
"""

import os
import sys
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from alphabeam.pipeline.dataset import begin
from alphabeam.pipeline.settings import settings_from_options
from alphabeam.pipeline.streaming import WatchDataset


def job_of(inbox, output, engine="stub_engines:Disc"):
    """Gives the settings of a job that watches a folder, its output begun."""
    flags = ["--manifest", inbox, "--output", output, "--engine", engine, "--unit_size", "2"]
    job = settings_from_options(PipelineOptions([*map(str, flags), "--watch", "60", "--no_report"]))
    begin(job)
    return job


def stream(inbox, output, engine="stub_engines:Disc"):
    """Runs until `OUTPUT.stop` is there and everything is done that came before."""
    job = job_of(inbox, output, engine)
    stopped = partial(os.path.exists, f"{output}.stop")
    with beam.Pipeline("FnApiRunner", options=PipelineOptions(["--streaming"])) as pipeline:
        _ = pipeline | WatchDataset(job, 0.2, stopped=stopped)


if __name__ == "__main__":
    stream(*sys.argv[1:])
