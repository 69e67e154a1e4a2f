"""The documentation's build: ``tox -e docs``, warnings are errors."""

import harness

project = "ignite-harness"
author = "the ignite-harness developers"
version = release = harness.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # the tests execute the notebook
myst_heading_anchors = 3
autodoc_typehints = "description"
html_theme = "furo"
html_title = f"ignite-harness {version}"
