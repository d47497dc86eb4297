"""Train the organism's SAEs on CPU, one a layer on the residual stream, in SAELens' format.

    python3 -m model_organism.train_saes

Reads activations first (4 minutes and 7 GB in data/organism_dictionaries, shared with the transcoders),
then trains two layers at a time and writes model_organism/weights/saes/layer_{0..5}. A run that was
stopped goes on with the layers that are missing when the same command is given again.
"""

from common.saes.training import DictionarySettings
from model_organism.dictionaries.command import run_command
from model_organism.dictionaries.sites import SAE

if __name__ == "__main__":
    run_command(SAE, (__doc__ or "").splitlines()[0], DictionarySettings())
