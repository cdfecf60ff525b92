"""Prefixes in wordings no development file holds, and good lines that look like them."""

from __future__ import annotations

import pytest

from iwsltpack.cleaning.engine import clean_line

ZH_TEXT = "我们提出了一种新的方法，它在三个数据集上都取得了最好的结果。"
DE_TEXT = "Wir stellen ein neues Verfahren vor, das auf drei Datensätzen die besten Ergebnisse erzielt."

ZH_COLON_HEADS = """
这段英语的中文翻译是
这段英语的中文翻译为
这段英文的中文翻译是
这段英语的翻译是
这段英语翻译成中文是
这段英文翻译成汉语是
这段英语演讲翻译成中文是
这段英语语音的中文翻译如下
该段英语语音的中文翻译为
这句英语的中文意思是
这句话的中文翻译是
这句话翻译成中文是
这句话用中文说是
这个句子的中文翻译是
这个句子可以翻译为
这段话的中文翻译是
这段话的中文意思是
这段话翻译成中文就是
这段音频的中文翻译是
这段音频翻译成中文为
该音频的中文翻译如下
音频的中文翻译是
音频内容的中文翻译是
音频翻译成中文是
语音翻译成中文是
这段语音的内容翻译成中文是
这段录音的内容是
这段录音的中文翻译为
录音中说的是
语音中说的内容是
英语演讲的中文翻译
英语语音的中文翻译是
英文演讲的中文译文
英语原文的中文翻译是
上述英语的中文翻译是
以上英文的中文翻译为
以下是这段英语的中文翻译
以下是中文翻译
以下是翻译
以下是这段英语演讲的翻译
以下为该英语语音的中文译文
下面是这段话的中文翻译
好的，这段英语的中文翻译是
好的，翻译如下
好的，以下是中文翻译
好的，我来翻译一下
当然，这是您需要的中文翻译
当然可以，翻译成中文是
没问题，中文翻译如下
翻译
译文
中文翻译
中文译文
汉语翻译
中文
汉语
简体中文
翻译成中文
翻译为中文
翻译成中文是
翻译成汉语为
翻译结果为
翻译结果如下
中文翻译如下
中文翻译为
中文意思是
英译中
英语翻译成中文
英文翻译
英语翻译
德语到中文的翻译是
从英语到中文的翻译是
将这段英语翻译成中文
将其翻译成中文
这段音频的原始内容是
该语音的原始内容为
这段英语的意思是
这段英语演讲的大意是
这段英语说的是
这段英语的中文翻译是这样的
根据音频内容，翻译如下
根据您的要求，中文翻译如下
用中文来说就是这段话的翻译
翻译过来就是
中文表述为
这段英语的中文表达是
这个视频的中文翻译是
这篇演讲的中文翻译
以下是对这段英语的翻译
以下是将英语翻译成中文的结果
英语的中文翻译
最终翻译
直译
我将这段英语翻译成中文
请将这段英语翻译成中文
这是一段英语演讲，中文翻译是
这段音频是英文，翻译成中文是
演讲的中文翻译是
讲话的中文翻译为
说话人的话翻译成中文是
这位演讲者的话的中文翻译是
所给英语的中文翻译是
原文的中文翻译是
The English speech translated into Chinese is
The English speech translates to
The English speech translates into Chinese as
The translation of the English speech is
The translation of this English speech into Chinese is
The Chinese translation of the English speech is
The Chinese translation of this sentence would be
The Chinese translation is
The translation is
The translation in Chinese is
The translation would be
The English text translated to Chinese is
The given English speech in Chinese is
The speech translated into Mandarin Chinese is
The speech in Chinese is
The audio says
The original content of this audio is
The content of the audio in Chinese is as follows
A possible translation would be
One possible translation is
A more natural translation would be
The final translation
Literal translation
Translate this English speech into Chinese
To translate this English speech into Chinese, it would be
Translated
Translation result
The Chinese version is
The Mandarin translation of the speech is
The given speech translates into Chinese as follows
The speaker says in Chinese
This sentence translates to
This sentence means
This can be translated as
This translates to
It translates to
Translation
Chinese translation
Chinese Translation
Translation into Chinese
Translated into Chinese
Translated text
English to Chinese translation
Chinese
In Chinese
In Chinese, this would be
Here is the translation
Here is the Chinese translation of the speech
Here's the Chinese translation
Sure, here is the translation
Sure! Here's the translation in Chinese
Certainly! The Chinese translation is as follows
Okay, the translation is as follows
The translated text is as follows
The English audio is translated into Chinese as follows
Die Übersetzung lautet
Die chinesische Übersetzung lautet
Auf Chinesisch
""".strip().splitlines()

DE_COLON_HEADS = """
Die deutsche Übersetzung lautet
Die deutsche Übersetzung ist
Die Übersetzung lautet
Die Übersetzung ins Deutsche lautet
Die Übersetzung des englischen Satzes ist
Die Übersetzung der englischen Rede ins Deutsche lautet
Die deutsche Übersetzung dieses Satzes wäre
Hier ist die Übersetzung
Hier ist die deutsche Übersetzung
Natürlich, hier ist die Übersetzung
Natürlich! Hier ist die deutsche Übersetzung des Textes
Übersetzung
Deutsche Übersetzung
Übersetzt ins Deutsche
Ins Deutsche übersetzt lautet der Satz
Der englische Satz auf Deutsch lautet
Der englische Satz lautet auf Deutsch
Auf Deutsch
Auf Deutsch heißt das
Deutsch
Diese englische Rede bedeutet auf Deutsch
The English speech translated into German is
The German translation of the speech is
The German translation is
The translation is
Translation
German translation
German
In German
Sure, here is the German translation
Here's the translation in German
这段英语的德语翻译是
这段英语的德文翻译为
翻译成德语是
德语翻译
""".strip().splitlines()

QUOTES = [
    *(("", ""), ("'", "'"), ('"', '"'), ("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』")),
    *(("《", "》"), ("«", "»"), ("‹", "›"), ("„", "“"), ("'", ""), ("“", "")),
]


def _variants(head: str, text: str) -> list[str]:
    lines = []
    for opening, closing in QUOTES:
        lines += [f"{head}：{opening}{text}{closing}", f"{head}: {opening}{text}{closing}"]
    return [*lines, f"{head}：\\n{text}", f"{head}:\n\n{text}", f"**{head}：** {text}", f'"{head}: {text}"']


@pytest.mark.parametrize("head", ZH_COLON_HEADS)
def test_a_prefix_before_chinese_goes_with_the_quotes_it_opens(head: str) -> None:
    left = {line: clean_line(line, "zh").text for line in _variants(head, ZH_TEXT)}
    assert {line: text for line, text in left.items() if text != ZH_TEXT} == {}


@pytest.mark.parametrize("head", DE_COLON_HEADS)
def test_a_prefix_before_german_goes_with_the_quotes_it_opens(head: str) -> None:
    left = {line: clean_line(line, "de").text for line in _variants(head, DE_TEXT)}
    assert {line: text for line, text in left.items() if text != DE_TEXT} == {}


ZH_OTHER = [
    f"【翻译】{ZH_TEXT}",
    f"[Translation] {ZH_TEXT}",
    f"【译文】：“{ZH_TEXT}”",
    f"Translate this English speech into Chinese. {ZH_TEXT}",
    f"请将这段英语翻译成中文。{ZH_TEXT}",
    f"这段音频中一个男人用英语说：'{ZH_TEXT}'",
    f"A man speaking in English says: '{ZH_TEXT}'",
    f"这段视频中更为相关的内容是：'{ZH_TEXT}'",
    f"{ZH_TEXT}以上是这段英语的中文翻译。",
    f"{ZH_TEXT} The above is the Chinese translation.",
    f"'We propose it.' means '{ZH_TEXT}' in Chinese.",
    f"这段英语的中文翻译是'{ZH_TEXT}'",
    f"这段英语演讲的中文翻译是“{ZH_TEXT}”",
    f"这段英语翻译成中文为“{ZH_TEXT}”。",
    f"翻译如下，“{ZH_TEXT}”",
    f"这段英语的中文翻译是，{ZH_TEXT}",
    f"The English speech translates to '{ZH_TEXT}' in Chinese.",
    f"The English speech translates to {ZH_TEXT}",
    f"The English speech translated into Chinese is {ZH_TEXT}",
    f"The Chinese translation is \"{ZH_TEXT}\".",
    f"The English sentence \"We propose a new method.\" can be translated into Chinese as \"{ZH_TEXT}\"",
    f"The English sentence 'We propose a new method.' translates to '{ZH_TEXT}' in Chinese.",
    f"'We propose a new method, and it's good.'的中文翻译是：'{ZH_TEXT}'",
    f"'We propose a new method.' 的中文翻译为“{ZH_TEXT}”",
    f"语音中提到：'we propose a new method.'，中文翻译为：'{ZH_TEXT}'",
    f"这段英语的内容是：“We propose a new method.”，翻译成中文是：“{ZH_TEXT}”",
    f"We propose a new method. 中文翻译：{ZH_TEXT}",
    f"We propose a new method, which works. 翻译成中文是：'{ZH_TEXT}'",
    f"We propose a new method.\\n\\n中文翻译：{ZH_TEXT}",
    f"英语：We propose a new method. 中文：{ZH_TEXT}",
    f"英文原文：We propose a new method. 中文翻译：{ZH_TEXT}",
    f"原文：We propose a new method.\n译文：{ZH_TEXT}",
    f"English: We propose a new method. Chinese: {ZH_TEXT}",
    f"Original: We propose a new method.\nTranslation: {ZH_TEXT}",
    f"The speech says: \"We propose a new method.\" Chinese translation: {ZH_TEXT}",
    f"The audio is in English. The Chinese translation is: '{ZH_TEXT}'",
    f"好的，我来为您翻译。{ZH_TEXT}",
    f"Sure, I can help you with that. The translation is: {ZH_TEXT}",
    f"（翻译：{ZH_TEXT}）",
    f"演讲者说：'{ZH_TEXT}'",
    f"The speaker says: '{ZH_TEXT}'",
    f"The speech is: '{ZH_TEXT}'",
    f"这句话的意思是：'{ZH_TEXT}'",
    f"中文翻译：{ZH_TEXT} 英文原文：We propose a new method, and it gives the best results on three data sets.",
    f"{ZH_TEXT}（英文原文：We propose a new method.）",
    f"{ZH_TEXT} (Translation: We propose a new method.)",
    f"{ZH_TEXT}\n\n(Note: This is a direct translation of the English speech.)",
    f"{ZH_TEXT}（注：这是英语演讲的直接翻译。）",
    f"{ZH_TEXT}（We propose a new method, and it gives the best results on all of the three data sets.）",
    f"<|zh|>{ZH_TEXT}<|im_end|>",
    f"好的，翻译如下：中文翻译：'{ZH_TEXT}'",
    f"翻译：\"'{ZH_TEXT}'\"",
]  # fmt: skip


@pytest.mark.parametrize("line", ZH_OTHER)
def test_other_shapes_of_chinese_answers_leave_the_translation_alone(line: str) -> None:
    assert clean_line(line, "zh").text == ZH_TEXT


DE_OTHER = [
    f"Die deutsche Übersetzung lautet „{DE_TEXT}“.",
    f"The English speech translates to '{DE_TEXT}' in German.",
    f"The English sentence 'We are proposing a new method.' translates to '{DE_TEXT}' in German.",
    f"English: We propose a new method, and it is good. German: {DE_TEXT}",
    f"Englisch: We propose a new method, and it is good. Deutsch: {DE_TEXT}",
    f"We propose a new method that is good. Die deutsche Übersetzung lautet: {DE_TEXT}",
    f"Natürlich! Hier ist die Übersetzung:\n\n„{DE_TEXT}“",
    f"Der Sprecher sagt: „{DE_TEXT}“",
    f"{DE_TEXT} (Translation: We propose a new method that is good.)",
    f"{DE_TEXT} (Anmerkung: Dies ist eine direkte Übersetzung der englischen Rede.)",
]


@pytest.mark.parametrize("line", DE_OTHER)
def test_other_shapes_of_german_answers_leave_the_translation_alone(line: str) -> None:
    assert clean_line(line, "de").text == DE_TEXT


ZH_GOOD = """
这句话的翻译是错误的。
以上是我们的结果。
我们得到了结果。以上是我们的翻译模型。
我们讨论了翻译。以上是今天的内容。
一个男人说：“我爱你。”
有人说：“机器翻译已经被解决了。”
有人可能会问：“这段话怎么翻译？”
请看下一张幻灯片：这是结果。
请注意，这里的翻译不是最终的翻译。
[1] 翻译模型的论文。
【表一】翻译结果
这段话是什么意思？
根据我们的结果，翻译质量提高了。
根据论文：翻译质量提高了。
翻译任务：从英语到中文。
翻译模型：Transformer。
参考文献：见论文。
参考译文：一个例子。
中文版本：二点零。
直译和意译是两种方法。
音频：十六千赫兹。
演讲：机器学习导论。
我们的模型把英语翻译成中文：结果见表二。
我们把英语翻译成中文，然后再翻译回英语。
语音翻译：一种端到端的方法。
语音翻译是一个很有挑战性的任务。
机器翻译：从规则到神经网络。
机器翻译的目标是把一种语言翻译成另一种语言。
翻译质量：我们使用BLEU和COMET来评估。
翻译方向：英语到中文，中文到英语。
我们比较了三种翻译系统：Google、DeepL和我们的模型。
中文：300小时，英语：500小时。
中文：苹果，英文：apple。
英语：五百小时，德语：三百小时。
英语和中文的翻译结果如表三所示。
他说：“我们需要更多的数据。”
他说：'我们需要更多的数据。'
她问道：“这段英语怎么翻译？”
“你好吗？”他问。
“数据集”和“模型”是两个不同的概念。
'cheers'和'years'
'cheers'和'years'有着显著的影响。
在这个例子中，数据集是'大学数据集'。
我们的问题是：模型学到了什么？
我们的问题是：'模型学到了什么？'
例如，输入是“这段英语的中文翻译是什么？”
例如：“我爱你”翻译成英语是“I love you”。
用户可以说：“请把这段英语翻译成中文。”
提示语是：“请把这段英语翻译成中文。”
我们使用的提示是：Translate this English speech into Chinese.
首先，我要感谢大家：谢谢！
最后的结论是：
测试集的结果如下所示：
以下是与先前最佳方法进行比较的结果。
以下是我们的结果：准确率提高了百分之五。
这段视频展示了我们的系统。
这段音频有三十秒长。
这段英语的中文翻译是由专业译者完成的，质量很高。
这段英语的中文翻译不正确。
这个句子的翻译很难，因为它有两个意思。
这个词的翻译是“苹果”。
这个词的意思是：苹果。
意思是：我们需要更多数据。
内容：本文提出了一种新方法。
结果：我们的方法更好。
注意：这里我们没有使用标注数据。
注意，语言模型已经在n-1个数据集上使用初步多任务调优进行了fine-tune。
我们的方法叫做“任务重写和微调”。
第一个：翻译，第二个：摘要。
任务一：翻译。任务二：问答。
时间是10:30，请大家准时参加。
比例是3:1。
网址是https://example.org/a:b。
比利时的科夫洛（Koeflo）：现在我们谈谈是如何收集这些邮票的。
我们称之为统计文章检索（statistical article retrieval）。
我们参考了语言模型是少样本学习者这篇论文（Language Models are Few-Shot Learners）。
BERT是一种基于Transformer的语言模型（Bidirectional Encoder Representations from Transformers）。
所以我们用\\nabla表示梯度，用\\theta表示参数。
损失函数是\\neg x与\\nu的和。
文件在C:\\new\\data目录下。
哈哈哈，非常非常非常好。
真的吗？？？
嗯……我想想。
大约有1000000000个参数。
他们的网站是www.example.org，请访问：谢谢。
《红楼梦》
《红楼梦》和《西游记》都是名著。
“翻译”这个词有很多含义。
翻译人员说：“我们很忙。”
演讲者是我们的同事：玛丽。
演讲者说，我们需要更多的数据。
音频编码器：我们使用Whisper。
文本：我们使用子词切分。
语音识别：词错误率是百分之五。
中文分词：我们使用jieba。
中文维基百科：一百万篇文章。
英语到中文的翻译比中文到英语的翻译更难。
英语翻译的质量：很好。
该数据集的内容是：新闻、演讲和对话。
好的，没问题。那么在这些步骤之后，我们可以使用第二步的结果。
好的，我们来看一个例子：如下所示。
当然，这里有一个问题：数据不够。
如果您有任何问题，请联系我们（email@example.org）。
我是来自卡内基梅隆大学的安娜（Anna）。
系统A：32.1，系统B：33.4。
我们有两个结果：一个是好的，一个是坏的。
答案是：不。
Translation Edit Rate（TER）是一种评估指标。
BLEU: 一种自动评估指标。
NLP：自然语言处理。
Chinese BERT：一个中文模型。
This is our model：我们的模型。
""".strip().splitlines()

DE_GOOD = """
Die Übersetzung ist falsch.
Man sagt: „Das ist gut.“
Das ist die Übersetzung. Das war die beste Lösung.
Wir übersetzen ins Deutsche. Das ist die Aufgabe.
Bitte beachten Sie: Die Übersetzung fehlt noch.
Die Übersetzung dieses Satzes ist schwierig, weil er zwei Bedeutungen hat.
Unser Modell übersetzt Englisch ins Deutsche: Die Ergebnisse stehen in Tabelle zwei.
Maschinelle Übersetzung: von Regeln zu neuronalen Netzen.
Das bedeutet: Wir brauchen mehr Daten.
Das heißt: Es geht.
Er sagte: „Wir brauchen mehr Daten.“
Man sagt: „Übung macht den Meister.“
„Wie geht es Ihnen?“, fragte er.
„Ja“ und „Nein“ sind die Antworten.
Deutsch: 300 Stunden, Englisch: 500 Stunden.
Unsere Frage lautet: Was hat das Modell gelernt?
Das Ergebnis lautet: 42.
Die Antwort ist: Nein.
Zum Beispiel: „I love you“ heißt auf Deutsch „Ich liebe dich“.
Die Eingabe lautet: Translate this English speech into German.
Hier ist das Ergebnis: Es ist besser.
Hier sind die Ergebnisse unserer Experimente.
Natürlich, das ist ein Problem: Es fehlen Daten.
Der Inhalt: Wir stellen ein Verfahren vor.
Wir nennen das Verfahren „Target Task Fine-Tuning“.
Wir treffen uns um 10:30 Uhr.
Hinweis: Wir haben keine annotierten Daten verwendet.
Sprachübersetzung: ein Überblick.
Der Text: eine Analyse.
Das geht's so: Man nimmt das Modell.
Danke.
Die Übersetzungsqualität ist gut: 34 BLEU.
Es gibt zwei Systeme (siehe Tabelle 2).
Sie ist Professorin an der Universität Stanford (Stanford University).
""".strip().splitlines()


@pytest.mark.parametrize("line", ZH_GOOD)
def test_a_good_chinese_line_is_left_as_it_is(line: str) -> None:
    assert clean_line(line.replace("\\\\", "\\"), "zh").text == line.replace("\\\\", "\\")


@pytest.mark.parametrize("line", DE_GOOD)
def test_a_good_german_line_is_left_as_it_is(line: str) -> None:
    assert clean_line(line, "de").text == line


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("这段英语的中文翻译是：'cheers'和'years'有影响。", "'cheers'和'years'有影响。"),
        ("这段英语的中文翻译是：'大家好'，我是安娜。", "'大家好'，我是安娜。"),
        ("这段英语的中文翻译是：“大家好”和“谢谢”。", "“大家好”和“谢谢”。"),
        ("这段英语的中文翻译是：'我们使用'tau'来表示。'", "我们使用'tau'来表示。"),
        ("这段英语的中文翻译是：'我们使用'tau'来表示", "我们使用'tau'来表示"),
        ("这段英语的中文翻译是：“我们说“好”。”", "我们说“好”。"),
        ("翻译：《红楼梦》", "《红楼梦》"),
        ("The translation is: 'I'm 安娜。'", "I'm 安娜。"),
    ],
)
def test_a_prefix_goes_and_quotations_within_the_translation_stay(line: str, after: str) -> None:
    assert clean_line(line, "zh").text == after
