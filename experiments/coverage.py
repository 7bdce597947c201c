"""How often does a 95% interval hold the true accuracy? Simulated tests on few and many sources.

    python experiments/coverage.py [--tests=1000]

A source has an accuracy of its own, drawn from a beta distribution around the true one, and its
videos are right independently with that. `alike` is the correlation of two videos of one source: at
0 all sources have the true accuracy, at 1 a source is all right or all wrong. A test has 8 videos
of each source, or unequally many: 2 to 36, evenly on a logarithmic scale. Cells are all true
accuracies, correlations and sizes. The methods:

    vid3d               `vid3d.evaluation.metrics.group_interval`
    bootstrap           2.5% and 97.5% quantiles of the accuracy of 1,000 resamples of the sources
    t                   accuracy plus and minus t standard errors by sources, cut to [0, 1]
    Wilson              as if videos were independent
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy import stats

from vid3d.evaluation.metrics import group_interval, wilson_interval

SOURCES = (1, 2, 3, 5, 10, 15, 30, 100)
ACCURACIES = (0.5, 0.8, 0.95)
ALIKE = (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)
RESAMPLED = 1000
WORST = 3  # cells to print


def draw_tests(
    random: np.random.Generator, tests: int, total_G: np.ndarray, accuracy: float, alike: float
) -> np.ndarray:
    """How many videos of each source are right, int [tests, G]."""
    shape = tests, len(total_G)
    if alike == 0:
        accuracy_SG = np.full(shape, accuracy)
    elif alike == 1:
        accuracy_SG = (random.random(shape) < accuracy).astype(float)
    else:
        both = (1 - alike) / alike
        accuracy_SG = random.beta(accuracy * both, (1 - accuracy) * both, shape)
    return random.binomial(total_G, accuracy_SG)


def vid3d(random: np.random.Generator, right_SG: np.ndarray, total_G: np.ndarray) -> np.ndarray:
    groups = np.repeat(np.arange(len(total_G)), total_G)
    within = np.concatenate([np.arange(total) for total in total_G])
    return np.array([group_interval(within < right_G[groups], groups) for right_G in right_SG])


def bootstrap(random: np.random.Generator, right_SG: np.ndarray, total_G: np.ndarray) -> np.ndarray:
    times_BG = random.multinomial(
        len(total_G), np.full(len(total_G), 1 / len(total_G)), size=RESAMPLED
    )
    return np.quantile(right_SG @ times_BG.T / (times_BG @ total_G), [0.025, 0.975], axis=1).T


def t(random: np.random.Generator, right_SG: np.ndarray, total_G: np.ndarray) -> np.ndarray:
    total, groups = total_G.sum(), len(total_G)
    mean_S = right_SG.sum(axis=1) / total
    squares_S = ((right_SG - mean_S[:, None] * total_G) ** 2).sum(axis=1)
    error_S = np.sqrt(squares_S * groups / (groups - 1)) / total
    half_S = stats.t.ppf(0.975, groups - 1) * error_S
    return np.clip(np.stack([mean_S - half_S, mean_S + half_S], axis=1), 0, 1)


def wilson(random: np.random.Generator, right_SG: np.ndarray, total_G: np.ndarray) -> np.ndarray:
    return np.array([wilson_interval(right, total_G.sum()) for right in right_SG.sum(axis=1)])


METHODS = {"vid3d": vid3d, "Wilson": wilson, "bootstrap": bootstrap, "t": t}
OF_ONE_SOURCE = ("vid3d", "Wilson")  # the others need a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--tests", type=int, default=1000, help="simulated tests per cell")
    options = parser.parse_args()
    print(f"{'sources':>7} {'method':9} {'coverage':>8} {'width':>6}  worst cells")
    for groups in SOURCES:
        sizes = {
            "equal": np.full(groups, 8),
            "unequal": np.rint(np.geomspace(2, 36, groups)).astype(int),
        }
        methods = METHODS if groups > 1 else {name: METHODS[name] for name in OF_ONE_SOURCE}
        cells = {}
        for size, accuracy, alike in itertools.product(sizes, ACCURACIES, ALIKE):
            random = np.random.default_rng(0)
            right_SG = draw_tests(random, options.tests, sizes[size], accuracy, alike)
            name = f"{accuracy}, alike {alike}, {size}"
            for method, interval in methods.items():
                low_S, high_S = interval(random, right_SG, sizes[size]).T
                holds = np.mean((low_S <= accuracy) & (accuracy <= high_S))
                cells[method, name] = holds, np.mean(high_S - low_S)
        for method in methods:
            found = {name: cell for (key, name), cell in cells.items() if key == method}
            coverage, width = np.mean(list(found.values()), axis=0)
            worst = sorted(found, key=lambda name: found[name][0])[:WORST]
            words = "; ".join(f"{found[name][0]:.3f} ({name})" for name in worst)
            print(f"{groups:>7} {method:9} {coverage:>8.3f} {width:>6.3f}  {words}", flush=True)


if __name__ == "__main__":
    main()
