"""Grad-CAM maps of one network, and the tests of how far they can be believed."""
