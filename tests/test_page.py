"""The page in a real headless Chromium: it draws, sorts, filters, runs no text as code, and asks for nothing."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, find_browser
from evaluation_fixtures import PREFIX, spoil, write_run

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.score import MetricResult, Score, ScoredText, Signature
from iwsltpack.report.page import embed_json
from iwsltpack.report.report import collect, write_report
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import digest, read_hypotheses
from iwsltpack.system import fileio

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no chromium: apt-get install chromium")

ATTACK = '</script><script>document.title="pwned"</script><img src=x onerror="document.title=\'pwned\'">@DATA@ @SCRIPT@'
SYSTEMS = (("fp16", 0.05, 16_800), ("bnb-int8", 0.1, 9_700), ("selected-q3", 0.07, 8_100))
SYSTEMS += (("selected-q2", 0.12, 6_500), ("global-q2", 0.3, 3_900), ("prune20-q2", 0.6, 5_900))
WORDS = ("我们", "模型", "数据", "翻译", "方法", "结果", "提高", "分析", "语音", "系统", "因此", "实验")


def sentences(count: int) -> list[str]:
    random_ = random.Random(7)
    return [
        "".join(random_.choice(WORDS) for _ in range(random_.randint(5, 16))) + "。" for _ in range(count)
    ]


def references_for(lines: list[str]) -> References:
    sources = tuple(f"Source sentence number {number} & more." for number in range(1, len(lines) + 1))
    return References(name="ref", lines=tuple(lines), sources=sources)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """416 segments of six systems, with prefixes to clean, cut-off outputs, a clip, and an attack."""
    root = tmp_path_factory.mktemp("page")
    lines = sentences(416)
    told = references_for(lines)
    for number, (recipe, share, size) in enumerate(SYSTEMS):
        said = spoil(lines, share, number)
        said = [PREFIX + line if (index + number) % 9 == 0 else line for index, line in enumerate(said)]
        said[5] = ATTACK
        run = write_run(
            root / "runs" / f"{number}-{recipe}",
            said,
            recipe=recipe,
            size=size * 10**6,
            cut=frozenset(range(3, 416, 50)),
        )
        result = score(read_hypotheses(run), told, metrics=["chrf"], cache=ScoreCache(None))
        fileio.write_json(run / "score.json", result.to_json())
    (root / "clips").mkdir()
    (root / "clips" / "sent_1.wav").write_bytes(silence(0.3))
    made = write_report(
        collect([root / "runs"], ["palomino2026"]), root / "report", references=[told], audio=root / "clips"
    )
    return made.page


def silence(seconds: float) -> bytes:
    import numpy as np
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(round(16000 * seconds), np.float32), 16000, format="WAV")
    return stream.getvalue()


@pytest.fixture
def page(browser: Browser, report: Path) -> Browser:
    browser.open(report)
    return browser


def first_column(page: Browser, column: int) -> list[str]:
    return page.run(
        f"[...document.querySelectorAll('#summary-0 tbody tr')].map(row => row.cells[{column}].textContent)"
    )


def shown(page: Browser) -> list[int]:
    return page.run("[...document.querySelectorAll('.segment')].map(card => Number(card.dataset.index))")


def count(page: Browser) -> str:
    return page.run("document.getElementById('count').textContent")


@needs_browser
def test_the_page_loads_without_an_error_or_a_request(page: Browser, report: Path) -> None:
    assert page.errors == []
    assert page.requests == [report.resolve().as_uri()]


@needs_browser
def test_a_click_on_a_heading_sorts_by_figures_and_a_second_turns_it_round(page: Browser) -> None:
    assert first_column(page, 0) == ["1", "2", "3", "4", "5", "6"]
    headings = page.run("[...document.querySelectorAll('#summary-0 th')].map(cell => cell.textContent)")
    column = headings.index("chrF") + 1
    page.click(f"#summary-0 th:nth-child({column}) button")
    values = [float(text) for text in first_column(page, column - 1)]
    assert values == sorted(values)
    page.click(f"#summary-0 th:nth-child({column}) button")
    assert [float(text) for text in first_column(page, column - 1)] == sorted(values, reverse=True)
    assert page.run(f"document.querySelector('#summary-0 th:nth-child({column})').ariaSort") == "descending"


def points(page: Browser, table: int) -> dict[str, str]:
    found = f"[...document.querySelectorAll('section[data-table=\"{table}\"] .point')]"
    return dict(page.run(f"{found}.map(point => [point.dataset.row, point.dataset.kind])"))


@needs_browser
def test_the_graph_places_the_papers_systems_as_the_table_does(page: Browser) -> None:
    frontier, dominated, odd = "frontier", "dominated", "odd"
    expected = {"0": frontier, "1": odd, "2": frontier, "3": frontier, "4": frontier, "5": dominated}
    assert points(page, 1) == expected
    select = "section[data-table='1'] .graph label:nth-child(2) select"
    page.choose(select, "whole")
    assert points(page, 1) == dict.fromkeys("0123", frontier)


@needs_browser
def test_pointing_at_a_system_tells_its_figures_and_lights_its_row(page: Browser) -> None:
    page.point_at("section[data-table='1'] .point[data-row='2']")
    tip = page.run("document.querySelector('section[data-table=\"1\"] .tip:not([hidden])').textContent")
    assert tip == "3. Selected-layer codec (q3 + zstd-3)COMET 0.77668911,072,301,600 bytes (linear layers)"
    assert page.run("document.querySelector('tr.lit td:nth-child(2)').textContent") == "Selected-layer codec"


@needs_browser
def test_text_is_never_run_as_code(page: Browser) -> None:
    page.choose("#order", "given")
    assert page.run("document.title") == "Quality and size"
    text = page.run(
        "document.querySelector('.segment[data-index=\"5\"] tr[data-system] td:last-child').textContent"
    )
    assert text == ATTACK
    assert page.run("document.querySelectorAll('main img, main script').length") == 0
    assert page.errors == []


@needs_browser
def test_segments_are_ordered_by_score_and_by_difference(page: Browser) -> None:
    scores = page.run(
        "JSON.parse(document.getElementById('data').textContent).tables[0].segments.systems.map(s => s.scores.chrf)"
    )
    a, b = scores[0], scores[1]
    assert shown(page) == sorted(range(416), key=lambda i: (a[i], i))[:20]
    page.choose("#order", "gap")
    assert shown(page) == sorted(range(416), key=lambda i: (-abs(a[i] - b[i]), i))[:20]
    page.choose("#order", "given")
    page.choose("#only", "10")
    assert shown(page) == sorted(sorted(range(416), key=lambda i: (a[i], i))[:10])
    assert count(page).startswith("1–10 of 10 segments")


@needs_browser
def test_filters_leave_what_they_say(page: Browser) -> None:
    page.choose("#order", "given")
    page.choose("#cut", "on")
    assert shown(page) == list(range(3, 416, 50))
    assert "cut off at the token limit" in page.run("document.querySelector('.segment .badge').textContent")
    page.choose("#cut", "off")
    page.choose("#cleaned", "on")
    assert shown(page)[:2] == [0, 9]
    page.choose("#cleaned", "off")
    page.choose("#search", "number 123 ")
    page.run("new Promise(done => setTimeout(done, 250))")
    assert shown(page) == [122]
    page.choose("#search", "no such text")
    page.run("new Promise(done => setTimeout(done, 250))")
    assert count(page) == "no segment fits (416 in all)"


@needs_browser
def test_only_differences_between_two_systems_can_be_shown(page: Browser) -> None:
    texts = page.run(
        "JSON.parse(document.getElementById('data').textContent).tables[0].segments.texts.map(t => t.raw)"
    )
    different = sum(one != other for one, other in zip(texts[0], texts[2], strict=True))
    page.choose("#second", "2")
    page.choose("#differ", "on")
    assert f"of {different} segments" in count(page)
    page.choose("#pair", "on")
    assert page.run("document.querySelectorAll('.segment:first-child tr[data-system]').length") == 2
    assert page.run("document.querySelectorAll('.segment mark').length") > 0


@needs_browser
def test_cleaning_is_shown_as_a_difference(page: Browser) -> None:
    page.choose("#order", "given")
    cell = 'document.querySelector(\'.segment[data-index="0"] tr[data-system="1"] td:last-child\')'
    assert page.run(f"{cell}.querySelector('del').textContent") == PREFIX
    assert page.run(f"{cell}.querySelectorAll('ins').length") == 0


@needs_browser
def test_pages_of_segments_can_be_turned(page: Browser) -> None:
    page.choose("#order", "given")
    page.click("#next")
    assert shown(page)[0] == 20
    page.click("#previous")
    assert shown(page)[0] == 0
    assert page.run("document.getElementById('previous').disabled")


@needs_browser
def test_a_clip_that_is_there_can_be_played_and_others_have_no_player(page: Browser, report: Path) -> None:
    page.choose("#order", "given")
    assert page.run("document.querySelectorAll('audio').length") == 1
    assert (
        page.run("document.querySelector('.segment[data-index=\"0\"] audio').getAttribute('src')")
        == "audio/tst/sent_1.wav"
    )
    assert (report.parent / "audio" / "tst" / "sent_1.wav").is_file()
    played = (
        "new Promise(done => { const a = document.querySelector('audio'); a.preload = 'auto';"
        " a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1); a.load(); })"
    )
    assert page.run(played) == pytest.approx(0.3, abs=0.05)


@needs_browser
def test_every_pixel_row_of_the_graphs_is_not_blank_and_print_hides_the_controls(
    page: Browser, tmp_path: Path
) -> None:
    page.screenshot(tmp_path / "screen.png", whole=True)
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = pillow.open(tmp_path / "screen.png").convert("RGB")
    assert len(image.getcolors(1 << 24)) > 50
    page.screenshot(tmp_path / "print.png", print_media=True)
    assert page.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    page.send("Emulation.setEmulatedMedia", media="")


def write_scored(folder: Path, lines: list[str], told: References, recipe: str, size: int) -> None:
    """Write a run with made-up scores: computing them for 10,000 segments is not what is tested."""
    run = write_run(folder, lines, recipe=recipe, size=size)
    random_ = random.Random(recipe)
    signature = Signature(
        metric="chrF2",
        settings="version:2.6.0",
        checkpoint=None,
        cleaned=None,
        resegmented=None,
        hypotheses=digest(lines),
        references=digest(told.lines),
        sources=None,
    )
    segments = tuple(round(100 * random_.random(), 6) for _ in lines)
    made = Score(
        tool=Tool(version="0", libraries={}),
        language="ja",
        hypotheses=ScoredText(name="tst.en-zh.txt", lines=len(lines), sha256=digest(lines)),
        references=ScoredText(name="ref", lines=len(lines), sha256=digest(told.lines)),
        sources=None,
        run=score_run(run),
        cleaned=False,
        resegmented=None,
        metrics=(MetricResult(metric="chrf", score=50.0, segments=segments, signature=signature),),
    )
    fileio.write_json(run / "score.json", made.to_json())


def score_run(run: Path) -> Any:
    return read_hypotheses(run).scored_run


@needs_browser
@pytest.mark.slow
def test_ten_thousand_segments_open_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    lines = sentences(10_000)
    told = references_for(lines)
    for number, (recipe, share, size) in enumerate(SYSTEMS[:2]):
        write_scored(
            tmp_path / "runs" / f"{number}-{recipe}", spoil(lines, share, number), told, recipe, size
        )
    report = write_report(collect([tmp_path / "runs"]), tmp_path / "report", references=[told])
    assert report.page.stat().st_size < 20_000_000
    assert report.notices == () or "matplotlib" in report.notices[0]
    ready = browser.open(report.page)
    assert ready < 2000
    assert browser.errors == []
    took = browser.run(
        "(() => { const order = document.getElementById('order'), begun = performance.now(); order.value = 'gap';"
        " order.dispatchEvent(new Event('change')); document.body.offsetHeight; return performance.now() - begun; })()"
    )
    assert took < 1000
    assert count(browser) == "1–20 of 10000 segments (10000 in all)"


def test_no_text_can_end_the_element_its_data_stands_in() -> None:
    text = "</script><!-- <script> \u2028 ]]> \ud800 & \0"
    embedded = embed_json({"text": text})
    assert not set("<>&\u2028") & set(embedded)
    assert json.loads(embedded) == {"text": text}
    embedded.encode()


def test_the_page_holds_no_address_and_no_other_peoples_code(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    head = page.split('id="data"')[0] + page.rsplit("</script>", 2)[1]
    assert "http://www.w3.org/2000/svg" in head  # a name, not an address
    assert "https://" not in head
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert forbidden not in head


def test_no_absolute_path_gets_into_the_report(report: Path) -> None:
    top = str(report.parents[1])
    for path in report.parent.rglob("*"):
        if path.is_file():
            assert top.encode() not in path.read_bytes(), path.name
