"""The flags of `alphabeam run` that hold on Dataflow alone."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

DEFAULT_GPU = "nvidia-l4"


class DataflowOptions(PipelineOptions):
    """On Dataflow."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--gpu",
            default="auto",
            metavar="auto|none|TYPE",
            help="GPU of the workers that cut out, with --runner DataflowRunner, for example "
            f"nvidia-tesla-t4 (auto: {DEFAULT_GPU} for engines that can use one)",
        )
        parser.add_argument(
            "--package_in_image",
            action="store_true",
            help="the workers' image holds this very version of alphabeam: send no package along",
        )
