"""How the documentation is built: sphinx-build -W --keep-going -b html docs docs/_build/html."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import generate  # noqa: E402

import gradscope  # noqa: E402

generate.write_all(DOCS / "reference" / "generated")

project = "gradscope"
author = "gradscope maintainers"
copyright = author  # noqa: A001  Sphinx reads this name
release = version = gradscope.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "gallery/README.rst"]
myst_enable_extensions = ["deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # sphinx-gallery's sort key is a class, which Sphinx cannot store
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "inherited-members": False}
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "gallery/generated",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"generated|__init__",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "plot_gallery": True,
    "abort_on_example_error": True,
}

html_theme = "furo"
html_title = f"gradscope {release}"
html_static_path = ["_static"]
html_css_files = ["gradscope.css"]
html_copy_source = False
html_show_sphinx = False
