"""compare(case_file, {"logits": array, ...}) -> list of (name, max_abs_err, limit, ok).

Keys you may pass: "logits" (required) and any checkpoint name listed in README.md.
Full arrays are compared in full; sampled ones through the stored stride, shape, mean and std.
"""

import numpy as np

LIMIT = {"logits": 1e-4}
OTHER = 5e-4
SCALE = {"1x1024x1024": 4.0}  # more pixels, more fp32 rounding


def compare(case, got):
    z = np.load(case)
    scale = next((s for k, s in SCALE.items() if k in str(case)), 1.0)
    rows = []
    for name, a in got.items():
        a = np.asarray(a)
        lim = LIMIT.get(name, OTHER) * scale
        if name in z:
            ok_shape, e = a.shape == z[name].shape, None
            if ok_shape:
                e = float(np.abs(a - z[name]).max())
        else:
            *shape, stride = z["i/" + name].tolist()
            ok_shape, e = list(a.shape) == shape, None
            if ok_shape:
                f = a.reshape(-1).astype(np.float64)
                s = z["s/" + name]
                e = float(np.abs(f[::stride][: s.size] - s).max())
                m, sd = z["m/" + name]
                e = max(e, abs(f.mean() - m), abs(f.std() - sd))
        rows.append((name, e, lim, bool(ok_shape and e is not None and e <= lim)))
    return rows
