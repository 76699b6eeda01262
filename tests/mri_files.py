"""Files of k-space as other programs write them, for the tests of their readers."""

import h5py
import numpy as np

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation>
    <systemVendor>{vendor}</systemVendor>
    <relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>
  </acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <trajectory>{trajectory}</trajectory>
    <encodedSpace>
      <matrixSize><x>{readout}</x><y>{phases}</y><z>{depth}</z></matrixSize>
      <fieldOfView_mm><x>{view}</x><y>200</y><z>5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{cut}</x><y>{phases}</y><z>{depth}</z></matrixSize>
      <fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1>
        <minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
      </kspace_encoding_step_1>
    </encodingLimits>
  </encoding>
</ismrmrdHeader>"""


def header(readout, phases, *, oversampled=1, last=None, centre=None, depth=1, trajectory="cartesian", vendor=""):
    cut = readout // oversampled
    last, centre = phases - 1 if last is None else last, phases // 2 if centre is None else centre
    return HEADER.format(**locals(), view=200 * oversampled)


def write_fastmri(path, kspace, xml, **arrays):
    """kspace (slices, [coils], read-out, phases)"""
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = np.bytes_(xml) if isinstance(xml, bytes) else xml
        file.attrs.update({"acquisition": "AXT2", "patient_id": "0123456789", "max": 1.0})
        for name, values in arrays.items():
            file[name] = values


IDX = np.dtype(
    [(f"kspace_encode_step_{i}", "<u2") for i in (1, 2)]
    + [(name, "<u2") for name in ("average", "slice", "contrast", "phase", "repetition", "set", "segment")]
    + [("user", "<u2", (8,))]
)
HEAD = np.dtype(
    [("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4")]
    + [("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,))]
    + [(name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")]
    + [("channel_mask", "<u8", (16,))]
    + [(name, "<u2") for name in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")]
    + [("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4"), ("position", "<f4", (3,))]
    + [(name, "<f4", (3,)) for name in ("read_dir", "phase_dir", "slice_dir", "patient_table_position")]
    + [("idx", IDX), ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,))]
)
FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
ACQUISITION = np.dtype([("head", HEAD), ("traj", FLOATS), ("data", FLOATS)])


def acquisition(samples, *, flags=(), centre=None, pre=0, post=0, dwell=5.0, space=0, along=None, **counters):
    """samples (coils, n) of one read-out; flags by the standard's numbers; along (n, axes) where it lies, x first"""
    record = np.zeros(1, ACQUISITION)
    head = record["head"]
    head["version"], head["flags"] = 1, sum(1 << (flag - 1) for flag in flags)
    head["active_channels"], head["number_of_samples"] = samples.shape
    head["center_sample"] = samples.shape[1] // 2 if centre is None else centre
    head["discard_pre"], head["discard_post"], head["sample_time_us"] = pre, post, dwell
    head["encoding_space_ref"] = space
    for name, value in counters.items():
        head["idx"][name] = value
    along = np.zeros((0, 0)) if along is None else along
    head["trajectory_dimensions"] = along.shape[1]
    record["traj"][0] = np.ravel(along).astype(np.float32)
    record["data"][0] = np.ascontiguousarray(samples, np.complex64).view(np.float32).ravel()
    return record


def lines(kspace, chosen=None, **more):
    """An acquisition per line of kspace (coils, phases, read-out)"""
    chosen = range(kspace.shape[1]) if chosen is None else chosen
    return [acquisition(kspace[:, i], kspace_encode_step_1=i, **more) for i in chosen]


def shots(kspace, along, **more):
    """An acquisition per shot of kspace (coils, shots, n) along (shots, n, axes), x first"""
    return [acquisition(kspace[:, i], along=along[i], kspace_encode_step_1=i, **more) for i in range(len(along))]


def write_ismrmrd(path, records, xml):
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", data=np.array([xml], dtype=object), dtype=h5py.string_dtype())
        group.create_dataset("data", data=np.concatenate(records), dtype=ACQUISITION)
