"""Make question-answering.json: what transformers 4.57.6 answers, as transformers 5 has no question answering.

    python -m venv old && old/bin/pip install transformers==4.57.6 torch==2.13.0
    old/bin/python -m tests.goldens.make_question_answering

Models are tiny and seeded, so that transformers 5 and the engine ask the same ones (`models`); tokenizers are of real
size. Each case is answered alone.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, processors

from tests.goldens.seeded import fast_tokenizer, fingerprint, read_tokenizer, seed_weights

FILE = Path(__file__).parent / "question-answering.json"
VERSION = "4.57.6"
POSITIONS = 512
SHARPNESS = 5
"""How much wider the weights of the head are, so that answers have scores of 0.1 and more."""
BERT_TOKENS = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        question: One question, or several.
        context: One context, or one for each question.
        options: Of the call.
    """

    question: str | list[str]
    context: str | list[str]
    options: dict[str, Any] = field(default_factory=dict)


def bert() -> tuple[Any, Any]:
    """BERT, with WordPiece that knows no capital letters."""
    tokenizer = fast_tokenizer(read_tokenizer("wordpiece-uncased"), max_length=POSITIONS, segments=True, **BERT_TOKENS)
    config = transformers.BertConfig(vocab_size=len(tokenizer), **sizes())
    return transformers.BertForQuestionAnswering(config), tokenizer


def distilbert() -> tuple[Any, Any]:
    """DistilBERT, with WordPiece that knows capital letters."""
    tokenizer = fast_tokenizer(read_tokenizer("wordpiece-cased"), max_length=POSITIONS, segments=False, **BERT_TOKENS)
    config = transformers.DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=POSITIONS
    )
    return transformers.DistilBertForQuestionAnswering(config), tokenizer


def roberta() -> tuple[Any, Any]:
    """RoBERTa, with byte-level BPE."""
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    backend = with_tokens_first(read_tokenizer("byte-level"), ["<s>", "<pad>", "</s>", "<unk>"])
    backend.add_special_tokens(list(dict.fromkeys(names.values())))
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    roles = {f"{role}_token": token for role, token in names.items()}
    tokenizer = fast_tokenizer(backend, max_length=POSITIONS, segments=False, **roles)
    # positions are counted from after the padding token's id, which is 1
    settings = {**sizes(), "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
    config = transformers.RobertaConfig(vocab_size=len(tokenizer), **settings)
    return transformers.RobertaForQuestionAnswering(config), tokenizer


def with_tokens_first(backend: Tokenizer, tokens: list[str]) -> Tokenizer:
    """Give some tokens the first ids of a vocabulary, and move the others up."""
    document = json.loads(backend.to_str())
    words = document["model"]["vocab"]
    document["model"]["vocab"] = {
        **{token: number for number, token in enumerate(tokens)},
        **{word: number + len(tokens) for word, number in words.items()},
    }
    document["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(document))


def albert() -> tuple[Any, Any]:
    """ALBERT, with SentencePiece unigrams."""
    backend = read_tokenizer("unigram")
    backend.add_special_tokens(["[CLS]", "[SEP]", "[MASK]"])
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    roles = {**BERT_TOKENS, "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = fast_tokenizer(backend, max_length=POSITIONS, segments=True, **roles)
    config = transformers.AlbertConfig(vocab_size=len(tokenizer), embedding_size=16, **sizes())
    return transformers.AlbertForQuestionAnswering(config), tokenizer


def sizes() -> dict[str, int]:
    """Settings of a tiny encoder."""
    return {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
    }


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": bert,
    "distilbert": distilbert,
    "roberta": roberta,
    "albert": albert,
}


def model_and_tokenizer(name: str) -> tuple[Any, Any]:
    """Make one of `MODELS`, the same in every version of transformers."""
    module, tokenizer = MODELS[name]()
    seed_weights(module)
    with torch.no_grad():
        module.qa_outputs.weight.mul_(SHARPNESS)
    return module.eval(), tokenizer


BERLIN = "My name is Wolfgang and I live in Berlin with two cats, Mimi and Moritz."
ADA = (
    "Ada Lovelace (1815-1852) was an English mathematician and writer, chiefly known for her work on Charles "
    "Babbage's proposed mechanical general-purpose computer, the Analytical Engine. She was the first to recognise "
    "that the machine had applications beyond pure calculation."
)
ARTICLE = " ".join(
    f"In {1900 + 7 * number} the {what} of {where} was opened by {who}, who paid {number + 3},{number}50 pounds for it."
    for number, (what, where, who) in enumerate(
        (what, where, who)
        for what in ("bridge", "railway station", "observatory", "opera house")
        for where in ("Zürich", "Aberystwyth", "São Paulo", "Kraków", "Llanfairpwllgwyngyll")
        for who in ("an engineer", "Queen Wilhelmina")
    )
)
RUSSIAN = "Анна Каренина — роман Льва Толстого про трагическую любовь замужней дамы к блестящему офицеру Вронскому."
CHINESE = "北京是中华人民共和国的首都,人口超过两千万。故宫位于北京市中心。"
ARABIC = "القاهرة هي عاصمة جمهورية مصر العربية وأكبر مدنها، وتقع على ضفاف نهر النيل."
HEBREW = "ירושלים היא עיר הבירה של מדינת ישראל."
HINDI = "दिल्ली भारत की राजधानी है और यमुना नदी के किनारे बसी है।"
THAI = "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย"
EMOJI = "The 👩‍👩‍👧‍👦 family flew to 🇯🇵 on ✈️ Monday and ate 🍣🍣🍣 with 👍🏽 friends."
COMBINING = "Cafe\u0301 Zu\u0308rich serves cre\u0300me bru\u0302le\u0301e; the ﬁne ﬂan costs ½ €."
SPACES = "  The   key \t is \n\n under \u00a0 the\u3000mat .  \r\n Nobody   knows  . "
CODE = "def area(r):\n    return 3.14159 * r ** 2  # πr²\n\nprint(area(2.5))"
URLS = "Write to ada@example.org or see https://www.example.org/a/b?c=d&e=%20f#g; call +44 20 7946 0958 by 17:30."
UNBROKEN = "The password is " + "x7Kq" * 60 + " and nothing else."
NULS = "The door\x00 was \x07 opened \u200b by\u200d the \ufeffporter\ufffd."
OWN_TOKENS = "He wrote [CLS] and [SEP] and <s> and </s> and [MASK] in Paris, then <pad> and [UNK] in Rome."
CAPITALS = "THE EIFFEL TOWER, the eiffel tower, The Eiffel Tower: İstanbul, straße, STRASSE, Ǆ."
NUMBERS = "1 2 3 4.5 6,789 10^12 -273.15 0x1F ½ ² ③ Ⅳ ٣ ५"
PUNCTUATION = '?! ... --- ;;; "\'" «»„“ (([[{{}}]]))'
LYRICS = "row row row your boat gently down the stream row row row your boat " * 3

CASES = {
    "short": Case("Where do I live?", BERLIN),
    "three answers": Case("Where do I live?", BERLIN, {"top_k": 3}),
    "five answers": Case("Who is Ada?", ADA, {"top_k": 5}),
    "fifty answers": Case("Who is Ada?", ADA, {"top_k": 50}),
    "tokens": Case("Who is Ada?", ADA, {"align_to_words": False}),
    "five answers in tokens": Case("Who is Ada?", ADA, {"align_to_words": False, "top_k": 5}),
    "one token": Case("What was proposed?", ADA, {"max_answer_len": 1}),
    "one token, unaligned": Case("What was proposed?", ADA, {"max_answer_len": 1, "align_to_words": False, "top_k": 3}),
    "three tokens": Case("What was proposed?", ADA, {"max_answer_len": 3, "top_k": 5}),
    "hundred tokens": Case("What was proposed?", ADA, {"max_answer_len": 100, "top_k": 5}),
    "may be impossible": Case("Who is Bob?", ADA, {"handle_impossible_answer": True}),
    "five, may be impossible": Case("Who is Bob?", BERLIN, {"handle_impossible_answer": True, "top_k": 5}),
    "all options": Case(
        "Who is Bob?",
        ADA,
        {"handle_impossible_answer": True, "top_k": 30, "max_answer_len": 4, "align_to_words": False},
    ),
    "long": Case("Who opened the observatory of Kraków?", ARTICLE),
    "long, five answers": Case("Who opened the bridge?", ARTICLE, {"top_k": 5}),
    "long, may be impossible": Case("Who closed it?", ARTICLE, {"top_k": 5, "handle_impossible_answer": True}),
    "windows of 64": Case("Who opened the bridge?", ARTICLE, {"max_seq_len": 64, "top_k": 5}),
    "windows of 64 that overlap by 0": Case("Who?", ARTICLE, {"max_seq_len": 64, "doc_stride": 0, "top_k": 5}),
    "windows of 64 that overlap by 1": Case("Who?", ARTICLE, {"max_seq_len": 64, "doc_stride": 1, "top_k": 5}),
    "windows of 64 that overlap by 50": Case("Who?", ARTICLE, {"max_seq_len": 64, "doc_stride": 50, "top_k": 5}),
    "windows of 33 that overlap by 7": Case("Who?", ARTICLE, {"max_seq_len": 33, "doc_stride": 7, "top_k": 10}),
    "windows of 512": Case("Who?", ARTICLE, {"max_seq_len": 512, "doc_stride": 256}),
    "windows, tokens": Case(
        "Who?", ARTICLE, {"max_seq_len": 100, "doc_stride": 20, "align_to_words": False, "top_k": 10}
    ),
    "windows, may be impossible": Case(
        "Who?", ARTICLE, {"max_seq_len": 48, "doc_stride": 16, "handle_impossible_answer": True, "top_k": 3}
    ),
    "windows of what is said thrice": Case("What?", LYRICS, {"max_seq_len": 32, "doc_stride": 8, "top_k": 10}),
    "long question": Case(ADA, BERLIN),
    "long question, short windows": Case(ADA, ARTICLE, {"max_seq_len": 150, "doc_stride": 20, "max_question_len": 16}),
    "russian": Case("Кто написал роман?", RUSSIAN, {"top_k": 3}),
    "russian windows": Case("Кто?", RUSSIAN * 5, {"max_seq_len": 64, "doc_stride": 10, "top_k": 3}),
    "chinese": Case("首都是哪里?", CHINESE, {"top_k": 3}),
    "chinese windows": Case("首都?", CHINESE * 10, {"max_seq_len": 48, "doc_stride": 12, "top_k": 3}),
    "arabic": Case("ما هي عاصمة مصر؟", ARABIC, {"top_k": 3}),
    "hebrew": Case("מהי עיר הבירה?", HEBREW, {"top_k": 3}),
    "hindi": Case("राजधानी क्या है?", HINDI, {"top_k": 3}),
    "thai": Case("เมืองหลวงคืออะไร", THAI, {"top_k": 3}),
    "two languages": Case("Who wrote it?", f"{RUSSIAN} {ADA} {CHINESE}", {"top_k": 5}),
    "emoji": Case("Where did 👩‍👩‍👧‍👦 fly?", EMOJI, {"top_k": 5}),
    "emoji in tokens": Case("Where?", EMOJI, {"top_k": 5, "align_to_words": False}),
    "combining marks": Case("What costs ½ €?", COMBINING, {"top_k": 5}),
    "combining marks in tokens": Case("What costs ½ €?", COMBINING, {"top_k": 5, "align_to_words": False}),
    "odd spaces": Case(" Where  is\tthe key ? ", SPACES, {"top_k": 5}),
    "odd spaces in windows": Case("Where?", SPACES * 12, {"max_seq_len": 32, "doc_stride": 9, "top_k": 5}),
    "code": Case("What is returned?", CODE, {"top_k": 5}),
    "addresses": Case("Where to write?", URLS, {"top_k": 5}),
    "addresses in tokens": Case("Where to write?", URLS, {"top_k": 5, "align_to_words": False, "max_answer_len": 40}),
    "an unbroken word": Case("What is it?", UNBROKEN, {"top_k": 3}),
    "an unbroken word over windows": Case("What?", UNBROKEN, {"max_seq_len": 40, "doc_stride": 10, "top_k": 3}),
    "control characters": Case("Who opened\x00 it?", NULS, {"top_k": 5}),
    "tokens of its own": Case("What did [SEP] he write </s> ?", OWN_TOKENS, {"top_k": 5}),
    "tokens of its own, may be impossible": Case(
        "What?", OWN_TOKENS, {"top_k": 5, "handle_impossible_answer": True, "max_answer_len": 30}
    ),
    "capitals": Case("Which tower?", CAPITALS, {"top_k": 10}),
    "numbers": Case("2 + 2 = ?", NUMBERS, {"top_k": 5}),
    "punctuation": Case("?!", PUNCTUATION, {"top_k": 3}),
    "one word": Case("Where?", "Berlin", {"top_k": 1}),
    "one word, three answers": Case("Where?", "Berlin", {"top_k": 3}),
    "one letter": Case("?", "x"),
    "one word, may be impossible": Case("Where?", "Berlin", {"top_k": 3, "handle_impossible_answer": True}),
    "the question is the context": Case(BERLIN, BERLIN, {"top_k": 3}),
    "a list of one": Case(["Where do I live?"], [BERLIN], {"top_k": 1}),
    "questions and contexts": Case(
        ["Where do I live?", "Who is Ada?", "Кто?", "What?"], [BERLIN, ADA, RUSSIAN, EMOJI], {"top_k": 2}
    ),
    "questions to one context": Case(["Who?", "When?", "What was opened in 1921?"], ARTICLE, {"max_seq_len": 128}),
}
"""What is asked, by what is odd about it."""


def main() -> None:
    """Ask every model every question."""
    assert transformers.__version__ == VERSION, f"this is transformers {transformers.__version__}, not {VERSION}"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {}
    for name in MODELS:
        module, tokenizer = model_and_tokenizer(name)
        pipe = transformers.pipeline("question-answering", model=module, tokenizer=tokenizer, device="cpu")
        answers = {
            title: pipe(question=case.question, context=case.context, **case.options) for title, case in CASES.items()
        }
        found[name] = {"weights": fingerprint(module), "answers": answers}
        print(f"{name}: {len(answers)} cases")
    made_by = {"transformers": transformers.__version__, "torch": torch.__version__}
    text = json.dumps({"made_by": made_by, "models": found}, ensure_ascii=False, indent=1)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
