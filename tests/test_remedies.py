"""What goes wrong on the command line is told before the work, and the remedies exist and apply."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.main import get_command

import invprob as library
from invprob.cli.errors import one_line
from invprob.cli.main import app
from invprob.errors import InputError, InputWarning
from invprob.io import load_scan, open_stack, safe_hdf5, save_scan
from invprob.io.readers import known_options
from invprob.operators import ParallelBeam
from invprob.phantoms import shepp_logan
from invprob.scan import Units

N, VIEWS, BINS = 32, 40, 48
ANGLES = np.arange(VIEWS) * np.pi / VIEWS


def integrals(detectors=BINS):
    A = ParallelBeam((N, N), ANGLES, detectors)
    return A, shepp_logan(N / 2).line_integrals(*A.rays()).float() / N


@pytest.fixture
def scan_file(tmp_path):
    A, y = integrals()
    save_scan(tmp_path / "scan.h5", library.Scan(A, y, noise=0.01, units=Units.attenuation("mm")))
    return "scan.h5"


@pytest.fixture
def exchange(tmp_path):
    """A function that writes a Data Exchange file of two rows, with some arrays replaced (None: left out)."""

    def write(**changes):
        y = integrals()[1].numpy()[:, None].repeat(2, 1)
        fields = {"data_white": np.full((3, 2, BINS), 40100.0), "data_dark": np.full((2, 2, BINS), 100.0)}
        arrays = {"data": 100 + 4e4 * np.exp(-y), "theta": np.rad2deg(ANGLES)} | fields | changes
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for key, values in arrays.items():
                if values is not None:
                    file[f"exchange/{key}"] = values
            file["exchange/theta"].attrs["units"] = "degrees"
        return tmp_path / "x.h5"

    return write


SETTINGS = {
    "tv --set max_iter=0": "max_iter of tv must be a whole number >= 1, got 0",
    "pnp --set max_iter=0": "max_iter of pnp must be a whole number >= 1, got 0",
    "pnp --set steps=0": "steps of pnp must be a whole number >= 1, got 0",
    "lpn --set max_iter=-3": "max_iter of lpn must be a whole number >= 1, got -3",
    "red --set tol=-1": "tol of red must be a number >= 0, got -1",
    "gs-pnp --set tol=NaN": "tol of gs_pnp must be a number >= 0, got nan",
    "wavelet --set strength=-1": "strength of wavelet must be 'auto' or a number >= 0, got -1",
    "tikhonov --set strength=much": "strength of tikhonov must be 'auto' or a number >= 0, got 'much'",
}


SAMPLERS = {
    "flower --set steps=0": "steps of flower must be a whole number >= 1, got 0",
    "dps --set n_chains=0": "n_chains of dps must be a whole number >= 1, got 0",
    "mcg --set seed=-1": "seed of mcg must be a whole number >= 0, got -1",
}


@pytest.mark.parametrize(("line", "words"), SAMPLERS.items())
def test_a_setting_of_a_sampler_out_of_range_is_told_before_the_work(invprob, scan_file, line, words):
    done = invprob("reconstruct", scan_file, "--method", *line.split())
    assert done.code == 2
    assert done.err == f"error: {words}\n"
    assert "progress" not in done.out


TAKEN = (  # what once ended in an internal error
    "tv --set tol=99999999999999999999 --set max_iter=2",
    "lpn --set tol=1 --set max_iter=2",
    "tv --set lower=1e300 --set max_iter=2",
    "tv --set upper=1e300 --set max_iter=2",
)


@pytest.mark.parametrize("line", TAKEN)
def test_a_setting_that_makes_little_sense_is_taken(invprob, scan_file, line):
    done = invprob("reconstruct", scan_file, "--method", *line.split())
    assert done.code in (0, 5)


@pytest.mark.parametrize(("line", "words"), SETTINGS.items())
def test_a_setting_out_of_range_is_told_before_the_work(invprob, scan_file, tmp_path, line, words):
    done = invprob("reconstruct", scan_file, "--method", *line.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {words}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]
    name, setting = line.split(" --set ")
    key, value = setting.split("=")
    given = value if value == "much" else float(value) if value == "NaN" else int(value)
    with pytest.raises(ValueError, match=re.escape(words)):
        library.reconstruct(load_scan(tmp_path / scan_file), name, **{key: given})


@pytest.mark.parametrize("method", ["pnp", "lpn", "tv", "tikhonov", "least-squares", "wavelet"])
def test_strength_0_gives_an_image(method):
    A, y = integrals()
    x = library.reconstruct(library.Scan(A, y), method, strength=0, max_iter=3).x
    assert bool(x.isfinite().all())
    assert float(x.max()) > 0


def test_an_internal_error_is_short():
    assert len(one_line(TypeError("x" * 9000))) < 450


HEAVY = """
import sys
from invprob.cli.main import main
code = main(sys.argv[1:])
sys.exit("torch was loaded" if "torch" in sys.modules or "numpy" in sys.modules else code)
"""


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("reconstruct no.h5", 3, "no.h5 does not exist: check the path"),
        ("check no.h5", 3, "no.h5 does not exist"),
        ("inspect .", 3, "is a directory"),
        ("benchmark --compare no.json", 3, "no.json does not exist"),
        ("train denoiser --out a --config no.toml", 3, "no.toml does not exist"),
        ("reconstruct no.h5 -o out.png", 2, "--output out.png would hold HDF5, .*: --png writes such files"),
    ],
)
def test_a_missing_file_is_told_before_torch_is_loaded(tmp_path, line, code, words):
    command = [sys.executable, "-c", HEAVY, *shlex.split(line)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert re.search(words, done.stderr)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-o out.png", "--output out.png would hold HDF5, which its name denies: --png writes such files"),
        ("-o out.tif", "--tiff writes such files"),
        ("-o out.npy", "--npy writes such files"),
        ("-o out.html", "--report writes such files"),
        ("-o out.jpg", "--output out.jpg would hold HDF5, which its name denies: choose another name"),
        ("--png out.h5", "--png out.h5 would hold PNG, which its name denies: --output writes such files"),
        ("--tiff out.png", "--tiff out.png would hold TIFF"),
    ],
)
def test_an_output_is_named_after_what_it_holds(invprob, scan_file, line, words):
    done = invprob("reconstruct", scan_file, "--method", "fbp", *line.split())
    assert (done.code, words in done.err) == (2, True)
    assert invprob("simulate", "s.png").code == 2


def test_views_beyond_those_there_are_are_refused(invprob, scan_file, tmp_path):
    done = invprob("reconstruct", scan_file, "--views", "0:400")
    assert (done.code, "--views 0:400 goes beyond the 40 there are" in done.err) == (3, True)
    for views in (slice(41, None), slice(-41, None), slice(None, -41)):
        with pytest.raises(InputError, match="goes beyond the 40 there are"):
            load_scan(tmp_path / scan_file, views=views)
    assert load_scan(tmp_path / scan_file, views=slice(-40, 40)).data.shape == (40, BINS)


def test_an_image_that_crops_the_object_is_doubted(invprob, exchange):
    path = exchange()
    doubt = "the image of 16 x 16 pixels crops the object"
    done = invprob("check", path, "--image-shape", "16x16")
    assert (done.code, doubt in done.err, "give a larger image_shape" in done.err) == (0, True, True)
    assert not any(
        "crops" in d for shape in (None, (N + 2, N + 2)) for d in load_scan(path, image_shape=shape).doubts()
    )
    assert any(doubt in d for d in load_scan(path, image_shape=(16, 16)).doubts())
    assert not any("crops" in d for d in load_scan(path, image_shape=(16, 16), image_pixel_size=2.2).doubts())


def test_an_option_means_the_same_to_every_reader(exchange):
    """The pixel size is the detector's; the image's pixels have an option of their own."""
    A = load_scan(exchange(), pixel_size=0.5, image_pixel_size=0.25, axis=23.5).operator
    assert (A.detector_size, A.pixel_size) == (0.5, 0.25)


def test_angles_of_many_turns_are_folded(exchange):
    turns = np.rad2deg(ANGLES) + 360.0 * np.arange(VIEWS)
    with pytest.warns(InputWarning, match="reach"):
        scan = load_scan(exchange(theta=turns), axis=23.5)
    np.testing.assert_allclose(scan.operator.angles, ANGLES, atol=1e-6)


# --- Data Exchange that lacks something ---


def test_counts_without_darks_are_read_and_doubted(exchange):
    path = exchange(data_dark=None)
    with pytest.warns(InputWarning, match=r"no dark field \(exchange/data_dark\): the dark current counts as 0"):
        scan = load_scan(path, axis=23.5)
    assert torch.allclose(scan.data[0], integrals()[1], atol=0.01)
    assert any("no dark field" in doubt for doubt in open_stack(path, axis=23.5).doubts())


@pytest.mark.parametrize(("values", "stored"), [("integrals", lambda y: y), ("transmission", lambda y: np.exp(-y))])
def test_without_flats_one_says_what_the_data_are(exchange, values, stored):
    data = stored(integrals()[1].numpy()[:, None].repeat(2, 1))
    path = exchange(data=data, data_white=None, data_dark=None)
    with pytest.raises(InputError, match=rf"no open-beam field .* by --read values={values}|--read values="):
        load_scan(path)
    scan = load_scan(path, values=values)
    assert torch.allclose(scan.data[1], integrals()[1], atol=1e-5)
    assert scan.operator.axis_offset == pytest.approx(0.0, abs=0.5)
    with pytest.raises(InputError, match="is neither counts, transmission nor integrals"):
        load_scan(path, values="numbers")


def test_one_exposure_is_a_field(exchange):
    scan = load_scan(exchange(data_white=np.full((2, BINS), 40100.0), data_dark=np.full((2, BINS), 100.0)), axis=23.5)
    assert torch.allclose(scan.data[0], integrals()[1], atol=1e-4)


@pytest.mark.parametrize("how", ["dark", "NaN", "no count"])
def test_dead_columns_count_nowhere(invprob, exchange, how):
    arrays = {"data": None, "data_white": np.full((3, 2, BINS), 40100.0)}
    with h5py.File(exchange(), "r") as file:
        arrays["data"] = file["exchange/data"][()]
    for column in (20, 31):
        if how == "no count":
            arrays["data"][:, :, column] = np.nan
        else:
            arrays["data"][:, :, column] = 100.0
            arrays["data_white"][:, :, column] = 100.0 if how == "dark" else np.nan
    path = exchange(**arrays)
    with pytest.warns(InputWarning, match="dead in columns 20, 31"):
        scan = load_scan(path)
    assert scan.weights is not None
    assert torch.nonzero(scan.weights[0, 0] == 0).flatten().tolist() == [20, 31]
    assert scan.operator.axis_offset == pytest.approx(0.0, abs=0.3)  # found in spite of them
    x = library.reconstruct(scan, "fbp").x
    sound = library.reconstruct(load_scan(exchange()), "fbp").x
    assert library.metrics.nrmse(x[0], sound[0]) < 0.1
    done = invprob("check", exchange(**arrays))
    assert (done.code, "dead in columns 20, 31" in done.err) == (0, True)


# --- a file system without locks ---


@pytest.mark.parametrize("number", [37, 38, 95])
def test_a_file_system_without_locks_is_no_damage(tmp_path, monkeypatch, number):
    def without_locks(name, mode="r", locking=None, **options):
        if locking is not False and isinstance(name, str | Path):  # what is written goes through memory
            reason = f"unable to lock file, errno = {number}, error message = 'No locks available'"
            raise OSError(number, f"Unable to synchronously open file ({reason})")
        return whole(name, mode, locking=locking, **options)

    whole = safe_hdf5.h5py.File
    A, y = integrals()
    monkeypatch.setattr(safe_hdf5.h5py, "File", without_locks)
    save_scan(tmp_path / "a.h5", library.Scan(A, y))
    scan = load_scan(tmp_path / "a.h5")
    library.save_result(tmp_path / "b.h5", library.reconstruct(scan, "fbp"))
    assert torch.equal(library.load_result(tmp_path / "b.h5").x, library.reconstruct(scan, "fbp").x)


def test_a_file_that_another_program_writes_is_waited_for(tmp_path, monkeypatch):
    def locked(*_, **__):
        raise BlockingIOError(11, "unable to lock file, errno = 11")

    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    monkeypatch.setattr(safe_hdf5.h5py, "is_hdf5", lambda _: True)
    monkeypatch.setattr(safe_hdf5.h5py, "File", locked)
    with pytest.raises(InputError, match="is being written by another program: wait"):
        load_scan(tmp_path / "a.h5")


# --- remedies ---


def test_every_option_of_a_reader_is_one_of_every_command_that_reads():
    """A reader's complaint names options by their flags, whichever command has called it."""
    commands = get_command(app).commands
    for command in ("reconstruct", "check", "inspect"):
        flags = {flag for parameter in commands[command].params for flag in parameter.opts}
        missing = {option.typed for option in known_options().values() if option.flag} - flags
        assert missing <= ({"--rings"} if command == "inspect" else set())


def test_every_option_that_a_message_names_exists():
    known = {"--help", "--version", "--nproc-per-node", "--no-python"}
    for command in get_command(app).commands.values():
        for one in [command, *getattr(command, "commands", {}).values()]:
            known |= {flag for parameter in one.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    root = library.__path__[0]
    for path in Path(root).rglob("*.py"):
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+\b", path.read_text(encoding="utf-8")):
            assert flag in known, f"{path}: {flag}"


def test_lengths_in_pixels_get_a_remedy_only_where_there_is_one(invprob, tmp_path, exchange):
    A, y = integrals()
    save_scan(tmp_path / "own.h5", library.Scan(A, y))
    assert "--pixel-size" not in invprob("reconstruct", "own.h5", "--method", "fbp").out
    assert "--pixel-size MM does" in invprob("reconstruct", exchange(), "--method", "fbp", "-o", "b.h5").out
    done = invprob("check", "own.h5", "--max-memory", "1e-6")
    assert (done.code, "fewer --views, or raise" in done.err, "--image-shape" in done.err) == (4, True, False)
