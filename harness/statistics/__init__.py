"""All statistics of runs: numbers in, numbers out, without files, tables or plots.

Over seeds: ``distribution``, ``target``, ``prediction``; between recipes: ``comparison``, ``power``,
``fisher``, ``mcnemar``, ``games_howell``, ``permutation``; of the networks' outputs: ``classification``,
``ensemble``, ``variance``, ``noise``; of maps: ``rank_correlation``. docs/statistics.md has the
reasons for each, and simulations.
"""
