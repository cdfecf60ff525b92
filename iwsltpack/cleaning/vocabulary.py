"""The closed vocabulary that talk *about* a translation is made of, in Chinese, English and German.

A meta prefix ("这段英语的中文翻译是：", "Sure, here is the German translation:") is recognised by being written
with these words alone; a sentence of a talk nearly always holds one that is not here. So the lists are kept
closed on purpose: no "we", no 模型, 系统, 机器, 词, "model", "word". Chinese is listed in simplified characters;
`simplified` makes a traditional line read the same.
"""

from __future__ import annotations

from functools import cache
from typing import Final

DETERMINER: Final = "D"
CLASSIFIER: Final = "C"
SPEECH: Final = "S"
TEXT: Final = "N"
SPEAKER: Final = "K"
ENGLISH: Final = "E"
CHINESE: Final = "Z"
GERMAN: Final = "G"
LANGUAGE: Final = "F"
TRANSLATE: Final = "T"
OUTCOME: Final = "O"
MEANING: Final = "M"
MEANS: Final = "W"
COPULA: Final = "V"
SAY: Final = "X"
SAID: Final = "Y"
PARTICLE: Final = "P"
POLITE: Final = "A"
SELF: Final = "R"
NOTE: Final = "H"
QUOTED: Final = "Q"
NEUTRAL: Final = "U"
"""Says nothing about what the head is: adjectives of a translation, kinds of text."""
OTHER: Final = "J"
"""Somebody else speaks: content, unless the head also says that it translates and the rest is quoted."""
TASK: Final = "B"
"""A task may be a heading of content: only a quotation shows that it is not."""

TARGETS: Final = {"zh": CHINESE, "de": GERMAN}
"""Category of the names of each target language."""
LANGUAGES: Final = frozenset({ENGLISH, CHINESE, GERMAN, LANGUAGE})

_HAN: Final[dict[str, str]] = {
    DETERMINER: """
        这 那 该 此 本 这一 那一 该段 上述 以上 以下 下面 上面 下列 上文 前面 所给 给定 给出 提供 所提供
        这里 其 整 整个 您提供 你提供 整段 前面的
    """,
    CLASSIFIER: "位 段 句 个 篇 条 则 部分 小段 一段 一句 一个 一篇 一条 短 首 名 道 份 种",
    SPEECH: """
        语音 音频 演讲 录音 讲话 说话 口语 发言 讲座 对话 语音片段 音频片段 音频文件 语音内容 音频内容
        演讲内容 录音内容 讲话内容 视频 听力 声音 英语演讲 语音识别 视频片段 英语语音 英语音频 语音信息
        语音消息 音频信息 录音文件 语音文件 朗读 独白 听到 采访 访谈 通话 会话 旁白
    """,
    TEXT: """
        句子 话 文本 文字 原文 段落 语句 片段 台词 陈述 文章 原句 原话 短语 语段 话语 文段 短文 字幕 两句话
        讯息 言论 对白
    """,
    SPEAKER: "演讲者 说话者 说话人 讲者 讲话者 主讲人 讲话人 演讲人 讲述者",
    ENGLISH: "英语 英文 英",
    CHINESE: "中文 汉语 普通话 国语 华语 简体中文 繁体中文 简体 中国话 汉文",
    GERMAN: "德语 德文 德",
    LANGUAGE: "法语 法文 西班牙语 日语 日文 韩语 俄语 意大利语 葡萄牙语 阿拉伯语 外语 母语 目标语言 源语言",
    TRANSLATE: """
        翻译 译文 译 译为 译成 译作 译出 译本 转译 意译 直译 翻译文本 翻译内容 翻译版 转写 转录 听写 英译中
        英译汉 中译 汉译 翻成 翻为 翻译出来 释义 转换 中译文 翻译文 译成中文 转为 转成 英译 译意 今译
    """,
    OUTCOME: "结果 版本 版 输出 答案 文稿 表达 说法 表述 回答 全文 文案 要点 稿 对照",
    MEANING: "意思 大意 含义 内容 意义 涵义 主要内容 大致意思",
    MEANS: "意为 意味着 意思是 意思为 意即 大意是 指的是",
    COPULA: """
        是 为 如下 即 就是 便是 则是 即为 即是 应该是 应为 大概是 大致是 可能是 可以是 如下所示 应是 将是
        会是 就为 分别是 分别为 大致为 应当是
    """,
    SAY: "显示 说 提到 讲 表示 说道 讲到 提及 讲述 谈到 指出",
    SAID: """
        说的是 讲的是 说的内容是 讲的内容是 说的话是 所说的是 所讲的是 提到的是 讲述的是 说的内容为
        讲的内容为
    """,
    PARTICLE: """
        的 了 被 将 把 中 里 在 到 成 至 作 用 从 由 对 对应 所 之 来 来说 和 与 并 可以 可 能 应该 应 大概
        大致 直接 完整 准确 简单 一下 而 并且 它 关于 相应 后 之后 过来 进行 经过 以 进 里面 当中 入 及 及其
        完成 换 本身 大约 最终 正确 下 出来 直接地 转 向 自 与之 相对应 为准 原始 原本 全部 具体 详细 这样
        根据 按照 对于 男人 女人 男子 女子 男性 女性 男声 女声 这个人 正在
    """,
    POLITE: "好的 好 当然 当然可以 没问题 可以的 明白 明白了 没有问题 是的 嗯 收到 您好 谢谢您的提问",
    SELF: """
        我 我来 我会 我将 我可以 让我 请 您 你 为您 为你 帮您 帮你 给您 给你 您的 你的 我的 这就 很高兴 需要
        要求
    """,
    NOTE: "注 备注 注意 说明 注释 提示 解释 译注 译者注 补充",
    NEUTRAL: """
        逐句 逐字 实际 正式 简短 简要 大概的 标准 最佳 口头 书面 自然 流畅 通顺 准确地 粗略 初步 自动 人工
        英美 美式 英式 新闻 诗 诗歌 问题 广告 故事 歌词 歌曲 歌 信 邮件 回复 问句 指令 命令 开头 结尾 第一
        现场 一些 经 通过 这么 相关 英汉 尝试 上下文 分句 同样 同义 现代 美国 英国
    """,
    OTHER: "他 她 他们 男士 女士 先生 小姐",
    TASK: "任务",
}

_LATIN: Final[dict[str, str]] = {
    DETERMINER: """
        the this that following above below given provided original it its it's here here's there dies
        dieser diese dieses diesen diesem der die das den dem des folgende folgenden folgender folgendes
        nachstehende nachstehenden nachfolgende nachfolgenden untenstehende vorliegende obige obigen obiger
        gegebene gegebenen hier originale originalen
    """,
    CLASSIFIER: "a an one ein eine einer eines einem einen",
    SPEECH: """
        speech audio recording clip talk lecture presentation spoken voice video dialogue conversation rede
        audioaufnahme aufnahme vortrag vortrags audios sprache gesprochene gesprochenen gesprochener
        gesprochen gesagte gesagten sprachnachricht sprachaufnahme sprachaufzeichnung aufzeichnung
        audionachricht audioinhalt gespräch gesprächs dialog monolog monologue audiodatei tonaufnahme
        ansprache audioclip clips videos
    """,
    TEXT: """
        sentence segment passage text phrase statement paragraph utterance excerpt transcript line snippet
        subtitles quote message source input sentences satz satzes satzs textes texts aussage abschnitt
        abschnitts absatz segments ausschnitt ausschnitts transkript transkripts originaltext originaltexts
        äußerung ausgangstext zitat zitats zitates originalsatz originalsatzes sätze quotation
    """,
    SPEAKER: "speaker speaker's sprecher sprechers sprecherin person woman narrator presenter",
    ENGLISH: "english englisch englische englischen englischer englisches englischem en",
    CHINESE: """
        chinese mandarin chinesisch chinesische chinesischen chinesischer zh simplified traditional
        putonghua
    """,
    GERMAN: "german deutsch deutsche deutschen deutscher deutsches deutschem de",
    LANGUAGE: """
        french spanish japanese korean russian italian portuguese arabic französisch französische
        französischen spanisch target
    """,
    TRANSLATE: """
        translation translations translated translates translate translating translation's rendered
        rendering render renders transcription transcribed übersetzung übersetzungen übersetzt übersetze
        übersetzen übersetzte übersetzter übersetztes übersetzten übersetzungsvorschlag rohübersetzung
        übersetzungsergebnis übersetzungstext übersetzungsversion trans transkription wiedergegeben
    """,
    OUTCOME: """
        version versions result output answer equivalent interpretation variante wortlaut äquivalent
        ergebnis ausgabe antwort fassung entsprechung
    """,
    MEANING: "meaning content contents inhalt bedeutung sinn",
    MEANS: "means bedeutet heißt heisst besagt",
    NEUTRAL: """
        einfache freie freiere sinngemäße sinngemäß wortwörtliche wortwörtlich grobe genaue genauere
        korrekte korrekter richtige passende alternative vollständige natürlichere bessere beste
        idiomatische angemessene präzise geeignete simple free correct rough best idiomatic proper
        corresponding suitable appropriate verbatim quick loose precise actual whole entire frage anweisung
        nachricht ausdruck question command expression news poem gesamte gesamten wiedergabe es how way
        übertragen exakte
    """,
    OTHER: "he she er sie",
    TASK: "task aufgabe",
    COPULA: """
        kann können könnte is are was be would could can will should may might reads read being follows
        lautet lauten ist sind wäre würde wird werden wurde folgt folgendermaßen becomes goes also
    """,
    SAY: "says said saying say sagen states stated mentions sagt sagte gesagt spricht erwähnt",
    PARTICLE: """
        in into to of from for as by with and then when like using so auf ins von aus vom zu zum zur nach
        für wie als mit und im been back direct literal literally possible roughly approximately directly
        accurate wörtlich wörtliche ungefähr direkt direkte mögliche lang language languages complete full
        exact only please bitte final more natural better fluent according speaking speaks male female man
    """,
    POLITE: """
        sure certainly okay ok yes course absolutely natürlich gerne klar sicher selbstverständlich
        sicherlich gern ja thanks thank
    """,
    SELF: """
        i i'll i'd i've me my you your let let's help happy glad need requested asked ich dir ihnen ihre
        ihrer deine deiner mir helfen
    """,
    NOTE: "note notes nb remark anmerkung hinweis",
}

ENGLISH_FUNCTION_WORDS: Final = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have he i in is it
    its may my not of on or our she should that the their there these they this those to was we
    were which will with would you your
    """.split()  # noqa: SIM905
)
GERMAN_FUNCTION_WORDS: Final = frozenset(
    """
    aber als am an auch auf aus bei das dass dem den der des die diese dieser dieses du ein eine
    einem einen einer eines er es für haben hat hatte ich ihr im in ist kann können mit nach
    nicht noch nur oder sich sie sind so und unser unsere von war waren wenn werden wie wir wird
    zu zum zur über
    """.split()  # noqa: SIM905
)


@cache
def han_words() -> dict[str, str]:
    """Return word -> category for everything written in Chinese."""
    return {word: category for category, words in _HAN.items() for word in words.split()}


@cache
def latin_words() -> dict[str, str]:
    """Return lower-case word -> category for everything written in English or German."""
    return {word: category for category, words in _LATIN.items() for word in words.split()}


@cache
def han_lengths() -> dict[str, tuple[int, ...]]:
    """Return, for each character a Chinese entry begins with, the lengths of those entries, longest first."""
    lengths: dict[str, set[int]] = {}
    for word in han_words():
        lengths.setdefault(word[0], set()).add(len(word))
    return {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()}


_TO_SIMPLIFIED: Final = str.maketrans(
    "與專業兩個爲為麼麽義書於從們會體關興內寫準則別務動華單參發臺後聽國場聲處備復頭實對將幫並廣應開當錄換據無條來標"
    "樣漢沒點獨現暢著確種簡約細終經結給補視讓訊講論訪識詞譯詩話該詳語說説請讀談謝轉輸達過這進郵採釋裏裡問聞際陳韓順頻題",
    "与专业两个为为么么义书于从们会体关兴内写准则别务动华单参发台后听国场声处备复头实对将帮并广应开当录换据无条来标"
    "样汉没点独现畅着确种简约细终经结给补视让讯讲论访识词译诗话该详语说说请读谈谢转输达过这进邮采释里里问闻际陈韩顺频题",
)
"""The traditional characters of the words above, each with its simplified one."""


def simplified(text: str) -> str:
    """Return `text` with the vocabulary's traditional characters simplified, each in its place.

    >>> simplified("這段英語")
    '这段英语'
    """
    return text if text.isascii() else text.translate(_TO_SIMPLIFIED)


LONGEST: Final = max(map(len, han_words()))
"""Characters of the longest Chinese entry."""
