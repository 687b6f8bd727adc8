"""How Sphinx makes the site. `python tools/build_site.py` lays the sources out first, and checks every link afterwards."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import house  # noqa: E402

from albert_np.version import __version__  # noqa: E402

linkcode_resolve = house.linkcode_resolve
project = "albert_np"
copyright = "the authors of albert_np, Apache-2.0"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "sphinx_copybutton", "house"]

root_doc = "docs/README"
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = []
smartquotes = False  # a quote in a docstring is code
nb_execution_mode = "off"  # outputs as they are stored: tests run the notebooks
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "albert_np"
html_baseurl = ""
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # which a page that was opened as a file may not fetch
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_prompt_text = "$ "  # a line of a console is copied without it, and what the command prints is left out

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
# -n finds names of ours that lead nowhere in what is written. Types in signatures have no page here: NumPy's and Python's own,
# whose indices are on the network, and those that are ours and not public
nitpick_ignore_regex = [("py:class", r".*")]
