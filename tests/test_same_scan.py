"""Rows of one result come from one scan: what is gone on with, and what is read, is what the run was begun with."""

import os

import numpy as np
import pytest
import torch
from laws import randn

from invprob.errors import InputError, OutputError
from invprob.io import digest, open_stack, save_scan
from invprob.io.cfl import save_cfl
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


# --- what changes while it is read ---


def changed(path, at, value):
    """Change a byte of a file in place, where the clock need not have moved on."""
    before = os.stat(path)
    with open(path, "r+b") as stream:
        stream.seek(at)
        stream.write(bytes([value]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


@pytest.mark.parametrize("name", ["views.npy", "flats.npy"])
def test_a_file_that_changes_in_the_middle_is_noticed(counts, name, monkeypatch):
    monkeypatch.setattr(digest, "_WHOLE", 500)  # as if all files were large, of which not all is hashed
    monkeypatch.setattr(digest, "_END", 200)
    monkeypatch.setattr(digest, "_BLOCK", 1)
    work = StackReconstruction(open_stack("views.npy", **READ), "out.h5", "fbp")
    before, events = digest.fingerprint(name), work.events()
    while next(events).kind != "stored":
        pass
    changed(name, 203, 1)
    assert digest.fingerprint(name) == before
    with pytest.raises(InputError, match=f"{name} has changed while it was read"):
        list(events)


def test_a_file_that_changes_after_it_was_opened_is_noticed(counts):
    stack = open_stack("views.npy", **READ)
    np.save("views.npy", np.load("views.npy") + 1)
    with pytest.raises(InputError, match=r"views.npy has changed while it was read"):
        list(StackReconstruction(stack, "out.h5", "fbp").events())


def test_a_file_that_is_written_anew_with_the_same_content_is_the_same(counts):
    seen = digest.Seen.now("views.npy")
    (counts / "views.npy").write_bytes((counts / "views.npy").read_bytes())
    assert seen.is_same()


def test_blocks_of_a_large_file_are_looked_at(tmp_path):
    with open(path := tmp_path / "large", "wb") as stream:
        stream.truncate(digest._WHOLE + 1)
    before = digest.fingerprint(path)
    assert before.startswith("sha256-blocks:")
    changed(path, (digest._WHOLE + 1) * 30 // 65 + 1000, 1)
    assert digest.fingerprint(path) != before


@pytest.mark.parametrize("name", ["k", "k.hdr", "k.cfl"])
def test_both_files_of_a_pair_are_looked_at(tmp_path, name):
    save_cfl(tmp_path / "k.cfl", np.ones((2, 8, 8)))
    before, seen = digest.fingerprint(tmp_path / name), digest.Seen.now(tmp_path / name)
    for part in ("k.cfl", "k.hdr"):
        changed(tmp_path / part, 0, 7)
        assert digest.fingerprint(tmp_path / name) != before
        assert not seen.is_same()
        before, seen = digest.fingerprint(tmp_path / name), digest.Seen.now(tmp_path / name)
