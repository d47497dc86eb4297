"""Which contrasts phases 6.3 and 6.4 look at; nothing here imports torch."""

STUDIED, PASSING = "studied", "passing"
CONTRASTS_HELP = (
    f"{STUDIED}: the one that the gate chose; {PASSING}: all that it lets through; or contrasts with commas between"
)
