"""How the documentation is built: sphinx-build -W --keep-going -b html docs docs/_build/html."""

import os
import re
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
suppress_warnings = ["sphinx_gallery.duplicate_filename"]  # it finds its own output inside the gallery's folder
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a dataclass would else be there twice

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


ARRAY = re.compile(r"~?(numpy\.)?ndarray\[tuple\[~?(typing\.)?Any, \.\.\.\], ~?(numpy\.)?dtype\[~?(typing\.)?Any\]\]")


def shorten(app, what, name, obj, options, signature, returned):  # noqa: ANN001, ANN201
    """Write Array for numpy's long name of it; leave out constructors, since functions make the objects."""
    if what == "class":
        return "", ""
    return tuple(text and ARRAY.sub("Array", text) for text in (signature, returned))


def keep_colons(app, what, name, obj, options, lines):  # noqa: ANN001, ANN201
    """Keep napoleon from reading "size: of what" as a type."""
    if what in ("property", "attribute"):
        lines[:] = [line.replace(": ", "; ") for line in lines]


def setup(app):  # noqa: ANN001, ANN201
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", keep_colons, priority=100)
