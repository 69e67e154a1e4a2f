"""The study file: its schema, how it is loaded, and the variants that grids and draws write."""
