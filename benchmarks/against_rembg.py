"""alphabeam against loops over rembg, with the same ONNX network, interleaved in one run.

    python benchmarks/against_rembg.py --rembg_python VENV/bin/python [--pictures 200] [--size 1024]

The network is U²-Net's in form (320², probabilities) and costs next to nothing, so what is compared
is all that a tool does around a model: decoding, preparation, the matte at full size, composition,
encoding, writing. rembg runs with its model loaded once: in one process, and in as many as there
are cores. It lives in an environment of its own (`pip install 'rembg[cpu]'`), since its pins differ.
Start-up stands apart on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline import alphabeam_rate, write_pictures

_LOOP = Path(__file__).with_name("rembg_loop.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rembg_python", required=True, help="an interpreter that has rembg")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder) / "photos", given.pictures, given.size)
        network = write_network(Path(folder) / "network.onnx")
        engine = ["--engine", "onnx", "--model", network, "--resolution", "320",
                  "--onnx_scale", "max"]  # fmt: skip
        gains: dict[int, list[float]] = {1: [], cores: []}
        for number in range(given.rounds):
            ours, _ = alphabeam_rate(folder, given.pictures, engine)
            for processes, found in gains.items():
                theirs = rembg_rate(given.rembg_python, folder, network, processes)
                found.append(ours / theirs)
                print(
                    f"round {number}: alphabeam {ours:.1f}/s, rembg in {processes} "
                    f"process(es) {theirs:.2f}/s, ratio {found[-1]:.1f}",
                    flush=True,
                )
    for processes, found in gains.items():
        print(f"median ratio to {processes} process(es): {statistics.median(found):.1f}")


def write_network(path: Path) -> str:
    """Writes a network that blurs a picture's red channel: (1, 3, 320, 320) to (1, 1, 320, 320)."""
    kernel = np.zeros((1, 3, 9, 9), np.float32)
    kernel[:, 0] = 1 / 81
    nodes = [
        helper.make_node("Conv", ["picture", "kernel"], ["logits"], pads=[4, 4, 4, 4]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    graph = helper.make_graph(
        nodes,
        "blur",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, (1, 3, 320, 320))],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, 320, 320))],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)


def rembg_rate(python: str, folder: str, network: str, processes: int) -> float:
    """Gives rembg's images a second, its start-up apart."""
    done = subprocess.run(
        [python, str(_LOOP), f"{folder}/photos", f"{folder}/rembg", network, str(processes)],
        env={**os.environ, "REMBG_HOME": folder},  # it takes networks from there only
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1])["rate"])


if __name__ == "__main__":
    sys.exit(main())
