"""Sphinx's configuration: the site is built from the Markdown here and from the package's docstrings."""

from catdog_pl import __version__

project = "catdog_pl"
author = "The catdog_pl developers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
myst_heading_anchors = 3  # links to headings, as GitHub makes them

default_role = "code"  # `name` in a docstring is code
autodoc_inherit_docstrings = False  # Lightning documents its own
autodoc_typehints = "signature"
linkcheck_timeout = 20
