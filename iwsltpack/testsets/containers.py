"""What libsndfile passes over without a word: recordings that break off, and bytes behind those that it decodes.

Each check reads the container's own marks. Nothing is decoded here.
"""

import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ByteOrder = Literal["little", "big"]

STREAMED_SIZE = 0x7FF00000
"""Data sizes from here on are what programs that write to a pipe put in place of a size they do not know."""
SLACK = 1024
"""Bytes behind the samples that may be anything: a padded block, a tag. At 16 kHz they are 30 ms."""
MP3_PADDING = 2 * 1152
"""Samples by which the length an mp3 announces may exceed what it holds: encoder delay and padding."""


class BadAudio(Exception):
    """A recording that cannot be used; `rule` is the problem's identifier, the text says what is wrong."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class _Chunks:
    """How a format writes its chunks: a name, a length, the content, and padding; all in bytes."""

    first: int = 12  # where the first chunk begins
    name: int = 4
    length: int = 4
    order: ByteOrder = "little"  # of the bytes of a length
    align: int = 2  # chunks begin at multiples of it
    samples: bytes = b"data"  # name of the chunk that holds the samples
    inclusive: bool = False  # whether a length counts the name and itself


FORMATS = {
    rb"(RIFF|RF64|BW64)....WAVE": _Chunks(),
    rb"RIFX....WAVE": _Chunks(order="big"),
    rb"FORM....AIF[FC]": _Chunks(order="big", samples=b"SSND"),
    rb"FORM....(8SVX|16SV)": _Chunks(order="big", samples=b"BODY"),
    rb"caff": _Chunks(first=8, length=8, order="big", align=1),
    rb"riff\x2e\x91\xcf\x11": _Chunks(first=40, name=16, length=8, align=8, inclusive=True),
}
COUNTS = {
    "AVR": r"Frames +: (\d+)",
    "MPC2K": r"Frames +: (\d+)",
    "MAT4": r"Cols +: (\d+)",
    "MAT5": r"Cols +: (\d+)",
    "WVE": r"Data length (\d+) should be",
}
"""Where libsndfile's log tells the count of a header whose format has no chunks."""
Data = mmap.mmap


def check_container(path: Path) -> None:
    """Refuse a recording of which libsndfile would decode a part only.

    `BadAudio` says ``truncated``: it ends before it should; or ``unheard``: nothing accounts for the bytes behind the
    samples.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for pattern, chunks in FORMATS.items():
            if re.match(pattern, data, re.DOTALL):
                _check_chunks(data, chunks)
        if re.match(rb"\.snd|dns\.", data):
            _check_au(data)
        if data[:20] == b"Creative Voice File\x1a":
            _check_voc(data)
        if re.match(rb"ID3|\xff[\xe2-\xfb]", data):
            _check_mp3(data)
        if data[:4] == b"OggS":
            _check_ogg(data)
        if data[:4] == b"fLaC" and re.compile(rb"fLaC[\x00\x80]\x00\x00\x22").search(data, 4):
            raise BadAudio("unheard", "a second FLAC stream follows the first; split the file")


def _check_chunks(data: Data, chunks: _Chunks) -> None:
    position, end, long = chunks.first, None, None
    head = chunks.name + chunks.length
    while position + head <= len(data):
        name = data[position : position + 4]
        length = int.from_bytes(data[position + chunks.name : position + head], chunks.order)
        length -= head if chunks.inclusive else 0
        if not re.fullmatch(rb"[ -~]{4}", name) or (end is not None and name in (chunks.samples, data[:4])):
            break
        if name == b"ds64":
            long = int.from_bytes(data[position + 16 : position + 24], "little")
        if name == chunks.samples:
            if long is not None and length == 0xFFFFFFFF:
                length = long
            elif length >= (STREAMED_SIZE if chunks.length == 4 else 1 << 63):
                return
            if position + head + length > len(data):
                _truncated(length, len(data) - position - head)
            end = position + head + length
        position += head + length
        # Some writers leave the padding out: then the next name stands right here.
        if not re.fullmatch(rb"[ -~]{4}", data[position : position + 4]):
            position += -position % chunks.align
    if end is not None:
        _check_rest(data, min(position, len(data)))


def _truncated(promised: int, held: int) -> None:
    raise BadAudio("truncated", f"its header promises {promised} bytes of samples, the file holds {held}")


def _check_rest(data: Data, position: int) -> None:
    """Refuse bytes from `position` on that are no padding."""
    rest = len(data) - position
    if rest > SLACK and data[position:].strip(b"\0"):
        raise BadAudio(
            "unheard",
            f"{rest} bytes follow the samples that its header promises: a header that is wrong, or a second recording",
        )


def _check_au(data: Data) -> None:
    order: ByteOrder = "big" if data[:1] == b"." else "little"
    start, length = (int.from_bytes(data[place : place + 4], order) for place in (4, 8))
    if length >= STREAMED_SIZE:
        return
    if start + length > len(data):
        _truncated(length, len(data) - start)
    _check_rest(data, start + length)


def _check_ogg(data: Data) -> None:
    """Refuse an Ogg stream without its last page, and one behind another: libsndfile hears the first only."""
    pages = [(found.start(), found[1][0]) for found in re.finditer(rb"OggS\0([\0-\7])", data, re.DOTALL)]
    begun = False
    for _, flags in pages:
        if flags & 2 and begun:
            raise BadAudio("unheard", "a second Ogg stream follows the first; split the file")
        begun = begun or not flags & 2
    start, flags = pages[-1] if pages else (0, 0)
    table = data[start + 27 : start + 27 + data[start + 26]] if start + 27 <= len(data) else b""
    end = start + 27 + len(table) + sum(table)
    if not flags & 4 or end > len(data):
        raise BadAudio("truncated", "the stream breaks off: its last page is missing")
    _check_rest(data, end)


def _check_mp3(data: Data) -> None:
    """Refuse what follows the stream whose length the first frame tells: libsndfile ends there."""
    sizes = (byte & 127 for byte in data[6:10]) if data[:3] == b"ID3" else (0, 0, 0, 0)
    start = sum(size << shift for size, shift in zip(sizes, (21, 14, 7, 0), strict=True))
    found = re.compile(rb"(?:Xing|Info)\0\0\0[\3\7\x0b\x0f]....(....)", re.DOTALL).search(
        data, start, start + 300
    )
    if found is None:
        return
    first = data.rfind(b"\xff", start, found.start())
    end = first + int.from_bytes(found[1])
    if data[end : end + 3] not in (b"TAG", b"APE"):
        _check_rest(data, end)


def _check_voc(data: Data) -> None:
    position = int.from_bytes(data[20:22], "little")
    while position + 4 <= len(data) and data[position]:
        length = int.from_bytes(data[position + 1 : position + 4], "little")
        if position + 4 + length > len(data):
            _truncated(length, len(data) - position - 4)
        position += 4 + length
    _check_rest(data, position)


def counted_frames(path: Path, kind: str, log: str) -> int:
    """Return how many samples a channel the header counts where libsndfile overrules it in silence, else 0.

    `kind` is libsndfile's name of the format, `log` what it said when the file was opened.
    """
    if kind == "NIST":
        with path.open("rb") as stream:
            counted = re.search(rb"^sample_count -i (\d+)", stream.read(SLACK), re.MULTILINE)
        return int(counted[1]) if counted else 0
    pattern = COUNTS.get(kind)
    return max(map(int, re.findall(pattern, log)), default=0) if pattern else 0
