"""The model organism's tokenizer: byte-level BPE of 3,000 tokens, digits one by one.

Every capital, country, verb, sentiment word and error name is one token, so that what the model
answers can be read off a single position.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_organism.behaviours import CAPITALS, NEGATIVE_WORDS, POSITIVE_WORDS, VERBS
from model_organism.error_snippets import ERROR_WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

N_TOKENS = 3000
SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>")
PAD_ID, EOS_ID, BOS_ID = 0, 1, 2
PIECES = r" ?_?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SINGLE_TOKENS = (
    *(f" {word}" for pair in CAPITALS.items() for word in pair),
    *CAPITALS,
    *POSITIVE_WORDS,
    *NEGATIVE_WORDS,
    *(verb for pair in VERBS for verb in pair),
    *(f" {error}" for error in ERROR_WEIGHTS),
)
REPEATS_OF_SINGLE_TOKENS = 4000


def train_tokenizer(texts: Sequence[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer trained on `texts`, which puts <bos> once before what it encodes.

    Raises: ValueError, naming the words of `SINGLE_TOKENS` that came out as several tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_TOKENS,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    repeated = [word for word in SINGLE_TOKENS for _ in range(REPEATS_OF_SINGLE_TOKENS)]
    bpe.train_from_iterator([*texts, *repeated], trainer)
    split_words = [word for word in SINGLE_TOKENS if len(bpe.encode(word, add_special_tokens=False).ids) != 1]
    if split_words:
        raise ValueError(f"{len(split_words)} words are not single tokens, among them {split_words[:5]}")
    bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS_ID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
    )
