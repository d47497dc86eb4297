"""Train the organism's transcoders on CPU, one a layer from MLP input to MLP output, in SAELens' format.

    python3 -m model_organism.train_transcoders

Reads activations first unless `train_saes` has, then trains two layers at a time and writes
model_organism/weights/transcoders/layer_{0..5}. A run that was stopped goes on with the layers that
are missing when the same command is given again.
"""

from common.saes.training import DictionarySettings
from model_organism.dictionaries.command import run_command
from model_organism.dictionaries.sites import TRANSCODER

if __name__ == "__main__":
    run_command(TRANSCODER, (__doc__ or "").splitlines()[0], DictionarySettings(n_samples=1_200_000))
