"""Integer codes on their way between a quantizer and a coding.

A code is a weight's place on the grid of a quantizer. Codes travel as an array whose type says in which form:

``uint8``, shape (2, n)
    The low bytes of biased 16-bit codes, then the high ones: the shortest way for codes -128..127, as most are.
``uint16``
    Biased 16-bit codes, code + `BIAS16`.
``int32``
    Plain codes, where one does not fit the other forms.
``int16``
    Plain codes as a coding stores them, or put in their places; see `iwsltpack.codecs.classes`.
``float16``
    From a coding that stores values only: the values that the codes stand for.
"""

import numpy as np
from numpy.typing import NDArray

BIAS16 = 0x8080
"""Added to a code to store it unsigned in 16 bits: codes -128..127 then share the constant high byte 0x80."""
SHORT = BIAS16 >> 8
"""That high byte."""
BIAS32 = 0x8000_0080
MIN16, MAX16 = -0x8000, 0xFFFF - BIAS16
"""Codes that fit both the biased unsigned and the signed 16-bit store."""
SPLIT_BLOCK = 1 << 20
"""Values taken apart at a time: what numpy makes on the way stays in cache, and threads seldom change turns."""


class TooWide(Exception):
    """A code does not fit 16 bits: the tensor is packed again with 32."""


def signed(codes: np.ndarray) -> NDArray[np.int16] | NDArray[np.int32]:
    """Return codes of any integer form as the plain numbers they are: int16, or int32 from the form that needs it."""
    if codes.dtype in (np.int32, np.int16):
        return codes
    if codes.dtype == np.uint8 and (codes[1] == SHORT).all():
        short: NDArray[np.int16] = (codes[0] ^ np.uint8(BIAS16 & 0xFF)).view(np.int8).astype(np.int16)
        return short
    biased = join_bytes(codes) if codes.dtype == np.uint8 else codes
    return (biased - np.uint16(BIAS16)).view(np.int16)


def as_form(plain: np.ndarray) -> np.ndarray:
    """Return plain codes, int16 or int32, in the shorter of the forms that hold numbers: flat."""
    plain = plain.reshape(-1)
    if plain.size and (plain.min() < MIN16 or plain.max() > MAX16):
        return plain.astype(np.int32, copy=False)
    return plain.astype(np.int16, copy=False).view(np.uint16) + np.uint16(BIAS16)


def narrow(codes: np.ndarray) -> np.ndarray:
    """Return codes as they are if they fit 16 bits, or raise `TooWide`."""
    if codes.dtype == np.int32:
        raise TooWide
    return codes


def split_bytes(words: NDArray[np.uint16], *, rotated: bool = False) -> NDArray[np.uint8]:
    """Return the low bytes of flat 16-bit words, rotated on the way or not, then the high ones, shape (2, n).

    Nearly all bytes of a model go this way. numcodecs' loop holds the interpreter's lock, numpy's do not.
    """
    planes = np.empty((2, words.size), np.uint8)
    for start in range(0, words.size, SPLIT_BLOCK):
        block = slice(start, start + SPLIT_BLOCK)
        part, low = words[block], planes[0, block]
        low[:] = part
        planes[1, block] = part >> (7 if rotated else 8)
        if rotated:
            low += low
            low |= (part.view(np.int16) < 0).view(np.uint8)
    return planes


def join_bytes(
    planes: NDArray[np.uint8], words: NDArray[np.uint16] | None = None, *, rotated: bool = False
) -> NDArray[np.uint16]:
    """Undo `split_bytes`, into `words` where they are given."""
    if words is None:
        words = np.empty(planes.shape[1], np.uint16)
    for start in range(0, words.size, SPLIT_BLOCK):
        block = slice(start, start + SPLIT_BLOCK)
        part = words[block]
        part[:] = planes[1, block]
        part <<= 8
        part |= planes[0, block]
        if rotated:
            rotate_right(part)
    return words


def rotate_left(words: np.ndarray) -> np.ndarray:
    """Return unsigned words with their highest bit moved to the lowest place.

    Of a float that is the sign. Its exponent then begins the word: of a bfloat16 and a float32 it is the highest byte,
    which is all of a weight that can be packed.
    """
    rotated: np.ndarray = words << 1 | words >> 8 * words.itemsize - 1
    return rotated


def rotate_right(words: np.ndarray) -> None:
    """Undo `rotate_left`, in place."""
    for start in range(0, words.size, SPLIT_BLOCK):
        part = words[start : start + SPLIT_BLOCK]
        sign = part << 8 * part.itemsize - 1
        part >>= 1
        part |= sign
