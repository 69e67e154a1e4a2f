"""The study file: its schema, its loading, and the variants made by grids and draws."""
