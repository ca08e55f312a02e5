"""The flags for what happens outside the dataset: uploads, webhook, staged sources."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions


class DeliveryOptions(PipelineOptions):
    """Who else is told, and given the pictures."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--upload_column",
            metavar="NAME",
            help="manifest column with the presigned web address to which each row's finished "
            "picture is PUT, too",
        )
        parser.add_argument(
            "--webhook_url",
            metavar="URL",
            help="post signed JSON there for every committed unit and at the end of the run",
        )
        parser.add_argument(
            "--webhook_secret",
            metavar="REFERENCE",
            help="where the secret is that signs the posts: env:NAME, file:PATH or "
            "gcp-secret:projects/…/secrets/…; never the secret itself "
            "(env:ALPHABEAM_WEBHOOK_SECRET)",
        )


class SourceOptions(PipelineOptions):
    """How hosted engines get the pictures."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--staging_uri",
            metavar="URI",
            help="folder (gs://, s3://, …) through which pictures reach a provider that fetches "
            "them itself and are not at a public address, by addresses signed for an hour or so",
        )
        parser.add_argument(
            "--staging_url",
            metavar="URL",
            help="public web address of that folder, where its store cannot sign addresses",
        )
        parser.add_argument(
            "--download_first",
            action="store_true",
            help="download also what a provider could fetch itself, so that every picture is sent "
            "upright and its result checked against it",
        )
