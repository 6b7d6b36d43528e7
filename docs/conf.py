"""Sphinx's configuration: the site is built from the Markdown here and from the package's docstrings."""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

from catdog_pl import __version__

# Sphinx reads its own folder alone; on GitHub and for a class, the notebooks have a place of their own.
HERE = Path(__file__).parent
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "notebooks",
    ignore=lambda _, names: [name for name in names if not name.endswith(".ipynb")],
    dirs_exist_ok=True,
)

project = "catdog_pl"
author = "The catdog_pl developers"
release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
nb_execution_mode = "off"  # they hold their outputs, so that the site needs neither torch nor minutes
myst_heading_anchors = 3  # links to headings, as GitHub makes them

default_role = "code"  # `name` in a docstring is code
autodoc_inherit_docstrings = False  # Lightning documents its own
autodoc_typehints = "signature"
linkcheck_timeout = 20


def setup(app: Sphinx) -> None:
    """Lead links to the notebooks, which are those of GitHub, to their pages of the site."""

    def lead(app: Sphinx, name: str, source: list[str]) -> None:
        source[0] = source[0].replace("](../notebooks/", "](notebooks/")

    app.connect("source-read", lead)
