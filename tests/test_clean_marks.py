"""Marks of chat models around a sentence, and innocent neighbours: lines that speak of the same marks."""

from __future__ import annotations

import re

import pytest

from iwsltpack.cleaning.engine import clean_line

DE = "Wir stellen ein neues Verfahren vor."
ZH = "我们提出了一种新方法。"

MARKED = r"""
{T}<end_of_turn>
{T}<end_of_turn><eos>
{T} <end_of_turn>
<bos>{T}
<bos><start_of_turn>model\n{T}<end_of_turn>
<start_of_turn>model {T}<end_of_turn>
<start_of_turn>model\n{T}
<start_of_turn>model\n{T}<end_of_turn>\n<start_of_turn>user\nTranslate the next one.
<|im_start|>assistant\n{T}<|im_end|>
<|im_start|>assistant {T}
{T}<|im_end|>\n<|im_start|>user\nAnd this one?<|im_end|>
{T}<|endoftext|>
{T} <|endoftext|><|im_end|>
{T}<|eot_id|>
<|start_header_id|>assistant<|end_header_id|>\n\n{T}<|eot_id|>
<|assistant|>{T}<|end|>
{T}<｜end▁of▁sentence｜>
<s>{T}</s>
<s> {T}
{T}</s>
{T}</s></s>
{T}<pad><pad><pad>
<pad>{T}<eos>
<unk> {T}
<|de|><|transcribe|>{T}<|endoftext|>
<|0.00|> {T}<|3.20|>
<2de> {T}
[INST] {T} [/INST]
[/INST] {T}
{T} [/INST]
<|channel>thought <channel|>{T}<turn|>
<|channel>thought\nThe user wants it.<channel|>{T}
<|channel|>analysis<|message|>The user wants a translation.<|end|><|start|>assistant<|channel|>final<|message|>{T}
<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{T}<|return|>
analysisThe user wants a translation.assistantfinal{T}
◁think▷hm◁/think▷{T}
<think></think>{T}
<think>\n\n</think>\n\n{T}
<think> The user wants the sentence. </think> {T}
<thinking>It is one sentence.</thinking>\n{T}
<reasoning>Short.</reasoning>{T}
[THINK]Let me see.[/THINK]{T}
The sentence is short.</think>{T}
thought {T}
thought\n{T}
assistant\n{T}
```{T}```
```text {T} ```
```\n{T}\n```
```json\n{"translation": "{T}"}\n```
{T}```
**{T}**
***{T}***
*{T}*
__{T}__
`{T}`
<b>{T}</b>
<p>{T}</p>
<translation>{T}</translation>
<p><b>{T}</b></p>
{T}<br>
{"translation": "{T}"}
{"translation": "{T}
[00:00:01] {T}
[00:01.200 --> 00:03.400] {T}
00:00:01,000 --> 00:00:03,000 {T}
(00:12) {T}
{T} [00:07]
[1.20 - 3.40] {T}
【00:01】{T}
<0.00> {T} <3.20>
7\n00:00:01,000 --> 00:00:03,000\n{T}
{T} 00:00:03.000
""".strip().splitlines()

CERTAIN = 4
"""Lines at most, of those above, that may end in a finding in place of the sentence alone."""


def _line(template: str, text: str) -> str:
    return template.replace("{T}", text)


@pytest.mark.parametrize("lang", ["de", "zh"])
def test_a_marked_line_becomes_the_sentence_alone_or_is_reported(lang: str) -> None:
    text = DE if lang == "de" else ZH
    results = {template: clean_line(_line(template, text), lang) for template in MARKED}
    left = {template: result for template, result in results.items() if result.text != text}
    silent = {t: r.text for t, r in left.items() if all(change.repaired for change in r.changes)}
    assert silent == {}
    assert len(left) <= CERTAIN, sorted(left)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (
            "Q&amp;A: Wir stellen ein &quot;neues&quot; Verfahren vor.",
            'Q&A: Wir stellen ein "neues" Verfahren vor.',
        ),
        ("Q&amp;amp;A", "Q&A"),
        ("Wenn x &lt; y gilt, ist es gut.", "Wenn x < y gilt, ist es gut."),
        ("F&E&nbsp;ist &#246;ffentlich.", "F&E ist öffentlich."),
        ("<b>Wir stellen</b> ein neues Verfahren vor.", DE),
        ("Wir stellen ein **neues** Verfahren vor.", DE),
        ("**Wir** stellen ein neues <i>Verfahren</i> vor.", DE),
        ("<start_of_turn>model\n**Übersetzung:** Wir stellen ein neues Verfahren vor.<end_of_turn>", DE),
        (
            '```json {"source": "We propose it.", "translation": "Wir stellen ein neues Verfahren vor."} ```',
            DE,
        ),
        ("Das ist gut.<|endoftext|>Das war gut.", "Das ist gut. Das war gut."),
        ('{"Original": "It was \\"good\\".", "Übersetzung": "Es war \\"gut\\"."}', 'Es war "gut".'),
    ],
)
def test_marks_go_and_what_they_mark_stays(line: str, after: str) -> None:
    assert clean_line(line, "de").text == after


@pytest.mark.parametrize(
    "line",
    [
        f"{ZH}(Wǒmen tíchū le yī zhǒng xīn fāngfǎ.)",
        f"{ZH}（Wǒmen tíchūle yìzhǒng xīn fāngfǎ。）",
        f"{ZH} Wǒmen tíchū le yī zhǒng xīn fāngfǎ.",
        f"{ZH} (wo men ti chu le yi zhong xin fang fa)",
        f"{ZH}[Wo3men ti2chu1 le yi1 zhong3 xin1 fang1fa3]",
        f"中文翻译：{ZH}（Wǒmen tíchū le yī zhǒng xīn fāngfǎ.）",
        f"{ZH}发音：Wǒmen tíchū le yī zhǒng xīn fāngfǎ.",
        f"{ZH}（拼音：Wǒmen tíchū le yī zhǒng xīn fāngfǎ.）",
        f"{ZH} Pinyin: Wǒmen tíchū le yī zhǒng xīn fāngfǎ.",
    ],
)
def test_the_pinyin_of_the_whole_line_goes(line: str) -> None:
    assert clean_line(line, "zh").text == ZH


INNOCENT_DE = r"""
Wir verwenden C# und #hashtag, wenn x < y > z gilt.
Wir programmieren in C#.
F# ist eine Sprache für .NET.
Die #1 in den Charts kommt aus Berlin.
Folgen Sie uns unter #iwslt2026 und @iwslt.
Wenn a < b und b < c, dann a < c.
Es gilt x<y und y>z.
Der Wert muss > 5 sein.
Aus 2 * 3 * 4 wird 24.
Python kennt *args und **kwargs.
In Python ist 2**3**2 gleich 512.
Alle Mitarbeiter*innen und Kolleg*innen sind eingeladen.
Der Preis gilt nicht* an Feiertagen.
Die Variable heißt __init__ und nicht init.
Die Datei heißt mein_text_de.txt.
AT&T und R&D gehören zusammen.
Die Adresse lautet example.org/?a=1&copy=2&lt=3.
Die Entität &amp; steht in HTML für das kaufmännische Und.
In HTML schreibt man &lt; für das Zeichen <.
Das Token <s> markiert den Anfang.
<s> markiert den Anfang, </s> das Ende.
<unk> steht für unbekannte Wörter.
Unbekannte Wörter werden durch <unk> ersetzt.
Wir fügen vor jedem Satz das Token <2de> ein.
Jede Sequenz endet mit dem Token <|endoftext|> und beginnt neu.
Das Token [CLS] steht am Anfang und [SEP] am Ende.
[MASK] ist das Token, das vorhergesagt wird.
<think> und </think> umschließen die Gedanken des Modells.
Das Modell schreibt seine Gedanken zwischen <think> und </think>.
Mit <b> und </b> wird Text fett.
Das Tag <br> erzeugt einen Umbruch.
Das Tag <p> steht für einen Absatz, <div> für einen Bereich.
Ein vector<int> ist eine Liste von Zahlen.
Der Typ ist List<String> in Java.
Die E-Mail kam von Anna <anna@example.org>.
Drei Backticks ``` beginnen einen Codeblock.
Der Befehl `ls` zeigt die Dateien.
Um 10:30 Uhr geht es los.
10:30 Uhr: Begrüßung der Gäste.
Das Spiel endete 3:1 (2:0).
Der Lauf dauerte 01:23:45 Stunden.
Sie lief 2:05:13 und gewann.
Der Weltrekord liegt bei 0:26:11.021
Der Weltrekord liegt bei 00:26:11.021
0:26:11.021 ist der Weltrekord.
Der Weltrekord im Marathon (2:00:35)
Das Verhältnis ist 16:9, nicht 4:3.
Offenbarung 21:4 sagt etwas anderes.
[1] zeigt die Ergebnisse, [2] die Daten.
(1) Erstens brauchen wir mehr Daten.
[Musik] Guten Abend, meine Damen und Herren.
(Applaus) Vielen Dank.
Er sagte [sic] nichts.
{a, b} ist eine Menge mit zwei Elementen.
Die Menge {1, 2, 3} hat drei Elemente.
Das Modell Y ist ein Auto von Tesla.
Model X und Model S sind teurer.
Assistant Professor Meier begrüßt Sie.
Thought Leader ist ein englischer Begriff.
System und Nutzer sprechen abwechselnd.
User: Das ist ein Beispiel für einen Dialog.
Anna: Wie geht es dir?
Kapitel 3: Der Brief
Sprecher 2: Ich bin nicht sicher.
-- Nein, das stimmt nicht.
- Ja. - Nein.
50 % der Leute sagten „Ja“, 50 % „Nein“.
Ich sagte: „Nein“ – und ging.
Der Ausdruck |x| > 3 ist wahr.
Wir rechnen mit ~5 % Verlust.
""".strip().splitlines()

INNOCENT_ZH = r"""
我们使用C#和#hashtag，当x < y > z时成立。
我们用C#写程序。
F#是一种语言。
这首歌是排行榜的#1。
请关注#iwslt2026和@iwslt。
如果a < b且b < c，那么a < c。
x<y并且y>z成立。
这个值必须> 5。
2 * 3 * 4等于24。
Python里有*args和**kwargs。
在Python中2**3**2等于512。
变量叫做__init__而不是init。
文件名是my_text_zh.txt。
AT&T和R&D是一起的。
网址是example.org/?a=1&copy=2&lt=3。
在HTML中，&amp;表示和号。
HTML用&lt;表示小于号字符。
标记<s>表示句子的开始。
<s>表示开始，</s>表示结束。
<unk>代表未知词。
未知词会被替换成<unk>这个标记。
我们在每个句子前加上<2zh>这个标记。
每个序列以<|endoftext|>标记结尾。
[CLS]在开头，[SEP]在结尾。
[MASK]是要预测的标记。
<think>和</think>之间是模型的思考。
模型把思考写在<think>和</think>之间。
用<b>和</b>可以让文字加粗。
标签<br>产生换行。
标签<p>表示段落，<div>表示区域。
vector<int>是一个数字列表。
类型是List<String>。
邮件来自安娜<anna@example.org>。
三个反引号```开始一个代码块。
命令`ls`显示文件。
10:30开始。
10:30：欢迎来宾。
比赛以3:1（2:0）结束。
跑步用了01:23:45。
她以2:05:13的成绩获胜。
世界纪录是0:26:11.021
这句问候的发音：nǐ hǎo ma
比例是16:9，不是4:3。
启示录21:4说的不一样。
[1]显示了结果，[2]显示了数据。
（1）首先我们需要更多数据。
[音乐]女士们先生们，晚上好。
（掌声）谢谢大家。
{a, b}是有两个元素的集合。
集合{1, 2, 3}有三个元素。
Model Y是特斯拉的汽车。
model的参数很多。
assistant这个词是助手的意思。
用户：这是一个对话的例子。
安娜：你好吗？
第三章：来信
发言人2：我不确定。
——不，不是这样的。
百分之五十的人说“是”，百分之五十说“不”。
我来自上海（Shànghǎi）。
他的名字是李明（Li Ming）。
我们参观了北京（Beijing）和西安（Xi'an）。
“你好”（nǐ hǎo）是常用的问候。
表达式|x| > 3为真。
我们预计损失~5%。
我们的翻译模型叫做NLLB（No Language Left Behind）。
不要尝试子页面，如“man foo bar” => “man foo-bar”
需要指定软件包的标识，以及选项 autoremove。
我们的一个结果。 result = "gut"
""".strip().splitlines()


@pytest.mark.parametrize(("lang", "lines"), [("de", INNOCENT_DE), ("zh", INNOCENT_ZH)])
def test_innocent_neighbours_are_left_as_they_are(lang: str, lines: list[str]) -> None:
    assert len(lines) >= 60
    assert {line: clean_line(line, lang).text for line in lines if clean_line(line, lang).text != line} == {}


def test_there_are_sixty_marked_lines() -> None:
    assert len(set(MARKED)) >= 60


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("Am Ende steht das Token <eos>", "token '<eos>'"),
        ("Assistant: Das ist gut.", "role 'Assistant:'"),
        ("Das ist gut. [END]", "token '[END]'"),
        ("ĠDas ist gut.", "token 'Ġ'"),
        ("\\boxed{Das ist gut.}", "boxed{"),
        ("<0x0A>Das ist gut.", "token '<0x0A>'"),
        (r"Drücken Sie \n für einen Umbruch.", r"escape '\\n'"),
        (r"eins\nzwei", r"escape '\\n'"),
        ("Hier steht ◁think▷ im Text.", "token '◁think▷'"),
        ("Hier steht `x` und ``` und mehr.", "fence '```'"),
        ("Das ist **wichtig und bleibt offen.", "emphasis '**'"),
        ("# Ergebnisse unserer Arbeit", "heading '#'"),
        ("Das ist <em>wichtig.", "tag '<em>'"),
        ("In HTML schreibt man &amp; so.", "entity '&amp;'"),
        ('{"a": "eins", "b": "zwei"}', "record"),
    ],
)
def test_what_may_be_a_mark_or_content_stays_and_is_named(line: str, what: str) -> None:
    result = clean_line(line, "de")
    assert result.text == line
    messages = [change.message or "" for change in result.changes if change.rule == "mark-left"]
    assert [message for message in messages if what in message], messages


def test_a_line_of_marks_alone_keeps_them_and_is_reported() -> None:
    result = clean_line("<think>Was will er?</think>", "de")
    assert re.search("would-empty|mark-left", " ".join(change.rule for change in result.changes))
    assert result.text == "<think>Was will er?</think>"
