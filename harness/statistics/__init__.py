"""All statistics of runs: numbers in, numbers out, without files, tables or plots.

Over seeds: ``distribution``, ``bad_seeds``, ``target``, ``prediction``; between recipes: ``comparison``,
``margin``, ``superiority``, ``best``, ``power``, ``fisher``, ``mcnemar``, ``permutation``; of the networks'
outputs: ``classification``, ``ensemble``, ``variance``; of maps: ``rank_correlation``. docs/statistics.md has
the reasons for each, and simulations.
"""
