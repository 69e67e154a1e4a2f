"""Grad-CAM maps of one network, and tests of how reliable they are."""
