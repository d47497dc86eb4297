"""Phase 1.3: dictionaries of one's own: SAEs or transcoders of any model, trained while it reads.

    python3 run.py phase 1.3 --model Qwen/Qwen2.5-Coder-0.5B --layers 8,12,16

1. The text is cut into pieces, of which some are held out (corpus.py).
2. The model reads a stretch of them, up to the deepest layer that is asked for; every dictionary takes its steps on
   these activations, in random order; then the next stretch (training.py). Prompts are read once: of them only the last
   token counts.
3. Training is saved now and then, and when it is stopped: the same command goes on, to the same bits.
4. Each dictionary is saved in SAELens' format, loaded again, and measured on what was held out (card.py).
"""

from pathlib import Path

from common import handoffs
from common.handoffs.dictionaries import SITES, DictionariesDocument, DictionaryCard
from common.model.chat import chat_template_for
from common.model.general_text import text_for
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.tokenization import encode
from common.phases.context import RunContext
from common.problems.prompt import bodies_of, build_prompt
from common.runs.artifacts import ArtifactWriter
from common.saes.training_settings import DictionarySettings
from phase1_3_dictionaries.card import HeldOut, card_of
from phase1_3_dictionaries.checkpoints import Checkpoints
from phase1_3_dictionaries.config import CODE, PROMPTS, TEXT, DictionariesConfig
from phase1_3_dictionaries.corpus import Parts, prompts_in, prompts_part, text_part
from phase1_3_dictionaries.figures import all_figures
from phase1_3_dictionaries.reading import Sites
from phase1_3_dictionaries.saving import keep, save_dictionary, temporary_folder
from phase1_3_dictionaries.training import Training


def run(ctx: RunContext[DictionariesConfig], config: DictionariesConfig) -> None:
    with ctx.write() as out:
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        layers, sites = config.layers_of(lm.n_layers), Sites(*SITES[config.site])
        settings = settings_for(config, lm.d_model)
        training = Training(
            lm,
            layers,
            sites,
            settings,
            parts_of(ctx, lm, settings),
            Checkpoints(out.path / "parts"),
            checkpoint_every=config.checkpoint_every,
            stop=ctx.stop,
            log=ctx.log,
        )
        training.carry_out()
        document = DictionariesDocument(
            site=config.site,
            hook=sites.reads,
            hook_out=sites.writes,
            tokens=settings.n_steps * settings.batch_size,
            parts=training.told_parts(),
            layers=saved_cards(ctx, out, training),
        )
        out.document("dictionaries.json", document)
        for name, png in all_figures(document).items():
            out.file(f"figures/{name}", png)
        fvu = [card.text.fvu for card in document.layers.values()]
        out.summary |= {"dictionaries": len(layers), "site": config.site, "fvu_on_text": [min(fvu), max(fvu)]}
        out.summary["minutes"] = round(training.seconds / 60, 1)
        out.process |= {"model": lm.describe()}


def settings_for(config: DictionariesConfig, d_model: int) -> DictionarySettings:
    """Raises: ConfigError for a number of steps or latents that makes no dictionary."""
    return DictionarySettings(
        d_sae=config.width * d_model,
        l0=config.l0,
        n_samples=config.tokens,
        batch_size=config.batch_size,
        threshold=config.threshold,
        learning_rate=config.learning_rate,
        matmul_precision=config.matmul_precision,
        seed=config.seed,
    )


def parts_of(ctx: RunContext[DictionariesConfig], lm: LanguageModel, settings: DictionarySettings) -> Parts:
    """The parts of the mixture, each with its share; those of text first, by whose scale all are normalised."""
    config = ctx.config
    shares, texts = config.shares(), {TEXT: text_for(config.text, config.model), CODE: CODE}
    parts: Parts = {}
    for name in sorted(shares, key=lambda name: name not in texts):
        if name in texts:
            n_tokens = round(shares[name] * settings.n_steps * settings.batch_size)
            part = text_part(
                lm,
                name,
                texts[name],
                n_tokens,
                context=config.context,
                held_out=config.held_out,
                seed=config.seed,
            )
            ctx.log.info("%s: %d tokens of %s", name, part.stream.n_tokens, part.source)
        else:
            ids, source = select_prompts(ctx, lm) if name == PROMPTS else prompts_of_file(lm, Path(name))
            part = prompts_part(lm, name, ids, source, config.seed)
        parts[name] = (shares[name], part)
    return parts


def select_prompts(ctx: RunContext[DictionariesConfig], lm: LanguageModel) -> tuple[list[list[int]], str]:
    """Prompts of the problems that select, as token ids: none on which anything is evaluated later is among them."""
    config = ctx.config
    chat = chat_template_for(config.prompt, config.model, config.revision)
    problems = ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["sae"])
    prompts = [build_prompt(problem["text"], problem["test_list"], chat) for problem in problems]
    ids = encode(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts))
    return ids, f"{len(ids)} problems of the sae split"


def prompts_of_file(lm: LanguageModel, path: Path) -> tuple[list[list[int]], str]:
    prompts = prompts_in(path)
    return encode(lm, prompts), f"{len(prompts)} prompts of {path.name}"


def saved_cards(
    ctx: RunContext[DictionariesConfig], out: ArtifactWriter, training: Training
) -> dict[str, DictionaryCard]:
    """Save every dictionary, and measure it as it was saved."""
    ctx.log.info("measuring on what was held out")
    lm, sites, cards = training.lm, training.sites, {}
    held_out = HeldOut(lm, sites, training.layers, training.parts, ctx.log)
    with temporary_folder(out) as folder:
        for layer, trainer in sorted(training.trainers.items()):
            sae = save_dictionary(trainer.folded(), sites, layer, ctx.config, lm, Path(folder))
            card = card_of(sae, held_out, sites, training.ordinary[layer], trainer.n_resampled)
            keep(out, Path(folder), layer, card.text.fvu, card.text.l0)
            ctx.log.info("layer %d: %s", layer, card.in_words())
            cards[str(layer)] = card
    return cards
