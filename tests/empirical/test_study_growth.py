"""The measurement of what a run costs as its study grows: it runs, and its table is whole. Its times are no test's."""

from pathlib import Path

import numpy as np
import pytest

from empirical.benchmarks.study_growth import COLUMNS, growth_table


@pytest.mark.slow
def test_growth_is_measured_on_real_studies(tmp_path: Path) -> None:
    said: list[str] = []
    table = growth_table(tmp_path, seeds=(1, 2, 3), say=said.append)
    assert list(table.columns) == list(COLUMNS)
    assert table["name"].iloc[0] == "a run, in a study that grows from 18 to 27"
    assert table["peer"].iloc[0] == "from 9 to 18"
    assert len(said) == 3
    assert (table[["ours_seconds", "peer_seconds"]].iloc[1:] > 0).all(axis=None)
    np.testing.assert_allclose(table["ratio"], table["peer_seconds"] / table["ours_seconds"])
    assert len(list((tmp_path / "3_seeds" / "records").glob("[!.]*.json"))) == 27
