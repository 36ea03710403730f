// The charts of the last hour, drawn by uPlot. Their accessible names say in words what they show.

import uPlot from "./vendor/uplot.js";
import { element } from "./page.js";
import { bytes, clock, count, milliseconds } from "./format.js";

const HOUR = 3600;
const SHORTEST = 600;
const HEIGHT = 132;
const POWERS = Array.from({ length: 32 }, (_, index) => 2 ** (index + 8));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function path(series) {
  return series.bars ? uPlot.paths.bars({ size: [1, 8, 2], align: 1 }) : uPlot.paths.linear();
}

/**
 * One chart.
 *
 * `series`: a list of `{label, column, colour, format, scale, bars?, fill?, each?}`. `headline(rows)`: the text beside
 * the title.
 */
export class Chart {
  constructor(place, { title, series, headline }) {
    this.series = series;
    this.headline = headline;
    this.title = title;
    this.rows = [];
    this.step = 10;
    this.figure = element("div", { className: "plot", role: "img", "aria-label": title });
    this.now = element("strong", { className: "number" });
    this.keys = series.map((one) => {
      const value = element("span", { className: "number value" });
      const key = element(
        "span",
        { className: "key" },
        element("i", { className: `swatch ${one.bars ? "bars" : ""}` }),
        one.label,
        value,
      );
      return { key, value };
    });
    place.replaceChildren(
      element("header", {}, element("h2", {}, title), element("div", { className: "spacer" }), this.now),
      this.figure,
      element("div", { className: "keys" }, ...this.keys.map((entry) => entry.key)),
    );
    new ResizeObserver(() => this.plot?.setSize({ width: this.figure.clientWidth, height: HEIGHT })).observe(
      this.figure,
    );
    addEventListener("themechange", () => this.draw());
    this.draw();
  }

  draw() {
    this.plot?.destroy();
    const faint = colour("--faint");
    const font = `11px ${colour("--sans")}`;
    const grid = { stroke: colour("--line"), width: 1 };
    this.series.forEach((one, index) => {
      this.keys[index].key.firstChild.style.background = colour(one.colour);
    });
    const axes = [
      {
        stroke: faint,
        font,
        grid: { show: false },
        ticks: { show: false },
        size: 22,
        gap: 4,
        space: 64,
        values: (_, times) => times.map((time) => clock(time * 1000).slice(0, 5)),
      },
    ];
    const scales = { x: { time: true, range: () => this.range() } };
    for (const one of this.series) {
      if (scales[one.scale]) continue;
      scales[one.scale] = { range: (_, _low, high) => [0, Math.max((high ?? 0) * 1.15, one.least ?? 1)] };
      const right = axes.length > 1;
      axes.push({
        scale: one.scale,
        side: right ? 1 : 3,
        stroke: faint,
        font,
        grid: right ? { show: false } : grid,
        ticks: { show: false },
        size: one.width ?? 44,
        gap: 4,
        space: 36,
        incrs: one.incrs,
        values: (_, values) => values.map((value) => one.format(value)),
      });
    }
    this.plot = new uPlot(
      {
        width: this.figure.clientWidth || 300,
        height: HEIGHT,
        padding: [8, axes.length > 2 ? 0 : 16, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        hooks: { setCursor: [() => this.tell()] },
        scales,
        axes,
        series: [
          {},
          ...this.series.map((one) => ({
            label: one.label,
            scale: one.scale,
            stroke: colour(one.colour),
            width: one.bars ? 0 : 1.5,
            spanGaps: Boolean(one.spanGaps),
            fill:
              one.bars || one.fill
                ? `color-mix(in srgb, ${colour(one.colour)} ${one.bars ? 75 : 14}%, transparent)`
                : undefined,
            paths: path(one),
            points: { show: Boolean(one.dots), size: 4, fill: colour(one.colour) },
          })),
        ],
      },
      this.data(),
      this.figure,
    );
  }

  /** Return the range of time: the last hour; for a younger gateway all its time, at least ten minutes. */
  range() {
    const end = this.rows.length ? this.rows[this.rows.length - 1][0] + this.step : Date.now() / 1000;
    return [Math.max(end - HOUR, Math.min(end - SHORTEST, this.rows[0]?.[0] ?? end)), end];
  }

  data() {
    const columns = [this.rows.map((row) => row[0])];
    for (const one of this.series)
      columns.push(
        this.rows.map((row) =>
          row[one.column] === null ? null : row[one.column] * (one.each ? one.each / this.step : 1),
        ),
      );
    return columns;
  }

  /** Show these rows of the history, each for `step` seconds. */
  show(rows, step) {
    this.rows = rows;
    this.step = step;
    this.plot.setData(this.data());
    const words = this.headline(rows, step);
    if (this.now.textContent !== words) {
      this.now.textContent = words;
      this.figure.setAttribute("aria-label", `${this.title} in the last hour: ${words}`);
    }
    this.tell();
  }

  /** Show the values under the pointer beside their names; without a pointer, those of the last complete step. */
  tell() {
    if (!this.plot) return;
    const pointed = this.plot.cursor.idx;
    const at = pointed ?? this.rows.length - 2;
    this.series.forEach((one, index) => {
      const value = this.plot.data[index + 1]?.[at];
      this.keys[index].value.textContent = value === null || value === undefined ? "–" : one.format(value);
    });
    this.figure.title = pointed === null || pointed === undefined ? "" : clock(this.rows[pointed][0] * 1000);
  }
}

const sum = (rows, column) => rows.reduce((total, row) => total + (row[column] ?? 0), 0);

export const CHARTS = {
  creates: {
    title: "Sessions created",
    headline: (rows) => count(sum(rows, 1)),
    series: [
      {
        label: "created",
        column: 1,
        colour: "--accent",
        scale: "n",
        bars: true,
        format: count,
        least: 4,
        width: 30,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
      },
      {
        label: "p50",
        column: 2,
        colour: "--blue",
        scale: "ms",
        format: milliseconds,
        least: 20,
        width: 52,
        spanGaps: true,
        dots: true,
      },
      { label: "p95", column: 3, colour: "--red", scale: "ms", format: milliseconds, spanGaps: true, dots: true },
    ],
  },
  relayed: {
    title: "Messages relayed",
    headline: (rows) => `${count(sum(rows, 4))}, ${bytes(sum(rows, 5))}`,
    series: [
      {
        label: "messages / s",
        column: 4,
        colour: "--accent",
        scale: "n",
        format: (value) => (value && value < 10 ? value.toFixed(1) : count(value)),
        fill: true,
        least: 2,
        width: 36,
        each: 1,
      },
      {
        label: "bytes / s",
        column: 5,
        colour: "--blue",
        scale: "b",
        format: bytes,
        least: 1024,
        width: 56,
        each: 1,
        incrs: POWERS,
      },
    ],
  },
  memory: {
    title: "Memory",
    headline: (rows) => `${bytes(rows.at(-1)?.[6] ?? 0)} in sessions`,
    series: [
      {
        label: "host",
        column: 7,
        colour: "--blue",
        scale: "b",
        format: bytes,
        fill: true,
        least: 2 ** 28,
        width: 56,
        incrs: POWERS,
      },
      { label: "sessions", column: 6, colour: "--accent", scale: "b", format: bytes, fill: true },
    ],
  },
};
