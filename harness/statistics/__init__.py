"""All statistics of runs: numbers in, numbers out, without files, tables or plots.

Over seeds: ``distribution``, ``target``, ``prediction``, ``bad_seeds``; between recipes: ``comparison``,
``best``, ``margin``, ``superiority``, ``power``, ``fisher``, ``mcnemar``, ``permutation``; where n is
not fixed in advance: ``looks``, ``anytime``; of the networks' outputs: ``classification``, ``ensemble``,
``variance``, ``noise``; of runs that share levels or images: ``anova``, ``components``, ``corrected``; of
maps: ``rank_correlation``. docs/statistics.md and docs/variance.md have the reasons and simulations.
"""
