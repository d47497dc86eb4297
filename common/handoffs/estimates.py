"""What documents say numbers with: an estimate with its interval, and a share with what was counted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; None for what is undefined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def known(self) -> float:
        """The estimate, of which it is known that there is one."""
        assert self.value is not None
        return self.value

    def times(self, factor: float) -> "Interval":
        """The same in another unit."""
        return Interval(*(None if each is None else factor * each for each in (self.value, self.low, self.high)))

    def of_the_other_label(self) -> "Interval":
        """Of an AUROC for one of two labels, that for the other."""
        return Interval(*(None if each is None else 1 - each for each in (self.value, self.high, self.low)))


UNDEFINED = Interval(None, None, None)
SHARE_LOW, SHARE_HIGH = "lower end of its 95 % interval", "upper end of it"  # what such columns mean


@dataclass(frozen=True)
class AurocInterval(Interval):
    """By the bootstrap, and beside it by DeLong's method."""

    delong_low: float | None
    delong_high: float | None


@dataclass(frozen=True)
class Counted:
    """A share: `n` of `of`, with its interval: Wilson's, unless the trials are not independent."""

    n: int
    of: int
    rate: Interval
