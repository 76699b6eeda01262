"""The documentation site: `make docs` builds it, without a network, into docs/_build/html."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "site")]  # this invprob, and the two modules of the site

project = "invprob"
author = "the authors of invprob"
project_copyright = author
version = release = version_of("invprob")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_gallery.gen_gallery", "docstrings"]
exclude_patterns = ["_build"]

# --- pages ---

myst_heading_anchors = 3  # pages link to headings of others
default_role = "code"

# --- reference: from the docstrings, which are no reStructuredText (see site/docstrings.py) ---

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}  # said by name, not as what they stand for
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
html_show_sourcelink = False
html_domain_indices = False

# --- gallery: every example is shown; those that take seconds are run ---

RUN = (
    "ct_tv",
    "deblur_levin",
    "lensless",
    "lpn_ct",
    "lpn_laplace",
    "mri_cartesian",
    "own_operator",
    "pnp_own_denoiser",
    "radar_turntable",
)
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": "/(" + "|".join(RUN) + r")\.py$",
    "image_scrapers": ("pictures.drawn",),
    "default_thumb_file": str(HERE / "pictures" / "script.png"),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 3600,  # seconds say nothing of another machine
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
    "capture_repr": (),
}

# --- looks: nothing from elsewhere ---

html_theme = "furo"
html_title = "invprob"
html_static_path = ["static"]
html_css_files = ["site.css"]
templates_path: list[str] = []
