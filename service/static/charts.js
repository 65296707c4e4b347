// Charts over uPlot (static/uplot.js): one dot a frame, and curves against q.

import { token } from "./colours.js";

const uPlot = globalThis.uPlot;
const SHAPES = { accepted: "circle", low_intensity: "down", streak: "up", background: "square", gated: "cross", pending: "ring" };
export const SHOWN = Object.keys(SHAPES);

/** Dots whose shape says the same as their colour. */
function dots(shape, size) {
  return (u, index) => {
    const { ctx: context } = u;
    const [xs, ys] = [u.data[0], u.data[index]];
    const ratio = devicePixelRatio;
    const r = (size / 2) * ratio;
    const { left, top, width, height } = u.bbox;
    context.save();
    context.beginPath();
    context.rect(left - r, top - r, width + 2 * r, height + 2 * r);
    context.clip();
    context.beginPath();
    for (let i = 0; i < xs.length; i += 1) {
      if (ys[i] === null || ys[i] === undefined || xs[i] < u.scales.x.min || xs[i] > u.scales.x.max) continue;
      const x = u.valToPos(xs[i], "x", true);
      const y = u.valToPos(ys[i], "y", true);
      if (shape === "circle" || shape === "ring" || shape === "halo") {
        context.moveTo(x + r, y);
        context.arc(x, y, r, 0, 2 * Math.PI);
      } else if (shape === "square") context.rect(x - r, y - r, 2 * r, 2 * r);
      else if (shape === "cross") {
        for (const [a, b] of [[-1, -1], [-1, 1]]) {
          context.moveTo(x + a * r, y + b * r);
          context.lineTo(x - a * r, y - b * r);
        }
      } else {
        const up = shape === "up" ? -1 : 1;
        context.moveTo(x, y + up * r * 1.2);
        context.lineTo(x - r * 1.1, y - up * r);
        context.lineTo(x + r * 1.1, y - up * r);
        context.closePath();
      }
    }
    context.lineWidth = 1.6 * ratio;
    context.strokeStyle = context.fillStyle = u.series[index].stroke(u, index);
    if (["ring", "halo", "cross"].includes(shape)) context.stroke();
    else context.fill();
    context.restore();
    return null;
  };
}

const line = (name) => () => token(name);
const axis = (label, more = {}) => ({
  label, labelSize: 18, size: 50, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
  stroke: line("soft"), grid: { stroke: line("grid"), width: 1 }, ticks: { stroke: line("grid"), width: 1 }, ...more,
});

function short(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const power = Math.floor(Math.log10(size) + 1e-9);
    const front = Number((value / 10 ** power).toPrecision(3));
    return `${front === 1 ? "" : `${front}·`}10${[...String(power)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
  }
  return String(Number(value.toPrecision(4)));
}

/** A logarithmic axis that ends where the values do, not at powers of ten. */
const TIGHT = {
  distr: 3,
  range: (u, min, max) => (min > 0 && max > 0 ? [min / 1.15, Math.max(max * 1.15, min * 1.5)] : [1, 10]),
};

function marks(u, axisIndex, min, max) {
  if (!(min > 0)) return [1, 10];
  const found = [];
  if (max / min < 8) {
    const raw = (max - min) / 4;
    const step = [1, 2, 2.5, 5, 10].map((one) => one * 10 ** Math.floor(Math.log10(raw))).find((one) => one >= raw);
    for (let value = Math.ceil(min / step) * step; value <= max; value += step) found.push(Number(value.toPrecision(6)));
    return found;
  }
  const each = max / min > 1e4 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += 1) {
    for (const one of each) if (one * 10 ** power >= min && one * 10 ** power <= max) found.push(one * 10 ** power);
  }
  return found;
}

const logAxis = (label) => axis(label, { splits: marks, filter: (u, splits) => splits, values: (_, splits) => splits.map(short) });

class Chart {
  constructor(box, options, data) {
    this.box = box;
    this.plot = new uPlot({ width: Math.max(100, box.clientWidth), height: Math.max(100, box.clientHeight), legend: { show: false }, ...options }, data, box);
    new ResizeObserver(() => this.plot.setSize({ width: Math.max(100, box.clientWidth), height: Math.max(100, box.clientHeight) })).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot.redraw());
  }
}

/** One dot a frame. `chosen(frame)` is called on a click; `cuts()` gives [value, dashed] lines across. */
export class FrameChart extends Chart {
  constructor(box, { label, chosen, cuts }) {
    const series = SHOWN.map((name) => ({ label: name, stroke: line(name === "pending" ? "soft" : name), paths: dots(SHAPES[name], name === "accepted" ? 4 : 6), points: { show: false } }));
    const halo = { label: "would change", stroke: line("text"), paths: dots("halo", 11), points: { show: false } };
    super(box, {
      scales: { x: { time: false }, y: TIGHT },
      axes: [axis("frame", { size: 34 }), logAxis(label)],
      series: [{}, ...series, halo],
      cursor: { points: { show: false }, y: false, drag: { x: true, y: false }, dataIdx: (u, index, nearest) => nearest },
      hooks: { draw: [(u) => this.drawCuts(u)] },
    }, [[0], ...SHOWN.map(() => [null]), [null]]);
    this.cuts = cuts;
    let from = null;
    this.plot.over.addEventListener("mousedown", (event) => { from = event.clientX; });
    this.plot.over.addEventListener("click", (event) => {
      const index = this.plot.cursor.idx;
      if (index !== null && index !== undefined && Math.abs(event.clientX - from) < 4) chosen(this.plot.data[0][this.nearest(event)]);
    });
  }

  /** Of the dots near the cursor the nearest on the screen, not only along the axis. */
  nearest(event) {
    const box = this.plot.over.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [this.plot.cursor.idx, Infinity];
    const [frames, ...columns] = this.plot.data;
    for (let i = 0; i < frames.length; i += 1) {
      const away = this.plot.valToPos(frames[i], "x") - x;
      if (Math.abs(away) > 12) continue;
      for (const column of columns) {
        if (column[i] === null || column[i] === undefined) continue;
        const distance = Math.hypot(away, this.plot.valToPos(column[i], "y") - y);
        if (distance < least) [best, least] = [i, distance];
      }
    }
    return best;
  }

  drawCuts(u) {
    for (const { value, dashed } of this.cuts?.() ?? []) {
      if (!(value > 0) && u.scales.y.distr === 3) continue;
      const y = u.valToPos(value, "y", true);
      if (!(y > u.bbox.top && y < u.bbox.top + u.bbox.height)) continue;
      u.ctx.save();
      u.ctx.strokeStyle = token(dashed ? "text" : "soft");
      u.ctx.lineWidth = (dashed ? 2 : 1.2) * devicePixelRatio;
      u.ctx.setLineDash(dashed ? [7, 5] : []);
      u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y);
      u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
      u.ctx.stroke();
      u.ctx.restore();
    }
  }

  /** `value(row)` is what stands on the axis; `changes` a set of frames to put a ring around. */
  show(rows, value, changes) {
    const { frame } = rows.columns;
    const order = Array.from({ length: rows.length }, (_, row) => row).filter((row) => frame[row] !== 0xffffffff);
    order.sort((a, b) => frame[a] - frame[b]);
    const xs = order.map((row) => frame[row]);
    const ys = SHOWN.map(() => new Array(order.length).fill(null));
    const halo = new Array(order.length).fill(null);
    const place = new Map(SHOWN.map((name, i) => [name, i]));
    order.forEach((row, i) => {
      const kind = place.get(rows.word(row));
      const number = value(row);
      if (kind === undefined || !Number.isFinite(number) || (number <= 0 && this.plot.scales.y.distr === 3)) return;
      ys[kind][i] = number;
      if (changes?.has(frame[row])) halo[i] = number;
    });
    const zoomed = this.plot.data[0].length > 1 && (this.plot.scales.x.min > this.plot.data[0][0] || this.plot.scales.x.max < this.plot.data[0].at(-1));
    this.plot.setData(xs.length ? [xs, ...ys, halo] : [[0], ...ys.map(() => [null]), [null]], !zoomed);
  }
}

/** Curves against q in 1/nm. `level` is a dashed line across. */
export class CurveChart extends Chart {
  constructor(box, { label, names, log = false, level = null, range, x = "q (1/nm)" }) {
    const colours = ["chosen", "streak"];
    super(box, {
      scales: { x: { time: false }, y: log ? TIGHT : range ? { range } : {} },
      axes: [axis(x, { size: 34 }), log ? logAxis(label) : axis(label, { values: (_, splits) => splits.map(short) })],
      series: [{}, ...names.map((name, i) => ({ label: name, stroke: line(colours[i]), width: 2, dash: i ? [6, 4] : [], points: { show: false }, spanGaps: false }))],
      cursor: { drag: { x: true, y: false } },
      hooks: { draw: [(u) => {
        if (level === null) return;
        const y = u.valToPos(level, "y", true);
        u.ctx.save();
        u.ctx.strokeStyle = token("soft");
        u.ctx.setLineDash([5, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(u.bbox.left, y);
        u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
        u.ctx.stroke();
        u.ctx.restore();
      }] },
    }, [[0, 1], ...names.map(() => [null, null])]);
    this.log = log;
  }

  show(x, curves) {
    const clean = curves.map((curve) => curve.map((value) => (value === null || (this.log && value <= 0) ? null : value)));
    this.plot.setData([x, ...clean]);
  }
}
