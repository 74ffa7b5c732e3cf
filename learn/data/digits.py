"""Writes digits.bin: the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn has from the UCI repository.

    python learn/data/digits.py

The file is the number of digits (4 bytes, little-endian), then for each its class (a byte, 0 to 9) and its pixels
(64 bytes, 0 to 16, row by row). Source and licence are in README.md beside this file.
"""

import pathlib

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
rows = np.concatenate([digits.target[:, None], digits.data], axis=1).astype(np.uint8)
assert rows.shape == (1797, 65) and rows[:, 1:].max() == 16 and rows[:, 0].max() == 9
target = pathlib.Path(__file__).with_suffix(".bin")
target.write_bytes(np.uint32(len(rows)).tobytes() + rows.tobytes())
print(f"wrote {target}: {target.stat().st_size} bytes")
