"""From the figures of rounds to medians, ratios and verdicts. Pure."""
import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    """`metric` of the judged server over that of `against`, in each round, has to be at least or at
    most `factor`. Without `against` the figure itself has to be. Without `relation` it is only told."""
    metric: str
    relation: str   # ">=", "<=" or None
    factor: float
    against: str    # a server's name, or None
    judged: str     # a server's name; None: the row's first


@dataclasses.dataclass(frozen=True)
class Verdict:
    target: Target
    value: float = None   # the median over the rounds
    low: float = None     # the lowest and the highest of them
    high: float = None
    met: bool = None      # None: nothing was asked, or nothing could be measured
    gap: float = None     # how far beyond the target, as a share of it; negative: how far short
    reason: str = None    # why nothing could be measured

    @property
    def is_close(self):
        """The target lies among the rounds: another run may say otherwise."""
        return self.met is not None and self.low <= self.target.factor <= self.high


def figures(runs, metric):
    return [run[metric] for run in runs if run.get(metric) is not None]


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """Half the distance from the lowest to the highest, as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else None


def ratios(ours, theirs, metric):
    """Round by round: what the machine did to one round it did to both."""
    return [mine[metric] / other[metric] for mine, other in zip(ours, theirs)
            if mine.get(metric) is not None and other.get(metric)]


def judge(target, row, measured):
    """`measured` is {"runs": {server: [figures of a round, ...]}, "errors": {server: why}}."""
    judged = target.judged or row.judged
    involved = [judged] + ([target.against] if target.against else [])
    for server in involved:
        if server in measured["errors"]:
            return Verdict(target, reason=f"{server}: {measured['errors'][server]}")
    runs = [measured["runs"].get(server, []) for server in involved]
    values = ratios(*runs, target.metric) if target.against else figures(runs[0], target.metric)
    if not values:
        return Verdict(target, reason="not measured")
    value, low, high = median(values), min(values), max(values)
    if target.relation is None:
        return Verdict(target, value, low, high)
    sign = 1 if target.relation == ">=" else -1
    gap = sign * (value - target.factor) / target.factor
    return Verdict(target, value, low, high, gap >= 0, gap)


def judge_row(row, measured):
    return [judge(target, row, measured) for target in row.targets]
