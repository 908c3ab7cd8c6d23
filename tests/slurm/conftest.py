"""The cluster that the tests of a module share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster import CannotStart, LocalCluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    cluster = LocalCluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
    except CannotStart as error:
        pytest.fail(f"SLURM cannot run here: {error}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment().items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        yield cluster
    cluster.stop()
