"""All statistics of runs: numbers in, numbers out, without files, tables or plots.

Over seeds: ``distribution``, ``target``, ``prediction``; between recipes: ``comparison``, ``best``,
``margin``, ``superiority``, ``bad_seeds``, ``power``, ``fisher``, ``mcnemar``, ``permutation``; where n is
not fixed in advance: ``looks``, ``anytime``; of the networks' outputs: ``classification``, ``ensemble``,
``variance``, ``noise``; of maps: ``rank_correlation``. docs/statistics.md has the reasons and simulations.
"""
