// The scan as a map: each frame where the stage stood, coloured by what it was. Drift, dust and silicon show at once.

import { css, token } from "./colours.js";

export class ScanMap {
  /** `chosen(frame)` is called when somebody picks a point, `pointed(row)` while the cursor is over one. */
  constructor(canvas, { chosen, pointed }) {
    Object.assign(this, { canvas, chosen, pointed });
    this.places = [];
    this.selected = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointermove", (event) => this.pointed(this.under(event)?.row ?? null));
    canvas.addEventListener("pointerleave", () => this.pointed(null));
    canvas.addEventListener("click", (event) => this.choose(this.under(event)));
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way) return;
      event.preventDefault();
      this.choose(this.towards(...way));
    });
  }

  /** Show rows; `value(row)` gives a number for the colour, or with `words` the verdict gives it. */
  show(rows, kind, value) {
    Object.assign(this, { rows, kind, value });
    this.places = [];
    const { x, y, frame } = rows.columns;
    for (let row = 0; row < rows.length; row += 1) {
      if (Number.isFinite(x[row]) && Number.isFinite(y[row]) && rows.word(row) !== "duplicate") {
        this.places.push({ row, frame: frame[row], x: x[row], y: y[row] });
      }
    }
    this.pitch = pitch(this.places);
    this.draw();
  }

  layout() {
    const { places, pitch: step } = this;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const all = (name, pick) => places.reduce((best, place) => pick(best, place[name]), places[0]?.[name] ?? 0);
    const [left, right, top, bottom] = [all("x", Math.min), all("x", Math.max), all("y", Math.min), all("y", Math.max)];
    const [margin, foot] = [12, 40];
    const scale = Math.min((width - 2 * margin) / (right - left + step), (height - margin - foot) / (bottom - top + step));
    return {
      side: scale * step, scale,
      x: (value) => (width - scale * (right - left)) / 2 + scale * (value - left),
      y: (value) => margin + scale * (step / 2 + value - top),
      foot: margin + scale * (bottom - top + step), left: (width - scale * (right - left + step)) / 2, width: scale * (right - left + step),
    };
  }

  draw() {
    const { canvas, places } = this;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    canvas.dataset.points = places.length;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    if (!places.length) return;
    const at = this.place = this.layout();
    const side = Math.max(2, at.side - (at.side > 6 ? 1 : 0));
    const scale = this.kind === "verdict" ? null : ends(places.map(({ row }) => this.value(row)));
    this.ends = scale;
    for (const { row, x, y } of places) {
      const word = this.rows.word(row);
      const number = scale ? this.value(row) : 0;
      context.fillStyle = scale ? (Number.isFinite(number) ? css(between(number, scale)) : token("track")) : token(word === "pending" ? "track" : word);
      context.fillRect(at.x(x) - side / 2, at.y(y) - side / 2, side, side);
      if (scale && word !== "accepted" && word !== "pending" && side >= 5) this.cross(context, at.x(x), at.y(y), side);
    }
    this.mark(context, places.at(-1), "soft", 1.5);
    const chosen = places.find((place) => place.frame === this.selected);
    if (chosen) this.mark(context, chosen, "text", 3);
    this.drawFoot(context, at);
  }

  /** A frame that is not in the sum has a stroke, whatever its colour. */
  cross(context, x, y, side) {
    context.strokeStyle = "#ffffffcc";
    context.lineWidth = Math.max(1, side / 12);
    context.beginPath();
    context.moveTo(x - side / 3, y + side / 3);
    context.lineTo(x + side / 3, y - side / 3);
    context.stroke();
  }

  mark(context, { x, y }, colour, width) {
    const side = this.place.side + width;
    context.strokeStyle = token(colour);
    context.lineWidth = width;
    context.strokeRect(this.place.x(x) - side / 2, this.place.y(y) - side / 2, side, side);
  }

  drawFoot(context, at) {
    const um = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000].findLast((length) => length * at.scale <= at.width / 2) ?? 1;
    const y = at.foot + 12;
    context.strokeStyle = context.fillStyle = token("text");
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(at.left, y);
    context.lineTo(at.left + um * at.scale, y);
    context.stroke();
    context.font = "12px system-ui, sans-serif";
    context.fillText(`${um} µm`, at.left, y + 15);
  }

  under(event) {
    if (!this.places.length || !this.place) return null;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const away = (one) => Math.max(Math.abs(this.place.x(one.x) - x), Math.abs(this.place.y(one.y) - y));
    const best = this.places.reduce((a, b) => (away(b) <= away(a) ? b : a)); // the later one of equal places
    return away(best) <= Math.max(12, this.place.side / 2) ? best : null;
  }

  towards(right, down) {
    const from = this.places.find((place) => place.frame === this.selected) ?? this.places.at(-1);
    if (!from) return null;
    const cost = (one) => {
      const along = (one.x - from.x) * right + (one.y - from.y) * down;
      const across = Math.abs((one.x - from.x) * down) + Math.abs((one.y - from.y) * right);
      return along > this.pitch / 4 ? along + 3 * across : Infinity;
    };
    const best = this.places.reduce((a, b) => (cost(b) < cost(a) ? b : a), from);
    return cost(best) < Infinity ? best : null;
  }

  choose(place) {
    if (!place) return;
    this.selected = place.frame;
    this.draw();
    this.pointed(place.row);
    this.chosen(place.frame);
  }
}

/** Distance of neighbouring points: what most steps from one to the next are. */
function pitch(places) {
  const steps = [];
  for (let i = 1; i < places.length && steps.length < 5000; i += 1) {
    const step = Math.max(Math.abs(places[i].x - places[i - 1].x), Math.abs(places[i].y - places[i - 1].y));
    if (step > 1e-3) steps.push(step);
  }
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 1;
}

function ends(values) {
  const seen = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!seen.length) return { low: 0, high: 1 };
  const [low, high] = [seen[Math.floor(0.02 * (seen.length - 1))], seen[Math.ceil(0.98 * (seen.length - 1))]];
  return { low, high: high > low ? high : low + 1 };
}

const between = (value, { low, high }) => Math.max(0, Math.min(1, (value - low) / (high - low)));
