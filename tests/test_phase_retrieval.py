"""Phase retrieval against waves that are propagated, and against its own formula."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from layout_files import write_nxtomo

from invprob.errors import InputError, InputWarning
from invprob.io import load_result, load_scan, open_stack
from invprob.io.phase_retrieval import PhaseRetrieval

PIXEL, ENERGY, DISTANCE, RATIO, MU = 1e-3, 20.0, 20.0, 300.0, 3.0  # mm, keV, mm, delta/beta, 1/mm
WAVELENGTH = 1.2398419843e-6 / ENERGY
ROWS, COLUMNS, FINER = 40, 64, 4


def lengths(finer):
    """The path through a body whose rim is soft, mm, at the middles of pixels."""
    y, x = ((np.arange(n * finer) - (n * finer - 1) / 2) / finer for n in (ROWS, COLUMNS))
    inside = np.clip(1 - (x[None] / 20) ** 2 - (y[:, None] / 13) ** 2, 0, None)
    return 2 * 0.02 * inside**1.5


def binned(picture):
    return picture.reshape(ROWS, FINER, COLUMNS, FINER).mean((1, 3))


def seen(distance):
    """The share of the open beam behind the body, by Fresnel's propagator on pixels FINER times finer."""
    around = 32 * FINER
    t = np.pad(lengths(FINER), around)
    delta = RATIO * MU * WAVELENGTH / (4 * np.pi)
    wave = np.exp(-(MU / 2 + 2j * np.pi / WAVELENGTH * delta) * t)
    f, g = (np.fft.fftfreq(n, PIXEL / FINER) for n in t.shape)
    there = np.exp(-1j * np.pi * WAVELENGTH * distance * (f[:, None] ** 2 + g**2))
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(wave) * there)) ** 2
    return binned(intensity[around:-around, around:-around])


@pytest.fixture(scope="module")
def counts():
    """Four equal views of the body, which is the same from all sides."""
    return np.repeat(1000 * seen(DISTANCE)[None], 4, 0).astype(np.float32)


@pytest.fixture
def fringes(tmp_path, monkeypatch, counts):
    """The views in a file, with flats and darks beside it; the angles are given."""
    monkeypatch.chdir(tmp_path)
    np.save("views.npy", counts)
    np.save("flats.npy", np.full((1, ROWS, COLUMNS), 1000.0, np.float32))
    np.save("darks.npy", np.zeros((1, ROWS, COLUMNS), np.float32))
    return {
        "flats": "flats.npy", "darks": "darks.npy", "pixel_size": PIXEL, "axis": 31.5,
        "angles": np.arange(4) * 45.0, "angles_unit": "deg",
    }  # fmt: skip


PHASE = {"phase_retrieval": (RATIO, DISTANCE, ENERGY)}
LINE = (
    *("views.npy", "--flats", "flats.npy", "--darks", "darks.npy", "--angles", "0:135:4", "--angles-unit", "deg"),
    *("--pixel-size", str(PIXEL), "--axis", "31.5"),
)


def test_a_propagated_wave_gives_the_attenuation_back(fringes):
    due = -np.log(binned(np.exp(-MU * lengths(FINER))))
    raw, mended = (np.abs(load_scan("views.npy", **fringes, **more).data[:, 0].numpy() - due) for more in ({}, PHASE))
    assert raw.max() > 0.5 * due.max()  # fringes as high as the body itself
    assert mended.max() < 0.1 * due.max()
    assert np.sqrt((mended**2).mean()) < 0.1 * np.sqrt((raw**2).mean())


def test_a_wave_of_one_frequency_shrinks_as_the_formula_says():
    phase = PhaseRetrieval(RATIO, DISTANCE, ENERGY, PIXEL)
    n, cycles = 400, 20
    wave = 0.2 * np.cos(2 * np.pi * cycles / n * np.arange(n))
    found = phase.retrieved(np.tile(1 + wave, (1, 30, 1)).astype(np.float32))[0, 15, 150:250] - 1
    gain = 1 / (1 + np.pi * DISTANCE * WAVELENGTH * RATIO * (cycles / n / PIXEL) ** 2)
    assert np.allclose(found, gain * wave[150:250], atol=1e-5)


def test_a_margin_is_wide_enough():
    phase = PhaseRetrieval(RATIO, DISTANCE / 40, ENERGY, PIXEL)  # less than a pixel
    picture = np.random.default_rng(0).uniform(0.5, 1, (1, 160, 32)).astype(np.float32)
    whole, part = phase.retrieved(picture), phase.retrieved(picture[:, 80 - phase.margin : 82 + phase.margin])
    assert np.abs(part[:, phase.margin : -phase.margin] - whole[:, 80:82]).max() < 4e-5


def test_rows_read_by_themselves_are_those_of_the_whole(fringes):
    stack = open_stack("views.npy", **fringes, phase_retrieval=(RATIO, DISTANCE / 40, ENERGY))
    whole = stack.load().data
    for rows in (range(20, 22), range(3), range(10, 30, 5)):
        assert torch.allclose(stack.load(rows).data, whole[rows.start : rows.stop : rows.step], atol=1e-4)


def test_integrals_and_transmissions_are_taken_alike(fringes, counts):
    due = load_scan("views.npy", **fringes, **PHASE).data
    bare = {key: value for key, value in fringes.items() if key not in ("flats", "darks")}
    np.save("shares.npy", counts / 1000)
    np.save("integrals.npy", -np.log(counts / 1000))
    for name, values in (("shares", "transmission"), ("integrals", "integrals")):
        assert torch.allclose(load_scan(f"{name}.npy", **bare, **PHASE, values=values).data, due, atol=2e-5)


def test_a_dead_pixel_does_not_spread(fringes, counts):
    due = load_scan("views.npy", **fringes, **PHASE).data
    counts, flats = counts.copy(), np.load("flats.npy")
    counts[:, 20, 30], flats[:, 20, 30] = 0, 0
    np.save("views.npy", counts)
    np.save("flats.npy", flats)
    with pytest.warns(InputWarning, match="dead in column 30"):
        scan = load_scan("views.npy", **fringes, **PHASE)
    assert float(((scan.data - due) * scan.weights).abs().max()) < 0.02 * float(due.max())


def test_the_command_line_tells(invprob, fringes):
    more = ("--method", "fbp", "--rows", "19:21", "--report", "page.html", "-o", "x.h5")
    done = invprob("reconstruct", *LINE, *more, "--phase-retrieval", f"{RATIO}:{DISTANCE}:{ENERGY}")
    assert done.code == 0
    told = f"phase retrieval by Paganin et al. 2002 (delta/beta {RATIO:g}, {DISTANCE:g} mm, {ENERGY:g} keV)"
    assert told in done.out
    assert told in load_result("x.h5").provenance["phase"]
    assert told in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("300", "names no distance for the phase: give it with --phase-retrieval"),
        ("300:20", "names no energy"),
        ("0:20:20", "not delta/beta[:distance in mm[:energy in keV]]"),
        ("a", "not delta/beta"),
        ("1e9:1e6:1", "more than a detector has"),
    ],
)
def test_what_is_not_known_is_asked_for(invprob, fringes, given, words):
    done = invprob("check", *LINE, "--phase-retrieval", given)
    assert done.code in (2, 3)
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_size_of_a_pixel_is_needed(fringes):
    del fringes["pixel_size"]
    with pytest.raises(InputError, match="no size of a pixel"):
        load_scan("views.npy", **fringes, **PHASE)


def test_nexus_files_state_distance_and_energy(tmp_path):
    write_nxtomo(tmp_path / "x.nxs")
    with h5py.File(tmp_path / "x.nxs", "r+") as file:
        for name, value, unit in (
            ("instrument/detector/distance", 0.05, "m"),
            ("sample/beam/incident_energy", 25_000.0, "eV"),
        ):
            file[f"entry/tomo_entry/{name}"] = value
            file[f"entry/tomo_entry/{name}"].attrs["units"] = unit
    scan = load_scan(tmp_path / "x.nxs", phase_retrieval=2.0, pixel_size=1e-2)
    assert "(delta/beta 2, 50 mm, 25 keV)" in scan.provenance["phase"]
