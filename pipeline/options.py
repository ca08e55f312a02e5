"""The flags of `alphabeam run`, as Beam pipeline options."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

from .dataflow_options import DataflowOptions
from .delivery_options import DeliveryOptions, SourceOptions


class ManifestOptions(PipelineOptions):
    """Which pictures."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--manifest",
            metavar="URI",
            help="Parquet (file, folder, glob), CSV, TSV or JSON Lines (also .gz), or a folder or "
            "glob of images; any fsspec URI",
        )
        parser.add_argument(
            "--image_column",
            metavar="NAME",
            help="column that holds the picture: a URI, path, data URI, base64, bytes or "
            "{bytes, path} (default: the first of image, image_uri, image_url, uri, url, path, "
            "file_name)",
        )
        parser.add_argument(
            "--key_column",
            metavar="NAME",
            help="column that names the picture (default: key, id, else derived from the source)",
        )
        parser.add_argument(
            "--partition_by",
            metavar="A,B",
            default="",
            help="manifest columns that become Hive folders, comma-separated",
        )
        parser.add_argument(
            "--unit_size",
            type=int,
            default=256,
            metavar="ROWS",
            help="rows in a work unit, the piece that is committed and resumed (256)",
        )
        parser.add_argument(
            "--watch",
            type=float,
            metavar="SECONDS",
            help="also take up files that are new in the manifest's folder or glob: look every so "
            "many seconds until stopped, or just once with 0",
        )


class OutputOptions(PipelineOptions):
    """Where to and in which form."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--output", metavar="URI", help="the dataset's folder; any fsspec URI")
        parser.add_argument(
            "--layout", default="files", metavar="NAME", help="how the dataset is stored (files)"
        )
        parser.add_argument(
            "--output_format",
            default="png",
            choices=("png", "webp", "jpg"),
            help="of the cutouts (png); jpg needs --background",
        )
        parser.add_argument(
            "--output_quality",
            type=int,
            default=90,
            metavar="1..100",
            help="of webp and jpg (90); webp is lossless at 100",
        )
        parser.add_argument(
            "--save_mask", action="store_true", help="also write the matte as an 8-bit grey PNG"
        )
        parser.add_argument(
            "--refine_foreground",
            action="store_true",
            help="estimate the subject's own colours along soft edges, so that no old background "
            "shines through",
        )
        parser.add_argument(
            "--crop_to_bbox",
            action="store_true",
            help="crop to the box of alpha >= 0.5; blank pictures stay whole",
        )
        parser.add_argument(
            "--crop_margin",
            type=int,
            default=0,
            metavar="PX",
            help="pixels left around the box with --crop_to_bbox (0)",
        )
        parser.add_argument(
            "--background",
            metavar="COLOUR",
            help="put the subject on this colour (white, #rrggbb or r,g,b) instead of transparency",
        )
        parser.add_argument(
            "--preserve_alpha",
            action="store_true",
            help="multiply the matte with the source's own transparency",
        )
        parser.add_argument(
            "--alpha_threshold",
            type=float,
            metavar="0..1",
            help="make the matte hard: opaque from here on, transparent below",
        )
        parser.add_argument(
            "--overwrite", action="store_true", help="delete the dataset at --output and start anew"
        )
        parser.add_argument(
            "--retry_failed", action="store_true", help="run again just the rows that failed"
        )
        parser.add_argument(
            "--max_error_rate",
            type=float,
            default=1.0,
            metavar="0..1",
            help="exit with 1, after everything is committed, when a larger share failed (1.0)",
        )
        parser.add_argument(
            "--no_report", action="store_true", help="write no report.html at the end"
        )
        parser.add_argument(
            "--verbose", action="store_true", help="also log where in the code a run stopped"
        )


class EngineOptions(PipelineOptions):
    """What cuts out."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--engine",
            default="grabcut",
            metavar="NAME",
            help="`alphabeam engines` lists them; your own class as package.module:Class; or a "
            "chain a,b that falls over from a to b (grabcut)",
        )
        parser.add_argument(
            "--model",
            action="append",
            metavar="ID|FOLDER|URI",
            help="weights, where the engine takes any; in a chain ENGINE=ID|FOLDER|URI, repeatable, "
            "and so with the revision, resolution and patch order",
        )
        parser.add_argument(
            "--revision", action="append", metavar="REV", help="pinned revision of a hub model"
        )
        parser.add_argument(
            "--device",
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="a device that was asked for and is not there is an error, never a fallback "
            "(auto)",
        )
        parser.add_argument(
            "--dtype", metavar="auto|float32|bfloat16|float16", help="of the model (auto)"
        )
        parser.add_argument(
            "--batch_size", default="auto", metavar="auto|N", help="pictures a call (auto)"
        )
        parser.add_argument(
            "--resolution",
            action="append",
            metavar="PX",
            help="the model's working size (its own)",
        )
        parser.add_argument(
            "--patch_order",
            action="append",
            metavar="rmbg2|birefnet",
            help="how a BiRefNet was trained to see a picture's tiles, which its weights do not "
            "show (as the hub name or config.json says, else as the engine's name says)",
        )
        parser.add_argument(
            "--compile",
            action="store_true",
            help="compile the network before the first picture; takes a minute or more, then saves "
            "time on each",
        )
        parser.add_argument(
            "--subject_labels",
            metavar="A,B",
            help="hf, onnx: classes of the model that make the subject, by number or, with hf, name "
            "(hf: all but the background; of two the second)",
        )
        parser.add_argument(
            "--trust_remote_code",
            action="store_true",
            help="hf: run code from the model's repository; needs --revision with a commit's 40 "
            "digits",
        )
        parser.add_argument(
            "--onnx_mean", metavar="R,G,B", help="onnx: subtracted (0.485,0.456,0.406)"
        )
        parser.add_argument(
            "--onnx_std", metavar="R,G,B", help="onnx: divided by (0.229,0.224,0.225)"
        )
        parser.add_argument(
            "--onnx_scale",
            metavar="N|max",
            help="onnx: pictures are divided by this first, or by their own maximum (255)",
        )
        parser.add_argument(
            "--onnx_output",
            metavar="NAME|INDEX",
            help="onnx: which output is the mask; -1 is the last (0)",
        )
        parser.add_argument(
            "--onnx_activation",
            metavar="auto|sigmoid|softmax|none",
            help="onnx: what turns that output into probabilities (auto: found by trying)",
        )


class ProviderOptions(PipelineOptions):
    """Engines that are hosted elsewhere."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--api_key",
            metavar="REFERENCE",
            help="where the key is: env:NAME, file:PATH or gcp-secret:projects/…/secrets/…; never "
            "the key itself (the provider's environment variable)",
        )
        parser.add_argument(
            "--provider_options",
            metavar="JSON",
            help="the provider's own options, or those of several by provider",
        )
        parser.add_argument(
            "--provider_url",
            action="append",
            metavar="NAME=URL",
            help="another scheme, host and port in front of the same paths: fal_run, fal_queue, "
            "fal_rest, fal_cdn, pixazo, gmi, runware; repeatable",
        )
        parser.add_argument(
            "--provider_concurrency",
            type=int,
            metavar="N",
            help="pictures under way at the provider at the same time (its own)",
        )
        parser.add_argument(
            "--max_cost_usd",
            type=float,
            metavar="USD",
            help="stop paying before this sum is passed, in each process",
        )
        parser.add_argument(
            "--repay_ambiguous",
            action="store_true",
            help="pay again for pictures that may have been paid for and cannot be had",
        )
        parser.add_argument(
            "--escalate_when",
            metavar="CONDITION",
            help="with a chain --engine a,b: also ask b where this holds for a's cutout, for "
            "example 'confidence < 0.8 or is_blank'",
        )


class WorkerOptions(PipelineOptions):
    """What the workers may take and touch."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--max_image_bytes",
            type=int,
            default=100_000_000,
            metavar="N",
            help="refuse larger encoded pictures (100,000,000)",
        )
        parser.add_argument(
            "--max_image_pixels",
            type=int,
            default=100_000_000,
            metavar="N",
            help="refuse larger pictures before decoding them (100,000,000)",
        )
        parser.add_argument(
            "--allow_private_hosts",
            action="store_true",
            help="fetch from private, loopback and link-local addresses, too",
        )
        parser.add_argument(
            "--fetch_threads",
            type=int,
            default=16,
            metavar="N",
            help="pictures fetched at the same time in a unit; more hides more latency and takes "
            "more memory (16)",
        )
        parser.add_argument(
            "--fetch_timeout",
            type=float,
            default=30.0,
            metavar="SECONDS",
            help="for one attempt at one picture (30)",
        )
        parser.add_argument(
            "--cpu_threads",
            type=int,
            metavar="N",
            help="pictures decoded and composed at the same time in a unit (the cores)",
        )
        parser.add_argument(
            "--share_model",
            default="process",
            choices=("process", "machine"),
            help="how many share one loaded model: the threads of a process, or all processes of a "
            "machine, which saves memory and costs a copy of each picture (process)",
        )


GROUPS: tuple[type[PipelineOptions], ...] = (
    ManifestOptions,
    OutputOptions,
    EngineOptions,
    ProviderOptions,
    SourceOptions,
    DeliveryOptions,
    WorkerOptions,
)
# Of the command line, which knows Dataflow.
RUN_GROUPS = (*GROUPS, DataflowOptions)
