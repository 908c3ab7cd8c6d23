"""Every figure from committed records, in every format; what is missing or old names the command that makes it."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from paper_figures import committed, make_all
from paper_figures.captions import Caption, latex, macro, write_captions
from paper_figures.committed import Records

ROOT = Path(__file__).resolve().parents[2]


def run_main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_all", *arguments])
    return make_all.main()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """All figures and captions, from a process that may not have loaded torch at its end."""
    out = tmp_path_factory.mktemp("figures")
    script = (
        "import sys; from paper_figures.make_all import main\n"
        f"sys.argv = ['make_all', '--captions', '--out', {str(out)!r}]\n"
        "assert main() == 0\n"
        "assert 'torch' not in sys.modules, 'figures need no torch'\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    return out


def test_every_figure_is_redrawn_from_committed_records_without_torch(drawn: Path) -> None:
    for name in make_all.FIGURES:
        assert (drawn / f"{name}.png").stat().st_size > 20_000
        pdf = (drawn / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf.replace(b" ", b"")  # outlines cannot be edited, type 42 can
        assert b"/Type0" in pdf.replace(b" ", b"")


def test_captions_are_macros_whose_numbers_are_all_defined(drawn: Path) -> None:
    text = (drawn / "captions.tex").read_text(encoding="utf-8")
    defined = re.findall(r"^\\newcommand\{(\\[A-Za-z]+)\}", text, re.M)
    assert len(defined) == len(set(defined))
    assert {macro(name, "caption") for name in make_all.FIGURES} <= set(defined)
    bodies = re.findall(r"^\\newcommand\{\\[A-Za-z]+\}\{(.*)\}$", text, re.M)
    known = {
        *defined,
        r"\textbackslash",
        r"\rho",
        r"\surd",
        r"\lambda",
        r"\eta",
        r"\times",
        r"\to",
        r"\pm",
        r"\le",
    }
    for body in bodies:
        assert body.count("{") == body.count("}")
        assert body.isascii(), (
            f"a letter that LaTeX may not know: {set(filter(lambda c: ord(c) > 127, body))}"
        )
        assert set(re.findall(r"\\[A-Za-z]+", body)) <= known
        assert not re.search(r"(?<!\\)[%&#_]", body)
    assert r"\newcommand{\SourceLinesSlopeOfStockOnVTwo}{0.63 [0.59, 0.67]}" in text


def test_an_svg_keeps_its_text_and_its_bytes(monkeypatch, tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert (
            run_main(monkeypatch, "--only", "many_sources", "--format", "svg", "--out", str(tmp_path / out))
            == 0
        )
    text = (tmp_path / "a" / "many_sources.svg").read_text(encoding="utf-8")
    assert re.search(r"<text[^>]*>\s*between the sources", text)
    assert text == (tmp_path / "b" / "many_sources.svg").read_text(encoding="utf-8")


def test_a_missing_record_names_the_command_that_makes_it(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(committed, "RECORDS", tmp_path)
    assert run_main(monkeypatch, "--only", "dilution", "--out", str(tmp_path / "out")) == 2
    assert re.search(
        r"mixing\.csv.*missing; make it with: python experiments/dilution_sim\.py", capsys.readouterr().err
    )
    assert run_main(monkeypatch, "--only", "testbed", "--out", str(tmp_path / "out")) == 2
    assert "world_images.png" in capsys.readouterr().err


def test_a_figure_of_tables_that_a_study_lacks_waits_with_the_command(
    monkeypatch, tmp_path: Path, capsys
) -> None:
    """The other figures are drawn; the one asked for by name is an error."""
    records = Records("gpu_study")
    records["diagnosis"].to_csv(tmp_path / "diagnosis.csv", index=False)
    (tmp_path / "provenance.json").write_text("{}")
    study = ("--records", f"gpu_study={tmp_path}", "--format", "svg", "--out", str(tmp_path / "out"))
    monkeypatch.setattr(make_all, "FIGURES", ("designed", "diagnosis"))
    assert run_main(monkeypatch, *study) == 0
    found = capsys.readouterr()
    assert "diagnosis.svg" in found.out
    assert re.search(
        r"waiting: designed: .*has no designed\.csv; make it with: python experiments/", found.err
    )
    assert not (tmp_path / "out" / "designed.svg").exists()
    assert run_main(monkeypatch, "--only", "designed", *study) == 2
    assert re.search(r"designed\.csv.*missing; make it with", capsys.readouterr().err)


def test_designs_of_one_source_count_for_ranks_but_not_for_predictions() -> None:
    records = Records("gpu_study")
    table, numbers = records["designed"], make_all.module_of("designed").caption(records).numbers
    mixed = table[table["sources"].str.contains(":")]
    assert int(numbers["one source"]) == len(table) - len(mixed)
    assert int(numbers["trained"]) == int(numbers["judged"]) == len(mixed)
    assert int(numbers["first"]) == (table["rank"] == 1).sum()
    assert float(numbers["bias"]) == pytest.approx(
        (mixed["dprime_measured"] - mixed["dprime_predicted"]).mean(), abs=6e-4
    )


def test_a_record_older_than_the_figure_names_what_it_lacks_and_the_command(
    monkeypatch, tmp_path: Path, capsys
) -> None:
    for name in ("accuracies", "trends", "predictions"):
        table = Records("clip_mixtures")[name]
        table.drop(columns="ratio_measured", errors="ignore").to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "provenance.json").write_text("{}")
    chosen = ("--only", "predictions_vs_measurements", "--records", f"clip_mixtures={tmp_path}")
    assert run_main(monkeypatch, *chosen, "--out", str(tmp_path / "out")) == 2
    message = capsys.readouterr().err
    assert "ratio_measured" in message
    assert f"make it again with: python experiments/clip_mixtures.py --out {tmp_path}" in message


def test_figures_say_what_a_study_has_not_measured(monkeypatch, tmp_path: Path, capsys) -> None:
    records = Records("clip_mixtures")
    accuracies = records["accuracies"]
    accuracies[accuracies["kind"] != "filtered"].to_csv(tmp_path / "accuracies.csv", index=False)
    records["trends"].to_csv(tmp_path / "trends.csv", index=False)
    (tmp_path / "provenance.json").write_text("{}")
    chosen = ("--only", "filtering_measured", "--records", f"clip_mixtures={tmp_path}", "--format", "png")
    assert run_main(monkeypatch, *chosen, "--out", str(tmp_path / "out")) == 0
    assert "no filtered pools" in capsys.readouterr().err


@pytest.mark.slow
def test_all_figures_asked_for_are_drawn_when_the_reader_of_their_paths_leaves(tmp_path: Path) -> None:
    """`make_all.py | head -1`, with the workers that draw many figures."""
    names = ("dilution", "escape", "wrong_line", "break_even", "learners", "best_mixture", "testbed", "pairs")
    words = ["--only", *names, "--format", "png", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "paper_figures" / "make_all.py"), *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().decode() == f"{tmp_path / 'dilution.png'}\n"
    process.stdout.close()
    assert "Error" not in process.communicate()[1].decode()
    assert process.returncode == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == set(names)


def test_unknown_figures_and_folders_are_named(monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, "--only", "moon") == 2
    assert "no figure 'moon'" in capsys.readouterr().err
    assert run_main(monkeypatch, "--records", "clip_mixtures") == 2
    assert "write --records NAME=FOLDER" in capsys.readouterr().err


def test_macros_are_letters_and_captions_are_escaped(tmp_path: Path) -> None:
    assert macro("first_pair", "rms on v2") == r"\FirstPairRmsOnVTwo"
    assert latex("95% of d′_x") == r"95\% of d$'$\_x"
    caption = Caption("{a b}% are inside", {"a b": "50"})
    assert caption.plain() == "50% are inside"
    path = write_captions(tmp_path / "c.tex", {"one": (caption, "records x")})
    assert r"\newcommand{\OneCaption}{\OneAB{}\% are inside}" in path.read_text()
    with pytest.raises(ValueError, match="same macro"):
        write_captions(tmp_path / "c.tex", {"one": (Caption("", {"a b": "1", "a_b": "2"}), "x")})
    with pytest.raises(KeyError):
        Caption("{absent}").plain()


def test_captions_tell_the_numbers_of_the_records() -> None:
    records = Records("clip_mixtures")
    caption = make_all.module_of("predictions_vs_measurements").caption(records)
    scores: pd.DataFrame = records["scores"].set_index(["rule", "shift"])
    assert caption.numbers["rms mediant"].startswith(f"{scores.loc[('mediant', 'all shifts'), 'rms']:.3f}")
    once = records["predictions"].drop_duplicates(["sources", "n_train", "shift"])
    assert caption.numbers["inside"] == str(int((once["inside_range"] == "yes").sum()))
