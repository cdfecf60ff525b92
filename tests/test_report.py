"""The report's tables: the paper's six rows, both measures of size, what must not be compared, every format."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from evaluation_fixtures import REFERENCES, SOURCES, spoil, write_run
from typer.testing import CliRunner

from iwsltpack.artifact.sizes import measure
from iwsltpack.cli import report as report_command
from iwsltpack.cli.common import with_options
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.errors import InputError, UsageError
from iwsltpack.report.render import to_csv, to_json, to_latex, to_markdown, to_text
from iwsltpack.report.report import collect, write_report
from iwsltpack.report.systems import System, SystemScore, SystemSize, gather, published
from iwsltpack.report.table import ReportTable, make_tables
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import digest, read_hypotheses
from iwsltpack.system import fileio

GIB = 2**30
IWSLTPACK = Path(sys.executable).with_name("iwsltpack")
REFS = References(name="ref", lines=tuple(REFERENCES), sources=tuple(SOURCES))


@pytest.fixture(scope="module")
def paper() -> ReportTable:
    (table,) = make_tables(published("palomino2026"))
    return table


def scored(folder: Path, *, clean: bool = False, references: References = REFS) -> Path:
    """Write a run's scores beside it."""
    result = score(read_hypotheses(folder), references, clean=clean, cache=ScoreCache(None))
    fileio.write_json(folder / ("score.cleaned.json" if clean else "score.json"), result.to_json())
    return folder


def test_the_papers_frontier_is_found(paper: ReportTable) -> None:
    assert [(row.system.setting, row.status) for row in paper.rows] == [
        ("fp16", "frontier"),
        ("int8", "dominated"),
        ("q3 + zstd-3", "frontier"),
        ("q2 + zstd", "frontier"),
        ("q2 + zstd", "frontier"),
        ("prune + q2", "dominated"),
    ]
    beaten = {row.system.name: row.dominated_by for row in paper.rows if row.dominated_by}
    assert beaten == {
        "BitsAndBytes Int8": ("Selected-layer codec (q2 + zstd)",),
        "Sel.-layer pruning + codec": ("Global codec (q2 + zstd)",),
    }


def test_the_papers_differences_ratios_and_sizes_are_reproduced(paper: ReportTable) -> None:
    deltas = [0, -0.003971, -0.002473, -0.002798, -0.038071, -0.192048]
    ratios = [1.000, 1.733, 1.400, 1.714, 3.979, 1.800]
    sizes = [14.436, 9.026, 10.312, 8.422, 3.628, 8.020]
    for row, delta, ratio, size in zip(paper.rows, deltas, ratios, sizes, strict=True):
        assert row.delta == pytest.approx(delta, abs=1.5e-6)  # published from more digits than were printed
        assert row.ratio is not None
        assert row.size is not None
        assert round(row.ratio, 3) == ratio
        assert round(row.size.bytes / GIB, 3) == size


def test_the_papers_int8_is_said_to_be_sized_by_another_measure(paper: ReportTable) -> None:
    odd = [row.system.name for row in paper.rows if not row.like]
    assert odd == ["BitsAndBytes Int8"]
    assert paper.measure == "linear"
    (warning,) = (text for text in paper.warnings if "another measure" in text)
    assert warning.startswith(
        "BitsAndBytes Int8 (int8) is sized by another measure than its siblings: whole folder"
    )
    assert "does not compare like with like" in warning


def test_by_the_organisers_measure_the_papers_int8_is_on_the_frontier(paper: ReportTable) -> None:
    assert paper.frontiers["whole"][0] == "BitsAndBytes Int8 (int8)"
    (by_whole,) = make_tables(published("palomino2026"), measure="whole")
    statuses = {row.system.name: (row.status, row.like) for row in by_whole.rows}
    assert statuses["BitsAndBytes Int8"] == ("frontier", True)
    assert statuses["Global codec"][1] is False


def test_the_best_of_each_column_is_the_papers(paper: ReportTable) -> None:
    best = {column: sorted(rows) for column, rows in paper.best.items()}
    assert best["comet"] == [0]
    assert best["seconds_per_item"] == [0]
    assert best["ratio"] == best["linear"] == [4]


def test_markdown_shows_both_measures_and_marks_the_odd_one(paper: ReportTable) -> None:
    text = to_markdown([paper])
    line = next(line for line in text.splitlines() if line.startswith("| BitsAndBytes"))
    assert line == (
        "| BitsAndBytes Int8 | int8 | 0.775192 | -0.003971 | 2.538633 | 1.733† | **9.026** | – | dominated† |"
    )
    assert "| Whole folder [GiB] | Linear layers [GiB] |" in text
    assert "GiB = 2^30 bytes" in text


def test_csv_has_exact_bytes_and_signatures(paper: ReportTable) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([paper]))))
    assert rows[2]["linear_layers_bytes"] == "11072301600"
    assert rows[1]["whole_folder_bytes"] == "9691487261"
    assert rows[1]["ratio_measure"] == "whole"
    assert rows[0]["comet_signature"].startswith("COMET|ckpt:Unbabel/wmt22-comet-da")


def test_latex_is_balanced_and_escaped(paper: ReportTable) -> None:
    row = paper.rows[0]
    nasty = replace(row, system=replace(row.system, name="50 % of_$x$ & {y} \\input{z}^2~#"))
    text = to_latex([replace(paper, rows=(nasty, *paper.rows[1:]))])
    assert (
        r"50 \% of\_\$x\$ \& \{y\} \textbackslash{}input\{z\}\textasciicircum{}2\textasciitilde{}\#" in text
    )
    assert text.count("\\begin{") == text.count("\\end{")
    assert r"\textbf{0.779163}" in text
    columns = len(re.search(r"\\begin{tabular}{(\w+)}", text)[1])  # type: ignore[index]
    body = text.split("\\midrule")[1].split("\\bottomrule")[0]
    assert all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in body.strip().splitlines())


def test_json_tells_every_size_its_measure_and_exactness(paper: ReportTable) -> None:
    data = to_json([paper])["tables"][0]
    assert data["rows"][3]["sizes"]["whole"] == {
        "bytes": 11475078873,
        "exact": False,
        "gib": 11475078873 / GIB,
    }
    assert data["rows"][1]["placed_by"] == "whole"
    assert json.loads(to_text([paper], "json"))["tables"][0] == data


def test_an_unknown_format_lists_the_known(paper: ReportTable) -> None:
    with pytest.raises(UsageError, match="unknown format 'html'"):
        to_text([paper], "html")


def test_names_cannot_break_markdown_or_run_in_a_spreadsheet() -> None:
    system = System(name='=HYPERLINK("x")', setting="a|b\n**c** <b>", test_set="t", pair="en-zh")
    tables = make_tables([system])
    assert "a\\|b \\*\\*c\\*\\* &lt;b>" in to_markdown(tables)
    (row,) = csv.DictReader(io.StringIO(to_csv(tables)))
    assert row["method"].startswith("'=")


def system(name: str, value: float, size: int, **fields: object) -> System:
    scores = {"chrf": SystemScore(score=value, signature="s", comparable=str(fields.pop("comparable", "c")))}
    return System(
        name=name,
        setting="",
        test_set="t",
        pair="p",
        scores=scores,
        sizes={"whole": SystemSize(bytes=size)},
        **fields,
    )  # type: ignore[arg-type]


def test_scores_of_another_signature_are_shown_but_not_compared() -> None:
    (table,) = make_tables(
        [system("a", 50, 5, baseline=True), system("b", 99, 1, comparable="other"), system("c", 40, 3)]
    )
    rows = {row.system.name: row for row in table.rows}
    assert rows["b"].status == "not placed"
    assert rows["b"].delta is None
    assert rows["c"].status == "frontier"
    assert table.best["chrf"] == frozenset({0})
    assert any("chrF of b has another signature" in text for text in table.warnings)
    assert "99.00" in to_markdown([table])


def test_a_comet_by_another_checkpoint_is_named_with_it() -> None:
    def by(checkpoint: str) -> str:
        entry = SystemScore(score=0.9, signature="s", comparable="c", checkpoint=checkpoint)
        (table,) = make_tables(
            [System(name="a", setting="", test_set="t", pair="p", scores={"comet": entry})]
        )
        return to_markdown([table]).splitlines()[2]

    assert "| COMET |" in by("Unbabel/wmt22-comet-da")
    assert "| COMET (tiny-comet) |" in by("tiny-comet")


def test_without_a_baseline_there_are_no_differences_and_it_is_said() -> None:
    (table,) = make_tables([system("a", 50, 5), system("b", 40, 3)])
    assert all(row.delta is None for row in table.rows)
    assert any("No baseline" in text for text in table.warnings)
    (table,) = make_tables([system("a", 50, 5), system("b", 40, 3)], baseline="a")
    assert [row.delta for row in table.rows] == [0, -10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "ter"}, "unknown metric"),
        ({"measure": "zip"}, "unknown measure"),
        ({"baseline": "z"}, "no system 'z'"),
    ],
)
def test_unknown_choices_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_tables([system("a", 50, 5)], **options)  # type: ignore[arg-type]


def test_each_test_set_has_a_table_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        scored(write_run(tmp_path / name, REFERENCES, test_set=name))
    tables = make_tables(gather([tmp_path]))
    assert [table.test_set for table in tables] == ["one", "two"]


def test_raw_and_cleaned_scores_of_a_run_are_rows_of_their_own(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["这段英语的中文翻译是：" + line for line in REFERENCES])
    scored(run)
    scored(run, clean=True)
    (table,) = make_tables(gather([run]))
    raw, cleaned = table.rows
    assert (raw.system.setting, cleaned.system.setting) == ("zstd, load", "zstd, load, cleaned")
    assert cleaned.compared["chrf"] > raw.compared["chrf"]
    assert raw.status == "dominated"


def test_runs_that_look_the_same_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        scored(write_run(tmp_path / name, REFERENCES))
    assert [found.setting for found in gather([tmp_path])] == ["zstd, load, first", "zstd, load, second"]


def test_sizes_come_from_the_artifact_by_both_measures(
    tmp_path: Path, built: Callable[[str, str], Path]
) -> None:
    artifact = built("selected-q3", "zstd")
    run = write_run(tmp_path / "run", REFERENCES, artifact=read_manifest(artifact).sha256, size=12345)
    (known,) = gather([scored(run), artifact])
    sizes = measure(artifact)
    assert known.sizes["whole"].bytes == sizes.total_bytes
    assert known.sizes["linear"].bytes == sizes.linear_bytes
    assert sum((known.components or {}).values()) == sizes.total_bytes
    (alone,) = gather([run])
    assert alone.sizes == {"whole": SystemSize(bytes=12345)}


def test_an_artifact_without_a_run_is_listed_with_its_size(built: Callable[[str, str], Path]) -> None:
    (table,) = make_tables(gather([built("selected-q3", "zstd")]))
    assert table.title == "Artifacts without a run"
    assert table.rows[0].status == "not placed"
    assert "[MiB]" in to_markdown([table])


def test_scores_of_another_run_are_refused(tmp_path: Path) -> None:
    one = scored(write_run(tmp_path / "one", REFERENCES))
    two = write_run(tmp_path / "two", spoil(REFERENCES, 0.3, 1))
    (two / "score.json").write_bytes((one / "score.json").read_bytes())
    with pytest.raises(InputError, match="not of the run they lie beside") as caught:
        gather([two])
    assert "score it again" in str(caught.value)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("recorded", [True, False])
def test_scores_of_what_the_run_was_before_are_refused(tmp_path: Path, clean: bool, recorded: bool) -> None:
    run = scored(write_run(tmp_path / "run", REFERENCES), clean=clean)
    path = run / ("score.cleaned.json" if clean else "score.json")
    if not recorded:  # as documents were before the run's output was part of them
        document = json.loads(path.read_text(encoding="utf-8"))
        del document["run"]["output_sha256"]
        path.write_text(json.dumps(document), encoding="utf-8")
    assert gather([run])[0].cleaned == clean
    other = path.rename(run / ("score.json" if clean else "score.cleaned.json"))
    with pytest.raises(InputError, match="not of the run they lie beside"):
        gather([run])
    other.rename(path)
    write_run(run, spoil(REFERENCES, 0.5, 1))
    for place in (run, path):
        with pytest.raises(InputError, match="not of the run they lie beside"):
            gather([place])


def test_a_cleaned_score_by_rules_of_another_version_is_still_the_runs(tmp_path: Path) -> None:
    run = scored(write_run(tmp_path / "run", REFERENCES), clean=True)
    path = run / "score.cleaned.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["hypotheses"]["sha256"] = "0" * 64
    path.write_text(json.dumps(document), encoding="utf-8")
    assert gather([run])[0].cleaned


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "nothing to report on"), ("none", "no such file or folder")]
)
def test_paths_with_nothing_to_report_on_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        gather([tmp_path / name])


def test_scores_of_a_plain_text_are_a_row_and_their_text_is_found_beside_them(tmp_path: Path) -> None:
    text = tmp_path / "tst.en-zh.txt"
    fileio.write_lines(text, REFERENCES)
    result = score(read_hypotheses(text), REFS, cache=ScoreCache(None))
    fileio.write_json(tmp_path / "mine.json", result.to_json())
    (known,) = gather([tmp_path / "mine.json"])
    assert known.name == "mine"
    assert known.hypotheses is not None
    fileio.write_lines(text, REFERENCES[::-1])
    (unknown,) = gather([tmp_path / "mine.json"])
    assert unknown.hypotheses is None


def test_other_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": "something"}')
    with pytest.raises(InputError, match="neither scores nor results"):
        gather([tmp_path / "x.json"])
    with pytest.raises(UsageError, match="nothing to report on"):
        collect([])
    with pytest.raises(UsageError, match="palomino2026"):
        published("palomino2025")


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the optional extra iwsltpack[report] is not installed")
    runs = [
        scored(write_run(tmp_path / "runs" / recipe, spoil(REFERENCES, share, 1), recipe=recipe, size=size))
        for recipe, share, size in (("fp16", 0.1, 3000), ("selected-q3", 0.2, 2000), ("global-q2", 0.5, 1000))
    ]
    for name in ("a", "b"):
        report = write_report(collect(runs, ["palomino2026"]), tmp_path / name, references=[REFS])
    names = sorted(path.name for path in report.files)
    assert names == sorted(
        ["index.html", *(f"report.{kind}" for kind in ("md", "csv", "tex", "json"))]
        + [f"frontier-{number}.{kind}" for number in (1, 2) for kind in ("png", "svg")]
    )
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert report.page.name == "index.html"


def test_the_graph_names_every_system_and_both_axes(paper: ReportTable) -> None:
    pytest.importorskip("matplotlib", reason="the optional extra iwsltpack[report] is not installed")
    from iwsltpack.report.plot import draw

    images = draw(paper)
    assert images["png"].startswith(b"\x89PNG")
    svg = images["svg"].decode()
    for row in paper.rows:
        assert row.system.name in svg
    for text in (
        "Size, linear layers [GiB]",
        "COMET (higher is better)",
        "sized by another measure",
        "dominated",
    ):
        assert text in svg
    nasty = replace(paper.rows[0], system=replace(paper.rows[0].system, name="$\\frac{$ <b>"))
    assert "&lt;b&gt;" in draw(replace(paper, rows=(nasty, *paper.rows[1:])))["svg"].decode()


def test_without_matplotlib_the_rest_is_written_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = write_report(collect([], ["palomino2026"]), tmp_path)
    assert (tmp_path / "index.html").is_file()
    assert not list(tmp_path.glob("*.png"))
    assert "pip install '.[report]'" in report.notices[0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (REFERENCES[::-1], "5 lines, SHA-256 "),
        (SOURCES, "5 lines, SHA-256 "),
        (REFERENCES[:3], "(not one hypothesis for every reference)"),
    ],
)
def test_references_that_are_not_those_scored_with_are_told_with_both_digests(
    tmp_path: Path, given: list[str], told: str
) -> None:
    run = scored(write_run(tmp_path / "run", REFERENCES))
    others = References(name="other.txt", lines=tuple(given))
    report = write_report(collect([run]), tmp_path / "out", references=[others])
    (notice,) = [text for text in report.notices if "not shown" in text]
    wanted = f"tst was scored with ref, 5 lines, SHA-256 {digest(REFERENCES)[:8]}…"
    assert wanted in notice and f"--reference gave other.txt, {len(given)} lines" in notice
    assert told in notice and digest(given)[:8] in notice
    assert notice in report.page.read_text(encoding="utf-8")
    for right in ([others, REFS], []):
        fine = write_report(collect([run]), tmp_path / "out", references=right)
        assert not [text for text in fine.notices if "not shown" in text]


def test_score_and_report_share_their_settings_in_the_configured_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "q3", REFERENCES)
    fileio.write_lines(tmp_path / "ref.txt", REFERENCES)
    (tmp_path / "iwsltpack.toml").write_text('reference = "ref.txt"\nmetric = "bleu,chrf"\n')
    for command in (["score", str(run)], ["report", "runs"]):
        done = subprocess.run(
            [IWSLTPACK, *command],
            cwd=tmp_path,
            env={**os.environ, "IWSLTPACK_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "chrF" in done.stdout
    assert REFERENCES[0] in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_the_command_prints_the_table_and_names_the_page(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(with_options(report_command.command))
    result = CliRunner().invoke(app, ["--published", "palomino2026", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Sel.-layer pruning + codec" in result.stdout
    assert "is sized by another measure than its siblings" in result.stdout
    assert "index.html" in result.stderr
    printed = CliRunner().invoke(
        app, ["--published", "palomino2026", "-o", str(tmp_path / "out"), "--format", "csv"]
    )
    assert printed.stdout == (tmp_path / "out" / "report.csv").read_text()
    refused = CliRunner().invoke(app, ["--published", "palomino2026", "--format", "html"])
    assert refused.exit_code == 2
    assert "'html' is not one of 'terminal'" in refused.stderr


def on_sets(name: str, scores: dict[str, float], references: str = "") -> list[System]:
    return [
        System(
            name=name,
            setting="zstd",
            test_set=test_set,
            pair="en-zh",
            scores={
                "chrf": SystemScore(
                    score=score,
                    signature="",
                    comparable=f"chrF2|nrefs:1|reseg:no|ref:{references}{test_set}",
                )
            },
        )
        for test_set, score in scores.items()
    ]


def test_the_mean_over_test_sets_is_a_row_for_each_system() -> None:
    from iwsltpack.report.mean import means

    whole, half = on_sets("q3", {"a": 40.0, "b": 51.0}), on_sets("q2", {"a": 30.0})
    found = means([*whole, *half])
    assert [(s.name, s.test_set) for s in found] == [
        ("q3", "mean of 2 test sets"), ("q2", "mean of 2 test sets")
    ]  # fmt: skip
    assert found[0].scores["chrf"].score == 45.5
    assert found[0].scores["chrf"].signature.startswith("chrF2|nrefs:1|reseg:no|mean:2|sets:")
    assert (found[1].scores, found[1].note) == ({}, "no mean, not decoded: b")
    other = means([*whole, *on_sets("q2", {"a": 40.0, "b": 51.0}, "x")])
    assert other[0].scores["chrf"].comparable != other[1].scores["chrf"].comparable
    table = make_tables([*whole, *half, *found])[-1]
    assert (table.title, [row.system.name for row in table.rows]) == (
        "mean of 2 test sets, en-zh", ["q3", "q2"]
    )  # fmt: skip
    assert means(whole[:1]) == means([*on_sets("q3", {"a": 1.0}), *on_sets("q2", {"b": 1.0})]) == []
