"""Names that break programs: 600 and more, each on its own legal somewhere, in an order that never changes.

`CORPUS` holds every name once, as paths are carried (bytes that are no UTF-8 as surrogate escapes). `on_disk` says
which of them a Linux file can have; the others come from services only. `generated` makes more of them from a seed.
"""

import random
import unicodedata
from collections.abc import Iterable

# ---- what is put at the front, in the middle and at the end of a name

_CONTROL = [chr(code) for code in (*range(1, 32), 127)]
_C1 = [chr(code) for code in range(0x80, 0xA0)]
_BIDI = [chr(code) for code in (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
_INVISIBLE = [chr(code) for code in (0xAD, 0x34F, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFE0F, 0xFEFF, 0xE0001)]
_SPACES = [chr(code) for code in (0x20, 0xA0, 0x1680, 0x2003, 0x2028, 0x2029, 0x202F, 0x3000)]
_SHELL = [*"""!"#$%&'()*+,;<=>?@[]^`{|}~:\\"""]

# ---- whole names

_ESCAPES = [
    "\x1b[2J\x1b[H",
    "\x1b[31mred\x1b[0m",
    "\x1b[8mhidden\x1b[28m",
    "\x1b[1A\x1b[2Kabove",
    "\x1b[6n",
    "\x1b[c",
    "\x1b[?1049h",
    "\x1b[?1000h",
    "\x1b[5i",
    "\x1bc",
    "\x1b#8",
    "\x1b(0lqqk\x1b(B",
    "\x1b7\x1b8",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]8;;http:evil\x07link\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]50;?\x07",
    "\x1b]9;note\x07",
    "\x1bP$qm\x1b\\",
    "\x1bPq#0!9~\x1b\\",
    "\x1b_Gf=24\x1b\\",
    "\x1b^private\x1b\\",
    "\x9b31mC1 red",
    "\x9d0;C1 title\x9c",
    "\x90q\x9c",
    "bell\x07",
    "back\x08\x08\x08space",
    "over\rwritten",
    "form\x0cfeed",
    "two\n2 lines",
    "two\r\nlines",
    "cftool: all is well\ncopied 1 file",
    "\x1b",
    "\n",
    "\r",
    "\t",
    "\x7f",
]
_WINDOWS = [
    *("CON", "PRN", "AUX", "NUL", "COM0", "COM1", "COM9", "COM¹", "LPT1", "LPT9", "CONIN$", "CONOUT$", "CLOCK$"),
    *("aux.txt", "com2.tar.gz", "nul.", "lpt3 ", "con .txt", "C:", "C:\\Windows", "\\\\server\\share", "\\\\?\\C:"),
    *("file:stream", "file::$DATA", "desktop.ini", "Thumbs.db", ".DS_Store", "._resource", "Icon\r", "~$office.doc"),
    *("PROGRA~1", "autorun.inf", ".dropbox", ".dropbox.attr", ".dropbox.cache", "._.DS_Store"),
]
_DOTS = [
    *("...", "....", ". ", " .", ".. ", " ..", "..x", "x..", ".x", "x.", "x. ", "x .", ".  .", "..;", "..%00", "..\\"),
    *("..\\..\\etc\\passwd", "..\n", "\n..", "..\u2215", "..\u2044etc", "\u2025", "\u2024\u2024", "\uff0e\uff0e"),
    *("..\uff0fetc", "..\u29f8x", ".\u200b.", "..\u200b", "..\x01", ".\x7f.", " x", "x ", "  ", " ", "x  ", "  x"),
]
_DASHES = [
    *("-", "--", "---", "-r", "-rf", "-0", "-n", "--help", "--version", "--delete", "--json", "--config=x", "-e sh"),
    *("--exclude=*", "–en dash", "—em dash", "−minus", "-\n", "@file", "@", "+x", "=1+1", "=cmd|calc"),
]
_ENCODED = [
    *("%", "%%", "%2", "%2F", "%2f", "%00", "%0a", "%0D%0A", "%2e", "%2e%2e", "%2e%2e%2f", "..%2f", "..%2F..%2Fx"),
    *("%252f", "%25%32%66", "%c0%ae%c0%ae", "%c0%af", "%u002e%u002e", "%e2%80%ae", "%ff", "%zz", "100%", "a%20b"),
    *("a+b", "a b", "&amp;", "&lt;", "&#47;", "&#x2f;", "&#0;", "&nosuch;", "<tag>", "<!--", "]]>"),
    *("<![CDATA[x]]>", "<?xml?>", "<!DOCTYPE x>", '"quoted"', "'", '"', '{"json": 1}', "[]", "null", "true", "0"),
    *("=?utf-8?q?x?=", "?list-type=2", "a?b=c", "a#b", "#", "?", "a;type=i", "s3:x", "file:x", "::", ":", "a:b"),
    *("-1", "1e9", "NaN", "None", "undefined", "\\", "\\n", "\\x00", "\\\\", "a\\b", "\\u002e", "\\..", "\\ufeff"),
]
_SHELLISH = [
    *(
        "~",
        "~root",
        "~+",
        "$HOME",
        "${IFS}",
        "$(id)",
        "`id`",
        "!!",
        "*",
        "**",
        "?",
        "[a-z]",
        "[!a]",
        "{a,b}",
        "a{1..9}",
    ),
    *("a;id", "a|id", "a&id", "a&&id", "a>b", "a<b", "#!sh", "'; DROP TABLE x;--", "' OR '1'='1", "%s%n", "%s", "%x%x"),
    *("{0}", "{0.__class__}", "{{7*7}}", "${7*7}", "<%= 7 %>", "$((1))", "(", ")", "a\tb", "a'b", 'a"b', "a`b"),
]
_OURS = [
    *("...rclonelink", "..rclonelink", ".rclonelink", "link.rclonelink", "\x1b.rclonelink", "a.rclonelink.rclonelink"),
    *(".cftool-", ".cftool-x.tmp", ".cftool-0123456789ab.tmp", ".cftool-0123456789AB-1.tmp", "x.cftool-tmp"),
    *(".cftool-0123456789ab-1.tmp.txt", "a (conflict HOST 2026-01-01).txt", ".cftool-trash.txt", "name ~a1b2c3"),
]
_TWINS = [
    *("readme", "Readme", "README", "i", "I", "\u0131", "\u0130", "i\u0307", "stra\u00dfe", "STRASSE", "STRA\u1e9eE"),
    *("k", "K", "\u212a", "s", "S", "\u017f", "\u03c3", "\u03a3", "\u03c2", "\u01c4", "\u01c5", "\u01c6", "\ufb00"),
    *(
        "ff",
        "FF",
        "\u00e5",
        "\u00c5",
        "\u212b",
        "a\u030a",
        "A\u030a",
        "\u2126",
        "\u03a9",
        "\u03c9",
        "\u0149",
        "\u02bcn",
    ),
    *("\u00b5", "\u03bc", "\U00010400", "\U00010428", "\u13a0", "\uab70", "\u10d0", "\u1c90", "\u1e9b\u0323"),
]
_FORMS = [
    *(
        "é-composed",
        "ñ",
        "ü",
        "Ạ̈",
        "가",
        "각",
        "が",
        "ガ",
        "ｶﾞ",
        "ệ",
        "ṩ",
        "Ǖ",
        "ﷺ",
        "ﬁ",
        "①",
        "Ⅳ",
        "㎏",
        "½",
        "ｆｕｌｌ",
    ),
    *("\u0958", "\u2adc", "\U0001d15e", "\u0344", "\u1f71", "\u03ac", "q\u0307\u0323", "q\u0323\u0307", "\u0301"),
    *("e" + "\u0301" * 20, "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a"),
    *("\u1100\u1161\u11a8", "\u0e33", "\u0e4d\u0e32", "\u0f73", "\u0fb2\u0f71\u0f80", "\u115f", "\u3164", "\uffa0"),
]
_PICTURES = [
    *(
        "😀",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇩🇪",
        "👍🏽",
        "1️⃣",
        "❤️",
        "❤",
        "🏴\U000e0067\U000e0062\U000e0065\U000e007f",
        "\U0001f9d1\u200d\U0001f4bb",
    ),
    *("日本語", "العربية", "עברית", "ไทย", "हिन्दी", "ελληνικά", "русский", "한국어", "ትግርኛ", "𝔘𝔫𝔦", "𐍈", "\U0002f800"),
    *("\ue000", "\uf8ff", "\ufffd", "\ufffc", "\uffff", "\ufffe", "\ufdd0", "\U0010ffff", "\U0001fffe", "\U000f0000"),
]
# Bytes that are no UTF-8: overlong forms, halves of characters, surrogates, what is beyond Unicode, other encodings.
_BYTES = [
    *(b"\xff", b"\xfe\xff", b"\xff\xfe", b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xae\xc0\xae", b"\xc0\xaf", b"\xc1\xbf"),
    *(b"\xe0\x80\xaf", b"\xe0\x80\xae", b"\xf0\x80\x80\xaf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3", b"\xed\xa0\x80"),
    *(b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80"),
    *("é".encode("latin-1"), "ü.txt".encode("latin-1"), "日本".encode("shift-jis"), "日本".encode("euc-jp")),
    *(
        "русский".encode("koi8-r"),
        "русский".encode("cp1251"),
        b"\x9b31m\xff",
        b"ok\xffmiddle",
        b"\xffstart",
        b"end\xff",
    ),
    *(b"\xff\n\xff", b"\xff\x1b[31m", b"\xed\xb3\xbf", b"\xef\xbb\xbf\xff", b"\xe2\x80\xae\xff", b"..\xff", b"\xff.."),
    *(b"%\xff", b"\xff%2f", b"a\xc2", b"\xc2 b", b"\xf5", b"\xdf", b"\xff" * 255),
]
# 255 bytes is the most that a file's name can have; the longer ones come from services only.
_LONG = [
    *("a" * 255, "a" * 254, "A" * 255, "é" * 127, "é" * 127 + "a", "日" * 85, "😀" * 63, "😀" * 63 + "abc", "." * 255),
    *(" " * 200 + "x", "x" * 251 + ".txt", "%2F" * 85, "\\" * 255, "\n" * 100, "e\u0301" * 85, "-" * 255, "&" * 255),
    *("\u202e" * 85, "<" * 255, '"' * 127, "x." * 127, "\x1b[7m" * 60, "+" * 255, "~" * 255, "日" * 84 + "abc"),
    *("é" * 126 + "abc", "\u0131" * 127, "ß" * 127),
]
_TOO_LONG = ["b" * 256, "ö" * 128, "語" * 86, "😁" * 64, "c" * 300, "d" * 400]
_HALVES = ["\ud800", "\udbff", "half\ud83d", "\udc00low", "\udfff", "\ude00\ud83d"]  # as JSON can say them


def _placed(chars: Iterable[str], word: str) -> list[str]:
    """Each character within a word of its own; some also in front and behind."""
    names = []
    for number, char in enumerate(chars):
        names.append(f"{word}{number}{char}x")
        if number % 3 == 0:
            names += [f"{char}{word}{number}", f"{word}{number}-{char}"]
    return names


def _forms() -> list[str]:
    """Composed and decomposed, where they differ."""
    names = []
    for name in _FORMS:
        names += [unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name), name]
    return names


def _all() -> tuple[str, ...]:
    groups = [
        _placed(_CONTROL, "control"),
        _placed(_C1, "high"),
        _placed(_BIDI, "bidi"),
        _placed(_INVISIBLE, "unseen"),
        _placed(_SPACES, "space"),
        _placed(_SHELL, "sign"),
        *(_ESCAPES, _WINDOWS, _DOTS, _DASHES, _ENCODED, _SHELLISH, _OURS, _TWINS, _forms(), _PICTURES),
        [name.decode("utf-8", "surrogateescape") for name in _BYTES],
        *(_LONG, _TOO_LONG, _HALVES),
    ]
    return tuple(dict.fromkeys(name for group in groups for name in group))


CORPUS = _all()


def on_disk(name: str) -> bool:
    """Whether a file of this machine can have the name."""
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return 0 < len(data) <= 255 and b"/" not in data and b"\0" not in data and data not in {b".", b".."}


def content(name: str) -> bytes:
    """What the file of that name holds: never the same for two names."""
    return b"content of " + name.encode("utf-8", "surrogatepass")


_ALPHABETS = (
    [chr(code) for code in range(1, 128) if chr(code) != "/"],
    [chr(code) for code in range(0xDC80, 0xDD00)],
    [chr(code) for code in range(0x80, 0x250)],
    [chr(code) for code in range(0x300, 0x370)],
    [chr(code) for code in (*range(0x2000, 0x2070), 0xFEFF, 0xFFFD, 0x212A, 0x212B, 0x1E9E, 0x130, 0x131)],
    [chr(code) for code in range(0x1F300, 0x1F650)],
    list("abcXYZ019._- "),
    list("./%2Ff\\~$&<>\"'".replace("/", "")),
    ["%2F", "..", "\x1b[", "\x1b]0;", "\x07", "\u202e", "e\u0301", "\u00e9", "&amp;", ".tmp", ".cftool-", "\r\n"],
)


def generated(count: int, seed: int) -> list[str]:
    """So many more names of files, different from each other."""
    dice = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        alphabets = dice.choices(_ALPHABETS, k=dice.randint(1, 3))
        name = "".join(dice.choice(dice.choice(alphabets)) for _ in range(dice.choice((1, 2, 3, 5, 8, 13, 40, 120))))
        # As the disk reads it back: bytes that happen to be UTF-8 together are characters.
        name = name.encode("utf-8", "surrogateescape")[: dice.choice((255, 60))].decode("utf-8", "surrogateescape")
        if on_disk(name):
            names[name] = None
    return list(names)
