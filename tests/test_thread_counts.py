"""One thread or two: images are the same to rounding, whatever the method."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORK = """
import json, sys
import numpy as np, torch
from invprob import Scan, reconstruct
from invprob.operators import Blur, ParallelBeam

x = torch.zeros(48, 48)
x[12:32, 16:40] = 1.0
x[20:26, 24:30] = 0.5
operators = {
    "CT": ParallelBeam((48, 48), np.arange(30) * np.pi / 30, 69),
    "blur": Blur((48, 48), torch.ones(5, 5) / 25),
}
found = {}
for kind, A in operators.items():
    y = A(x.to(A.domain_dtype))
    noise = 0.01 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    scan = Scan(A, y + noise, 0.01)
    for method, settings in json.loads(sys.argv[1]).items():
        images = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            images.append(reconstruct(scan, method, **settings).x)
        found[f"{kind} {method}"] = float((images[1] - images[0]).abs().max() / images[0].abs().max())
print(json.dumps(found))
"""
METHODS = {"direct": {}, "tv": {"strength": 0.02, "max_iter": 8}, "wavelet": {"strength": 0.02, "max_iter": 8}}


def test_the_number_of_threads_changes_rounding_alone():
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one processor")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "2")
    threads["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait leave the processors to other tests
    told = subprocess.run(
        [sys.executable, "-c", WORK, json.dumps(METHODS)],
        capture_output=True,
        text=True,
        env=os.environ | threads,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert len(found) == 2 * len(METHODS)
    assert max(found.values()) <= 1e-6, found
