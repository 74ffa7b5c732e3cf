"""Writes scikit_learn.json: what scikit-learn's linear support vector machine and Gaussian process give for fixed data.

    python learn/tests/scikit_learn.py

Needs scikit-learn 1.9. The points come from a formula, so that every run gives the same file.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.svm import LinearSVC

POINTS = 40
LENGTH, SIGNAL, NOISE = 0.5, 0.8, 0.03


def round_all(values):
    return [float(np.float32(v)) for v in np.ravel(values)]


i = np.arange(POINTS)
x = np.float32(np.stack([np.sin(1.7 * i + 0.3), np.cos(2.3 * i)], 1) * 0.9)
values = np.float32(np.sin(3 * x[:, 0]) + x[:, 1] ** 2 - 0.3)
# Overlapping classes: a line with a wave.
classes = (x[:, 0] + 0.5 * x[:, 1] + 0.5 * np.sin(5.1 * i) > 0.1).astype(int)
weights = np.float32(0.2 + 0.8 * np.cos(0.9 * i) ** 2)

machines = []
for c in (0.3, 1.0, 10.0):
    machine = LinearSVC(loss="hinge", C=c, tol=1e-10, max_iter=10_000_000, random_state=0)
    machine.fit(x.astype(float), classes, sample_weight=weights.astype(float))
    machines.append({"c": c, "weights": [*map(float, machine.coef_[0]), float(machine.intercept_[0])]})

kernel = ConstantKernel(SIGNAL) * RBF(LENGTH)
alpha = NOISE / weights.astype(float)
process = GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None).fit(x.astype(float), values.astype(float))
places = np.float32([[a, b] for a in (-1.0, -0.2, 0.6, 2.0) for b in (-0.7, 0.1, 0.9)])
mean, deviation = process.predict(places.astype(float), return_std=True)
likelihood, gradient = process.log_marginal_likelihood(process.kernel_.theta, eval_gradient=True)

result = {
    "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    "points": [[*row, v] for row, v in zip(map(round_all, x), round_all(values))],
    "classes": classes.tolist(),
    "responsibilities": round_all(weights),
    "machines": machines,
    "process": {
        "length": LENGTH,
        "signal": SIGNAL,
        "noise": NOISE,
        "places": [round_all(p) for p in places],
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "log_likelihood": float(likelihood),
        # By the logs of the signal's variance and the length scale, in scikit-learn's order.
        "gradient": gradient.tolist(),
    },
}
target = pathlib.Path(__file__).with_suffix(".json")
target.write_text(json.dumps(result, indent=1) + "\n")
print(f"wrote {target}")
