"""Rows of one result come from one scan: what is gone on with, and what is read, is what the run was begun with."""

import numpy as np
import pytest
import torch
from laws import randn

from invprob.errors import OutputError
from invprob.io import open_stack, save_scan
from invprob.operators import ParallelBeam
from invprob.scan import Scan
from invprob.stack import StackReconstruction, memory, reconstruct_stack
from invprob.stack.identity import geometry

VIEWS, ROWS, COLUMNS = 12, 6, 8
ANGLES = np.linspace(0, np.pi, VIEWS, endpoint=False)
READ = {"angles": ANGLES, "angles_unit": "rad", "axis": 3.5, "flats": "flats.npy", "darks": "darks.npy"}


@pytest.fixture
def counts(tmp_path, monkeypatch):
    """Projections in .npy with flats and darks beside them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    generator = np.random.default_rng(0)
    np.save("flats.npy", generator.uniform(900, 1000, (2, ROWS, COLUMNS)))
    np.save("darks.npy", generator.uniform(0, 10, (2, ROWS, COLUMNS)))
    np.save("views.npy", generator.uniform(400, 800, (VIEWS, ROWS, COLUMNS)))
    return tmp_path


def begun(path, **options):
    """Reconstruct the first chunk of a stack, and stop."""
    events = StackReconstruction(open_stack(path, **options), "out.h5", "fbp").events()
    while next(events).kind != "stored":
        pass
    events.close()


def resumed(path, **options):
    return reconstruct_stack(path, "out.h5", "fbp", options=options, resume=True)


def test_files_that_options_name_are_what_they_were(counts):
    begun("views.npy", **READ)
    for name in ("flats", "darks"):
        np.save("other.npy", np.load(f"{name}.npy") + 1)
        with pytest.raises(OutputError, match=f"begun with option {name} sha256:.*, and now it is sha256:"):
            resumed("views.npy", **READ | {name: "other.npy"})
    (counts / "flats.npy").rename("moved.npy")
    assert resumed("views.npy", **READ | {"flats": "moved.npy"}).complete


def test_angles_are_what_they_were(counts):
    begun("views.npy", **READ)
    order = [0, 2, 1, *range(3, VIEWS)]
    with pytest.raises(OutputError, match=r"begun with geometry ParallelBeam sha256:.*, and now it is ParallelBeam"):
        resumed("views.npy", **READ | {"angles": ANGLES[order]})
    assert resumed("views.npy", **READ).complete


def test_the_number_of_threads_does_not_keep_a_run_from_going_on(counts):
    before = torch.get_num_threads()
    save_scan("scan.h5", Scan(A := ParallelBeam((8, 8), ANGLES, 12), A(randn((ROWS, 8, 8), torch.float32, 0)), 0.1))
    begun("scan.h5")
    torch.set_num_threads(before + 1)
    try:
        assert resumed("scan.h5").complete
    finally:
        torch.set_num_threads(before)


def test_a_geometry_is_known_by_all_of_it():
    A = ParallelBeam((8, 8), ANGLES, 12)
    others = (
        ParallelBeam((8, 8), ANGLES, 12, axis_offset=0.001),
        ParallelBeam((8, 8), ANGLES, 12, projector="fourier"),
        ParallelBeam((8, 8), ANGLES, 12, dtype=torch.float64),
        A.lift((3,)),
        A.lift((3,), channels="slices"),
    )
    assert geometry(A) == geometry(ParallelBeam((8, 8), ANGLES.copy(), 12))
    assert len({geometry(B) for B in (A, *others)}) == 1 + len(others)
    assert geometry(2 * A) == repr(2 * A)
