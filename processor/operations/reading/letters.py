"""Letters of each language, to decide if a recogniser can read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import get_args

from schemas.params.languages import LanguageCode

_LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Letters of each language beyond a to z, as code points so that this file stays ASCII. For large
# scripts a sample of frequent characters stands for all.
_BEYOND_LATIN: Mapping[str, str] = {
    "af": "\u00eb\u00ea\u00ef",
    "az": "\u0259\u011f\u0131\u015f\u00e7\u00f6\u00fc",
    "bs": "\u010d\u0107\u0111\u0161\u017e",
    "ca": "\u00e0\u00e8\u00e9\u00ed\u00ef\u00f2\u00f3\u00fa\u00fc\u00e7",
    "cs": "\u00e1\u010d\u010f\u00e9\u011b\u00ed\u0148\u00f3"
    "\u0159\u0161\u0165\u00fa\u016f\u00fd\u017e",
    "cy": "\u00e2\u00ea\u00ee\u00f4\u00fb",
    "da": "\u00e6\u00f8\u00e5",
    "de": "\u00e4\u00f6\u00fc\u00df",
    "en": "",
    "es": "\u00e1\u00e9\u00ed\u00f3\u00fa\u00fc\u00f1",
    "et": "\u00e4\u00f5\u00f6\u00fc",
    "eu": "\u00f1",
    "fi": "\u00e4\u00f6",
    "fr": "\u00e0\u00e2\u00e7\u00e8\u00e9\u00ea\u00eb\u00ee\u00ef\u00f4\u00fb\u0153",
    "ga": "\u00e1\u00e9\u00ed\u00f3\u00fa",
    "gl": "\u00e1\u00e9\u00ed\u00f3\u00fa\u00f1",
    "hr": "\u010d\u0107\u0111\u0161\u017e",
    "hu": "\u00e1\u00e9\u00ed\u00f3\u00f6\u0151\u00fa\u00fc\u0171",
    "id": "",
    "is": "\u00e1\u00e9\u00ed\u00f3\u00fa\u00fd\u00fe\u00e6\u00f6\u00f0",
    "it": "\u00e0\u00e8\u00e9\u00ec\u00f2\u00f9",
    "la": "",
    "lb": "\u00e4\u00e9\u00eb",
    "lt": "\u0105\u010d\u0119\u0117\u012f\u0161\u0173\u016b\u017e",
    "lv": "\u0101\u010d\u0113\u0123\u012b\u0137\u013c\u0146\u0161\u016b\u017e",
    "ms": "",
    "mt": "\u010b\u0121\u0127\u017c",
    "nl": "\u00eb\u00ef",
    "no": "\u00e6\u00f8\u00e5",
    "oc": "\u00e0\u00e8\u00e9\u00f2\u00f3\u00e7",
    "pl": "\u0105\u0107\u0119\u0142\u0144\u00f3\u015b\u017a\u017c",
    "pt": "\u00e1\u00e0\u00e2\u00e3\u00e7\u00e9\u00ea\u00ed\u00f3\u00f4\u00f5\u00fa",
    "ro": "\u0103\u00e2\u00ee",
    "sk": "\u00e1\u00e4\u010d\u010f\u00e9\u00ed\u013e\u0148"
    "\u00f3\u00f4\u0161\u0165\u00fa\u00fd\u017e",
    "sl": "\u010d\u0161\u017e",
    "sq": "\u00e7\u00eb",
    "sv": "\u00e5\u00e4\u00f6",
    "sw": "",
    "tl": "\u00f1",
    "tr": "\u00e7\u011f\u0131\u00f6\u015f\u00fc",
    "uz": "",
    "vi": "\u0103\u00e2\u0111\u00ea\u00f4\u01a1\u01b0\u1ea1\u1ebf\u1ec7\u1ed9\u1edd",
}
_OTHER_SCRIPTS: Mapping[str, str] = {
    "ar": "\u0627\u0628\u062a\u0639\u0644\u0645",
    "be": "\u0430\u0431\u0432\u0456\u045e\u044b",
    "bg": "\u0430\u0431\u0432\u0436\u0449\u044a",
    "bn": "\u0985\u0995\u09a8\u09b0",
    "el": "\u03b1\u03b2\u03b3\u03ac\u03ad\u03ce\u03c2",
    "fa": "\u0627\u067e\u0686\u06af\u06cc",
    "he": "\u05d0\u05d1\u05dc\u05de\u05e9",
    "hi": "\u0905\u0915\u0928\u0930",
    "ja": "\u3042\u306e\u30a2\u30f3\u65e5\u672c",
    "ka": "\u10d0\u10d1\u10d8\u10e0",
    "ko": "\ud55c\uad6d\uc5b4\uac00\ub2e4",
    "ru": "\u0430\u0431\u0432\u0436\u044b\u044d\u044f",
    "sr": "\u0430\u0431\u0432\u0452\u0459\u045a",
    "ta": "\u0b85\u0b95\u0ba8\u0bb0",
    "te": "\u0c05\u0c15\u0c28\u0c30",
    "th": "\u0e01\u0e2d\u0e19\u0e23",
    "uk": "\u0430\u0431\u0432\u0454\u0456\u0457",
    "ur": "\u0627\u067e\u0679\u06d2\u06c1",
    "zh": "\u4e2d\u56fd\u7684\u4eba\u5927",
}
LETTERS: Mapping[str, str] = {
    **{code: _LATIN + more for code, more in _BEYOND_LATIN.items()},
    **_OTHER_SCRIPTS,
}


def missing_languages(wanted: Collection[LanguageCode], known: Collection[str]) -> dict[str, str]:
    """Return the wanted languages that lack letters in `known`, each with those letters."""
    gaps = {code: "".join(c for c in LETTERS[code] if c not in known) for code in wanted}
    return {code: letters for code, letters in gaps.items() if letters}


def readable_languages(known: Collection[str]) -> list[str]:
    """Return the codes of the languages whose letters are all in `known`."""
    return [code for code in get_args(LanguageCode) if not missing_languages([code], known)]
