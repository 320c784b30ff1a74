"""A plot of a run over time, by matplotlib, which is an optional dependency."""

from importlib.util import find_spec

from dht14.sim.scenario import Result


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot(result: Result, path: str) -> None:
    """Plot success, latency and copies over virtual time into a file; its suffix gives the format."""
    from matplotlib.figure import Figure

    scenario = result.scenario
    figure = Figure(figsize=(9, 8), layout="constrained")
    figure.suptitle(f"{scenario.name}: {scenario.nodes} nodes, {scenario.values} values, seed {result.seed}")
    success, latency, copies = figure.subplots(3, 1, sharex=True)
    for axes, of, label in (
        (success, "right", "of all"),
        (latency, "p50_ms", "p50"),
        (latency, "p99_ms", "p99"),
        (copies, "replicas", "on average"),
        (copies, "fewest", "of the value with the fewest"),
    ):
        known = [interval for interval in result.intervals if getattr(interval, of) is not None]
        minutes = [interval.at / 60 for interval in known]
        axes.plot(minutes, [getattr(interval, of) for interval in known], ".-", label=label)
    for axes, name in (
        (success, "gets right, part"),
        (latency, "a get takes, ms"),
        (copies, "copies of a value"),
    ):
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    copies.set_xlabel("virtual minutes")
    figure.savefig(path)
