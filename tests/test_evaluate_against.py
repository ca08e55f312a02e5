"""Two datasets judged side by side."""

import shutil

import numpy as np
import pytest
from evaluated import KEYS, NAMES, make_here, moved, rows_of, run, stored_alpha, write_masks
from PIL import Image
from scipy.stats import wilcoxon

from alphabeam.pipeline.cli import main
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.evaluate import evaluate
from alphabeam.pipeline.evaluation.metrics import METRICS


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make_here(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def mattes(here):
    return stored_alpha(here / "out")


@pytest.fixture
def dataset(here, tmp_path):
    """A dataset of one's own, to be damaged."""
    return shutil.copytree(here / "out", tmp_path / "out")


def test_two_datasets_stand_side_by_side(here, dataset, tmp_path, mattes, capsys):
    run(here / "manifest.parquet", tmp_path / "grabcut", engine=[])
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 2) for k, v in mattes.items()}))
    evaluation = evaluate(str(here / "out"), truth, against=str(tmp_path / "grabcut"))
    alone = {root: rows_of(evaluate(str(root), truth)) for root in
             (here / "out", tmp_path / "grabcut")}  # fmt: skip
    for key, row in rows_of(evaluation).items():
        assert {name: row[name] for name in NAMES} == {
            name: alone[here / "out"][key][name] for name in NAMES
        }
        assert {name: row[f"other_{name}"] for name in NAMES} == {
            name: alone[tmp_path / "grabcut"][key][name] for name in NAMES
        }
    against = evaluation.summary["against"]
    assert (against["pairs"], against["only_here"], against["only_other"]) == (6, 0, 0)
    for metric in METRICS:
        found = against["metrics"][metric.name]
        pairs = [(row[metric.name], row[f"other_{metric.name}"])
                 for row in evaluation.table.to_pylist()]  # fmt: skip
        difference = np.array([one - other for one, other in pairs])
        assert found["difference"] == pytest.approx(difference.mean())
        assert found["here"] - found["other"] == pytest.approx(found["difference"])
        assert difference.min() <= found["low"] <= found["difference"] <= found["high"]
        assert found["high"] <= difference.max()
        assert found["p"] == pytest.approx(wilcoxon(difference).pvalue)
        better = difference > 0 if metric.higher_is_better else difference < 0
        assert (found["wins"], found["losses"]) == (better.sum(), 6 - better.sum())
    gaps = [abs(row["here"]["iou"] - row["other"]["iou"]) for row in against["differing"]]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 6

    given = ["evaluate", str(dataset), "--truth", truth]
    assert main([*given, "--against", str(tmp_path / "grabcut")]) == 0
    assert "6 pairs" in capsys.readouterr().out


def test_sides_change_when_datasets_do(here, tmp_path, mattes):
    run(here / "manifest.parquet", tmp_path / "hard", "--alpha_threshold", "0.3")
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 1) for k, v in mattes.items()}))
    one, other = str(here / "out"), str(tmp_path / "hard")
    there = evaluate(one, truth, against=other).summary["against"]["metrics"]
    back = evaluate(other, truth, against=one).summary["against"]["metrics"]
    for name in NAMES:
        assert there[name]["difference"] == pytest.approx(-back[name]["difference"], abs=1e-12)
        assert there[name]["wins"] == back[name]["losses"]
        assert there[name]["ties"] == back[name]["ties"]
        assert there[name]["p"] == pytest.approx(back[name]["p"])


def test_a_dataset_is_as_good_as_itself(here, tmp_path, mattes):
    truth = str(write_masks(tmp_path / "m", {k: moved(v, 1) for k, v in mattes.items()}))
    against = evaluate(str(here / "out"), truth, against=str(here / "out")).summary["against"]
    for found in against["metrics"].values():
        assert found["difference"] == found["low"] == found["high"] == 0
        assert (found["wins"], found["ties"], found["losses"]) == (0, 6, 0)
        assert found["p"] is None


def test_pairs_need_both_sides(here, tmp_path, dataset):
    rows = open_dataset(str(dataset)).to_table().to_pylist()
    (dataset / rows[0]["image_path"]).unlink()
    against = evaluate(str(dataset), str(here / "masks"), against=str(here / "out")).summary[
        "against"
    ]
    assert (against["pairs"], against["only_here"], against["only_other"]) == (5, 0, 1)
    one = write_masks(tmp_path / "one", {KEYS[0]: np.asarray(
        Image.open(here / "masks" / f"{KEYS[0]}.png"))})  # fmt: skip
    single = evaluate(str(here / "out"), str(one), against=str(here / "out")).summary["against"]
    assert single["pairs"] == 1
    assert single["metrics"]["iou"]["low"] is None
