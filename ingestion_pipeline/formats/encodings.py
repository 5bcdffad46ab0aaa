"""The encoding of bytes that do not say it.

What belongs here: guessing. What does not: decoding (`text`).

A wrong encoding gives itself away: symbols and capitals inside words, two scripts in one word, letters that no language
has together. What is left is judged by how frequent the letters are.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

_LOOKED_AT_WORDS = 2000
# What stands in texts beside letters.
_MARKS = "€£¥§°©®™–—‘’“”„…«»‹›·•¿¡ªºµ¹²³¼½¾×÷±´¨№₪฿\xa0\u200e\u200f،؛؟"
_JOINTS = "’‘·–—…\xa0"
_CJK_MARKS = re.compile("[\u3000-\u303f\uff01-\uff60\uffe0-\uffe6‐-‧℃№①-⑳]")
# Begun only where a run of letters does: of a long one without others, each letter would look at all that follow.
_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]*[^\x00-\x7f]+(?:[^\W\d_]|[^\x00-\x7f])*")
_LATIN_RUN = re.compile(r"[^\x00-\x7f]{4}|^[^\x00-\x7f]{3}$")
_CASES = re.compile(r"u?l*|u+")
# Letters of several Western languages together are likelier than those of none.
_MIXED_LANGUAGES = 0.9
_LEAST = 0.5
# Marks tell little, but in Windows' Western code page they are at home.
_MARK_WORTH, _WESTERN_MARK_WORTH = 0.8, 1.0

_WESTERN = ("äöüßé", "àâæçèéêëîïôœùûüÿ", "áéíñóúüçàèïòª", "ãáàâçéêíõóôúü", "àèéìòùî", "åäöæøéü")
_WESTERN_TOO = "ðýþšž"  # alone, they are rather Turkish or Czech ones
_CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíľňóôšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ", "äöüß")
_TURKISH, _BALTIC = ("çğıi̇öşüâîû",), ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")
# In the order of their frequency.
_CYRILLIC = ("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё" + "іїєґўјљњћџђѓќѕ",)
_GREEK = ("αοιετσνηυρπκμλςωγδχθφβξζψάέήίόύώϊϋΐΰ",)
_HEBREW = ("יוהלארתמבשנעקפדחגצזכטםןךףץס",)
_ARABIC = ("اليمونترسعبدفهكقحةجشصىخطأضذثزءظغإئؤآ" + "".join(map(chr, range(0x064B, 0x0653))) + "پچژگ\u200c",)
_THAI = ("านรอกเงมยล" + "".join(map(chr, range(0x0E01, 0x0E5B))),)
_FREQUENT_LETTERS, _FREQUENT_PART = 10, 0.55
# Each encoding with its languages, and how much likelier than others it must look. Where two read a text as well, the
# first is taken.
_ONE_BYTE: tuple[tuple[str, Sequence[str], float], ...] = (
    ("cp1252", _WESTERN, 1.0),
    ("cp1254", _TURKISH, 1.0),
    ("cp1250", _CENTRAL, 1.0),
    ("cp1257", _BALTIC, 1.0),
    ("cp1251", _CYRILLIC, 1.0),
    ("cp1253", _GREEK, 1.0),
    ("cp1255", _HEBREW, 1.0),
    ("cp1256", _ARABIC, 1.0),
    ("cp874", _THAI, 1.0),
    ("iso8859_15", _WESTERN, 0.97),
    ("iso8859_2", _CENTRAL, 0.97),
    ("koi8_u", _CYRILLIC, 0.97),
    ("cp866", _CYRILLIC, 0.97),
    ("iso8859_5", _CYRILLIC, 0.95),
    ("mac_cyrillic", _CYRILLIC, 0.95),
    ("iso8859_7", _GREEK, 0.97),
    ("cp850", _WESTERN, 0.95),
    ("mac_roman", _WESTERN, 0.95),
    ("cp852", _CENTRAL, 0.95),
    ("cp857", _TURKISH, 0.93),
    ("cp737", _GREEK, 0.95),
)


@dataclass(frozen=True, slots=True)
class _TwoBytes:
    """An encoding of East Asian texts.

    Attributes:
        frequent: Some of the most frequent ideographs, or syllables of hangul.
        common: First bytes of the common ones.
        kana, hangul: What such a letter is worth, if it is frequent; ideographs are none where hangul is written.
    """

    encoding: str
    frequent: str
    common: range
    kana: float
    hangul: bool = False


_KANJI = (
    "日一国人年大十二本中長出三時行見月分後前生五間上東四今金入学高円子外下来気小山話女北書先名川千水半男西電校語"
    "京都市県区町村住所番号額数量商品株式会社田田藤佐島松井原木野表示"
)
_SIMPLIFIED = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能"
    "好都没日于起发成事只作当想看文无开手十用主行方如前所本见经头面公同三已老从动两长市区县号名称金额期单位司数量姓城"
    "北京海广州王李张刘陈产品客户订价格类型地址电话"
)
_TRADITIONAL = (
    "的一是不了在人有我他這中大來上國個到說們為子和你地出道也時年得就那要下以生會自著去之過家學對可里後小心多天而能好都"
    "沒日於起發成事只作當想看文無開手十用主行方如前所本見經頭面公同三已老從動兩長市區縣號名稱金額期單位司數量姓城北京臺"
    "台灣高雄王李張劉陳產品客戶訂價格類型址電話"
)
_HANGUL = (
    "이다는의에가을한지고로하기사자어리서대나도시정수인아를일부해만전장보제그상구조주국동성공우여적라원안있거계비"
    "름번호명금액김박최울산광역민철영희경남북강서천과내면연물화소선신유모위식"
)
_EAST_ASIAN = (
    _TwoBytes("cp932", _KANJI, range(0x88, 0x98), 1.0),
    _TwoBytes("euc_jp", _KANJI, range(0xB0, 0xD0), 1.0),
    _TwoBytes("cp949", _HANGUL, range(0xB0, 0xC9), 0.3, hangul=True),
    _TwoBytes("gb18030", _SIMPLIFIED, range(0xB0, 0xD8), 0.3),
    _TwoBytes("big5hkscs", _TRADITIONAL, range(0xA4, 0xC7), 0.3),
)
_COMMON_WORTH, _RARE_WORTH, _ALONE = 0.85, 0.1, 0.7


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, by where its zero bytes stand: of ASCII text every second byte is one."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.02 * pairs:
        return "utf-16-le"
    if even > 0.4 * pairs and odd < 0.02 * pairs:
        return "utf-16-be"
    # Of another script, only line ends, blanks and delimiters have one.
    for encoding, line_feed, zeros, others in (("utf-16-le", b"\n\0", odd, even), ("utf-16-be", b"\0\n", even, odd)):
        starts = (found.start() for found in re.finditer(re.escape(line_feed), head))
        if zeros > 0.05 * pairs and others < 0.02 * pairs and any(start % 2 == 0 for start in starts):
            return encoding
    return None


def is_utf8(sample: bytes) -> bool:
    """Whether it is UTF-8, perhaps cut off inside a character, or damaged in some places."""
    text = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode(sample)
    beyond = [letter for letter in text if letter > "\x7f"]
    # By chance, some pairs of bytes beyond ASCII are UTF-8; but few, and seldom Latin letters.
    sound = [letter for letter in beyond if not "\udc80" <= letter <= "\udcff"]
    damaged = len(beyond) - len(sound)
    return damaged < max(1, len(sound)) or (damaged == len(sound) and all(letter < "\u0250" for letter in sound))


# Between two cells of a Concordance load file: U+00FE quotes, U+0014 delimits.
_CONCORDANCE = b"\xfe\x14\xfe"


def guessed_encoding(sample: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8; Windows' Western one if no other is likelier."""
    if _CONCORDANCE in sample:
        return "cp1252"
    scores = {encoding: weight * _one_byte_score(sample, encoding, langs) for encoding, langs, weight in _ONE_BYTE}
    scores |= {each.encoding: _two_bytes_score(sample, each) for each in _EAST_ASIAN}
    best = max(scores, key=lambda encoding: scores[encoding])
    return best if scores[best] > max(_LEAST, scores["cp1252"]) else "cp1252"


def _one_byte_score(sample: bytes, encoding: str, languages: Sequence[str]) -> float:
    """From 0 to 1: how much the text beyond ASCII looks like one of the languages."""
    text = sample.decode(encoding, errors="replace")
    # These may stand inside of words.
    count = sum(map(text.count, _JOINTS))
    letters = ["\0"] * count
    text = text.translate(dict.fromkeys(map(ord, _JOINTS), "'"))
    for found, _ in zip(_WORD.finditer(text), range(_LOOKED_AT_WORDS), strict=False):
        word = found[0]
        odd = sum(letter > "\x7f" for letter in word)
        count += odd
        bare = word.strip(_MARKS)
        if bare.isascii() and not any(letter in _MARKS for letter in word[1:-1]):
            letters.extend("\0" * odd)  # marks at its edges
        elif _is_word(bare):
            letters.extend(letter for letter in word.lower() if letter > "\x7f")
    if not count:
        return 0.0
    marks = letters.count("\0")
    letters = [letter for letter in letters if letter != "\0" and letter not in _MARKS]
    fits = [sum(letter in language for letter in letters) for language in languages]
    together = "".join(languages) + (_WESTERN_TOO if languages is _WESTERN else "")
    mixed = sum(letter in together for letter in letters) * _MIXED_LANGUAGES
    score = (max([mixed, *fits]) + marks * (_WESTERN_MARK_WORTH if encoding == "cp1252" else _MARK_WORTH)) / count
    if len(languages) == 1 and letters and languages[0][0] > "\u036f":
        frequent = sum(letter in languages[0][:_FREQUENT_LETTERS] for letter in letters) / len(letters)
        score *= 0.6 + 0.4 * min(1.0, frequent / _FREQUENT_PART)
    return score


def _is_word(word: str) -> bool:
    """Whether letters of one script stand together, capitals before the others, and no marks between them."""
    scripts = {_script(letter) for letter in word}
    if len(scripts) > 1 or None in scripts:
        return False
    if scripts == {"latin"} and _LATIN_RUN.search(word):
        return False  # a letter beyond ASCII stands among others
    return _CASES.fullmatch("".join("u" if letter.isupper() else "l" for letter in word)) is not None


_SCRIPTS = (
    ("greek", 0x370, 0x400),
    ("cyrillic", 0x400, 0x500),
    ("hebrew", 0x590, 0x600),
    ("arabic", 0x600, 0x700),
    ("thai", 0xE00, 0xE80),
)


def _script(letter: str) -> str | None:
    code = ord(letter)
    if code < 0x250:
        return "latin" if letter.isalpha() else None
    return next((name for name, first, after in _SCRIPTS if first <= code < after), None)


def _two_bytes_score(sample: bytes, candidate: _TwoBytes) -> float:
    """From 0 to 1: how common the characters beyond ASCII are; those beside small Latin letters are accidents."""
    try:
        text = codecs.getincrementaldecoder(candidate.encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    worth = count = 0.0
    before = ""
    for is_ascii, run in groupby(text, str.isascii):
        letters = "".join(run)
        if not is_ascii:
            count += len(letters)
            if not before.islower():
                worth += sum(_worth(letter, candidate) for letter in letters) * (_ALONE if len(letters) == 1 else 1.0)
        before = letters[-1]
    return worth / count if count else 0.0


def _worth(letter: str, candidate: _TwoBytes) -> float:
    if "\u3040" <= letter <= "\u30ff" or "\uff61" <= letter <= "\uff9f":
        return candidate.kana if letter < "\uff00" else 0.9 * candidate.kana
    if _CJK_MARKS.match(letter):
        return 0.9
    is_hangul = "\uac00" <= letter <= "\ud7a3"
    if is_hangul != candidate.hangul or not (is_hangul or "\u4e00" <= letter <= "\u9fff"):
        return 0.0
    if letter in candidate.frequent:
        return 1.0
    return _COMMON_WORTH if letter.encode(candidate.encoding)[0] in candidate.common else _RARE_WORTH
