"""Runs one stand-in as a process: prints where it is as JSON, and its bills when stdin closes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .faults import Faults
from .kinds import STAND_INS


def main() -> None:
    """Serves until stdin closes."""
    parser = argparse.ArgumentParser(prog="python -m standins", description=__doc__)
    parser.add_argument("provider", choices=STAND_INS)
    parser.add_argument("--seconds", type=float, default=0.0, help="what a picture takes")
    parser.add_argument("--parallel", type=int, default=64, help="how many at once")
    parser.add_argument("--picture", type=Path, help="a file to serve as an input")
    parser.add_argument("--lost", type=float, default=0.0, help="share of submits left unanswered")
    parser.add_argument("--dialect", type=int, choices=(1, 2), help="of Pixazo's two")
    given = parser.parse_args()
    faults = Faults(rates={"submit": {"drop_after": given.lost}})
    make = STAND_INS[given.provider]
    with make(faults, seconds=given.seconds, parallel=given.parallel) as standin:
        if given.dialect is not None:
            standin.dialect = given.dialect
        place = {"urls": standin.urls(), "key": standin.key}
        if given.picture:
            place["picture"] = standin.offer(given.picture.name, given.picture.read_bytes())
        print(json.dumps(place), flush=True)
        sys.stdin.read()
        print(json.dumps({"bills": len(standin.bills), "steps": standin.steps}), flush=True)


if __name__ == "__main__":
    main()
