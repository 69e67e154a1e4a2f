"""Numbers in, numbers out: everything that is computed of runs; knows no files, no tables and no plots.

Over seeds: ``distribution``, ``target``, ``prediction``; between recipes: ``comparison``, ``fisher``,
``mcnemar``, ``games_howell``, ``permutation``; of the networks' outputs: ``classification``, ``ensemble``,
``variance``; of maps: ``rank_correlation``. docs/statistics.md says why each is used and how it did in
simulations.
"""
