"""Train tiny tokenizers of every kind that model folders come with, and write down what the Python
package `tokenizers` makes of some texts: NAME/tokenizer.json, NAME/tokenizer_config.json and
NAME/cases.json in reference/tests/vectors/tokenizers (or in the folder given).
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

REPO = Path(__file__).resolve().parent.parent.parent
TEXT = (REPO / "fixtures/text/heldout.txt").read_text(encoding="utf-8")[:30_000]
SPECIAL = [AddedToken(text, special=True) for text in ("<s>", "</s>", "<|user|>")]
WHOLE = AddedToken("<whole>", special=False)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "", " ", "Hello, world!", "  two  spaces ", "a\n\nb\r\n\tc", "I'LL we've it's 12345 3.14",
    "naïve café — “quoted”", "e\u0301 vs é", "日本語 текст العربية", "🦙👩\u200d👩\u200d👧 ok",
    "<s>not special</s>", "x <|user|> y", "a<whole>b <whole> c", "▁under▁", "Ġ literal Ċ", "\x00\x7f",
    "    indented\n        code()", "ﬁ ligature ½ ①",
]


def byte_level(pre, **options) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def gpt2() -> Tokenizer:
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def llama3() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = byte_level(pre_tokenizers.Sequence([split, bytes_]), ignore_merges=True)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
    ])
    return tokenizer


def qwen2() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = byte_level(pre_tokenizers.Sequence([split, bytes_]))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def sentencepiece(normalizer, pre, decoder) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    bytes_ = [AddedToken(f"<0x{byte:02X}>", special=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[AddedToken("<unk>", special=True)] + SPECIAL + bytes_,
        show_progress=False,
    )
    # Without words to stay within, merges of a whole text take forever.
    words = [" " + word for word in TEXT.split()]
    tokenizer.train_from_iterator(words, trainer)
    # Byte tokens are the model's, not added ones.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:4]
    return Tokenizer.from_str(json.dumps(state))


def llama2() -> Tokenizer:
    return sentencepiece(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        None,
        decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]),
    )


def mistral() -> Tokenizer:
    tokenizer = sentencepiece(
        None,
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
        decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def gemma() -> Tokenizer:
    return sentencepiece(
        normalizers.Replace(" ", "▁"),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Cleaning up is for eyes: it takes spaces away that were in the text.
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=[AddedToken(text, special=True) for text in special], show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def cases(tokenizer: Tokenizer) -> dict:
    def encoded(text: str, special: bool) -> list[int]:
        tokenizer.encode_special_tokens = not special
        return tokenizer.encode(text, add_special_tokens=False).ids

    return {
        "texts": [
            {
                "text": text,
                "ids": encoded(text, special=False),
                "with_special": encoded(text, special=True),
                "decoded": tokenizer.decode(encoded(text, special=False), skip_special_tokens=False),
            }
            for text in TEXTS
        ],
        "tokens": [
            tokenizer.decode([id], skip_special_tokens=False)
            for id in range(tokenizer.get_vocab_size())
        ],
    }


def main(out: Path) -> None:
    for make in (gpt2, llama3, qwen2, llama2, mistral, gemma, bert):
        tokenizer = make()
        tokenizer.add_tokens([WHOLE])
        folder = out / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
        config = {"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>"}}
        if make is llama2:
            config["add_bos_token"] = True
        if make is bert:
            config = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
        text = json.dumps(cases(tokenizer), ensure_ascii=False, separators=(",", ":"))
        (folder / "cases.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    default = REPO / "reference/tests/vectors/tokenizers"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
