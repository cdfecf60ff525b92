"""Labels in the grammar of Qwen2-Audio's, in shapes no development file holds, and lines that speak of translating."""

from __future__ import annotations

import pytest

from iwsltpack.cleaning.engine import clean_line

DE_PAIRS = [
    (
        "Wir stellen ein neues Verfahren vor, das gute Ergebnisse erzielt.",
        "We propose a new method that gives good results.",
    ),
    ("Das war ein Versuch.", "That was an attempt."),
    ("Die Kosten sind im letzten Jahr gesunken.", "The costs fell last year."),
    ("Hier auch.", "Same here."),
    ("Vielen Dank für Ihre Aufmerksamkeit!", "Thank you for your attention!"),
    ("Wo ist der nächste Bahnhof?", "Where is the nearest station?"),
    ("Er sagte, dass er morgen kommt.", "He said that he is coming tomorrow."),
]
DE_LABELS = r"""
GermanTranslation: '{T}'
German translation: "{T}"
German_translation: {T}
DeutscheÜbersetzung: '{T}'
Deutsche Übersetzung: {T}
Einfache Übersetzung: "{T}"
Freie Übersetzung: {T}
Sinngemäße Übersetzung: {T}
Wortwörtliche Übersetzung: "{T}"
Grobe Übersetzung: {T}
Genaue Übersetzung: „{T}“
Übersetzungsvorschlag: {T}
Die nachstehende ist die Übersetzung ins Deutsche: '{T}'
In der deutschen Übersetzung lautet es: "{T}"
In deutscher Übersetzung heißt es: "{T}"
Deutscher Text: '{T}'
Deutsche Fassung: "{T}"
Auf Deutsch lautet das: {T}
Auf Deutsch würde man sagen: "{T}"
Auf Deutsch sagt man: „{T}“
Auf Deutsch übersetzt bedeutet das: "{T}"
Übersetzt bedeutet das: "{T}"
Der Satz lautet auf Deutsch: '{T}'
Der Satz in deutscher Sprache lautet: '{T}'
Der englische Satz lautet in der deutschen Übersetzung: '{T}'
Die Übersetzung der Aussage ins Deutsche lautet: "{T}"
Die Übersetzung von "{S}" ins Deutsche lautet: "{T}"
Die Übersetzung von "{S}" ist "{T}"
"{S}" bedeutet auf Deutsch "{T}"
"{S}" heißt auf Deutsch: "{T}"
"{S}" wird auf Deutsch übersetzt als "{T}"
"{S}" - "{T}"
"{S}" German Translation: "{T}"
{S} German Translation: "{T}"
{S} GermanTranslation: '{T}'
{S} Deutsche Übersetzung: {T}
English: "{S}" German: "{T}"
English: {S} German: {T}
Originaltext: "{S}" Übersetzung: "{T}"
Transkript: "{S}" Übersetzung: "{T}"
{'GermanTranslation': '{T}'}
{"translation": "{T}"}
{"German": "{T}"}
{"de": "{T}"}
{"text": "{T}"}
{'English': '{S}', 'German': '{T}'}
{"source": "{S}", "translation": "{T}"}
{T} (German)
{T} (Deutsch)
{T} (auf Deutsch)
{T} (in German)
{T} (German translation)
{T} (Deutsche Übersetzung)
{T} [German]
Das englische Zitat lautet auf Deutsch: "{T}"
Die Rede lautet auf Deutsch: '{T}'
Diese Rede auf Deutsch lautet: '{T}'
Der Sprecher sagt auf Deutsch: "{T}"
Der Inhalt der Rede auf Deutsch lautet: '{T}'
Diese englische Sprachaufnahme bedeutet auf Deutsch: '{T}'
Die Sprachnachricht lautet übersetzt: "{T}"
Das Gesagte lautet auf Deutsch: "{T}"
Der gesprochene englische Text lautet auf Deutsch: "{T}"
Die englische Rede wurde wie folgt ins Deutsche übersetzt: "{T}"
Der englische Text wird ins Deutsche übersetzt: "{T}"
Ins Deutsche übersetzt: {T}
Ins Deutsche übersetzt, lautet der Satz: "{T}"
Übersetzung ins Deutsche: "{T}"
Übersetzung auf Deutsch: {T}
Übersetzung (Deutsch): {T}
Übersetzung (DE): {T}
Übersetzung Englisch-Deutsch: "{T}"
Englisch-Deutsch-Übersetzung: "{T}"
Englisch nach Deutsch: "{T}"
English to German: '{T}'
DE: {T}
The German translation of the sentence is: '{T}'
The German equivalent is: "{T}"
The German translation of the given English speech is '{T}'.
The given English sentence in German is: '{T}'
The sentence in German would be: "{T}"
In German, the sentence would be: "{T}"
In German, you would say: "{T}"
This translates to German as: "{T}"
This speech translates into German as follows: {T}
The speech can be translated as: '{T}'
The translation from English to German is: '{T}'
The translated speech in German is: '{T}'
The correct translation is: {T}
The German version of the speech is: {T}
German speech: '{T}'
German: {T}
GERMAN: {T}
Deutsch: "{T}"
German Translation: "{T}" (Note: This is a literal translation.)
German Translation: "{T}" (Hinweis: "Sheep" ist hier als Name zu verstehen.)
Deutsche Übersetzung: "{T}" Hinweis: Die Übersetzung kann je nach Kontext variieren.
Die deutsche Übersetzung lautet: "{T}" (wörtlich: {T})
"{T}" ist die deutsche Übersetzung des Satzes.
"{T}" is the German translation.
'{T}' (Translation of "{S}")
{T} (Übersetzung: {S})
{T} (English: {S})
{T} - English: {S}
{T} Translation: {S}
{T} Übersetzung: {T}
{T} Deutsche Übersetzung: {T}
这段英语的德语翻译是：'{T}'
这段英语语音的德文翻译为：{T}
德语翻译：'{T}'
德语：{T}
英语到德语的翻译是：'{T}'
翻译成德语为：'{T}'
将这段英语翻译成德语：{T}
Hier ist die Übersetzung der Rede: {T}
Hier die Übersetzung: {T}
Gerne! Hier ist die deutsche Übersetzung: {T}
Sicherlich! Die Übersetzung lautet: {T}
Die Übersetzung des gesprochenen Textes ist: {T}
Meine Übersetzung: "{T}"
Übersetzte Rede: '{T}'
Übersetzter Satz: {T}
Die übersetzte Aussage lautet: '{T}'
Die korrekte deutsche Übersetzung dieses Satzes lautet: '{T}'
Das bedeutet auf Deutsch: "{T}"
Das ist auf Deutsch: "{T}"
GermanVersion: '{T}'
Germanspeech: '{T}'
German: '{T}'
German translation of the speech: "{T}"
German Translation of the given speech: {T}
GermanTranslationOfTheSpeech: '{T}'
TranslationGerman: '{T}'
Translation_DE: '{T}'
{"GermanTranslation": "{T}"}
{'german_translation': '{T}'}
{'Translation': '{T}'}
{'Deutsch': '{T}'}
{'Übersetzung': '{T}'}
{'translation_german': '{T}'}
{'translated_text': '{T}'}
{'result': '{T}'}
{"original": "{S}", "german": "{T}"}
["{T}"]
Translation (German): {T}
Translation to German: "{T}"
Translation into German: '{T}'
Translated to German: {T}
Translated into German, it is: "{T}"
The translation into German would be: "{T}"
The English sentence translated into German is: "{T}"
The English phrase translated to German is '{T}'
The phrase '{S}' translates to '{T}' in German.
The speech "{S}" in German is "{T}"
The German for this is: "{T}"
A German translation of this sentence would be: "{T}"
A literal German translation is: {T}
One way to translate this into German is: "{T}"
You can say in German: "{T}"
It means in German: "{T}"
Sure, the German translation would be: '{T}'
Okay, here's the German translation of the audio: {T}
Here is the text translated into German: {T}
Here is a German translation of the English speech: {T}
The audio translates to the following in German: {T}
The original content in German is: '{T}'
The speaker says in German: '{T}'
Speech translated to German: '{T}'
English speech translated to German: {T}
English-German translation: {T}
Die deutsche Übersetzung des Gesprochenen lautet: "{T}"
Die deutsche Übersetzung der gesprochenen Rede ist: '{T}'
Die deutsche Übersetzung des Audios lautet: {T}
Die deutsche Übersetzung lautet wie folgt: {T}
Die deutsche Übersetzung für diesen Satz ist: '{T}'
Die deutsche Übersetzung dieser englischen Rede ist: "{T}"
Die deutsche Übersetzung von '{S}' lautet: '{T}'
Die exakte Übersetzung ist: '{T}'
Die direkte Übersetzung ins Deutsche wäre: {T}
Die wörtliche Übersetzung lautet: "{T}"
Die Übersetzung in die deutsche Sprache lautet: '{T}'
Die Übersetzung vom Englischen ins Deutsche ist: '{T}'
Die Übersetzung aus dem Englischen lautet: {T}
Die Übersetzung des Textes lautet: '{T}'
Die Übersetzung deiner Rede lautet: '{T}'
Die Übersetzung Ihrer englischen Nachricht lautet: '{T}'
Die Bedeutung dieses Satzes auf Deutsch ist: '{T}'
Die Rede auf Englisch bedeutet auf Deutsch: '{T}'
Der Satz "{S}" bedeutet auf Deutsch: "{T}"
Der Satz bedeutet auf Deutsch: {T}
Der übersetzte Satz lautet: '{T}'
Der übersetzte Text lautet: {T}
Der deutsche Text lautet: '{T}'
Der deutsche Satz ist: '{T}'
Der Text in deutscher Übersetzung: '{T}'
Der Text lautet auf Deutsch wie folgt: {T}
Der englische Sprecher sagt: '{T}'
Der englische Originaltext lautet: "{S}". Die deutsche Übersetzung: "{T}"
Das Original lautet: "{S}" Die Übersetzung: "{T}"
Das englische Audio auf Deutsch: '{T}'
Das Audio auf Deutsch lautet: '{T}'
Das englische Gesagte bedeutet: '{T}'
Das könnte man so übersetzen: '{T}'
Dieser Satz bedeutet auf Deutsch: '{T}'
Dieser Satz lautet auf Deutsch: {T}
Dieser Satz wird ins Deutsche so übersetzt: '{T}'
Diese Aussage bedeutet auf Deutsch: '{T}'
Diese Rede kann auf Deutsch so übersetzt werden: '{T}'
Diese Sprachnachricht wurde ins Deutsche übersetzt: {T}
Ich würde das so übersetzen: "{T}"
Meine deutsche Übersetzung lautet: '{T}'
Klar, hier ist die Übersetzung: {T}
Natürlich! Die deutsche Übersetzung lautet: „{T}“
Gern, die Übersetzung ist: {T}
Okay, auf Deutsch: {T}
Hier ist der übersetzte Text: {T}
Hier ist die Übersetzung des englischen Textes ins Deutsche: {T}
Folgende Übersetzung: '{T}'
Folgende ist die deutsche Übersetzung: '{T}'
Übersetzung des Satzes: '{T}'
Übersetzung der Rede: {T}
Übersetzung der englischen Rede: {T}
Übersetzung der englischen Sprache ins Deutsche: '{T}'
Übersetzung aus dem Englischen: "{T}"
Übersetzung nach Deutsch: '{T}'
Übersetzung deutsch: {T}
Übersetzung: „{T}“.
Übersetzt: {T}
Übersetzte Version: '{T}'
Übersetzter deutscher Text: {T}
Ins Deutsche übertragen: '{T}'
Auf Deutsch heißt es: '{T}'
Auf Deutsch: "{T}"
auf Deutsch: {T}
Auf Deutsch ist das: '{T}'
Auf deutsch heißt das: "{T}"
Zu Deutsch: "{T}"
In Deutsch: {T}
Deutsche Sprache: '{T}'
Deutsche Rede: '{T}'
Deutsche Variante: '{T}'
Deutscher Wortlaut: '{T}'
Deutsches Äquivalent: '{T}'
Englisch: '{S}' Deutsch: '{T}'
English: '{S}', German: '{T}'
English speech: "{S}" German translation: "{T}"
Englische Rede: {S} Deutsche Übersetzung: {T}
Originaltext: {S} Deutsche Übersetzung: {T}
Original: "{S}" - Übersetzung: "{T}"
Transcript: {S} Translation: {T}
Transcription: "{S}" Translation: "{T}"
{S} - German translation: {T}
"{S}" Deutsche Übersetzung: "{T}"
"{S}" translated to German is "{T}"
"{S}" lautet auf Deutsch: "{T}"
"{S}" kann man übersetzen als: "{T}"
{T} [Deutsch]
{T} (German version)
{T} (Übersetzung ins Deutsche)
{T} (Englisch: {S})
{T} (Original: {S})
{T} (Originaltext: "{S}")
{T} (Note: this is a translation of the English speech into German.)
{T} (Anmerkung: Die Übersetzung ist nicht wörtlich.)
Deutsche Übersetzung: '{T}' (Anmerkung: "Here" bedeutet "hier".)
Übersetzung: "{T}" (Bitte beachten Sie, dass dies eine freie Übersetzung ist.)
Die Übersetzung lautet: "{T}" oder "{T}"
这句英文的德语翻译是：'{T}'
这段话用德语说是：'{T}'
以下是德语翻译：{T}
德语译文：{T}
德文：{T}
英文翻译成德文：'{T}'
German Trans: '{T}'
German translation from English: "{T}"
GermanLanguage: '{T}'
The speech in German language: '{T}'
The German translation of "{S}" is "{T}"
The German translation of the audio is: {T}
The audio in German says: '{T}'
The text in German reads: "{T}"
Spoken German: '{T}'
The speech is translated as: {T}
Translation of the audio: {T}
Final translation: {T}
Possible translation: "{T}"
Deutsche Übersetzung des Textes: {T}
Deutsche Übersetzung der Rede: '{T}'
Deutsche Aussage: '{T}'
Deutsche Transkription: '{T}'
Deutschübersetzung: {T}
Übersetzungsergebnis: {T}
Übersetzungstext: '{T}'
Die Übersetzung in Deutsch ist: {T}
Die Übersetzung für '{S}' ist '{T}'
Die Übersetzung ist wie folgt: {T}
Die Übersetzung wäre: '{T}'
Die englische Aussage lautet auf Deutsch: '{T}'
Die englische Rede in deutscher Sprache: '{T}'
Die englische Sprache wird ins Deutsche übersetzt: {T}
Der Satz auf Deutsch: '{T}'
Der Satz ins Deutsche übersetzt: {T}
Der englische Text in deutscher Übersetzung lautet: '{T}'
Der Ausdruck bedeutet auf Deutsch: '{T}'
Das Zitat auf Deutsch: '{T}'
Dieser englische Text lautet auf Deutsch: '{T}'
Dieser Text lautet übersetzt: '{T}'
Dies bedeutet auf Deutsch: '{T}'
Es lautet auf Deutsch: '{T}'
Ins Deutsche: {T}
Im Deutschen lautet dies: '{T}'
Im Deutschen heißt das: '{T}'
Englisch auf Deutsch: '{T}'
Original auf Englisch: {S} Übersetzung auf Deutsch: {T}
Satz auf Englisch: "{S}" Satz auf Deutsch: "{T}"
"{S}" wird übersetzt als "{T}"
"{S}" = "{T}"
{T} (Dies ist die deutsche Übersetzung.)
{T} (Translated from English to German)
{T} --- German translation
Die Tonspur lautet auf Deutsch: „{T}“
Die Sprachnotiz besagt in deutscher Sprache: {T}
Hier finden Sie die deutsche Übertragung: "{T}"
Hier kommt die Version auf Deutsch - '{T}'
Bitte sehr, hier ist die deutsche Übersetzung: {T}
Deutsch - '{T}'
Englisch > Deutsch - "{T}"
Zielsprache (Deutsch): „{T}“
Zieltext: "{T}"
Output: '{T}'
translation = "{T}"
{'translation': {'de': '{T}'}}
{"translations": ["{T}"]}
[{"translation": "{T}"}]
('{T}',)
{'output_text': '{T}'}
{"transcription": "{S}", "target": "{T}"}
<übersetzung>{T}</übersetzung>
- Übersetzung: "{T}"
1. Deutsche Übersetzung: {T}
Übersetzung:\n- {T}
EN: "{S}" | GER: "{T}"
Quelltext: "{S}" - Ausgabe: {T}
{S} --> {T}
"{S}" → "{T}"
Man würde die Aussage wie folgt wiedergeben: „{T}“
Der ursprüngliche Wortlaut ist auf Deutsch wie folgt: „{T}“
Deutsche Übersetzung: "{T}" Erklärung: Der Satz steht im Präsens.
{T} Note: This is a literal translation.
{T} Hinweis: Diese Übersetzung ist nicht wörtlich.
{T} I hope this helps!
The speech says, "{S}" which translates to "{T}"
Die deutsche Übersetzung des gegebenen Satzes lautet: "{T}"
Der gesprochene Satz lautet auf Deutsch: '{T}'
Der Sprecher sagt auf Deutsch: '{T}'
Es wird gesagt: '{T}'
In dem Audio wird gesagt: "{T}"
Im Audio heißt es: „{T}“
In der Aufnahme sagt eine Frau auf Englisch: '{T}'
Die Person sagt: '{T}'
Der Originalinhalt dieser Audiodatei ist: '{T}'
'{T}' ist die deutsche Übersetzung von '{S}'
Der englische Satz bedeutet auf Deutsch so viel wie: {T}
Zu Deutsch: {T}
Die Übersetzung dieser Rede auf Deutsch: {T}
Dieser Satz heißt auf Deutsch: {T}
Ich übersetze: "{T}"
Meine Übersetzung: {T}
Meine Übersetzung wäre: {T}
(Deutsch) {T}
Die Aufnahme enthält den Satz: '{T}'
Die Aufnahme sagt: '{T}'
Der Inhalt der Rede auf Deutsch ist: {T}
Der Sinn des Satzes ist: "{T}"
Sinngemäß übersetzt: {T}
Wörtlich übersetzt: {T}
Frei übersetzt: {T}
"{S}" – "{T}"
EN: {S} DE: {T}
Der Satz "{S}" bedeutet: "{T}"
"{T}" – das ist die deutsche Übersetzung.
Das heißt auf Deutsch: {T}
Die übersetzte Version lautet: {T}
Gesprochener Text: "{T}"
Englisch-Deutsch-Übersetzung: {T}
Die Rede lautet wie folgt: "{T}"
Der Sprecher fragt: „{T}“
Übersetzung des Satzes: {T}
Übersetzung aus dem Englischen: {T}
Aus dem Englischen übersetzt: {T}
{T} (aus dem Englischen übersetzt)
Deutsch: {T} (Englisch: {S})
Der Text der Audioaufnahme lautet: "{T}"
Die englische Aussage lautet übersetzt: {T}
Das bedeutet auf Deutsch: {T}
Auf Deutsch lautet der Satz so: {T}
Die Übersetzung in die deutsche Sprache: {T}
Eine mögliche deutsche Übersetzung wäre {T}
The speaker says: {T}
The speaker says: '{T}'
"{T}" is the German translation of the English sentence "{S}"
The German sentence is: {T}
In German, this is said as: {T}
Translation from English to German: {T}
This is the German translation of the speech: {T}
[German] {T}
The German text reads: {T}
The audio translates to German as: {T}
The audio content is: '{T}'
The equivalent in German would be: {T}
You can say "{T}" in German.
The speech goes: '{T}'
The woman in the audio says: '{T}'
The translated speech in German would be: {T}
Die deutsche Übersetzung des Textes lautet: '{T}'
Die Übersetzung dieses englischen Satzes lautet "{T}".
Auf Deutsch würde es heißen: {T}
Der englische Text kann ins Deutsche übersetzt werden als: '{T}'
Diese Audioaufnahme bedeutet auf Deutsch: {T}
Die Rednerin sagt: '{T}'
Der Mann im Audio sagt: '{T}'
In diesem Audio sagt der Sprecher auf Englisch: "{S}", was auf Deutsch bedeutet: "{T}"
Die Übersetzung lautet {T}
Die deutsche Übersetzung ist {T}
"{S}" heißt auf Deutsch "{T}".
Das englische Original lautet: {S} Die Übersetzung lautet: {T}
Hier ist meine Übersetzung: {T}
Deutsche Übersetzung des Audios: {T}
Der Satz wird so übersetzt: {T}
Es handelt sich um eine englische Rede, die auf Deutsch lautet: '{T}'
Das Gesprochene ins Deutsche übersetzt: {T}
Übersetzung der Aufnahme: {T}
Die sinngemäße Übersetzung lautet: {T}
Die Übersetzung lautet auf Deutsch: {T}
Übersetzt heißt das: {T}
Die Sprachaufnahme lautet: '{T}'
"{T}" lautet die deutsche Übersetzung.
{T} - das ist die Übersetzung ins Deutsche.
The original content of this audio is: '{T}'
The German translation of "{S}" is {T}
The speaker is saying {T}
In German it is: {T}
The statement in German is: {T}
The given speech is translated as '{T}'
The person speaking says, "{T}"
Die Übersetzung ins Deutsche lautet: "{T}"
Deutsche Übersetzung: "{T}"
Der Originaltext lautet: {S} Die deutsche Übersetzung lautet: {T}
Diese Sprachnachricht bedeutet: '{T}'
Der Satz bedeutet übersetzt: "{T}"
Der Sprecher im Audio sagt: '{T}'
In der Tonaufnahme hört man: '{T}'
Die Übersetzung des Audios ins Deutsche ist {T}
Auf Deutsch bedeutet dieser Satz {T}
Übersetzung der Sprachaufnahme: '{T}'
Die Nachricht in der Aufnahme lautet: "{T}"
In German, the speech is: {T}
The translation of the audio into German is {T}
German translation: {T} (English: {S})
Die englische Phrase "{S}" wird ins Deutsche mit "{T}" übersetzt.
A German rendering: {T}
""".strip().splitlines()

DE_INNOCENT = """
Übersetzung: Hans Meier
Deutsch von Anna Schmidt.
Deutsch: 300 Stunden, Englisch: 500 Stunden.
Deutsch: eine schwere Sprache.
Die Übersetzung ist gut: Alle haben sie verstanden.
Die deutsche Übersetzung erschien 1999: ein großer Erfolg.
Die englische Fassung lautet anders: Dort fehlt der Satz.
Auf Deutsch heißt das „Schadenfreude“.
Das Wort „Schadenfreude“ gibt es auch auf Englisch: „schadenfreude“.
Auf Englisch sagt man: „Break a leg“.
Das englische Wort „gift“ bedeutet auf Deutsch „Geschenk“.
„Gift“ heißt auf Deutsch „Geschenk“ und nicht „Gift“.
Der Titel lautet auf Deutsch: „Der kleine Prinz“.
Die Übersetzung des Titels lautet: „Der kleine Prinz“.
Seine Übersetzung lautet: „Es werde Licht.“
Ihre Übersetzung war: „Ich liebe dich.“
Wir haben die deutsche Übersetzung: „Es war einmal.“
Ein Sprecher der Polizei sagte: „Wir ermitteln.“
Ein Sprecher sagte: „Wir ermitteln.“
Die Sprecherin sagte: „Wir äußern uns nicht.“
Eine Sprecherin erklärte: „Wir äußern uns nicht.“
Der Sprecher des Ministeriums sagt: „Das prüfen wir.“
Die Person sagte: „Ich war es nicht.“
In der Rede hieß es: „Wir schaffen das.“
In dem Video sagt er: „Das war knapp.“
Auf dem Video ist zu hören: „Hilfe!“
In der Aufnahme ist zu hören: „Hilfe!“
In seiner Rede sagte er: „Wir schaffen das.“
Die Botschaft lautet: Wir schaffen das.
Der Inhalt der Rede war bekannt: Es ging um Steuern.
Der Inhalt: drei Äpfel und eine Birne.
Die Frage lautet: Was nun?
Die Antwort lautet: Niemand weiß es.
Das heißt auf gut Deutsch: Es fehlt Geld.
Auf gut Deutsch: Wir sind pleite.
Zu Deutsch: keine Ahnung.
Mit anderen Worten: Es geht nicht.
Originaltext und Übersetzung stehen nebeneinander.
Original: Museum of Modern Art, New York.
Quelle: dpa
Text: Anna Schmidt, Bilder: Jan Klein.
Aus dem Englischen von Anna Schmidt.
Aus dem Englischen übersetzt von Anna Schmidt.
Version 2.0: Was ist neu?
Ergebnis: Das Modell ist besser.
Hinweis: Die Übersetzung ist maschinell erstellt.
Anmerkung der Redaktion: Der Text wurde übersetzt.
Anmerkung des Übersetzers: Das Wort ist doppeldeutig.
Der Übersetzer sagt: „Das ist schwer.“
Der Übersetzer: eine Biografie.
Die Transkription: ein Überblick.
Transkription und Übersetzung sind zwei Aufgaben.
Die Aufgabe lautet: Übersetze den Satz ins Deutsche.
Die Anweisung lautet: „Übersetze den Satz.“
Bitte übersetzen Sie: Das war die Aufgabe.
Sprache: Deutsch. Dauer: 90 Minuten.
Sprachen: Deutsch, Englisch.
Deutsch, Englisch, Chinesisch: Das Modell kann alles.
Der Film läuft in deutscher Fassung: Beginn ist um acht.
Wir brauchen Daten. Übersetzung: Dafür gibt es Firmen.
Es gibt zwei Aufgaben. Übersetzung: Texte werden übertragen.
Zuerst kommt die Transkription. Die Übersetzung: Sie folgt danach.
„Ja“ ist die Antwort.
„Das ist gut.“ Das sagte er.
„Das ist gut“, sagte sie auf Deutsch.
„Das ist die deutsche Übersetzung“, sagte er.
Sie sagte „Danke“ (auf Deutsch).
Wir lernen heute zwei Sprachen (Deutsch und Englisch).
Das Buch ist vergriffen (Original: 1999).
Das Lied heißt „Yesterday“ (deutsch: „Gestern“).
Wir nennen es Bewertung (Englisch: evaluation).
Das Verfahren heißt Kürzung (auf Englisch: pruning).
Der Kurs ist gut besucht. (Deutschkurs)
Er sprach lange. (Beifall)
Der Übersetzer erklärte: „Das war ein schwerer Text.“
Auf Deutsch sagte sie: „Danke, dass Sie da sind.“
Datei -> Öffnen und Datei -> Speichern.
Sie haben die Version 2.0: Was ist neu?
Er heißt auf Deutsch „Rotkehlchen“.
Ergebnis = „gut“
Die Aufnahme: „Abbey Road“
„Geschenk“ bedeutet „gift“.
Hinweis: Die Aufzeichnung läuft. Bitte beachten Sie: Das Video folgt.
Es wird gesagt, dass der Sprecher auf Deutsch übersetzt hat.
Es wird oft gesagt: Der Weg ist das Ziel.
Es heißt: „Der frühe Vogel fängt den Wurm.“
Man könnte sagen: „Das ist unmöglich.“
Man könnte sagen: Die Übersetzung ist eine Kunst.
Er sagte: „Die Übersetzung ist schwierig.“
Sie sagt: „Ich spreche kein Deutsch.“
Ein Mann sagt: „Ich liebe dich.“
Eine Frau sagt zu ihrem Mann: „Komm nach Hause.“
Die Frau sagt: „Ich bin müde.“
Die Stimme sagt: „Du schaffst das nicht.“
Eine Stimme sagte: „Steh auf.“
Der Lehrer fragt: „Wer kennt die Antwort?“
Die Ärztin fragt: „Wo tut es weh?“
Mein Vater sagte immer: „Wer rastet, der rostet.“
Meine Übersetzung ist noch nicht fertig.
Meine Übersetzung wäre anders ausgefallen.
Meine Mutter übersetzt Romane: Sie lebt davon.
Die Übersetzung ist Sache der Juristen.
Die deutsche Übersetzung ist Teil des Pakets.
Die deutsche Übersetzung ist 1999 erschienen.
Die deutsche Übersetzung wird von Karl Weber besorgt.
Die deutsche Übersetzung war ein großer Erfolg.
Die Übersetzung wäre ohne Sie nicht möglich gewesen.
Die Übersetzung lautet anders, als wir gedacht hatten.
Eine mögliche Übersetzung wäre besser als keine.
Eine gute Übersetzung ist die Arbeit vieler Menschen.
Das ist die deutsche Übersetzung von Shakespeares Werken.
Das Buch ist die deutsche Übersetzung von Moby Dick.
„Das Kapital“ ist die deutsche Fassung von „Capital“.
Der Film „Heimat“ ist auf Deutsch.
Dies ist die Übersetzung der Rede. Wir haben sie geprüft.
Das ist die deutsche Version. Die englische folgt.
Der Text enthält: Namen, Daten und Orte.
Die Aufnahme enthält den Satz zweimal.
Die Aufnahme enthält Stimmen: eine hohe und eine tiefe.
Das Video enthält den Hinweis: „Nicht für Kinder geeignet.“
Der Brief enthält den Satz: „Wir kommen wieder.“
Auf gut Deutsch gesagt: Das war nichts.
Kurz gesagt: Wir brauchen mehr Geld.
Anders gesagt: Das Modell lernt nichts.
Wörtlich sagte er: „Ich gehe.“
Sinngemäß sagte sie: „Das geht so nicht.“
Wörtlich: „Der König ist tot.“
Das heißt: Wir fangen von vorn an.
Das bedeutet: Die Preise steigen.
Das bedeutet so viel wie: Wir sind allein.
Das Wort bedeutet so viel wie „Freund“.
Der Name bedeutet auf Deutsch „Löwe“.
Der Ausdruck heißt auf Deutsch „Daumen drücken“.
Das Wort heißt auf Deutsch so viel wie „Heimweh“.
Ich würde sagen: Wir gehen.
Ich höre: „Das geht nicht.“
Was ich gehört habe: Es gibt Streit.
Ich übersetze gern: Es macht mir Freude.
Ich übersetze: Ich bin Dolmetscher.
Ich lese Ihnen den Satz vor: „Alle Menschen sind gleich.“
Ich frage Sie: Was ist eine gute Übersetzung?
Der Satz lautet: „Alle Menschen sind frei.“
Der erste Satz lautet: „Ilsebill salzte nach.“
Der letzte Satz des Romans ist berühmt: Er hat nur zwei Worte.
Die Frage lautet: „Wer bezahlt das?“
Der Titel lautet: „Die Verwandlung“.
Die Überschrift lautet: „Krieg und Frieden“.
Das Motto lautet: Gemeinsam sind wir stark.
Die Botschaft lautet: Wir geben nicht auf.
Der Inhalt der Rede war enttäuschend: Er wiederholte sich.
Der Inhalt ist: zwei Äpfel, ein Brot und Käse.
Der Sinn des Satzes ist klar: Wir sollen gehen.
Der Sinn des Lebens ist: „Sei freundlich.“
Der Sprecher der Regierung sagte: „Wir prüfen das.“
Ein Sprecher sagte: „Die Ermittlungen laufen.“
Die Sprecherin des Ministeriums erklärte: „Das trifft nicht zu.“
Der Redner fragte: „Wer hat Angst vor dem Wolf?“
Die Rednerin schloss mit dem Satz: „Ich danke Ihnen.“
In dem Lied heißt es: „Der Mond ist aufgegangen.“
In der Bibel heißt es: „Am Anfang war das Wort.“
Im Bericht wird gesagt: „Die Lage ist ernst.“
Im Film sagt er: „Ich komme wieder.“
Im Video sagt sie: „Hallo zusammen.“
In der Aufnahme sagt er: „Ich war es nicht.“
In der Sendung sagte eine Frau: „Das ist ungerecht.“
Auf Englisch sagt man: „Break a leg.“
Im Englischen gibt es dafür ein Wort: „serendipity“.
Im Deutschen: drei Geschlechter, im Englischen: keines.
Deutsch ist eine Sprache mit vier Fällen.
Deutsch, Englisch und Chinesisch: drei Sprachen, ein Modell.
Übersetzung: Anna Schmidt
Übersetzung und Schnitt: Peter Müller
Aus dem Englischen von Harry Rowohlt.
Aus dem Englischen übersetzt von Karl Weber.
Das Buch ist erschienen (aus dem Englischen übersetzt).
Der Roman wurde ins Deutsche übertragen: von zwei Brüdern.
Wir übersetzen von Englisch nach Deutsch und von Deutsch nach Chinesisch.
Von Englisch nach Deutsch: 30 BLEU, von Deutsch nach Englisch: 35 BLEU.
Englisch-Deutsch: Die Ergebnisse sind besser.
Die Rede lautet anders als das Manuskript.
Die Sprachausgabe lautet: „Bitte wenden.“
Der Text auf dem Schild lautet: „Betreten verboten.“
Die Nachricht lautet: „Ich komme später.“
Auf dem Schild steht: „Vorsicht, Hund.“
The Voice: Das ist eine Sendung im Fernsehen.
The Guardian schreibt: „Es ist vorbei.“
The Speaker heißt das Amt im Unterhaus: Er leitet die Sitzung.
Breaking Bad: Das ist meine Lieblingsserie.
Say it in German: Das ist der Titel des Kurses.
Das Lied „Imagine“ ist auf Englisch: Jeder kennt es.
„We are the champions“ – „Wir sind die Sieger“: So übersetzte er es.
„Time is money“ ist ein Satz von Franklin.
Die Ausgabe ist: „Hallo Welt“.
Ist das eine Übersetzung? Das ist eine Übersetzung.
Hier die Übersetzung zu prüfen, ist die Aufgabe.
Die Übersetzung der Rede ins Deutsche dauerte lange: drei Wochen.
Der Dolmetscher sagt: „Das kann man nicht übersetzen.“
Die Maschine sagt: „Bitte warten.“
Siri sagt: „Das habe ich nicht verstanden.“
Der Computer fragt: „Meinten Sie das?“
""".strip().splitlines()

ZH_PAIRS = [
    ("我们提出了一种新方法，效果很好。", "We propose a new method that gives good results."),
    ("这是一次尝试。", "That was an attempt."),
    ("去年成本下降了。", "The costs fell last year."),
    ("这里也是。", "Same here."),
    ("谢谢大家的关注！", "Thank you for your attention!"),
    ("最近的车站在哪里？", "Where is the nearest station?"),
    ("他说他明天来。", "He said that he is coming tomorrow."),
]
ZH_LABELS = r"""
翻译结果：{T}
翻译结果: '{T}'
{'ChineseTranslation': '{T}'}
ChineseTranslation: '{T}'
Chinese_translation: {T}
英语到汉语翻译任务：'{T}'
英译汉任务：'{T}'
逐句翻译：{T}
逐字翻译：{T}
全文翻译：{T}
语音翻译结果：{T}
该语音信息的中文翻译是：'{T}'
该语音消息的内容翻译成中文是：'{T}'
{T}中文翻译：{T}
{T}翻译：{T}
这段英语的中文翻译是：「{T}」
下列是要点的英文语音翻译如下：{T}
下列是英文语音的中文翻译：{T}
第六段第一句话翻译为：'{T}'
第二句翻译成中文是：{T}
这个英文演讲的实际的中文是：'{T}'
这段话的实际意思是：'{T}'
英语翻译：{T}
法语翻译：{T}
中文句子：'{T}'
中文版：'{T}'
中文版本：'{T}'
中文含义：{T}
中文意思：{T}
中文释义：{T}
汉译：{T}
中译：{T}
英译中：{T}
译：{T}
译文如下：{T}
正确的翻译是：{T}
最佳翻译：{T}
简单翻译：{T}
意译：{T}
这段英文语音转换成中文文本是：'{T}'
这段英文录音对应的中文是：'{T}'
这段英文朗读的中文翻译是：'{T}'
这段英语对话的中文翻译是：'{T}'
这段英语独白翻译成中文是：'{T}'
这首英文诗的中文翻译是：'{T}'
这段英文新闻的中文翻译是：'{T}'
这个问题的中文翻译是：'{T}'
这位男士的话翻译成中文是：'{T}'
这名女子说的英语翻译成中文是：'{T}'
她说的话的中文翻译是：'{T}'
这个男人的英语演讲翻译成中文是：'{T}'
他的英语翻译成中文是：'{T}'
这段文字用中文表达就是：'{T}'
这段英语可以用中文表述为：'{T}'
上面这段英语的翻译是：{T}
前面这句话的意思是：'{T}'
以下是该段英语音频的中文翻译结果：{T}
以下为翻译内容：{T}
以下是翻译后的中文：{T}
以下是您要求的翻译：{T}
翻译后的文本是：{T}
翻译后的中文为：{T}
翻译后：{T}
经过翻译，这段话是：'{T}'
翻译成中文的话就是：{T}
英文语音翻译成中文语音：'{T}'
英语语音转中文文本：'{T}'
英语转中文：'{T}'
英文转录："{S}" 中文翻译："{T}"
英文："{S}" 中文："{T}"
英文：{S} 翻译：{T}
原文：{S} 译文：{T}
{S} 中文：{T}
{S} Chinese translation: {T}
"{S}" 翻译为 "{T}"
"{S}"翻译成中文是：“{T}”
'{S}'的意思是'{T}'
'{S}'的中文意思是：'{T}'
英文原文："{S}"，中文翻译："{T}"
音频中说："{S}"，翻译成中文就是："{T}"
{"translation": "{T}"}
{"Chinese": "{T}"}
{"zh": "{T}"}
{"中文": "{T}"}
{"翻译": "{T}"}
{"text": "{T}"}
{'English': '{S}', 'Chinese': '{T}'}
{"source": "{S}", "target": "{T}"}
{T}（中文）
{T}（中文翻译）
{T} (Chinese)
{T} (Chinese translation)
{T}（翻译）
{T}（英文：{S}）
{T}（原文：{S}）
{T} Translation: {S}
{T} 英文：{S}
{T}英语原文：{S}
{T}（注：这里的“模型”指语言模型，翻译可能因语境而异。）
中文翻译："{T}"（注：此为直译。）
中文翻译：'{T}'（说明：'sheep'在这里是人名。）
中文翻译：{T} 注意：翻译可能因上下文而有所不同。
Chinese: {T}
Chinese text: {T}
CHINESE: {T}
ZH: {T}
Mandarin: '{T}'
Simplified Chinese: {T}
The Chinese translation of the given English speech is: '{T}'
The speech translated to Chinese is: {T}
The translated Chinese text is: '{T}'
The given sentence translates to "{T}" in Chinese.
In Mandarin Chinese, the sentence would be: '{T}'
The speaker is saying: '{T}'
The sentence in Chinese is '{T}'
Here's how you say it in Chinese: {T}
The English to Chinese translation is: '{T}'
English to Chinese: '{T}'
EN-ZH: {T}
语音内容：'{T}'
录音内容为：'{T}'
这段录音说的是：'{T}'
这个音频讲的是：'{T}'
说话人表达的意思是：'{T}'
演讲者用英语说：'{T}'
我听到的内容翻译成中文是：'{T}'
我的翻译是：'{T}'
好的，这句话可以翻译为：“{T}”
好的，我明白了，中文翻译是：{T}
您好，这段英语的中文翻译是：{T}
這段英語的中文翻譯是：「{T}」
這段英文語音翻譯成中文是：{T}
中文翻譯：「{T}」
翻譯：{T}
翻譯結果：{T}
譯文：{T}
英文演講的中文翻譯如下：{T}
該錄音的內容為：「{T}」
這句話的意思是：「{T}」
中文翻译结果：{T}
中文翻译文本：{T}
中文翻译版本：'{T}'
中文译文如下：{T}
中文翻译（简体）：{T}
翻译（中文）：{T}
翻译内容：{T}
翻译文本：{T}
翻译内容如下：'{T}'
翻译为中文：'{T}'
翻译为中文就是：'{T}'
翻译成中文就是：{T}
翻译成中文为：'{T}'
翻译成汉语：{T}
翻译成简体中文：'{T}'
翻译过来是：'{T}'
翻译一下：{T}
翻译是：{T}
翻译：“{T}”
整句翻译：{T}
整段翻译：{T}
分句翻译：{T}
英文句子翻译：{T}
英语句子的中文翻译：'{T}'
英语语句翻译为汉语：'{T}'
英语短文翻译：'{T}'
英语音频翻译：'{T}'
英语发言翻译成中文：'{T}'
英文翻译为中文是：'{T}'
英文语音的翻译：{T}
英语演讲翻译：{T}
英语演讲的翻译结果是：'{T}'
英语演讲中说：'{T}'
英语中的意思是：'{T}'
英语口语翻译成中文：'{T}'
把这段英语翻译成中文：{T}
将此英语语音翻译为中文：'{T}'
将英语语音转换为中文：'{T}'
请翻译成中文：'{T}'
我把它翻译成中文：'{T}'
我来翻译一下：{T}
我的中文翻译是：'{T}'
这是一句英文，翻译成中文是：'{T}'
这是英语句子的中文翻译：'{T}'
这是这段英语的中文翻译：{T}
这是翻译：{T}
这是中文翻译：'{T}'
这段文字翻译成中文是：'{T}'
这段英语内容的中文翻译是：'{T}'
这段英语语音翻译成汉语是：'{T}'
这段英语对话翻译成中文为：'{T}'
这段英语的正确中文翻译是：'{T}'
这段英语的大意为：'{T}'
这段英语在中文中的意思是：'{T}'
这段英语用汉语说就是：'{T}'
这段英语口语的中文翻译是：'{T}'
这段英语材料的中文翻译是：'{T}'
这段英语播客的中文翻译是：'{T}'
这段英语广播的中文翻译是：'{T}'
这段英语歌词的中文翻译是：'{T}'
这段音频里的英语翻译成中文是：'{T}'
这段音频里说的是：'{T}'
这段音频中提到的内容是：'{T}'
这段音频中的英语意思是：'{T}'
这段录音的英语翻译成中文是：'{T}'
这段视频的中文翻译是：'{T}'
这段讲话的中文意思是：'{T}'
这个句子翻译成汉语是：'{T}'
这个英语句子的意思是：'{T}'
这个英文句子的中文翻译是：{T}
这个英语单句的中文翻译是：'{T}'
这句话翻译成中文应该是：'{T}'
这句话的汉语翻译是：'{T}'
这句话的翻译是：{T}
这句话的译文是：'{T}'
这句英语的翻译为：'{T}'
这条英语语音的中文翻译是：'{T}'
这位演讲者说的话翻译成中文是：'{T}'
这篇英文演讲的中文翻译是：'{T}'
那段英语的中文翻译是：'{T}'
该句的中文翻译为：'{T}'
该句子的中文翻译是：'{T}'
该语句的中文意思是：'{T}'
该英语语音的翻译结果为：'{T}'
该段语音的翻译：{T}
该段音频的主要内容是：'{T}'
上述语音的中文翻译是：'{T}'
上述内容翻译成中文是：'{T}'
以上内容的中文翻译是：{T}
以上语音翻译为中文是：'{T}'
下面是翻译结果：{T}
下面是这段英文的翻译：'{T}'
下面这段英语的中文翻译是：{T}
以下是翻译后的内容：{T}
以下是英文翻译成中文的内容：'{T}'
以下是我的翻译：{T}
以下内容是翻译：{T}
第一句的中文翻译是：'{T}'
第三段的翻译：{T}
最后一句翻译成中文是：'{T}'
根据语音内容，翻译如下：'{T}'
根据上下文，这段英语的中文翻译是：'{T}'
从英语翻译成中文是：'{T}'
英语->中文：'{T}'
English: {S} 中文：{T}
英文: {S} 中文: {T}
英文：{S}；中文：{T}
英语原文："{S}" 中文译文："{T}"
原文："{S}" 翻译："{T}"
{S} 翻译：{T}
{S} 翻译成中文：{T}
{S} (中文：{T})
"{S}" 中文意思是 "{T}"
"{S}" 的中文翻译："{T}"
'{S}' 可以翻译为 '{T}'
"{S}" translates to "{T}"
{S} Translation: {T}
音频内容为：“{S}”。中文翻译：“{T}”
语音转录："{S}" 翻译："{T}"
The translation in Chinese is: '{T}'
The translation of the given sentence in Chinese is: '{T}'
The Chinese text is: {T}
The Chinese for this is: '{T}'
The English sentence can be translated as: '{T}'
The given text in Chinese is: {T}
The phrase in Chinese is: "{T}"
The translated sentence is: {T}
The translation goes as follows: {T}
Translation to Chinese: {T}
Translation in Chinese: '{T}'
Translated to Chinese: {T}
Chinese version: {T}
Chinese translation of the speech: {T}
ChineseSpeech: '{T}'
Chinese sentence: '{T}'
In Chinese: {T}
In Chinese, it is: '{T}'
In Chinese, this sentence means: '{T}'
It can be translated as '{T}'
This sentence can be translated into Chinese as: '{T}'
{'Translation': '{T}'}
{"chinese_translation": "{T}"}
{'中文翻译': '{T}'}
{'译文': '{T}'}
{"result": "{T}"}
{"en": "{S}", "zh": "{T}"}
["{T}"]
{T} (Chinese version)
{T}（中文译文）
{T}【中文】
{T}（英语原文：{S}）
{T} (English: {S})
{T} (Original: "{S}")
{T}（以上为翻译）
{T}（注意：翻译可能不完全准确。）
{T} 原文：{S}
{T} English: {S}
{T}（翻译自：{S}）
中文翻译：“{T}”（注：“here”指这里。）
翻译：{T}（直译）
翻译：'{T}'或'{T}'
這段話的中文翻譯為：「{T}」
這段語音翻譯成中文：「{T}」
該句英文的中文翻譯是：「{T}」
以下是中文翻譯：{T}
這個英語演講的中文翻譯是：「{T}」
翻譯成中文是：「{T}」
這段錄音的中文意思是：「{T}」
英文原文：{S} 中文翻譯：{T}
中文的翻译是：'{T}'
中文的意思是：'{T}'
中文就是：'{T}'
中文大意：'{T}'
中文翻译为以下内容：'{T}'
汉语翻译是：{T}
汉语意思：'{T}'
国语翻译：{T}
原文翻译：{T}
原文翻译为：'{T}'
原句翻译：'{T}'
内容翻译：{T}
对应的中文翻译是：'{T}'
对应的中文是：'{T}'
具体翻译如下：{T}
大致翻译为：'{T}'
可以翻译成：'{T}'
可译为：'{T}'
应翻译为：'{T}'
英语内容翻译成中文：'{T}'
英语段落翻译：'{T}'
英语句子翻译成中文是：'{T}'
英语对话的中文翻译如下：'{T}'
英语翻译成中文就是：'{T}'
英文演讲翻译成中文是：{T}
英文演讲内容的中文翻译为：'{T}'
英文录音的翻译为：{T}
英汉翻译：{T}
中英翻译：{T}
说话者说的是：'{T}'
这里的中文翻译是：'{T}'
这是英文：'{S}' 翻译成中文：'{T}'
这是一段英语语音，其中文翻译为：'{T}'
这段英语讲话的翻译是：{T}
这段英文说的是：'{T}'
这段英文的意思就是：'{T}'
这段演讲翻译过来就是：'{T}'
这段语音的中文含义是：'{T}'
这段语音翻译成中文的意思是：'{T}'
这段音频翻译后的结果是：{T}
该语音的文字翻译是：'{T}'
该英语音频的中文内容是：'{T}'
此段英语的翻译是：'{T}'
此句翻译为：{T}
所说的英语翻译成中文是：'{T}'
将英语翻译为汉语的结果是：{T}
将上述英语翻译成中文：'{T}'
尝试翻译：{T}
让我来翻译：{T}
翻译结果是：{T}
翻译的结果为：'{T}'
翻译的中文是：'{T}'
翻译（英译中）：{T}
{T}（中译）
{T}（此为翻译）
{T} —— 中文翻译
{T} (中文翻译结果)
{T}英文：{S}
The English speech is translated to: '{T}'
The speech translated to Mandarin is: {T}
The meaning in Chinese is: '{T}'
The meaning of this sentence is: '{T}'
Chinese meaning: {T}
Chinese subtitles: '{T}'
Mandarin Chinese: {T}
這段音檔的中文翻譯是：「{T}」
上述音訊的華語意思如下："{T}"
以上所示是对这段录音的汉语翻译结果：{T}
好的，这是您要的翻译：{T}
英文转中文：'{T}'
英语→汉语：{T}
zh-CN：'{T}'
目标语：'{T}'
译文 = "{T}"
{"zh-CN": "{T}"}
{"翻译": {"text": "{T}"}}
<译文>{T}</译文>
（1）中文翻译：{T}
〔中文翻译〕{T}
（翻译结果）{T}
翻译：\n- {T}
语音识别："{S}" 目标语："{T}"
{S}（意为：{T}）
{S} => {T}
用中文转述就是：'{T}'
语音大意：'{T}'
录音原文："{T}"
在这段录音中，一名女子用英语说：'{T}'
翻译：“{T}”解释：这是一种正式的说法。
中文翻译：'{T}'（原文：{S}）
{T}注：此翻译仅供参考。
{T}（譯註：此為意譯。）
“{T}”就是这段英语的大意。
音频中的内容是：'{T}'
该音频内容翻译为中文：{T}
英文原文是 {S}，中文翻译是 {T}
英文原文是：{S} 中文翻译是：{T}
这段英语翻译成中文是 {T}
内容为：{T}
内容为：'{T}'
内容是：'{T}'
这位女士说的是：{T}
这位女士说的是：'{T}'
这位男士用英语说的是：'{T}'
这段语音讲述了：'{T}'
这句话的中文版本是：{T}
这段英语的译文是 {T}
"{S}"这句话翻译成中文是"{T}"
"{S}"的翻译是{T}
英文为：'{S}'，中文为：'{T}'
原文是{S}翻译是{T}
{S} 翻译过来是 {T}
{S}的中文翻译是{T}
{S}的意思是：{T}
用中文说就是：{T}
换成中文就是：{T}
中文可以说：{T}
中文意思就是：{T}
这段音频中说：{T}
这段录音里，一个男的说：'{T}'
说话者说：'{T}'
说话人说的内容是：{T}
这段话的中文翻译是："{T}"。
音频内容：{T}
语音文本：'{T}'
演讲者提到：'{T}'
演讲者说的话翻译成中文是：{T}
这段话用汉语表示为：{T}
英语句子"{S}"的中文意思是"{T}"
中文译文是：{T}
这句英文翻译过来是：{T}
这句话表达的意思是：'{T}'
这个英语片段的内容是：'{T}'
这是该英语音频的中文翻译。{T}
我会把这段话翻译成：'{T}'
您好，翻译如下：{T}
听到的英语是：{S} 翻译：{T}
{T}（以上是中文翻译）
录音的文字内容是：'{T}'
這段話的中文翻譯是：「{T}」。
這段音訊的內容是：「{T}」
英文翻譯成中文：{T}
這位講者說：「{T}」
內容為：{T}
翻譯成繁體中文：{T}
這句話用中文說是：{T}
該段英文的中文意思為：{T}
譯成中文為：{T}
這段錄音說的是：{T}
原文：{S} 翻譯：{T}
「{S}」翻譯成中文是「{T}」
以下是中文的翻譯內容：{T}
說話者提到：「{T}」
The translated speech in Chinese is: {T}
In Chinese, it would be {T}
The Chinese equivalent is: {T}
The speech is about: '{T}'
The sentence translates into Chinese as {T}
The original text is: {S} The Chinese translation is: {T}
这段英文的意思是：{T}
这段英语的中文译文是：'{T}'
这个音频的中文意思是：{T}
这段音频的内容翻译成中文是：{T}
音频中的英语翻译成中文是：'{T}'
说话人说：{T}
这段话的意思是 {T}
这句话翻译成中文是 {T}
这段英语的内容是 {S}，翻译成中文是 {T}
这句话是：{S} 翻译成中文：{T}
"{S}"翻译为：{T}
这段英文语音的内容为：{T}
语音内容为：{T}
该音频的文字内容为：'{T}'
这段语音的意思是：{T}
这位男子说的是：'{T}'
音频里一位女士说：'{T}'
这段英语音频说的是：{T}
英语：'{S}'。中文翻译：'{T}'。
中文翻译：{T} （英语原文：{S}）
翻译成中文为 {T}
中文的翻译为：{T}
这是一段英文演讲，翻译如下：{T}
以下是音频的中文内容：{T}
听到的内容是：'{T}'
他说的话翻译成中文是：'{T}'
原话是：{S} 译文是：{T}
"{S}"这句英语的意思是：{T}
The audio is saying: '{T}'
The speech in Mandarin is: {T}
The speaker said in Chinese: '{T}'
The text translates to {T}
這句英文翻譯成中文是 {T}
音訊中的內容是：「{T}」
這位女士說的是：{T}
{S} 翻譯成中文是 {T}
這段演講的內容是：「{T}」
中文翻譯：{T}（英文：{S}）
这段英语的中文翻译是：“{T}”
这段语音的中文翻译是：{T}
该句英语翻译为中文是：{T}
这段英语的意思是“{T}”
这是一段英语音频，内容是：'{T}'
英语演讲内容为：'{T}'
从音频中可以听到：'{T}'
这段音频说：'{T}'
中文翻译如下： {T}
翻译出来是：{T}
这段英语翻译为 {T}
{S} 这句话的中文意思是：{T}
这段录音的原始内容是：'{T}'
说话者在说：{T}
The Chinese translation of the audio is {T}
这句话翻译成中文的意思是 {T}
這段英語的內容是：「{T}」
說話人說：{T}
""".strip().splitlines()

ZH_INNOCENT = """
翻译：张三
译者：李四
中文：300小时，英文：500小时。
中文名：李小龙，英文名：Bruce Lee。
英文名是Bruce Lee。
这本书的中文翻译很好：大家都喜欢。
这本书的中文翻译是傅雷完成的：他花了三年。
中文版于1999年出版：反响热烈。
“apple”翻译成中文是“苹果”。
“苹果”的英文是“apple”。
这个词翻译成中文是：“苹果”。
这个单词的中文意思是：“苹果”。
书名的中文翻译是：“小王子”。
他的翻译是：“要有光。”
她用中文说：“谢谢你。”
他用英语说：“我们走吧。”
他用流利的中文说：“我很高兴来到这里。”
一位外国游客用中文说：“太美了。”
外交部发言人说：“我们正在核实。”
发言人表示：“我们正在核实。”
演讲者之一说：“我们需要更多数据。”
他在演讲中说：“我有一个梦想。”
在讲话中说：“我们一定会成功。”
她在视频中说：“大家好。”
视频中他说：“救命。”
录音里有人喊：“救命。”
这段视频很有名：有一亿人看过。
演讲的内容很丰富：从历史到未来。
这段录音的质量很差：听不清。
会议的主要内容：选举、预算和其他。
内容：三个苹果和一个梨。
主要内容包括：新闻、演讲和对话。
意思是：我们没有钱了。
我的意思是：我们应该走了。
他的意思是：“我不同意。”
问题是：谁来付钱？
答案是：没有人知道。
结果：我们的方法更好。
结果如下：准确率提高了。
任务：把英语翻译成中文。
翻译任务：从英语到中文。
翻译的任务：理解和表达。
翻译方法：直译和意译。
翻译软件：谷歌和百度。
翻译公司：我们的客户。
翻译质量：很好。
翻译说：“他不同意。”
翻译小组说：“我们完成了。”
机器翻译：从规则到神经网络。
语音翻译：一种端到端的方法。
同声传译：一项艰难的工作。
英语翻译专业：招生二十人。
英语：第二外语。
原文：质量评估的依据。
原文如此：他写错了。
注：数据来自国家统计局。
注意：这里没有使用标注数据。
说明：翻译由志愿者完成。
本文由志愿者翻译。（原文：纽约时报）
我们称之为剪枝（英文：pruning）。
这种方法叫做量化（英语：quantization）。
作者是安娜。（译者：李四）
会议很成功。（掌声）
这是一部老电影。（中文字幕）
我们有两个任务。翻译：把英语变成中文。
先是转写。翻译：这是第二步。
我们收集了数据。中文：三百小时。
他说：“Same here.”意思是“我也是”。
他说“谢谢”是中文。
“翻译”是一个动词。
“我爱你。”他用中文说。
“这是中文翻译。”他说。
以上是中文翻译的历史。
以下是翻译的三个原则：信、达、雅。
以下是我们的结论：翻译很重要。
下面是第二部分：翻译模型。
这句话的翻译有两种：直译和意译。
这句话的意思很清楚：不行。
这段话说明：数据很重要。
第一句话很重要：它说明了主题。
第二段的主题是：“爱”。
第一，翻译；第二，摘要。
根据这段话，答案是：三。
翻译家说：“这很难。”
他的中文译作很多：小说、诗歌和戏剧。
点击文件->打开，然后保存。
英语和中文：两种语言。
她用中文在会上说：“谢谢大家。”
我们先翻译，然后 A -> B。
（译者）李四。
注：本表不含翻译费用。
他说：“这个翻译不对。”
她说的是：“我不想去。”
他说的是：我们没有时间了。
他说的是真的。
这位女士说得对：我们需要休息。
这位女士说：“我不同意。”
那位先生说的是法语：没有人听得懂。
这位老师说的话让我很感动：“永远不要放弃。”
一个男孩说：“妈妈，我饿了。”
一个女孩说：“这是我的书。”
一个男的说：“快跑。”
有人说的是中文，有人说的是英文。
我听到的是：“快跑。”
我听到的是雨声：滴答，滴答。
我听到有人说：“救命。”
内容是次要的：形式才重要。
内容为王：这是我们的口号。
内容如下表所示。
内容包括：新闻、体育和音乐。
其内容为新闻、演讲和对话。
邮件的内容是：“会议取消。”
信的内容是：我很好，不要担心。
主要内容是：模型、数据和评估。
课程的内容是什么：语法还是词汇？
意思是他不会来了。
意思就是：我们输了。
中文意思是什么？
这个词的意思是：勇气。
这句话的意思是我们要坚持。
这句话的意思是什么：你知道吗？
这句话说的是爱情。
这段话说的是一个老人和一条鱼的故事。
这段话讲的是我们的历史：从古到今。
这段视频说的是气候变化。
这段录音说的是一个真实的故事，发生在去年。
这段英语说得很快：我听不懂。
这段英语翻译成中文是很难的。
这段英语翻译成中文是一件很难的事情。
这段英语翻译成中文是什么意思？
这段英语翻译成中文是由我们完成的。
这段英语的翻译是我们自己做的。
这段英语的中文翻译是不准确的。
这段英语的译文是错的。
这段英语的中文翻译是我们团队的成果。
这段演讲的翻译是志愿者做的，他们花了三天。
翻译成中文是我的工作。
翻译成中文是一个挑战。
翻译成中文是很有意思的：你可以试试。
翻译成中文是不是更难？
中文翻译是我们的强项。
中文翻译是他的第二份工作，他很喜欢。
中文翻译是必要的。
中文翻译是最难的部分，因为没有足够的数据。
译文是好的，原文是坏的。
原文是英文，译文是中文。
原文是什么？
原文是英语，翻译是机器做的。
英文是我们的工作语言。
英文原文是很短的，中文译文是很长的。
英文是apple，中文是苹果。
英文为主，中文为辅。
用中文说就是缘分。
用中文说是“缘分”。
用中文来说，这是一个巧合。
换成中文就不好笑了。
换句话说：我们失败了。
也就是说：没有别的办法。
简单来说：数据越多越好。
这是中文翻译。
这是英语演讲的稿子。他写了三天。
这是翻译。这不是创作。
这是一段录音。请大家听一下。
我们先看英文。这是中文翻译。
下面是录音。请仔细听。
以下是视频内容。
音频中有三个人：两男一女。
音频内容很清楚：没有噪音。
音频内容分析是一个新的领域。
录音中没有说话的声音。
录音中说话的人是我的父亲。
录音里他说：“我爱你们。”
演讲者提到：数据是关键。
演讲者说的话很有道理：我们应该合作。
演讲者问：“谁知道答案？”
主持人说：“欢迎大家。”
主持人提到，今天的主题是翻译。
记者问：“您怎么看？”
发言人说：“没有评论。”
广播里说：“请旅客注意。”
广播里说：今天有雨。
新闻里说：房价又涨了。
书里说：“知识就是力量。”
歌里唱道：“我的未来不是梦。”
我会说：“对不起。”
我会把这段话翻译成英语：请等一下。
我把它翻译成了中文：效果不错。
你可以用中文说“你好”。
“Time is money”的意思是：时间就是金钱，这是谚语。
“Hello”翻译过来是“你好”。
hello的中文翻译是你好。
Machine Learning的中文翻译是机器学习。
AI的意思是：人工智能。
deep learning 翻译过来是深度学习。
Transformer的中文意思是变形金刚。
“苹果”是apple的中文翻译。
北京是Beijing的中文写法。
这本书是Moby Dick的中文翻译。
这是Gone with the Wind的中文翻译。
In the Mood for Love是一部电影。
In Chinese, this is 苹果。
The Chinese version is 更好。
這位先生說得對：我們需要時間。
他說：「翻譯很難。」
內容是關於翻譯的。
這段英語的中文翻譯是錯的。
中文翻譯是我的工作。
這段話說的是一個故事。
原文是英文，翻譯是中文。
有人說：「這不是翻譯。」
我聽到的是：「快跑。」
""".strip().splitlines()


@pytest.mark.parametrize(
    ("lang", "labels", "pairs"), [("de", DE_LABELS, DE_PAIRS), ("zh", ZH_LABELS, ZH_PAIRS)]
)
def test_a_label_goes_whatever_the_translation(
    lang: str, labels: list[str], pairs: list[tuple[str, str]]
) -> None:
    left = {
        line: cleaned
        for label in labels
        for translation, source in pairs
        for line in [label.replace("{T}", translation).replace("{S}", source)]
        if (cleaned := clean_line(line, lang).text) != translation
    }
    assert left == {}


@pytest.mark.parametrize(("lang", "lines"), [("de", DE_INNOCENT), ("zh", ZH_INNOCENT)])
def test_lines_that_speak_of_translating_are_left_as_they_are(lang: str, lines: list[str]) -> None:
    assert {line: clean_line(line, lang).text for line in lines if clean_line(line, lang).text != line} == {}


@pytest.mark.parametrize(
    ("line", "lang", "translation"),
    [
        ("译文：他说：“明天见。”", "zh", "他说：“明天见。”"),
        ("这段英语的中文翻译是：**他说：“明天见。”**", "zh", "他说：“明天见。”"),
        ("翻译成中文：其结果是，许多翻译是杂乱无章的。", "zh", "其结果是，许多翻译是杂乱无章的。"),
        ("Hier ist die Übersetzung: Er sagte: „Bis morgen.“", "de", "Er sagte: „Bis morgen.“"),
        ("Übersetzung: - Ja. - Nein.", "de", "- Ja. - Nein."),
        (
            "Die freie Wiedergabe dieser Zeilen wäre auf Deutsch: „Das war ein Test.“",
            "de",
            "Das war ein Test.",
        ),
    ],
)
def test_the_beginning_of_the_translation_is_no_part_of_its_label(
    line: str, lang: str, translation: str
) -> None:
    assert clean_line(line, lang).text == translation


@pytest.mark.parametrize(
    ("line", "lang"),
    [
        ("Der Satz 'We are going home' wird auf Deutsch als 'Wir gehen nach Hause' übersetzt.", "de"),
        ("'We are going home.' kann als 'Wir gehen nach Hause' ins Deutsche übersetzt werden.", "de"),
        ("Die Phrase 'We are going home' übersetzt sich ins Deutsche als 'Wir gehen nach Hause'.", "de"),
        ('"We are going home" translates to "Wir gehen nach Hause" in German.', "de"),
        ("The German translation for 'We are going home' is 'Wir gehen nach Hause'.", "de"),
        ("句子“We are going home”翻译为中文为“我们现在回家”。", "zh"),
        ("'We are going home' 的中文翻译是 '我们现在回家'。", "zh"),
    ],
)
def test_a_clause_is_quoted_with_its_full_stop_or_without(line: str, lang: str) -> None:
    found = clean_line(line, lang).text.rstrip("。.")
    assert found == {"de": "Wir gehen nach Hause", "zh": "我们现在回家"}[lang]


@pytest.mark.parametrize(
    ("line", "lang"),
    [
        ("'Machine translation' wird auf Deutsch als 'maschinelle Übersetzung' übersetzt.", "de"),
        ("'Break a leg' translates to 'Hals- und Beinbruch' in German.", "de"),
        ("“natural language processing”翻译成中文是“自然语言处理”。", "zh"),
    ],
)
def test_a_term_that_is_quoted_is_content(line: str, lang: str) -> None:
    assert clean_line(line, lang).text == line


def test_a_translation_is_not_taken_for_the_source_where_nothing_tells() -> None:
    assert clean_line("No! Translation: Nein!", "de").text == "No! Translation: Nein!"


@pytest.mark.parametrize("lang", ["de", "zh"])
def test_what_may_be_a_label_stays_and_is_reported(lang: str) -> None:
    lines = {
        "de": [
            "Deutscher Satz: Hier auch.",
            "Im Vortrag: Deutsch.",
            "Das ist gut. Übersetzung: Es fehlen noch Daten.",
        ],
        "zh": [
            "语音中提到，我们提出了一种新方法。",
            "口语翻译：我们提出了一种新方法。",
            "我们有数据。翻译：把英语变成德语。",
        ],
    }[lang]
    reported = {line: [change.rule for change in clean_line(line, lang).changes] for line in lines}
    assert [line for line, rules in reported.items() if "possible-label" not in rules] == lines[1:2] * (
        lang == "de"
    )


@pytest.mark.parametrize(
    ("line", "lang"),
    [
        ("Die Aussage lautet: „Wir sind alle einverstanden.“", "de"),
        ("意思是：'我们都同意这个建议。'", "zh"),
        ("这句话的中文翻译是他说他明天来。", "zh"),
    ],
)
def test_a_quotation_or_clause_after_words_about_a_text_is_reported(line: str, lang: str) -> None:
    result = clean_line(line, lang)
    assert (result.text, [change.rule for change in result.changes]) == (line, ["possible-label"])


def test_the_labelled_source_text_alone_stays_and_is_reported() -> None:
    line = "英文原文：'The remaining references were matched.'"
    assert [(change.rule, change.after) for change in clean_line(line, "zh").changes] == [
        ("source-only", line)
    ]


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("Nein, nein, nein, nein, nein, nein, nein!", "Nein, nein, nein, nein, nein, nein, nein!"),
        ("Ach, " + "ja, " * 20 + "ja.", "Ach, ja."),
        ("Das ist gut. " * 9 + "Das ist gut.", "Das ist gut."),
        ("速度快。" * 8, "速度快。"),
        ("我们有一个问题。" * 6, "我们有一个问题。"),
        ("我们有一个问题，" * 9, "我们有一个问题"),
        ("Das ist gut, " + "das ist gut, " * 5 + "das ist gut.", "Das ist gut."),
        ("Das ist gut, " * 6 + "das ist", "Das ist gut"),
        ("Wir gehen nach Hause" + " und wir gehen nach Hause" * 6, "Wir gehen nach Hause"),
        ("Wir gehen nach Hause" + " und wir gehen nach Hause" * 6 + " und wir ge", "Wir gehen nach Hause"),
        ("Ja, " + "ja, " * 12 + "ja.", "Ja."),
        ("问题" + "和问题" * 6, "问题"),
        ("平和" * 6, "平和"),
        ("你选什么？" * 7 + "你选", "你选什么？"),
        ("我们用BERT和BART" + "和BERT和BART" * 7, "我们用BERT和BART"),
        ("Wir gehen und sehen" + " wir gehen und sehen" * 6 + ".", "Wir gehen und sehen."),
        ("10" + " mal 10" * 6, "10 mal 10"),
        ("Er ging" + " und ging" * 6 + ".", "Er ging."),
        ("Tick tack" + " tick tack" * 6 + "…", "Tick tack…"),
        ("Das war sehr" + " sehr" * 12, "Das war sehr"),
        ("Der Wert ist 0,5" + " und der Wert ist 0,5" * 6 + ".", "Der Wert ist 0,5."),
        (
            "Wir haben in diesem Vortrag eine neue Methode vorgestellt. " * 7,
            "Wir haben in diesem Vortrag eine neue Methode vorgestellt.",
        ),
        ("Das ist gut, " + "das ist gut, " * 3 + "das ist gut.",) * 2,
    ],
)
def test_words_said_again_stay_and_loops_go_with_one_full_stop(line: str, after: str) -> None:
    assert clean_line(line, "de").text == after


@pytest.mark.parametrize(
    ("line", "lang", "rules"),
    [
        ("Für Englisch: 30 Stunden. Für Deutsch: 25 Stunden.", "de", []),
        ("Englisch: hundert Stunden. Deutsch: zwanzig Stunden.", "de", []),
        ("Englisch: drei Stunden pro Tag. Deutsch: zwei Stunden pro Tag.", "de", []),
        ("Englisch-Deutsch: 30 BLEU. Englisch-Chinesisch: 25 BLEU.", "de", []),
        ("Quelle: Wikipedia. Übersetzung: Ich habe sie selbst gemacht.", "de", ["possible-label"]),
        ("Quelle: Deutsche Bahn. Übersetzung: Ich habe sie selbst gemacht.", "de", ["possible-label"]),
        ("Englisch: Agreed. Deutsch: Einverstanden.", "de", ["possible-label"]),
        ("源语言：English。目标语言：中文。", "zh", []),
        ("English: 30 hours. Chinese: 25小时。", "zh", []),
        ("English: Agreed. Chinese: 同意。", "zh", ["possible-label"]),
        ("English-German: 30 BLEU. English-Chinese: 25 BLEU点。", "zh", []),
        ("Baseline system: 30. 中文翻译：35分。", "zh", ["possible-label"]),
        ("Wir sind da. (Quelle: Wikipedia)", "de", []),
        ("Das ist gut (Quelle: Eigene Darstellung).", "de", []),
        ("中文：25 BLEU。英文：30 BLEU。", "zh", []),
    ],
)
def test_short_and_numbered_halves_of_a_line_are_content(line: str, lang: str, rules: list[str]) -> None:
    result = clean_line(line, lang)
    assert (result.text, [change.rule for change in result.changes]) == (line, rules)


@pytest.mark.parametrize(
    ("line", "lang", "after"),
    [
        ("English: We have 30 hours. German: Wir haben 30 Stunden.", "de", "Wir haben 30 Stunden."),
        ("We have 30 hours. 中文翻译：我们有30小时。", "zh", "我们有30小时。"),
        ("原文：Good morning. 翻译：早上好。", "zh", "早上好。"),
    ],
)
def test_a_source_text_with_figures_or_of_two_words_still_goes(line: str, lang: str, after: str) -> None:
    assert clean_line(line, lang).text == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        *((text, text) for text in ("-5 Grad sind kalt.", "–5 Grad sind kalt.", "[Applaus] Vielen Dank.")),
        *((text, text) for text in ("(x + y) * 2 ist gut.", "*Ja*, das geht.", "*Ja*, das ist *gut*")),
        *((text, text) for text in ("#hashtag ist ein Wort.", "[Applaus]", "(1) Das geht gut.")),
        *((text, text) for text in ("~5 % sind gut.", "> 5 ist gut.", "|x| ist gut.", "_Hallo_ zusammen.")),
        ("- Das geht gut.", "Das geht gut."),
        ("** Das geht gut.", "Das geht gut."),
        ("# Das geht gut.", "Das geht gut."),
        ("[Das geht gut.]", "Das geht gut."),
        ("(Das geht gut.", "Das geht gut."),
    ],
)
def test_after_a_label_a_mark_goes_with_its_partner_alone(text: str, after: str) -> None:
    assert clean_line(f"Die Übersetzung lautet: {text}", "de").text == after


@pytest.mark.parametrize("text", ["-5度很冷。", "[掌声]谢谢大家。", "（掌声）谢谢大家。", "#话题#很热。"])
def test_after_a_chinese_label_too(text: str) -> None:
    assert clean_line(f"翻译：{text}", "zh").text == text


@pytest.mark.parametrize(
    ("line", "lang"),
    [
        ("„Übersetzung: Theorie und Praxis“ ist ein gutes Buch.", "de"),
        ("„Übersetzung: Theorie“ und „Praxis“ sind Bücher.", "de"),
        ("„Deutsch: Eine schwere Sprache“ ist ein Artikel von Mark Twain.", "de"),
        ('"Übersetzung: Theorie und Praxis" ist ein gutes Buch.', "de"),
        ("»Übersetzung: Theorie und Praxis« ist ein gutes Buch.", "de"),
        ("(Übersetzung: Das geht gut) und mehr.", "de"),
        ("《翻译：理论与实践》是一本好书。", "zh"),
        ("《翻译：理论与实践》", "zh"),
        ("“翻译：理论与实践”是一本好书。", "zh"),
        ("「翻譯：理論與實踐」是一本好書。", "zh"),
        ("《中文：一门艺术》是一本好书。", "zh"),
    ],
)
def test_a_title_that_begins_as_a_label_does_stays_and_is_reported(line: str, lang: str) -> None:
    result = clean_line(line, lang)
    assert (result.text, [change.rule for change in result.changes]) == (line, ["possible-label"])


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("„Übersetzung: Er sagte „ja“ und ging.“", "Er sagte „ja“ und ging."),
        ('"Die Übersetzung lautet: Wir sind da." in German.', "Wir sind da."),
        ("„Übersetzung: Wir sind alle da.", "Wir sind alle da."),
    ],
)
def test_a_quotation_around_label_and_translation_goes(line: str, after: str) -> None:
    assert clean_line(line, "de").text == after


@pytest.mark.parametrize(
    "labels", [("English", "German"), ("Englisch", "Deutsch"), ("Quelle", "Übersetzung")]
)
def test_a_labelled_source_without_function_words_is_told_from_german_by_its_small_letters(
    labels: tuple[str, str],
) -> None:
    source, target = labels
    line = f"{source}: Cannot find active master key. {target}: Der aktive Hauptschlüssel fehlt."
    assert clean_line(line, "de").text == "Der aktive Hauptschlüssel fehlt."
    line = f"{source}: drei Stunden pro Tag. {target}: zwei Stunden pro Tag."
    assert clean_line(line, "de").text == line
