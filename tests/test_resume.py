"""Going on after a fall: whatever ends a run, what it reported is there, and the rest follows bit for bit."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from laws import randn

from invprob.errors import InputError, OutputError, ResourceError
from invprob.io import ResultWriter, load_result, open_stack, save_npy, save_scan, shielded
from invprob.io.fletcher import fletcher32
from invprob.operators import Identity
from invprob.scan import Scan
from invprob.stack import StackReconstruction, memory, reconstruct_stack

SETTINGS = {"strength": 0.01, "max_iter": 3}
ROWS, SIZE = 9, 8


@pytest.fixture
def scan_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    save_scan("scan.h5", Scan(Identity((SIZE, SIZE)), randn((ROWS, SIZE, SIZE), torch.float32, 0), 0.1))
    return "scan.h5"


def contents(path):
    """Return everything in a file but the time that it took, and the digest over that."""
    with h5py.File(path) as file:
        found = {key: str(file.attrs[key]) for key in file.attrs if key not in ("seconds", "digest")}
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        return found | {name: (file[name].dtype.str, file[name][()].tobytes()) for name in arrays}


def stopped(path, after, method="tv", **options):
    """Run until `after` chunks are stored; leave the files as a kill would at that moment."""
    work = StackReconstruction(open_stack(path), "out.h5", method, settings=SETTINGS, **options)
    events, stored = work.events(), 0
    assert next(events).kind == "iterating"
    while stored < after:
        stored += next(events).kind == "stored"
    kept = {name: Path(name).read_bytes() for name in ("out.h5.partial", "out.h5.journal")}
    events.close()
    for name, content in kept.items():
        Path(name).write_bytes(content)
    return kept


@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_resumed_run_ends_as_if_nothing_had_happened(scan_file, after):
    reconstruct_stack(scan_file, "whole.h5", "tv", settings=SETTINGS)
    stopped(scan_file, after)
    left = load_result("out.h5.partial").x
    assert left.isfinite().all(dim=(1, 2)).tolist() == [i < 2 * after for i in range(ROWS)]
    work = StackReconstruction(open_stack(scan_file), "out.h5", "tv", settings=SETTINGS, resume=True)
    kinds = [event.kind for event in work.events() if event.kind in ("kept", "stored")]
    assert kinds == ["kept"] * after + ["stored"] * (5 - after)
    assert contents("out.h5") == contents("whole.h5")
    assert sorted(os.listdir()) == ["out.h5", "scan.h5", "whole.h5"]
    assert torch.equal(work.middle[1].x, load_result("whole.h5").x[ROWS // 2])


def test_what_is_not_as_it_was_written_is_done_again(scan_file):
    reconstruct_stack(scan_file, "whole.h5", "tv", settings=SETTINGS)
    kept = stopped(scan_file, 3)
    row = load_result("out.h5.partial").x[2].numpy().tobytes()
    # a chunk of zeros whose checksum went with it reads without a complaint
    zeroed = kept["out.h5.partial"].replace(row, bytes(len(row)))
    at = kept["out.h5.partial"].index(row) + len(row)
    Path("out.h5.partial").write_bytes(zeroed[:at] + bytes(4) + zeroed[at + 4 :])
    assert not load_result("out.h5.partial").x[2].any()
    work = StackReconstruction(open_stack(scan_file), "out.h5", "tv", settings=SETTINGS, resume=True)
    kinds = [event.kind for event in work.events() if event.kind in ("kept", "stored")]
    assert kinds == ["kept", "stored", "kept", "stored", "stored"]
    assert contents("out.h5") == contents("whole.h5")


@pytest.mark.parametrize("cut", [0, 5, 20, 0.3, 0.5, 0.9])
def test_a_journal_cut_anywhere_is_gone_on_from(scan_file, cut):
    reconstruct_stack(scan_file, "whole.h5", "tv", settings=SETTINGS)
    kept = stopped(scan_file, 3)["out.h5.journal"]
    Path("out.h5.journal").write_bytes(kept[: cut if cut >= 1 or not cut else int(cut * len(kept))])
    if b'"layout"' in kept[: int(cut * len(kept))] and cut < 1:
        reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS, resume=True)
        assert contents("out.h5") == contents("whole.h5")
    else:  # nothing says that the partial file is ours
        with pytest.raises(OutputError, match=r"is no (unfinished result|journal of this program): move it away"):
            reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS, resume=True)
        assert Path("out.h5.partial").exists()


def test_only_the_same_run_is_gone_on_with(scan_file):
    stopped(scan_file, 1)
    save_scan("other.h5", Scan(Identity((SIZE, SIZE)), randn((ROWS, SIZE, SIZE), torch.float32, 1), 0.1))
    for path, method, settings, words in (
        (scan_file, "tv", {"strength": 0.02, "max_iter": 3}, "with setting strength 0.01, and now it is 0.02"),
        (scan_file, "tv", {"strength": 0.01}, "with setting max_iter 3, and now it is nothing"),
        (scan_file, "fbp", {}, "with method tv, and now it is fbp"),
        ("other.h5", "tv", SETTINGS, "with scan sha256:"),
    ):
        with pytest.raises(OutputError, match=words):
            reconstruct_stack(path, "out.h5", method, settings=settings, resume=True)
    with pytest.raises(OutputError, match="add --resume to go on"):
        reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS)
    reconstruct_stack(scan_file, "out.h5", "direct", overwrite=True)
    assert load_result("out.h5").status == "converged"
    assert not Path("out.h5.journal").exists()


def test_a_scan_that_changes_is_noticed(scan_file):
    work = StackReconstruction(open_stack(scan_file), "out.h5", "direct")
    events = work.events()
    while next(events).kind != "stored":
        pass
    save_scan(scan_file, Scan(Identity((SIZE, SIZE)), randn((ROWS, SIZE, SIZE), torch.float32, 1), 0.1), overwrite=True)
    with pytest.raises(InputError, match=r"scan.h5 has changed while it was read"):
        list(events)
    assert load_result("out.h5.partial").x.isfinite().all(dim=(1, 2)).tolist() == [True] * 2 + [False] * 7
    os.remove(scan_file)
    save_scan(scan_file, Scan(Identity((SIZE, SIZE)), randn((ROWS, SIZE, SIZE), torch.float32, 0), 0.1))
    assert reconstruct_stack(scan_file, "out.h5", "direct", resume=True).complete


@pytest.mark.parametrize("failing", ["write", "journal"])
def test_a_full_disk_is_told_of_and_gone_on_from(scan_file, monkeypatch, failing):
    reconstruct_stack(scan_file, "whole.h5", "tv", settings=SETTINGS)
    work = StackReconstruction(open_stack(scan_file), "out.h5", "tv", settings=SETTINGS)
    events, real = work.events(), os.pwrite
    while next(events).kind != "stored":
        pass
    end = os.stat("out.h5.partial").st_size

    def full(descriptor, data, at):
        if (os.fstat(descriptor).st_size >= end) == (failing == "write"):
            raise OSError(28, "No space left on device")
        return real(descriptor, data, at)

    monkeypatch.setattr(shielded.os, "pwrite", full)
    with pytest.raises(ResourceError, match=r"No space left on device.*make room, and go on with --resume"):
        list(events)
    monkeypatch.setattr(shielded.os, "pwrite", real)
    assert load_result("out.h5.partial").x[:2].isfinite().all()
    assert reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS, resume=True).complete
    assert contents("out.h5") == contents("whole.h5")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 192 KiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=192k", "none", folder], capture_output=True)
    if not made or made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_in_truth(scan_file, small_disk):
    reconstruct_stack(scan_file, "whole.h5", "tv", settings=SETTINGS)
    output, rest = small_disk / "out.h5", small_disk / "rest"
    work = StackReconstruction(open_stack(scan_file), output, "tv", settings=SETTINGS)
    events = work.events()
    while next(events).kind != "stored":
        pass
    with pytest.raises(OSError, match="No space"):
        rest.write_bytes(bytes(2**20))
    with pytest.raises(ResourceError, match=r"No space left on device.*make room, and go on with --resume"):
        list(events)
    assert load_result(output.with_name("out.h5.partial")).x[:2].isfinite().all()
    with pytest.raises(ResourceError, match="make room"):
        reconstruct_stack(scan_file, output, "tv", settings=SETTINGS, resume=True)
    rest.unlink()
    assert reconstruct_stack(scan_file, output, "tv", settings=SETTINGS, resume=True).complete
    assert contents(output) == contents("whole.h5")
    with pytest.raises(ResourceError, match=r"needs 25[0-9.]+ KiB"):
        ResultWriter(small_disk / "large.h5", (4, 128, 96), torch.float32)


def test_what_cannot_be_written_is_refused_before_anything_is_computed(scan_file):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"may write files of 1\.465 KiB: raise `ulimit -f`"):
            reconstruct_stack(scan_file, "out.h5", "direct")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # room for the values, and not for their form
        with pytest.raises(ResourceError, match="could not be allocated"):
            reconstruct_stack(scan_file, "out.h5", "direct")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir() == [scan_file]


def test_files_of_the_user_are_never_touched(scan_file):
    for name in ("out.h5.partial", "out.h5.journal"):
        Path(name).write_text("precious")
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(OutputError, match="move it away"):
                reconstruct_stack(scan_file, "out.h5", "direct", **options)
        assert Path(name).read_text() == "precious"
        os.remove(name)
    Path("a.npy.partial").write_text("precious")
    save_npy("a.npy", torch.ones(3))
    assert Path("a.npy.partial").read_text() == "precious"


@pytest.mark.parametrize("content", ["text", "other", "larger", "link"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_file_of_the_user_in_place_of_the_partial_one_is_never_touched(scan_file, content, after):
    stopped(scan_file, after)
    with ResultWriter("other.h5", (ROWS, SIZE, SIZE), torch.float64, attributes={"ndim": 2}) as writer:
        writer.write(0, torch.ones(ROWS, SIZE, SIZE, dtype=torch.float64))
    other = Path("other.h5").read_bytes()
    mine = {"text": b"precious", "other": other, "larger": other + bytes(2**16), "link": other}[content]
    Path("out.h5.partial").rename("aside")
    if content == "link":
        Path("out.h5.partial").symlink_to("other.h5")
    else:
        Path("out.h5.partial").write_bytes(mine)
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match=r"out.h5.partial exists, and is no unfinished result: move it away"):
            reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS, **options)
    assert Path("out.h5.partial").read_bytes() == mine
    Path("aside").replace("out.h5.partial")
    assert reconstruct_stack(scan_file, "out.h5", "tv", settings=SETTINGS, resume=True).complete


@pytest.mark.parametrize("after", [0, 2])
def test_a_partial_file_may_be_copied(scan_file, after):
    stopped(scan_file, after)
    shutil.copy("out.h5.partial", "copy")
    Path("copy").replace("out.h5.partial")
    work = StackReconstruction(open_stack(scan_file), "out.h5", "tv", settings=SETTINGS, resume=True)
    assert [event.kind for event in work.events()].count("kept") == after


def test_an_empty_journal_is_somebody_s_own(scan_file):
    Path("out.h5.journal").touch()
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match=r"out.h5.journal is no journal of this program: move it away"):
            reconstruct_stack(scan_file, "out.h5", "direct", **options)
    assert sorted(os.listdir()) == ["out.h5.journal", scan_file]


def test_an_output_that_appears_is_not_replaced(scan_file):
    work = StackReconstruction(open_stack(scan_file), "out.h5", "direct")
    events = work.events()
    next(events)
    Path("out.h5").write_text("precious")
    with pytest.raises(OutputError, match=r"out.h5 has appeared .* the whole result is in out.h5.partial"):
        list(events)
    assert Path("out.h5").read_text() == "precious"
    assert load_result("out.h5.partial").status == "converged"
    os.remove("out.h5")
    assert reconstruct_stack(scan_file, "out.h5", "direct", resume=True).complete


def test_a_partial_file_that_is_replaced_is_noticed(scan_file):
    work = StackReconstruction(open_stack(scan_file), "out.h5", "direct")
    events = work.events()
    next(events)
    os.rename("out.h5.partial", "mine")
    Path("out.h5.partial").write_text("precious")
    with pytest.raises(OutputError, match="has been moved or replaced"):
        list(events)
    assert Path("out.h5.partial").read_text() == "precious"


@pytest.mark.parametrize("n", [1, 7, 1000, 2048, 70_001])
@pytest.mark.parametrize("fill", ["noise", "zeros", "ones"])
def test_checksums_are_those_of_hdf5(tmp_path, n, fill):
    noise = np.random.default_rng(n).random(n, dtype="f4")
    values = {"noise": noise, "zeros": np.zeros(n, "f4"), "ones": np.full(n, 0xFFFF_FFFF, "u4").view("f4")}[fill]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", data=values, chunks=(n,), fletcher32=True)
        file.flush()
        place = data.id.get_chunk_info(0)
    stored = (tmp_path / "a.h5").read_bytes()[place.byte_offset :][: place.size]
    assert (stored[:-4], stored[-4:]) == (values.tobytes(), fletcher32(values).to_bytes(4, "little"))


# A writer that tells of every row; what it has told of must be there after a kill.
KILLED = """
import sys, torch
from invprob.io import ResultWriter
with ResultWriter("out.h5", (400, 16, 16), torch.float32, resume=True, identity={"a": 1}) as writer:
    done = {block.start for block in writer.blocks}
    print("kept", len(done), flush=True)
    for i in range(400):
        if i not in done:
            writer.write(i, torch.full((1, 16, 16), float(i)))
            print(i, flush=True)
    writer.annotate({"status": "converged"})
"""


def test_nothing_that_was_reported_is_lost_in_kills(tmp_path):
    generator, reported = np.random.default_rng(0), set()
    for kill in (*generator.integers(1, 90, 4), None):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            kept = int(run.stdout.readline().split()[1])
            assert kept >= len(reported)
            for line in run.stdout:
                reported.add(int(line))
                if kill is not None and len(reported) >= kept + kill:
                    run.send_signal(signal.SIGKILL)
                    break
            reported |= {int(line) for line in run.stdout if line.endswith("\n")}
            assert run.wait() == (0 if kill is None else -signal.SIGKILL), run.stderr.read()
        if kill is not None:
            x = load_result(tmp_path / "out.h5.partial").x
            assert all((x[i] == i).all() for i in reported)
    assert (load_result(tmp_path / "out.h5").x == torch.arange(400.0)[:, None, None]).all()
    assert os.listdir(tmp_path) == ["out.h5"]


def test_a_lock_ends_with_its_run(tmp_path):
    hold = "import sys, torch; from invprob.io import ResultWriter\n"
    hold += "with ResultWriter('out.h5', (2, 4, 4), torch.float32) as w: print(1, flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, **pipes) as run:
        run.stdout.readline()
        with pytest.raises(OutputError, match="is being written by another run"):
            ResultWriter(tmp_path / "out.h5", (2, 4, 4), torch.float32, resume=True)
        run.kill()
    with ResultWriter(tmp_path / "out.h5", (2, 4, 4), torch.float32, resume=True) as writer:
        writer.write(0, torch.ones(2, 4, 4))
        writer.annotate({"status": "converged"})
    assert os.listdir(tmp_path) == ["out.h5"]
