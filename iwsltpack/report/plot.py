"""The graph of quality against size with its Pareto frontier, as PNG and SVG, by matplotlib.

Told apart by shape and label before colour, so that it can be read in print and by the colour-blind; the colours are
those of Okabe and Ito. The same table gives the same bytes.
"""

import io
import itertools
from collections.abc import Callable
from typing import Any

from iwsltpack.errors import MissingDependency, how_to_install
from iwsltpack.report.render import size_unit
from iwsltpack.report.systems import BOUNDS, DAMAGE, MEASURE_TITLES
from iwsltpack.report.table import ReportRow, ReportTable

BLUE, ORANGE, BLACK = "#0072B2", "#D55E00", "#1A1A1A"
OPEN: dict[str, Any] = {"s": 54, "facecolor": "white", "linewidth": 1.6, "zorder": 3}
STYLES = {
    "frontier": {"marker": "o", "s": 64, "facecolor": BLUE, "edgecolor": BLUE, "zorder": 4},
    "dominated": {**OPEN, "marker": "s", "edgecolor": ORANGE},
    "odd": {**OPEN, "marker": "D", "edgecolor": BLACK},
}
SETTINGS: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "iwsltpack",
}
WIDTH, HEIGHT, DPI = 7.6, 4.8, 160


def can_plot(table: ReportTable) -> bool:
    """Tell whether any system of a table has both a score and a size."""
    return any(row.status != "not placed" for row in table.rows)


def draw(table: ReportTable) -> dict[str, bytes]:
    """Return the graph of one table; see `images`."""
    return images(lambda figure, axes: _fill(figure, axes, table))


def images(fill: Callable[[Any, Any], None]) -> dict[str, bytes]:
    """Return what `fill` draws, given figure and axes, as ``{"png": …, "svg": …}``.

    `MissingDependency` without matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("the graph needs matplotlib", fix=how_to_install("report")) from error
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        fill(figure, figure.subplots())
        made = {}
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": "iwsltpack"})):
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, metadata=metadata)
            made[kind] = stream.getvalue()
    return made


def _fill(figure: Any, axes: Any, table: ReportTable) -> None:
    unit, divisor = size_unit([row.system for row in table.rows])
    placed = [row for row in table.rows if row.status != "not placed"]
    spots = [
        (row.size.bytes / divisor if row.size else 0.0, row.compared[str(table.metric)]) for row in placed
    ]
    # The frontier as steps: between two systems nothing better than the smaller one is to be had.
    edge = sorted(spot for row, spot in zip(placed, spots, strict=True) if row.status == "frontier")
    if len(edge) > 1:
        line = {"color": BLUE, "linewidth": 1.4, "alpha": 0.7, "zorder": 2}
        axes.step(*zip(*edge, strict=True), where="post", label="Pareto frontier", **line)
    other = next(title for name, title in MEASURE_TITLES.items() if name != table.measure)
    odd = f"sized by another measure ({other})"
    labels = {"frontier": "on the frontier", "dominated": "dominated", "odd": odd}
    looks = [row.status if row.like else "odd" for row in placed]
    for look, label in labels.items():
        if alike := [spot for spot, its in zip(spots, looks, strict=True) if its == look]:
            axes.scatter(*zip(*alike, strict=True), label=label, clip_on=False, **STYLES[look])
    axes.margins(x=0.16, y=0.14)
    metric = str(table.metric)
    (low, high), (least, most) = axes.get_ylim(), BOUNDS[metric]
    axes.set_ylim(max(low, least), min(high, most))
    axes.set_xlabel(f"Size, {MEASURE_TITLES[table.measure]} [{unit}] (smaller is better)")
    axes.set_ylabel(f"{table.titles[metric]} ({'lower' if metric == DAMAGE else 'higher'} is better)")
    axes.set_title(table.title, loc="left", fontsize=11, parse_math=False)
    axes.grid(visible=True, color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    spacing = {"ncols": 4, "columnspacing": 1.2, "handletextpad": 0.4}
    figure.legend(loc="outside lower left", frameon=False, fontsize=9, **spacing)
    _label(figure, axes, placed, spots)


def _label(figure: Any, axes: Any, placed: list[ReportRow], spots: list[tuple[float, float]]) -> None:
    """Write each system's name beside its mark, on the first side where it covers nothing."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    points = axes.transData.transform(spots) if spots else []
    taken = [Bbox.from_extents(x, y, x, y).padded(7) for x, y in points]
    for line in axes.get_lines():
        # The frontier's steps, so that no name is written across them.
        corners = line.get_transform().transform(line.get_path().vertices)
        for (x0, y0), (x1, y1) in itertools.pairwise(corners):
            taken.append(Bbox.from_extents(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)).padded(2))
    frame = axes.get_window_extent(renderer)
    for row, spot in zip(placed, spots, strict=True):
        system = row.system
        text = axes.annotate(
            f"{system.name}\n{system.setting}" if system.setting else system.name,
            spot,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=BLACK,
            zorder=5,
            parse_math=False,
        )
        _settle(text, renderer, taken, frame)


_SIDES = (
    (0, 7, "center", "bottom"),
    (0, -7, "center", "top"),
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (9, 14, "left", "center"),
    (9, -14, "left", "center"),
    (-9, 14, "right", "center"),
    (-9, -14, "right", "center"),
    (0, 24, "center", "bottom"),
    (0, -24, "center", "top"),
)


def _settle(text: Any, renderer: Any, taken: list[Any], frame: Any) -> None:
    def moved(side: tuple[float, float, str, str]) -> Any:
        right, up, across, along = side
        text.set(
            position=(right, up), horizontalalignment=across, multialignment=across, verticalalignment=along
        )
        return text.get_window_extent(renderer)

    def cost(side: tuple[float, float, str, str]) -> int:
        box = moved(side)
        outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
        return int(sum(box.overlaps(other) for other in taken) + 2 * outside)

    taken.append(moved(min(_SIDES, key=cost)).padded(2))
