"""The encoding of bytes that do not say it.

What belongs here: guessing. What does not: decoding (`text`).
"""

_SAMPLE_BYTES = 64 * 1024
# What Western European texts have beyond ASCII, nearly always.
_WESTERN = frozenset(
    "ÄÖÜäöüßÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØÙÚÛÝàáâãåæçèéêëìíîïñòóôõøùúûýÿŒœŠšŽž€£¥§°©®™–—‘’“”„…«»·•¿¡ªºµ±²³¹¼½¾×÷´¨\xa0"
)
_WESTERN_PART = 0.95
# Tried for all others. UTF-8 is none of them: it was excluded before.
_OTHERS = [
    *("cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "koi8_r", "mac_roman", "cp437", "cp850", "cp1252"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "iso8859_2", "iso8859_7", "iso8859_9"),
]


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, by where its zero bytes stand: of ASCII text every second byte is one."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.02 * pairs:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * pairs and odd < 0.02 * pairs else None


def guessed_encoding(piece: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8: Windows' Western one, unless its letters would be odd."""
    sample = piece[:_SAMPLE_BYTES]
    if sample.isascii():
        first = next(at for at, byte in enumerate(piece) if byte > 127)
        sample = piece[first : first + _SAMPLE_BYTES]
    letters = [letter for letter in sample.decode("cp1252", errors="replace") if letter > "\x7f"]
    if sum(letter in _WESTERN for letter in letters) >= _WESTERN_PART * len(letters):
        return "cp1252"
    # Its import takes as long as reading a small file.
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=_OTHERS).best()
    return found.encoding if found is not None else "cp1252"
