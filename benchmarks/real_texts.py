"""Texts that real models are measured on, the same at every run."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

HELDOUT = Path(__file__).parents[1] / "models" / "sentiment-minilm" / "heldout.jsonl"
SEED = 0
NUM_PER_SOURCE = 250
NUM_PAIRS = {"random": 200, "neighbours": 200, "edited": 600}
NUM_DAMAGED = 500
NUM_PER_REACTION = 25
MASK = "[MASK]"

# Slips that writers make, rare ones first: a sentence gets the first three that it has words for. The tagger has
# edits that mend most of them; for a dropped article it has none.
SLIPS = (
    ("their", "there"),
    ("there", "their"),
    ("they're", "their"),
    ("you're", "your"),
    ("your", "you're"),
    ("it's", "its"),
    ("its", "it's"),
    ("than", "then"),
    ("then", "than"),
    ("too", "to"),
    ("were", "was"),
    ("are", "is"),
    ("have", "has"),
    ("has", "have"),
    ("doesn't", "dont"),
    ("can't", "cant"),
    ("saw", "seen"),
    ("went", "gone"),
    ("lose", "loose"),
    ("don't", "dont"),
    ("didn't", "didnt"),
    ("I'm", "Im"),
    ("to", "too"),
    ("an", "a"),
    ("a", "an"),
    ("the", ""),
)

# Groups begin with the atom that is bound, so that they can stand at the end of a molecule or in brackets. Rings of
# groups are numbered 1 and rings of templates 2, as a group may stand within a template's ring.
ALKYL = ("C", "CC", "CCC", "CCCC", "C(C)C", "CC(C)C", "CCOC", "C1CCCC1", "C1CCCCC1", "Cc1ccccc1", "CCc1ccccc1")
ARYL = (
    "c1ccccc1",
    "c1ccc(C)cc1",
    "c1ccc(OC)cc1",
    "c1ccc(F)cc1",
    "c1ccc(Cl)cc1",
    "c1cccc(F)c1",
    "c1cccc(C)c1",
    "c1cccnc1",
    "c1ccc(C(F)(F)F)cc1",
    "c1ccccc1Cl",
    "c1ccsc1",
)
SUBSTITUENT = ("C", "OC", "F", "C#N", "C=O", "C(C)=O", "C(=O)OC", "C(F)(F)F")
REACTIONS = {  # a is an aryl group, b an alkyl group, p a substituent of a benzene ring
    "esterification": "O=C(O){a}.O{b}>>O=C(O{b}){a}",
    "amide from an acid": "O=C(O){a}.N{b}>>O=C(N{b}){a}",
    "amide from an acid chloride": "O=C(Cl){a}.N{b}>>O=C(N{b}){a}",
    "sulfonamide": "O=S(=O)(Cl){a}.N{b}>>O=S(=O)(N{b}){a}",
    "Suzuki coupling": "OB(O){a}.Brc2ccc({p})cc2>>c2(-{a})ccc({p})cc2",
    "Buchwald-Hartwig amination": "Brc2ccc({p})cc2.N{b}>>c2(N{b})ccc({p})cc2",
    "Williamson ether": "Br{b}.O{a}>>O({b}){a}",
    "reductive amination": "O=C{a}.N{b}>>C({a})N{b}",
    "ester hydrolysis": "O=C(O{b}){a}>>O=C(O){a}",
    "nitro reduction": "O=[N+]([O-])c2cc({p})ccc2O{b}>>Nc2cc({p})ccc2O{b}",
    "ketone reduction": "O=C({b}){a}>>OC({b}){a}",
    "Boc removal": "CC(C)(C)OC(=O)NC({b}){a}>>NC({b}){a}",
}
ATOM = re.compile(r"\[[^\]]+]|Br|Cl|[NOSPFIBCbcnosp]")


def sentences() -> list[str]:
    """Choose English sentences that the sentiment model was not trained on, as many of tweets, films, products, news.

    Returns:
        1,000 different texts, in mixed order.
    """
    rng = random.Random(SEED)
    by_source: dict[str, list[str]] = {}
    for text, source in _heldout():
        by_source.setdefault(source, []).append(text)
    chosen = [text for texts in by_source.values() for text in rng.sample(texts, NUM_PER_SOURCE)]
    return rng.sample(chosen, len(chosen))


def sentence_pairs() -> list[tuple[str, str]]:
    """Pair sentences so that their similarities spread from unrelated to nearly equal.

    Returns:
        1,000 pairs: two sentences drawn at random, two that stand beside each other in the data and so often speak of
        one thing, or a sentence and a copy in which a tenth to nine tenths of the words were edited.
    """
    rng = random.Random(SEED)
    texts = sentences()
    strangers = [tuple(rng.sample(texts, 2)) for _ in range(NUM_PAIRS["random"])]
    beside = [(one, two) for (one, source), (two, other) in itertools.pairwise(_heldout()) if source == other]
    neighbours = rng.sample(beside, NUM_PAIRS["neighbours"])
    long_enough = [text for text in texts if len(text.split()) >= 6][: NUM_PAIRS["edited"]]
    edited = [
        (text, _edit(text, share=(1 + index % 9) / 10, donor=rng.choice(texts), rng=rng))
        for index, text in enumerate(long_enough)
    ]
    return [(one, two) for one, two in (*strangers, *neighbours, *edited)]


def damaged_sentences() -> list[str]:
    """Put two or three slips of grammar or spelling into each of the sentences that have words for them.

    Returns:
        500 texts.
    """
    damaged = (_damage(text) for text in sentences())
    return list(itertools.islice((text for text in damaged if text is not None), NUM_DAMAGED))


def masked_reactions() -> list[tuple[str, str]]:
    """Write chemical reactions as SMILES, one atom of each masked.

    Returns:
        300 pairs of a text with one `[MASK]` and the atom that stood there, 25 of each of `REACTIONS`.
    """
    rng = random.Random(SEED)
    masked = []
    for template in REACTIONS.values():
        groups = itertools.product(ARYL, ALKYL, SUBSTITUENT)
        every = list(dict.fromkeys(template.format(a=a, b=b, p=p) for a, b, p in groups))
        masked += [_mask_atom(reaction, rng) for reaction in rng.sample(every, NUM_PER_REACTION)]
    return masked


def write_texts(folder: Path) -> dict[str, int]:
    """Write all of them as files of one JSON object a line.

    Args:
        folder: Made if it is not there.

    Returns:
        The number of texts of each file.
    """
    files: dict[str, list[dict[str, str]]] = {
        "sentences.jsonl": [{"text": text} for text in sentences()],
        "sentence_pairs.jsonl": [{"text": one, "text_pair": two} for one, two in sentence_pairs()],
        "damaged_sentences.jsonl": [{"text": text} for text in damaged_sentences()],
        "masked_reactions.jsonl": [{"text": text, "answer": answer} for text, answer in masked_reactions()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        _write_lines(folder / name, rows)
    return {name: len(rows) for name, rows in files.items()}


def _write_lines(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _heldout() -> list[tuple[str, str]]:
    """Texts with their sources, in the order of the file."""
    lines = HELDOUT.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [(row["text"], row["source"]) for row in map(json.loads, lines)]


def _edit(text: str, *, share: float, donor: str, rng: random.Random) -> str:
    """Drop, swap or replace about that share of the words; those put in come from the donor."""
    words = text.split()
    for index in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        other = rng.randrange(len(words))
        match rng.choice(("drop", "swap", "replace", "replace")):
            case "drop":
                words[index] = ""
            case "swap":
                words[index], words[other] = words[other], words[index]
            case _:
                words[index] = rng.choice(donor.split())
    return " ".join(word for word in words if word) or donor


def _damage(text: str) -> str | None:
    """Put in the first three slips that the text has words for; None if there are fewer than two."""
    slips = [(found, new) for old, new in SLIPS if (found := _find_word(text, old))][:3]
    # from the end, so that earlier places stay where they are, and no slip mends another
    for found, new in sorted(slips, key=lambda slip: slip[0].start(), reverse=True):
        text = text[: found.start()] + _capital_as(found[0], new) + text[found.end() :]
    return " ".join(text.split()) if len(slips) >= 2 else None


def _find_word(text: str, word: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w'’]){re.escape(word)}(?![\w'’])", text, re.IGNORECASE)


def _capital_as(model: str, word: str) -> str:
    return word[:1].upper() + word[1:] if model[0].isupper() else word


def _mask_atom(reaction: str, rng: random.Random) -> tuple[str, str]:
    atoms = list(ATOM.finditer(reaction))
    # the element first and then the place, as most atoms are carbon
    kind = rng.choice(sorted({atom[0] for atom in atoms}))
    atom = rng.choice([atom for atom in atoms if atom[0] == kind])
    return reaction[: atom.start()] + MASK + reaction[atom.end() :], atom[0]
