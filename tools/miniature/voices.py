"""The espeak-ng voices, and which of them train, select and test the miniature.

A voice is an accent plus a variant (`en-gb+f3`). Accents are shared by all splits; a *variant* belongs to one
split only, and near copies of a held-out variant (`belinda` of `linda`, `AnxiousAndy` of `Andy`, `steph2` of
`steph`) are in no split at all.
"""

from __future__ import annotations

ACCENTS: tuple[str, ...] = (
    "en-gb",
    "en-us",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-029",
    "en-us-nyc",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)

TRAIN_VARIANTS: tuple[str, ...] = (
    *("m1", "m2", "m3", "m5", "m6", "m8", "f1", "f2", "f4"),
    *("Alex", "Alicia", "Andrea", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee"),
    *(
        "Mario",
        "Michael",
        "Mike",
        "Nguyen",
        "RicishayMax",
        "Storm",
        "Tweaky",
        "adam",
        "anika",
        "announcer",
        "antonio",
    ),
    *(
        "aunty",
        "benjamin",
        "boris",
        "caleb",
        "david",
        "ed",
        "edward",
        "grandma",
        "grandpa",
        "gustave",
        "iven",
        "john",
    ),
    *("kaukovalta", "klatt", "klatt2", "klatt4", "klatt6", "marcelo", "miguel", "norbert", "pablo", "paul"),
    *("pedro", "quincy", "rob", "robert", "robosoft", "robosoft5", "sandro", "shelby", "victor", "zac"),
)

#: Voices that choose the checkpoint. Never trained on.
VALIDATION_VOICES: tuple[str, ...] = ("en-us+m4", "en-gb+f5", "en-us-nyc+steph", "en-gb-x-gbclan+max")

#: Voices that are heard once, at the end. Never trained on and never used to choose anything.
TEST_VOICES: tuple[str, ...] = (
    "en-us+m7",
    "en-gb+f3",
    "en-gb-scotland+Andy",
    "en-gb-x-rp+linda",
    "en-029+travis",
)

#: espeak-ng's own default rate (words per minute) and pitch (0-99).
NORMAL_SPEED = 175
NORMAL_PITCH = 50

#: Range of the training clips.
SPEEDS = (125, 200)
PITCHES = (25, 75)
