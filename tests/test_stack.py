"""Stacks from Python and through the command line: bounded memory, interruptions, and items that are no pictures."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import randn
from sealed import edit

from invprob import methods
from invprob.errors import InputError, OutputError, ResourceError
from invprob.io import load_result, open_stack, save_scan
from invprob.operators import Blur, ConeBeam, Identity, ParallelBeam
from invprob.scan import Scan
from invprob.stack import StackReconstruction, memory, reconstruct_stack, reconstruction
from invprob.stack.joined import _joined_certificates

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stack_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    A = ParallelBeam((8, 8), np.arange(6) * 0.5, 12)
    save_scan("scan.h5", Scan(A, 1 + 0.1 * randn((5, 6, 12), torch.float32, 0), 0.1))
    return "scan.h5"


SETTINGS = {"strength": 0.01, "max_iter": 3}


def image_in(path):
    return load_result(path).x


def test_a_stack_is_reconstructed_in_chunks(stack_file):
    work = reconstruct_stack(stack_file, "out.h5", "fbp", options={"rows": slice(1, 5)})
    whole = methods.reconstruct(open_stack(stack_file).load(), "fbp")
    assert (work.at_once, work.complete, work.written, work.failures) == (2, True, Path("out.h5"), [])
    stored = load_result("out.h5")
    torch.testing.assert_close(image_in("out.h5"), whole.x[1:], rtol=1e-5, atol=1e-6)
    assert (stored.status, work.joined.status) == ("converged", "converged")
    assert len(work.joined.certificate["data_residual"]) == 4
    torch.testing.assert_close(work.middle[1].x, whole.x[3], rtol=1e-5, atol=1e-6)


def test_events_tell_of_every_chunk(stack_file):
    work = StackReconstruction(open_stack(stack_file), "out.h5", "tv", settings=SETTINGS)
    events = list(work.events())
    kinds = [event.kind for event in events if event.kind != "iterating"]
    assert kinds == ["storing", "stored"] * 3 + ["finishing"]
    assert [event.rows for event in events if event.kind == "stored"] == [range(2), range(2, 4), range(4, 5)]
    assert all(event.progress is not None for event in events[:-1])
    assert len([event for event in events if event.kind == "iterating"]) >= 3 * 3


def stopped_in_the_second_chunk(stack_file):
    work = StackReconstruction(open_stack(stack_file), "out.h5", "tv", settings=SETTINGS)
    events = work.events()
    for event in events:
        if event.kind == "iterating" and event.rows == range(2, 4):
            break
    return work, events


def rows_with_an_image(path):
    return image_in(path).isfinite().all(dim=(1, 2)).tolist()


def test_closing_keeps_the_stored_chunks(stack_file):
    work, events = stopped_in_the_second_chunk(stack_file)
    events.close()
    assert (work.complete, work.finished, work.written) == (False, 2, Path("out.h5.partial"))
    assert rows_with_an_image("out.h5.partial") == [True] * 2 + [False] * 3
    assert len(load_result("out.h5.partial").item_status) == 2


def test_an_interruption_keeps_the_best_image_so_far(stack_file):
    work, events = stopped_in_the_second_chunk(stack_file)
    assert events.throw(KeyboardInterrupt).kind == "storing"
    assert [event.kind for event in events] == ["stored", "finishing"]
    assert (work.interrupted, work.complete, work.finished) == (True, False, 2)
    assert rows_with_an_image(work.written) == [True] * 4 + [False]
    with pytest.raises(OutputError, match="left from an interrupted run"):
        reconstruct_stack(stack_file, "out.h5", "fbp")


def test_an_interruption_between_chunks_ends_the_work(stack_file):
    work = StackReconstruction(open_stack(stack_file), "out.h5", "fbp")
    events = work.events()
    while next(events).kind != "stored":
        pass
    assert events.throw(KeyboardInterrupt).kind == "finishing"
    assert list(events) == []
    assert (work.interrupted, work.finished) == (True, 2)


def test_an_interruption_comes_too_late_before_a_write(stack_file):
    work = StackReconstruction(open_stack(stack_file, rows=slice(2)), "out.h5", "fbp")
    events = work.events()
    while next(events).kind != "storing":
        pass
    assert events.throw(KeyboardInterrupt).kind == "stored"
    assert [event.kind for event in events] == ["finishing"]
    assert (work.interrupted, work.complete, work.written) == (True, True, Path("out.h5"))
    assert load_result("out.h5").status == "converged"


def test_an_interruption_before_the_first_image_leaves_nothing(stack_file, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "followed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_stack(stack_file, "out.h5", "fbp")
    assert [path.name for path in Path().iterdir()] == ["scan.h5"]


def test_a_ctrl_c_of_the_user_is_raised_when_all_is_stored(stack_file, monkeypatch):
    def interrupted(scan, method, **_):
        yield from methods.progress(scan, method)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "followed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_stack(stack_file, "out.h5", "fbp")
    assert rows_with_an_image("out.h5.partial") == [True] * 2 + [False] * 3


def test_late_rows_that_cannot_be_read_are_left_out(stack_file):
    edit(stack_file, lambda file: file["data"].__setitem__((3, 2, 2), np.nan))
    work = reconstruct_stack(stack_file, "out.h5", "fbp")
    assert (work.complete, work.finished) == (False, 5)
    assert re.match("rows 2 to 3: left out: scan.h5: .*1 NaN", work.failures[0])
    assert work.joined.item_status == ["converged"] * 2 + ["missing"] * 2 + ["converged"]
    assert rows_with_an_image(work.written) == [True] * 2 + [False] * 2 + [True]
    with pytest.raises(InputError, match="NaN"):
        reconstruct_stack(stack_file, "other.h5", "fbp", options={"rows": slice(3, 5)})


def test_what_cannot_be_is_refused_at_once(stack_file):
    with pytest.raises(ValueError, match="did you mean tv"):
        reconstruct_stack(stack_file, "out.h5", "tvv")
    with pytest.raises(ResourceError, match="one row takes about"):
        reconstruct_stack(stack_file, "out.h5", "fbp", max_memory=0.01)
    with pytest.raises(OutputError, match="is the input"):
        reconstruct_stack(stack_file, stack_file, "fbp", overwrite=True)
    assert [path.name for path in Path().iterdir()] == ["scan.h5"]


@pytest.mark.parametrize(("side", "given", "chosen"), [(500, 64, 192), (900, 64, 80), (3000, 46, 62)])
def test_pictures_take_so_many_images(side, given, chosen):
    """As docs/reliability.md and the comment of the numbers have them, by how a strength is chosen at each size."""
    picture = Scan(Identity((side, side)), torch.zeros(side, side), 0.1)
    images = [memory.bytes_of_a_row(picture, choosing=choosing)[1] / (4 * side**2) for choosing in (False, True)]
    assert images == [given, chosen]


def test_a_small_picture_whose_strength_is_chosen_takes_three_times_as_much(stack_file, monkeypatch):
    picture = Scan(Identity((40, 50)), randn((40, 50), torch.float32, 0), 0.1)
    (fixed, given), (_, chosen) = (memory.bytes_of_a_row(picture, choosing=choosing) for choosing in (False, True))
    assert chosen == 3 * given
    save_scan("picture.h5", picture)
    stack = open_stack("picture.h5")
    assert memory.rows_at_once(stack, fixed + given, choosing=False) == 1
    with pytest.raises(ResourceError, match="choose a --strength, or raise --max-memory"):
        memory.rows_at_once(stack, fixed + given)
    monkeypatch.setattr(reconstruction, "budget", lambda _: fixed + given)
    StackReconstruction(stack, "out.h5", "tv", settings={"strength": 0.1})
    for method, settings in (("tv", {}), ("tv", {"strength": "auto"}), ("pnp", {"strength": 0.1})):
        with pytest.raises(ResourceError, match="takes about"):
            StackReconstruction(stack, "out.h5", method, settings=settings)


def test_rows_of_several_images_each(stack_file):
    images = randn((3, 2, 6, 7), torch.float32, 0)
    save_scan("echoes.h5", Scan(Identity((6, 7)), images, 0.1))
    work = reconstruct_stack("echoes.h5", "out.h5", "direct")
    stored = load_result("out.h5")
    torch.testing.assert_close(image_in("out.h5"), images, rtol=1e-5, atol=1e-5)
    assert (stored.status, len(stored.item_status)) == ("converged", 6)
    torch.testing.assert_close(work.middle[1].x, images[1], rtol=1e-5, atol=1e-5)
    edit("echoes.h5", lambda file: file["data"].__setitem__((2, 0, 0, 0), np.nan))
    work = reconstruct_stack("echoes.h5", "other.h5", "direct")
    assert work.joined.item_status == ["converged"] * 4 + ["missing"] * 2


# 60 images of 1 MiB each; what is in memory at most must not grow with them
BOUNDED = """
import os, sys
from pathlib import Path
from invprob.io import open_stack
from invprob.stack import StackReconstruction, memory

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)

limit = memory.resident_memory() / 2**30 + 0.26
work = StackReconstruction(open_stack("scan.h5"), "out.h5", "fbp", max_memory=limit)
peaks = [peak() for event in work.events() if event.kind == "stored"]
print(work.at_once, len(peaks), peaks[-1] - peaks[3], peaks[-1] / 2**20 < limit, work.complete)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    A = ParallelBeam((512, 512), np.arange(4) * 0.7, 64, detector_size=8.0)
    save_scan(tmp_path / "scan.h5", Scan(A, randn((60, 4, 64), torch.float32, 0)))
    done = subprocess.run([sys.executable, "-c", BOUNDED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    at_once, chunks, grown, within, complete = done.stdout.split()
    assert (at_once, chunks, within, complete) == ("2", "30", "True", "True")
    # KiB: half of what the 52 images between would take; peaks differ by up to 20 MiB by what malloc gives back when
    assert int(grown) < 26 * 1024
    assert image_in(tmp_path / "out.h5").shape == (60, 512, 512)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/stacks.md").read_text()
    monkeypatch.chdir(tmp_path)
    A = ParallelBeam((8, 8), np.arange(6) * 0.5, 12)
    save_scan("stack.h5", Scan(A, randn((3, 6, 12), torch.float32, 0), 0.1))
    for number, code in enumerate(re.findall("```python\n(.*?)```", page, re.DOTALL)):
        exec(code.replace("volume.h5", f"volume{number}.h5"), {})
        assert image_in(f"volume{number}.h5").shape == (3, 8, 8)
    assert "converged" in capsys.readouterr().out


# --- items that are no pictures ---


def test_a_volume_is_one_item(invprob, tmp_path):
    A = ConeBeam((5, 8, 6), np.arange(12) * np.pi / 6, (6, 12), source_distance=60.0, detector_distance=20.0)
    truth = torch.zeros(5, 8, 6)
    truth[1:4, 2:6, 1:5] = 1.0
    save_scan(tmp_path / "cone.h5", Scan(A, A(truth), 0.01, truth))
    others = ["--png", "a.png", "--report", "a.html", "--npy", "a.npy"]
    done = invprob("reconstruct", "cone.h5", "--method", "fbp", *others)
    assert (done.code, done.err) == (0, "")
    assert "rows" not in done.out
    stored = load_result(tmp_path / "cone_fbp.h5")
    assert (image_in("cone_fbp.h5").shape, stored.status, len(stored.item_status)) == ((5, 8, 6), "converged", 1)
    assert (tmp_path / "a.png").exists()
    done = invprob("check", "cone.h5")
    assert "(invprob scan), a single volume" in done.out
    assert "GiB for the image with tv\n" in done.out
    assert not re.search(r"^rows", invprob("inspect", "cone.h5").out, re.MULTILINE)


def test_rows_of_several_images_through_the_command_line(invprob, tmp_path):
    save_scan(tmp_path / "echoes.h5", Scan(Identity((12, 14)), randn((3, 2, 12, 14), torch.float32, 0), 0.1))
    done = invprob("reconstruct", "echoes.h5", "--method", "direct", "--png", "a.png", "--report", "a.html")
    assert (done.code, done.err) == (0, "")
    assert "rows      3, from 0 to 2, 3 at a time" in done.out
    assert image_in("echoes_direct.h5").shape == (3, 2, 12, 14)


@pytest.mark.parametrize("method", ["least-squares", "tv"])
def test_complex_data_of_a_real_blur_are_written(invprob, tmp_path, method):
    A = Blur((16, 16), torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 8)
    truth = torch.zeros(2, 16, 16, dtype=torch.complex64)
    truth[:, 4:12, 5:11] = torch.tensor([1 + 1j, 2j])[:, None, None]
    data = A(truth) + 0.01 * randn(truth.shape, torch.complex64, 0)
    save_scan(tmp_path / "blur.h5", Scan(A, data, 0.01))
    more = ["--strength", "0.001"] if method == "tv" else []
    done = invprob("reconstruct", "blur.h5", "--method", method, "--png", "a.png", "--report", "a.html", *more)
    assert (done.code, done.err) == (0, "")
    image = image_in(tmp_path / f"blur_{method}.h5")
    assert image.dtype == torch.complex64
    assert float((image - truth).abs().square().mean()) < 0.02
    assert invprob("inspect", f"blur_{method}.h5").code == 0


def test_the_images_of_a_complex_operator_are_what_it_says(tmp_path):
    real, complex_ = torch.ones(4, 4), torch.ones(4, 4) * 1j
    blur = Blur((4, 4), torch.ones(1, 1))
    for data, dtype in ((real, torch.float32), (complex_, torch.complex64)):
        assert blur.image_dtype(data) is dtype
        assert methods.reconstruct(replace(Scan(blur, data), noise=0.1), "direct").x.dtype is dtype


def test_a_picture_that_cannot_be_made_costs_no_image(stack_file, monkeypatch):
    def fail(*_):
        raise ValueError("no such row")

    monkeypatch.setattr(Scan, "row", fail)
    monkeypatch.setattr(Scan, "doubts", lambda _: [])
    work = reconstruct_stack(stack_file, "out.h5", "fbp")
    assert (work.complete, work.middle) == (True, None)
    assert load_result("out.h5").status == "converged"
    assert "no picture of the middle row: no such row" in work.failures[0]


def test_notes_of_chunks_are_told_once():
    texts = ("12% of it", "7.5% of it", "more")
    one, two, other = ({"assumptions": (), "doubts": (), "notes": (text,)} for text in texts)
    joined = _joined_certificates(_joined_certificates(_joined_certificates({}, one), two), other)
    assert joined["notes"] == ["12% of it", "more"]


def test_a_limited_angle_is_told_everywhere(invprob, tmp_path):
    A = ParallelBeam((16, 16), np.arange(40) * np.pi / 40, 24)
    bump = torch.zeros(2, 16, 16)
    bump[:, 6:10, 5:9] = 1.0
    save_scan(tmp_path / "a.h5", Scan(A, A(bump) + 0.01 * randn((2, 40, 24), torch.float32, 0), 0.01))
    done = invprob("reconstruct", "a.h5", "--method", "fbp", "--views", "0:20", "--rows", "1:2", "--report", "a.html")
    doubt = open_stack(tmp_path / "a.h5", views=slice(0, 20)).doubts()[0]
    assert "degrees" in doubt
    assert done.code == 0
    assert done.err.count("warning: ") == 1
    for text in (done.err, done.out, invprob("inspect", "a_fbp.h5").out):
        assert doubt[1:60] in " ".join(text.split())  # a note begins with a capital
    stored = load_result(tmp_path / "a_fbp.h5")
    assert doubt in stored.doubts
    assert (stored.provenance["views"], stored.provenance["rows"]) == ("0 to 19", "1 to 1")
    assert doubt[1:60] in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Do not rely on this image" in done.out
    again = load_result(tmp_path / "a_fbp.h5").of_scan(open_stack(tmp_path / "a.h5", views=slice(0, 20)).load())
    assert again.doubts.count(doubt) == 1
    plain = open_stack(tmp_path / "a.h5").load().provenance
    assert not {"rows", "views"} & set(plain)


def test_a_stack_of_direct_images_is_compared_with_a_few_of_its_views():
    A = ParallelBeam((24, 24), np.arange(128) * np.pi / 128, 36)
    truth = torch.zeros(3, 24, 24)
    truth[:, 6:18, 8:16] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    clean = A(truth)
    noise = torch.full((3,), 0.2 * float(clean.abs().max()), dtype=torch.float64)
    scan = Scan(A, clean + noise[0].float() * randn(clean.shape, torch.float32, 0), noise)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParallelBeam, "_forward", lambda self, x, of=ParallelBeam._forward: _counted(seen, of, self, x))
        found = methods.reconstruct(scan, "fbp")
    alone = [methods.reconstruct(scan.row(row), "fbp") for row in range(3)]
    assert max(seen) == 8  # no projection has more views than these
    assert found.certificate.norm is None
    assert "with 8 of their 128 views" in found.certificate.notes[0]
    assert found.certificate.adjoint_mismatch < 1e-5
    for name in ("data_residual", "residual_to_noise"):
        of_all = torch.stack([getattr(one.certificate, name) for one in alone])
        torch.testing.assert_close(getattr(found.certificate, name), of_all, rtol=0.15, atol=0)
    torch.testing.assert_close(found.x, torch.stack([one.x for one in alone]), rtol=1e-4, atol=1e-5)


def _counted(seen, of, A, x):
    seen.append(A.range_shape[0])
    return of(A, x)


@pytest.mark.parametrize(("method", "asked"), [("fbp", [2]), ("least-squares", [1, 3, 4])])
def test_data_behind_direct_images_are_doubted_once(stack_file, method, asked):
    rows, seen, told = open_stack(stack_file).load().data, [], "the table has been kicked"

    def doubts(self, y=None):
        seen.extend(i for i, row in enumerate(rows) if y is not None and torch.equal(row, y))
        return [told]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParallelBeam, "doubts", doubts)
        work = reconstruct_stack(stack_file, "out.h5", method, settings={"max_iter": 2} if method != "fbp" else {})
    assert seen == asked  # the middle row of the stack, or of each of the parts 0 and 1, 2 and 3, 4
    assert [doubt["text"] for doubt in work.joined.certificate["doubts"]].count(told) == 1
    assert told in load_result("out.h5").doubts


def test_weights_and_likelihoods_follow_the_few_views():
    A = ParallelBeam((12, 12), np.arange(64) * np.pi / 64, 18)
    y, weights = 1 + 0.1 * randn((2, 64, 18), torch.float32, 0), torch.ones(64, 18)
    weights[::4] = 0  # all views that a stack is compared with
    weights[0] = 1
    dark = methods.reconstruct(Scan(A, y, 0.1, weights=weights), "fbp").certificate
    light = methods.reconstruct(Scan(A, y, 0.1), "fbp").certificate
    assert bool((dark.residual_to_noise > 0).all())
    assert not torch.allclose(dark.residual_to_noise, light.residual_to_noise)


def test_a_certificate_projects_its_image_once():
    A = ParallelBeam((16, 16), np.arange(20) * np.pi / 20, 24)
    y = 1 + 0.1 * randn((20, 24), torch.float32, 0)
    events = list(methods.progress(Scan(A, y, 10.0), "fbp"))  # so much noise that the image explains the data
    image, seen = events[-1].image(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ParallelBeam, "_forward", lambda self, x, of=ParallelBeam._forward: _same(seen, of, self, x, image)
        )
        events[-1].result()
    assert sum(seen) == 1


def _same(seen, of, A, x, image):
    seen.append(x.shape == image.shape and float((x / image).std()) < 1e-4)  # but for a power of two
    return of(A, x)
