import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import dilution_sim
from experiments.dilution_sim import Arguments, check, run
from theory.panels.dilution import DilutionOptions
from theory.panels.filtering import FilteringOptions
from theory.panels.registry import PANEL_NAMES, build_panels
from theory.trial_statistics import agreement

SMALL = {
    "panel": ("dilution", "filtering"),
    "dilution": DilutionOptions(
        num_features=30,
        sizes=(40, 400, 10**4, 10**6, 10**9),
        num_trials=4000,
        num_brute_force_trials=300,
        bias_features=(8, 32, 128),
        num_bias_trials=8000,
    ),
    "filtering": FilteringOptions(
        filter_features=30, pool_size=500, kept_shares=(1.0, 0.6, 0.3, 0.1), num_pools=300
    ),
    "quiet": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("dilution")
    run(Arguments(out=out, **SMALL))
    return out


def test_writes_every_file_it_promises(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["mixing.csv", "filtering.csv", "finite_d_bias.csv", "provenance.json"]
        + [f"{name}.{kind}" for name in ("dilution", "filtering") for kind in ("png", "pdf")]
    )


def test_mixing_covers_what_it_should(folder):
    table = pd.read_csv(folder / "mixing.csv")
    shares = np.sort(table["share"].unique())
    assert shares[0] == 0
    assert shares[-1] == 1
    assert np.diff(shares).max() <= 0.1 + 1e-9
    reduced = table[table["sampler"] == "reduced"]
    assert reduced["n"].nunique() >= 5
    assert reduced["n"].max() >= 1e9
    assert table[table["sampler"] == "brute_force"]["n"].nunique() >= 2
    assert table["shift"].nunique() >= 2
    assert (table["slope_stderr"] <= 0.01).mean() >= 0.9


def test_ninety_nine_percent_of_rows_agree_within_four_standard_errors(folder):
    rows = pd.concat([agreement(pd.read_csv(folder / f"{name}.csv")) for name in ("mixing", "filtering")])
    assert rows.mean() >= 0.99


def test_filters_better_and_worse_than_the_pool(folder):
    table = pd.read_csv(folder / "filtering.csv")
    for _, rows in table.groupby("shift"):
        pool = rows.loc[np.isneginf(rows["threshold"]), "slope_predicted"].iloc[0]
        assert rows["filter_slope"].min() < pool < rows["filter_slope"].max()
        assert rows["kept_predicted"].max() == pytest.approx(1)


def test_provenance_names_config_seed_versions_device_and_time(folder):
    record = json.loads((folder / "provenance.json").read_text())
    assert record["seed"] == 0
    assert record["config"]["dilution"]["sizes"] == list(SMALL["dilution"].sizes)
    assert record["versions"]["jax"]
    assert record["device"] == "cpu"
    assert record["seconds"] > 0


def test_same_seed_same_tables(tmp_path, folder):
    again = run(Arguments(out=tmp_path / "again", **SMALL))
    for name, table in again.items():
        pd.testing.assert_frame_equal(
            table, pd.read_csv(folder / f"{name}.csv"), check_dtype=False, rtol=1e-12
        )


def test_a_panel_alone_gives_the_same_numbers(tmp_path, folder):
    table = run(Arguments(out=tmp_path / "one", **{**SMALL, "panel": ("filtering",)}))
    assert list(table) == ["filtering"]
    expected = pd.read_csv(folder / "filtering.csv")
    pd.testing.assert_frame_equal(table["filtering"], expected, check_dtype=False, rtol=1e-12)


def test_every_panel_says_what_it_asks_and_writes():
    panels = build_panels()
    assert tuple(panels) == PANEL_NAMES
    for panel in panels.values():
        assert panel.question.endswith("?")
        assert panel.num_steps >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panel": ("moon",)}, "no panel 'moon'; there are: dilution"),
        ({"dilution": DilutionOptions(num_shares=2)}, "--num-shares"),
        ({"dilution": DilutionOptions(num_trials=1)}, "--num-trials"),
        ({"dilution": DilutionOptions(num_features=7)}, "--num-features"),
        ({"dilution": DilutionOptions(sizes=(0,))}, "at least 1"),
        ({"dilution": DilutionOptions(sizes=())}, "--sizes"),
        ({"dilution": DilutionOptions(brute_force_sizes=(45,))}, "multiple of 10"),
        ({"filtering": FilteringOptions(num_pools=1)}, "--num-pools"),
        ({"filtering": FilteringOptions(kept_shares=(0.001,))}, "--kept-shares"),
        ({"filtering": FilteringOptions(kept_shares=(1.5,))}, "--kept-shares"),
    ],
)
def test_bad_arguments_are_named_before_any_time_is_spent(change, message):
    with pytest.raises(ValueError, match=message):
        check(Arguments(**change))


def test_help_explains_every_argument():
    script = Path(dilution_sim.__file__)
    result = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    for field in (
        "--out",
        "--seed",
        "--quiet",
        "--sizes",
        "--brute-force-sizes",
        "--kept-shares",
        "--num-pools",
    ):
        assert field in result.stdout
    assert "mixing turns the line" in result.stdout


def test_ctrl_c_does_not_wait_for_the_panels_at_work(tmp_path):
    """As a terminal sends it, to the whole process group; these panels would take many minutes."""
    many = ("--num-trials", "5000000", "--num-pools", "1000000", "--out", str(tmp_path / "out"))
    process = subprocess.Popen(
        [sys.executable, dilution_sim.__file__, "--panel", "dilution", "filtering", *many],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while len(children.read_text().split()) < 3 and time.monotonic() < deadline:  # two workers and a tracker
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert (process.returncode, told) == (130, f"\nstopped; finished panels are in {tmp_path / 'out'}\n")


def test_errors_on_the_command_line_are_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["dilution_sim.py", "--num-shares", "2", "--out", str(tmp_path / "none")]
    )
    assert dilution_sim.main() == 2
    assert capsys.readouterr().err.startswith("error: --num-shares")
    assert not (tmp_path / "none").exists()
