"""What parity is asked of: texts of all kinds, and how each becomes an input of a task."""

# ruff: noqa: RUF001 - letters that look like others are the point

from __future__ import annotations

from typing import Any

STORY = (
    "The ferry left the harbour an hour late, because the captain's dog had gone missing and nobody wanted to sail "
    "without it. Anna Kowalska, who had come from Gdańsk that morning, read her newspaper on the upper deck; beside "
    "her sat a man in a green coat, Mr. O'Leary of Cork, with a cello case between his knees. "
)

PLAIN: dict[str, str] = {
    "one word": "rain",
    "one letter": "x",
    "a sentence": "The film was good, and the music even better.",
    "a question": "Who let Angela Merkel and Barack Obama into the kitchen of the Ritz in Paris?",
    "two sentences": "I hated it. My sister, on the other hand, saw it twice.",
    "contractions": "They don't know what they're doing, it's Anna's, isn't it? We'll see: I'd've gone.",
    "hyphens and dashes": "A well-known, state-of-the-art film -- or so it was – twenty-one years ago — in New-York.",
    "capitals": "NASA AND THE UN MET IN GENEVA ON MONDAY",
    "mixed capitals": "iPhone, eBay, McDonald's and LaTeX; camelCaseWords and snake_case_words",
    "long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "word of two hundred letters": "ab" * 100,
    "one letter many times": "a" * 300,
    "repeated words": "no " * 60 + "yes",
    "a paragraph": STORY.strip(),
    "hundreds of words": (STORY * 5).strip(),
    "german": "Wer reitet so spät durch Nacht und Wind? Es ist der Vater mit seinem Kind; Grüße aus Köln, Straße 5.",
    "french": "L'été dernier, Zoé a mangé une crème brûlée à Orléans : « quelle horreur ! »",
    "polish": "Zażółć gęślą jaźń, powiedział Łukasz w Łodzi.",
    "turkish": "İstanbul'da ILIK bir öğle, ıssız Iğdır.",
    "vietnamese": "Tiếng Việt có nhiều dấu: ở Hà Nội, Nguyễn Ái Quốc.",
    "russian": "Анна приехала из Москвы в Санкт-Петербург в понедельник.",
    "greek": "Ο Οδυσσέας γύρισε στην Ιθάκη· ΣΊΣΥΦΟΣ.",
    "chinese": "我昨天在北京大学遇见了王小明，他说今天会下雨。",
    "japanese": "東京タワーで、田中さんはラーメンを食べました。ｶﾀｶﾅも。",
    "korean": "서울에서 부산까지 기차로 세 시간 걸립니다.",
    "thai": "ฉันรักกรุงเทพมหานคร",
    "hindi": "नमस्ते दुनिया, मैं दिल्ली में रहता हूँ।",
    "arabic": "مرحبا بالعالم، أنا من القاهرة.",
    "hebrew with points": "שָׁלוֹם עוֹלָם, אני מתל אביב",
    "both directions": "He said مرحبا and then שלום to Anna.",
    "marks of direction": "\u202eright to left\u202c and \u200fback\u200e again",
    "emoji": "I ❤ pizza 🍕🍕🍕 and 🎉!",
    "emoji with joiners": "The 👨‍👩‍👧‍👦 of 🏳️‍🌈 and 👩🏽‍🚀 went home 🇵🇱",
    "combining marks": "Cafe\u0301 Zoe\u0308 a\u030a\u0323 n\u0303o, Z\u0351\u036b\u0343a\u0309l\u0316g\u031fo\u0353",
    "composed and not": "\u00e9 e\u0301 \u212b \u00c5 \ufb01 ﬁne ² ½ Ⅷ",
    "mathematical letters": "𝓗𝓮𝓵𝓵𝓸 𝕎𝕠𝕣𝕝𝕕 𝐀𝐧𝐧𝐚",
    "nul": "before\x00after and \x00 alone",
    "control characters": "bell\x07 escape\x1b[0m delete\x7f next\x85line",
    "tabs and newlines": "first line\n\tsecond line\r\n\r\n   third   line\v\f end",
    "white space around": "   \n spaces around Anna  \t",
    "odd white space": "no\u00a0break thin\u2009space ideographic\u3000space zero\u200bwidth \ufeffmark",
    "only punctuation": "?!... --- ,,, ;;; (()) [] {} <> ''\"\" `` ~~ ^ | \\ / @ # $ % & * _ + =",
    "one full stop": ".",
    "quotation marks": '“Well,” she said, ‘it’s "fine"’ — „gut“ … ok',
    "numbers": "On 24.12.1999 at 13:37 it cost $1,234,567.89 (-4.5e-10 %), 0x1F, 1/2, +48 123 456 789.",
    "a url": "See https://user@example.org:8080/a/b%20c?q=1&r=x#frag or mail anna.k+spam@example.co.uk!",
    "code": "def f(x: int) -> str:\n    return f\"{x!r:>{10}}\"  # TODO\n\nprint(f(3) if x != None else '')",
    "json": '{"a": [1, 2.5, null], "b": {"c": "d\\n"}}',
    "markup": "<p class='x'>Hello &amp; <b>Anna</b><br/></p> <!-- bye -->",
    "private and unassigned": "\ue000 \U000f0000 \u0378 \U0010ffff \ufffd",
    "underscores of sentencepiece": "▁Hello▁world Ġthere ##ing",
}
"""Texts by what is odd about them."""

HYPOTHESES = ("sport", "politics and the press", "🍕", "北京", "the weather")


def texts(tokenizer: Any) -> dict[str, str]:
    """Give all texts, and some with the special tokens of a tokenizer of transformers in them."""
    special = [token for token in dict.fromkeys(tokenizer.all_special_tokens) if not token.startswith("<extra")]
    first, last = special[0], special[-1]
    return {
        **PLAIN,
        "only a special token": first,
        "only special tokens": " ".join(special),
        "special tokens inside": f"Anna {first} went home{last}, and {last}Bob stayed {first}{first} there.",
    }


def pairs(found: dict[str, str]) -> dict[str, dict[str, str]]:
    """Pair each text with the one after it; the last goes with the first."""
    names = list(found)
    following = [*names[1:], names[0]]
    return {one: {"text": found[one], "text_pair": found[other]} for one, other in zip(names, following, strict=True)}


def masked(text: str, mask: str) -> str:
    """Put a mask between two words near the middle of a text, or at its end."""
    words = text.split(" ")
    middle = (len(words) + 1) // 2
    return " ".join([*words[:middle], mask, *words[middle:]])
