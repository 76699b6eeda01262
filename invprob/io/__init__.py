"""Scans and results on disk: readers, the project's own files, exports."""

from invprob.io.data_exchange import find_axis as find_axis
from invprob.io.export import save_npy as save_npy
from invprob.io.export import save_tiff as save_tiff
from invprob.io.invprob_file import save_scan as save_scan
from invprob.io.layout import Probe as Probe
from invprob.io.layout import Reader as Reader
from invprob.io.layout import Stack as Stack
from invprob.io.options import Option as Option
from invprob.io.readers import READERS as READERS
from invprob.io.readers import load_scan as load_scan
from invprob.io.readers import open_stack as open_stack
from invprob.io.result_file import load_result as load_result
from invprob.io.result_file import run_attributes as run_attributes
from invprob.io.result_file import save_result as save_result
from invprob.io.result_writer import ResultWriter as ResultWriter
from invprob.io.rotation_axis import RotationAxis as RotationAxis
from invprob.io.rotation_axis import find_rotation_axis as find_rotation_axis
from invprob.io.safe_hdf5 import open_hdf5 as open_hdf5
from invprob.io.safe_hdf5 import read_array as read_array
from invprob.io.summary import ScanSummary as ScanSummary
from invprob.io.summary import scan_summary as scan_summary
