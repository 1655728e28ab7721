"""docs/benchmarks.svg: throughput and CPU beside each rival, on logarithmic axes. Pure."""
import math
from xml.sax.saxutils import escape

import rows
import verdicts

RIVALS = {  # colours that the colour-blind tell apart
    "redis": ("redis", "#d55e00"), "redis-aof": ("redis", "#d55e00"), "memcached": ("memcached", "#009e73"),
    "ei": ("ei, thread per connection", "#0072b2"), "ets": ("Erlang/OTP and ETS", "#b0559b"),
}
INK, PALE, GRID, BAND = "#1f2328", "#656d76", "#d8dee4", "#f3f5f7"
LABEL_WIDTH, PANEL_WIDTH, GAP, MARGIN = 330, 330, 44, 24
HEAD, FOOT, LINE, GROUP_SPACE = 132, 56, 25, 14


class Axis:
    """A logarithmic scale of ratios between two powers of two, over `width` pixels from `left`."""

    def __init__(self, values, left, width):
        logs = [math.log2(value) for value in values] + [-1, 1]
        self.low, self.high = math.floor(min(logs) - 0.1), math.ceil(max(logs) + 0.1)
        self.left, self.width = left, width

    def x(self, ratio):
        return self.left + (math.log2(ratio) - self.low) / (self.high - self.low) * self.width

    def ticks(self):
        step = 1 if self.high - self.low <= 7 else 2
        return [2.0 ** power for power in range(self.low, self.high + 1) if power % step == 0]


def tick_text(ratio):
    return f"{ratio:.0f} ×" if ratio >= 1 else f"1/{1 / ratio:.0f}"


def text(x, y, words, size=13, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def line(x1, y1, x2, y2, colour, width=1.0, more=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}" {more}/>')


def points_of(row, measured, metric):
    """[(rival, lowest, median, highest, target or None)]."""
    found = []
    for rival in row.servers[1:]:
        if rival not in RIVALS or metric not in row.figures:
            continue
        ratios = verdicts.ratios(measured["runs"].get(row.judged, []), measured["runs"].get(rival, []), metric)
        if ratios:
            target = next((t.factor for t in row.targets if t.metric == metric and t.against == rival), None)
            found.append((rival, min(ratios), verdicts.median(ratios), max(ratios), target))
    return found


def legend(rivals, y):
    parts, x, seen = [], MARGIN, set()
    for rival in rivals:
        name, colour = RIVALS[rival]
        if name in seen:
            continue
        seen.add(name)
        parts.append(f'<circle cx="{x + 6}" cy="{y - 4}" r="5" fill="{colour}"/>')
        parts.append(text(x + 17, y, name, colour=INK))
        x += 52 + 6.9 * len(name)
    parts.append(line(x + 4, y - 11, x + 4, y + 3, PALE, 2))
    parts.append(text(x + 12, y, "its target", colour=PALE))
    return parts


def panel(axis, places, points, top, bottom, title, better):
    parts = [text(axis.left, top - 36, title, 14, weight="bold"), text(axis.left, top - 19, better, 12, PALE)]
    for tick in axis.ticks():
        is_one = tick == 1
        parts.append(line(axis.x(tick), top - 6, axis.x(tick), bottom, INK if is_one else GRID, 1.2 if is_one else 1))
        parts.append(text(axis.x(tick), bottom + 17, tick_text(tick), 11, INK if is_one else PALE, "middle"))
    for name, y in places.items():
        several = points[name]
        for index, (rival, low, middle, high, target) in enumerate(several):
            colour = RIVALS[rival][1]
            at = y + (index - (len(several) - 1) / 2) * 4.6  # beside each other, so that none hides another
            parts.append(line(axis.x(low), at, axis.x(high), at, colour, 2, 'stroke-opacity="0.55"'))
            if target is not None:
                parts.append(line(axis.x(target), at - 5.5, axis.x(target), at + 5.5, colour, 2))
            parts.append(f'<circle cx="{axis.x(middle):.1f}" cy="{at:.1f}" r="4.2" fill="{colour}" '
                         'stroke="#ffffff" stroke-width="0.8"/>')
    return parts


def svg(results):
    """The whole picture."""
    shown = [row for row in rows.ROWS if row.name in results["rows"] and row.group in ("load", "large", "beam") and
             points_of(row, results["rows"][row.name], "throughput")]
    points = {metric: {row.name: points_of(row, results["rows"][row.name], metric) for row in shown}
              for metric in ("throughput", "server_cpu")}
    places, headings, y, group = {}, [], HEAD, None
    for row in shown:
        if row.group != group:
            group = row.group
            y += GROUP_SPACE if places else 0
            headings.append((y, rows.GROUPS[group]))
            y += LINE
        places[row.name] = y
        y += LINE
    bottom = y - LINE / 2
    width, height = 2 * MARGIN + LABEL_WIDTH + 2 * PANEL_WIDTH + GAP, bottom + FOOT
    axes = {}
    for index, metric in enumerate(points):
        values = [value for several in points[metric].values() for point in several for value in point[1:] if value]
        axes[metric] = Axis(values, MARGIN + LABEL_WIDTH + index * (PANEL_WIDTH + GAP), PANEL_WIDTH)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" '
        f'height="{height:.0f}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height:.0f}" rx="8" fill="#ffffff"/>',
        text(MARGIN, 34, "brain-server beside its rivals, ratios within one run", 17, weight="bold")]
    parts += legend([rival for rival in RIVALS if any(
        rival in row.servers for row in shown)], 60)
    for at in list(places.values())[::2]:
        parts.append(f'<rect x="{MARGIN - 8}" y="{at - LINE / 2}" width="{width - 2 * MARGIN + 16}" height="{LINE}" '
                     f'fill="{BAND}"/>')
    parts += panel(axes["throughput"], places, points["throughput"], HEAD, bottom,
                   "Throughput", "more is better, 1 × is the rival's")
    parts += panel(axes["server_cpu"], places, points["server_cpu"], HEAD, bottom,
                   "Server CPU per operation", "less is better, 1 × is the rival's")
    titles = {row.name: row.title for row in shown}
    for name, at in places.items():
        parts.append(text(MARGIN, at + 4, titles[name], 12.5))
    for at, words in headings:
        parts.append(text(MARGIN, at + 4, words, 12.5, PALE, weight="bold"))
    machine = results["machine"]
    parts.append(text(MARGIN, height - 14, f"{machine['date']}, {machine['processor']}, one core for each server. "
                      "Dots: median of the rounds; bars: their range.", 11, PALE))
    return "\n".join(parts) + "\n</svg>\n"
