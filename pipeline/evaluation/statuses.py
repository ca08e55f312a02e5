"""What can become of a key in an evaluation."""

from __future__ import annotations

SCORED = "scored"
NO_TRUTH = "no_truth"
BAD_TRUTH = "bad_truth"
NO_CUTOUT = "no_cutout"
BAD_CUTOUT = "bad_cutout"
FAILED = "failed"
DUPLICATE_KEY = "duplicate_key"

# By name, with what each means.
STATUSES = {
    SCORED: "the cutout was compared with its truth",
    NO_TRUTH: "a cutout that no truth is given for",
    BAD_TRUTH: "a truth that cannot be read or compared",
    NO_CUTOUT: "a truth whose key the dataset does not hold",
    BAD_CUTOUT: "a cutout that cannot be read",
    FAILED: "a row that the run itself failed at",
    DUPLICATE_KEY: "a key that several truths or several cutouts have",
}
