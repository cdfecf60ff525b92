"""What only the company of other labels shows to be a label: it goes in their file, and is reported in any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from iwsltpack.cleaning.engine import clean_line, clean_lines, shows_labels
from iwsltpack.cleaning.files import clean_file
from iwsltpack.submission.validation.hypotheses import read_hypotheses

SURE = {
    "de": ["Die Übersetzung lautet: 'Hallo, wie geht es?'", "Deutsche Übersetzung: 'Vielen Dank dafür.'"],
    "zh": ["这段英语的中文翻译是：'大家好，谢谢。'", "翻译成中文是：'我们同意。'"],
}
TEXT = {"de": "Niemand hat mir geantwortet.", "zh": "没有人回答我的问题。"}
SOURCE = "They did not answer me."
LIKELY = {
    "de": """
Der Sprecher sagt: {T}
Die Stimme sagt: „{T}“
Man könnte sagen: „{T}“
Speaker: {T}
Sprecher 1: {T}
Text: {T}
Antwort: {T}
Transkript: {T}
Was gesagt wird: {T}
Eine Frau sagt auf Englisch: '{T}'
Ein Mann spricht auf Englisch und sagt: '{T}'
Die Person spricht über Folgendes: „{T}“
Der Satz heißt: {T}
Der Kommentator sagt: {T}
Der Mann im Audio sagt in etwa: {T}
Der Vortragende erklärt: „{T}“
Der ruhige Sprecher sagt: {T}
Ich habe verstanden: „{T}“
{S} – {T}
{S} / {T}
„{T}“, sagt der Sprecher.
{T} – Deutsch
{T} (Die Person spricht Englisch.)
{T} So lautet die Übersetzung ins Deutsche.
{T} Das ist, was der Sprecher sagt.
{T} Ich hoffe, das hilft Ihnen weiter!
{T} Lassen Sie mich wissen, wenn Sie noch etwas brauchen.
{T} Bitte beachten Sie, dass dies eine wörtliche Übersetzung ist.
""",
    "zh": """
演讲者说：{T}
演講者提到：{T}
男声：{T}
说话人1：{T}
答案：{T}
这段英语说的是{T}
这段音频是英语，其中文意思是{T}
这句话“They did not answer me.”的中文意思就是{T}
这段话可以理解为：{T}
英文原意为：{T}
大概意思是：{T}
他用英语说：'{T}'
这位演讲者想表达的意思是：{T}
这段英语用中文怎么说？{T}
我听到的是：‘{T}’
音频中提到，{T}
The man is saying, "{T}"
Answer: {T}
Here you go: {T}
“{T}”演讲者说。
{T}这是中文翻译。
{T}，这是这段英语的意思。
{T}翻译结束。
{T}以上就是翻译结果，希望能帮到您。
{T}希望对你有帮助！
{T}如果还有其他问题，请随时告诉我。
{T}这句话的英文是“They did not answer me.”
""",
}
CONTENT = {
    "de": """
Er sagt: „Niemand hat mir geantwortet.“
Ein Sprecher sagte: „Wir ermitteln.“
Der Inhalt der Rede war bekannt: Es ging um Steuern.
Die Antwort lautet: Niemand weiß es.
Das heißt: Wir fangen von vorn an.
Das bedeutet: Die Preise steigen.
Unser Modell sagt: „Das ist ein Hund.“
Kurz gesagt: Wir brauchen mehr Geld.
Ich würde sagen: Wir gehen.
Deutsch: eine schwere Sprache.
Deutsch: 300 Stunden, Englisch: 500 Stunden.
Anna Schmidt: Niemand hat mir geantwortet.
„Das ist die deutsche Übersetzung“, sagte er.
Das war es. Wenn Sie Fragen haben, schreiben Sie uns.
Wir hoffen sehr. Ich hoffe auf den Sommer.
""",
    "zh": """
有人说：“没有人回答我的问题。”
我说：“没有人回答我的问题。”
他说：“我们走吧。”
我们的模型说：“这是一只狗。”
换句话说：我们失败了。
这意味着：我们失败了。
意思是：我们没有钱了。
结果是：没有人回答我的问题。
问题是：没有人回答我的问题。
翻译家说：“这很难。”
这本书的中文翻译很好：大家都喜欢。
演讲者说的话很有道理：我们应该合作。
“翻译”是一个动词。
请查看我们的代码。如果有任何问题，请不要犹豫与我们联系。
嗯，以上就是我要介绍的所有内容。
""",
}


def _cases(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(lang, line) for lang, lines in table.items() for line in lines.strip().splitlines()]


@pytest.mark.parametrize(("lang", "label"), _cases(LIKELY))
def test_a_likely_label_goes_where_others_are_sure_and_is_reported_where_none_is(
    lang: str, label: str
) -> None:
    line = label.replace("{T}", TEXT[lang]).replace("{S}", SOURCE)
    assert clean_lines([*SURE[lang], line], lang).texts[-1] == TEXT[lang]
    alone = clean_lines([line, *[TEXT[lang]] * 3], lang).lines[0]
    assert alone.text == line
    assert "possible-label" in {change.rule for change in alone.changes}


@pytest.mark.parametrize(("lang", "line"), _cases(CONTENT))
def test_content_that_speaks_of_saying_stays_in_any_company(lang: str, line: str) -> None:
    assert clean_lines([*SURE[lang], line], lang).texts[-1] == line


@pytest.mark.parametrize("lang", ["de", "zh"])
def test_two_labels_and_one_in_a_thousand_lines_show_a_model_that_writes_them(lang: str) -> None:
    content = [TEXT[lang]]
    assert not shows_labels(SURE[lang][:1] + content, lang)
    assert shows_labels(SURE[lang] + content * 1998, lang)
    assert not shows_labels(SURE[lang] + content * 1999, lang)


def test_ten_likely_labels_and_one_in_two_hundred_lines_show_it_too() -> None:
    likely, content = [f"Der Sprecher sagt: {TEXT['de']}"], [TEXT["de"]]
    assert shows_labels(likely * 10 + content * 1990, "de")
    assert not shows_labels(likely * 9 + content * 9, "de")
    assert not shows_labels(likely * 10 + content * 1991, "de")
    assert shows_labels(likely * 5 + SURE["de"][:1], "de")


def test_behind_a_label_the_translation_stays_however_it_begins() -> None:
    text = "演讲者说：没有人回答我的问题。"
    assert clean_line(f"译文：{text}", "zh", labelled=True).text == text


def test_behind_a_label_past_doubt_a_closing_remark_goes_in_any_file() -> None:
    assert clean_line("中文翻译：没有人回答我的问题。希望对你有帮助！", "zh").text == TEXT["zh"]


def test_a_file_is_cleaned_in_its_own_company_as_lines_in_memory_are(tmp_path: Path) -> None:
    lines = [TEXT["zh"], "演讲者说：没有人回答我的问题。", *SURE["zh"]]
    for number, given in enumerate((lines, lines[:2])):
        source, output = tmp_path / f"{number}.txt", tmp_path / f"{number}.out"
        source.write_text("".join(f"{line}\n" for line in given), encoding="utf-8")
        clean_file(source, output, "zh")
        assert output.read_text(encoding="utf-8").split("\n")[:-1] == clean_lines(given, "zh").texts
    assert clean_lines(lines, "zh").texts[1] == TEXT["zh"]
    assert [found.rule for found in read_hypotheses(tmp_path / "0.txt", "zh").problems] == [
        "hyp.meta-prefix"
    ] * 3
    assert [found.rule for found in read_hypotheses(tmp_path / "1.txt", "zh").problems] == [
        "hyp.possible-label"
    ]
    assert clean_lines(lines[:2], "zh").texts[1] == lines[1]


@pytest.mark.parametrize(
    ("line", "lang"), [("翻译：你好", "zh"), ("译文：你好", "zh"), ("Übersetzung: hallo", "de")]
)
def test_talk_before_what_is_no_sentence_stays_and_is_reported(line: str, lang: str) -> None:
    for labelled in (False, True):
        found = clean_line(line, lang, labelled=labelled)
        assert (found.text, [change.rule for change in found.changes]) == (line, ["possible-label"])
