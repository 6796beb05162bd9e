"""Describe a text: its length, words and language.

The language detector is our own: the libraries for it have tens of megabytes of statistics or are
no longer maintained, and all of them name a language for any string. Here the script decides if
only one language uses it. Latin text is recognised by common words, and with too few of them the
language is null.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

# Part of a word if between letters: it's, well-known.
_JOINERS = "'\u2019-"
# Scripts written without spaces: each character counts as a word.
_UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA")

_SCRIPT_LANGUAGES = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "THAI": "th",
    "HEBREW": "he",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "CJK": "zh",
}
# Letters that only one of the languages of a shared script has.
_CYRILLIC = (
    ("uk", "\u0456\u0457\u0454\u0491"),
    ("ru", "\u044b\u044d\u0451"),
    ("sr", "\u0452\u0459\u045a\u045b\u045f"),
    ("bg", "\u044a\u0449"),
)
_BELARUSIAN = "\u045e"
_ARABIC = (("ur", "\u0679\u06d2\u0688"), ("fa", "\u067e\u0686\u06af\u0698\u06cc"))

_COMMON_WORDS = {
    "en": "the of and to in is you that it he was for on are with as his they be at this have "
    "from or had by not but what all were we when your can there an which their if will how our "
    "has been no any please do hello hi thank thanks",
    "de": "der die und in den von zu das mit sich des auf f\u00fcr ist im dem nicht ein eine als "
    "auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem \u00fcber "
    "ich wir oder ihr vom zum zur bitte",
    "fr": "le la les de des et \u00e0 un une du en est que dans qui pour pas sur au avec ce il "
    "sont par plus ne se sa son cette ou mais nous vous je elle aux ont \u00eatre leur c'est "
    "d'une",
    "es": "el la los las de que y en un una por con no es del se para al lo como m\u00e1s su "
    "pero sus le ya o este s\u00ed porque esta entre cuando muy sin sobre tambi\u00e9n hay "
    "est\u00e1 son",
    "it": "il lo la gli le di che e un una per non con del della sono da al dei nel si come "
    "pi\u00f9 ma anche questo ha alla io se delle tra suo \u00e8 ed ai dal sul questa nella",
    "pt": "o os as de que e do da em um uma para com n\u00e3o por no na dos das se mais ao como "
    "mas foi ele seu sua ou ser \u00e9 s\u00e3o est\u00e1 voc\u00ea isso nos j\u00e1 pelo pela "
    "tamb\u00e9m",
    "nl": "de het een en van ik te dat die in is je niet zijn op aan met voor er maar om hem dan "
    "zou of wat mijn dit zo door over ze bij ook tot uit naar heeft wordt wij deze",
    "sv": "och att det i en jag hon som han p\u00e5 den med var sig f\u00f6r s\u00e5 till \u00e4r "
    "men ett om hade de av icke mig du d\u00e5 nu har inte fr\u00e5n vi kan ska eller",
    "da": "og i jeg det at en den til er som p\u00e5 de med han af for ikke der var mig sig men et "
    "har om vi havde hun nu over da fra du ud ogs\u00e5 blev eller kan vil",
    "no": "og i jeg det at en et den til er som p\u00e5 de med han av ikke der s\u00e5 var meg seg "
    "men ett har om vi hadde hun n\u00e5 over da ved fra du ut ogs\u00e5 ble eller kan vil skal",
    "fi": "ja on ei se ett\u00e4 h\u00e4n oli mutta ovat kun niin my\u00f6s jos tai olla sen ole "
    "mit\u00e4 kuin joka t\u00e4m\u00e4 min\u00e4 sin\u00e4 me te he sit\u00e4 vain nyt viel\u00e4",
    "pl": "i w nie na si\u0119 z do to \u017ce jest o jak a ale po co tak za od ju\u017c jego jej "
    "czy przez tylko dla by\u0142 by\u0107 tym s\u0105 oraz lub kt\u00f3ry mnie mi",
    "cs": "a se v na je \u017ee to s z do o k i za ve pro ale si po jako jsem tak od kter\u00fd "
    "jsou nebo by bylo podle jen jeho p\u0159i ze byl aby tento",
    "ro": "\u0219i de la a \u00een cu nu o pe un din este care s\u0103 mai sunt pentru ce se al "
    "sau dar fi \u00eei lui au fost prin cel acest aceast\u0103",
    "hu": "a az \u00e9s hogy nem is egy ez volt csak meg de van ha mint m\u00e1r vagy \u00e9n ki "
    "mi el lesz majd nagyon azt ezt kell minden",
    "tr": "ve bir bu da de i\u00e7in ile ne o ben var \u00e7ok gibi daha mi ama sen kadar olan "
    "sonra olarak her de\u011fil ya en benim",
    "id": "yang dan di dari untuk dengan ini itu pada tidak adalah ke dalam akan oleh juga ada "
    "saya kami atau anda bisa karena telah sebagai mereka sudah",
    "vi": "v\u00e0 l\u00e0 c\u1ee7a c\u00f3 cho kh\u00f4ng \u0111\u01b0\u1ee3c trong m\u1ed9t "
    "c\u00e1c v\u1edbi ng\u01b0\u1eddi nh\u1eefng \u0111\u1ec3 n\u00e0y \u0111\u00e3 khi t\u1eeb "
    "t\u00f4i anh",
}
COMMON_WORDS = {code: frozenset(words.split()) for code, words in _COMMON_WORDS.items()}


def text_facts(text: str) -> dict[str, Any]:
    """Return {characters, words, lines, language}; language is an ISO 639-1 code or None."""
    return {
        "characters": len(text),
        "words": len(words(text)),
        "lines": len(text.splitlines()),
        "language": language(text),
    }


def words(text: str) -> list[str]:
    """Return the words; each character is one in scripts without spaces between words."""
    # Letters, numbers, and marks such as accents and Indian vowels.
    kept = (c if c in _JOINERS or unicodedata.category(c)[0] in "LNM" else " " for c in text)
    stripped = (word.strip(_JOINERS) for word in "".join(kept).split())
    return [part for word in stripped if word for part in _parts(word)]


def language(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of most of the text, or None if it is unsure."""
    letters = [c for c in unicodedata.normalize("NFC", text).lower() if c.isalpha()]
    scripts = Counter(_script(c) for c in letters)
    if not scripts:
        return None
    # Most characters of Japanese are Chinese ones; its kana distinguish it from Chinese.
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana and kana + scripts["CJK"] > len(letters) / 2:
        return "ja"
    script, count = scripts.most_common(1)[0]
    if count <= len(letters) / 2:
        return None
    match script:
        case "LATIN":
            return _latin_language(words(unicodedata.normalize("NFC", text).lower()))
        case "CYRILLIC":
            return _cyrillic_language(letters)
        case "ARABIC":
            return _by_letters(letters, _ARABIC, "ar")
        case _:
            return _SCRIPT_LANGUAGES.get(script)


def _parts(word: str) -> Iterable[str]:
    if not any(unicodedata.name(c, "").startswith(_UNSPACED) for c in word):
        return [word]
    return list(word)


def _script(character: str) -> str:
    """Return the script: the first word of the Unicode name, such as LATIN, CYRILLIC or CJK."""
    return unicodedata.name(character, "UNKNOWN").split()[0]


def _latin_language(found: list[str]) -> str | None:
    counts = Counter(
        {code: sum(word in common for word in found) for code, common in COMMON_WORDS.items()}
    )
    (best, hits), (_, second) = counts.most_common(2)
    # At least two common words, or one in a text of up to four; and more than the second language.
    enough = hits >= 2 or (hits == 1 and len(found) <= 4)
    return best if enough and hits > second else None


def _cyrillic_language(letters: list[str]) -> str | None:
    if _BELARUSIAN in letters:
        return "be"
    return _by_letters(letters, _CYRILLIC, None)


def _by_letters(
    letters: list[str], telling: tuple[tuple[str, str], ...], otherwise: str | None
) -> str | None:
    counts = [(sum(c in own for c in letters), code) for code, own in telling]
    most, code = max(counts, key=lambda pair: pair[0])
    return code if most else otherwise
