"""The images that runs were made from, for figures and measures that look at them."""

from __future__ import annotations

from collections.abc import Callable

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.data.arrays import Data
from harness.errors import DataError
from harness.store.sealed import canonical
from harness.study_file.config import Recipe

LoadData = Callable[[Recipe], Data]


class RunImages:
    """Gives the images that a run was trained and evaluated on; variants with the same data share them.

    Args:
        load_data: the images of a recipe, with the hold-out of a run; None where there are none to show.
    """

    def __init__(self, results: Results, load_data: LoadData | None) -> None:
        self.results, self.load_data = results, load_data
        self.last: tuple[str, Data] | None = None

    def __call__(self, run: Run) -> Data:
        """Return the images of a finished run.

        Raises:
            DataError: they cannot be loaded, or are not the images of the run.
        """
        recipe = self.results.study.recipes.get(run.variant)
        if self.load_data is None:
            raise DataError("the report was made without the data")
        if recipe is None:
            raise DataError("the study has no such variant any more")
        recipe = recipe.of_run(run.seed)
        key = canonical([recipe.draw, recipe.data.model_dump(mode="json")])
        if self.last is None or self.last[0] != key:
            self.last = key, self.load_data(recipe)
        data = self.last[1]
        if data.sha256 != run.data["sha256"]:
            raise DataError("the data is not what the run was made from (its checksum differs)")
        return data
