// The two pictures of the page with what stands around them: the pattern, and the image made from it.

import * as words from "./words.js";
import { CurveChart } from "./charts.js";
import { part } from "./colours.js";
import { halfPeriod, qAt, rings } from "./physics.js";
import { Sight } from "./sight.js";

const byId = (id) => document.getElementById(id);
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const big = (value) => (value < 1e6 ? words.number(value) : words.power(value, 1));

const NAMES = { sum: "Sum", last: "Last frame", background: "Background", prepared: "Amplitude given to the phasing", frame: "Frame" };
const EMPTY = {
  sum: "The summed pattern appears with the first accepted frame.",
  last: "The last frame appears when one has come.",
  background: "The background appears with the first frame beside the particles.",
  prepared: "The prepared amplitude comes with the first image.",
};

function press(button, act) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    act(on);
  });
}

export class Pattern {
  constructor({ rows, changed }) {
    this.rows = rows;
    this.changed = changed;
    this.facts = null;
    this.status = null;
    this.number = 0;
    this.withRings = true;
    this.sight = new Sight(byId("pattern"), {
      told: (news) => this.told(news), pointed: (place) => this.pointed(place), overlay: (context, sight) => this.draw(context, sight),
    });
    for (const input of document.querySelectorAll("input[name=what]")) input.addEventListener("change", () => this.choose());
    byId("zoom-in").addEventListener("click", () => this.sight.zoom(2));
    byId("zoom-out").addEventListener("click", () => this.sight.zoom(0.5));
    byId("zoom-fit").addEventListener("click", () => this.sight.fit());
    byId("zoom-one").addEventListener("click", () => this.single());
    press(byId("rings"), (on) => { this.withRings = on; this.sight.draw(); });
    press(byId("mask"), (on) => { this.sight.masked = on; this.sight.draw(); });
    byId("frame-number").addEventListener("change", (event) => this.showFrame(Math.max(0, Math.round(Number(event.target.value)))));
    byId("frame-before").addEventListener("click", () => this.step(-1));
    byId("frame-after").addEventListener("click", () => this.step(1));
    this.choose();
  }

  what() {
    return document.querySelector("input[name=what]:checked").value;
  }

  center() {
    const shape = this.sight.whole?.facts.shape ?? [0, 0];
    if (this.what() === "prepared") return shape.map((side) => (side - 1) / 2);
    return this.facts?.center ?? shape.map((side) => (side - 1) / 2);
  }

  choose() {
    const what = this.what();
    byId("frame-choice").hidden = what !== "frame";
    byId("frame-number").value = this.number;
    this.sight.show(what === "frame" ? `what=frame&frame=${this.number}` : `what=${what}`);
    this.frameKnown();
    this.changed();
  }

  /** Single pixels: where one looks, or from all of it, at the rim of the central speckle, where the photons are. */
  single() {
    const { view, follows } = this.sight;
    const [row, col] = this.center();
    const aside = this.what() === "prepared" ? 0 : (this.facts?.central_px ?? 0) / 2;
    if (follows || !view) this.sight.goTo(Math.round(row - aside), Math.round(col), 16);
    else this.sight.goTo(view.row - 0.5, view.col - 0.5, 16);
  }

  showFrame(number) {
    this.number = number;
    byId("what-frame").checked = true;
    this.choose();
  }

  step(direction) {
    const next = this.rows.neighbour(this.number, direction, byId("frame-kind").value);
    if (next !== null) this.showFrame(next);
  }

  /** The frame on the screen with its verdict; null when it is another picture. */
  frame() {
    if (this.what() !== "frame") return null;
    const row = this.rows.rowOf(this.number);
    return row < 0 ? null : { frame: this.number, verdict: this.rows.word(row) };
  }

  frameKnown() {
    const shown = this.frame();
    put(byId("frame-verdict"), shown ? words.CATEGORIES[shown.verdict] : "");
    if (this.what() === "frame" && this.series !== this.rows.series) {
      this.series = this.rows.series;
      this.sight.stale = true;
      this.sight.refresh();
    }
  }

  setStatus(status) {
    this.status = status;
    if (this.what() !== "frame") this.sight.refresh();
  }

  setFacts(facts) {
    this.facts = facts;
    this.sight.draw();
  }

  told({ piece, error }) {
    const what = this.what();
    const empty = byId("pattern-empty");
    empty.hidden = Boolean(piece);
    byId("pattern-scale").hidden = !piece;
    if (!piece) {
      put(empty, what === "frame" ? error.message : EMPTY[what]);
      put(byId("pattern-words"), "");
      byId("pattern").setAttribute("aria-label", `${NAMES[what]}: none`);
      return;
    }
    const { frames, frame } = piece.facts;
    this.sight.draw();
    const { low, high } = this.sight.scale;
    const unit = what === "prepared" ? "" : " photons";
    const of = { frame: ` ${frame}`, last: ` (${frame})` }[what] ?? ` of ${words.number(frames)} ${frames === 1 ? "frame" : "frames"}`;
    put(byId("pattern-words"), `${NAMES[what]}${of}, log scale`);
    put(byId("pattern-low"), big(low));
    put(byId("pattern-high"), `${big(high)}${unit}`);
    byId("pattern").setAttribute("aria-label", `${NAMES[what]}${of}, logarithmic colours from ${big(low)} to ${big(high)}${unit}`);
  }

  pointed(place) {
    if (!place) {
      put(byId("under"), "");
      return;
    }
    const { row, col, value, step } = place;
    const prepared = this.what() === "prepared";
    const [y, x] = this.center();
    const radius = Math.hypot(row - y, col - x);
    const q = prepared ? radius * (this.sight.whole.facts.q_step_per_m ?? NaN) : qAt(radius, this.facts);
    const amount = Number.isNaN(value) ? "not measured" : prepared ? Number(value.toPrecision(4)) : `${words.number(value)} ${value === 1 ? "photon" : "photons"}`;
    const parts = [`row ${row}, col ${col}`, step > 1 && !Number.isNaN(value) ? `${amount} at most in ${step} × ${step}` : amount];
    if (q > 0) parts.push(`q ${words.power(q, 3)} 1/m`, `${words.length(halfPeriod(q))}`);
    put(byId("under"), parts.join(" · "));
  }

  draw(context, sight) {
    const what = this.what();
    if (what === "prepared") return;
    const [y, x] = this.center();
    const [cx, cy] = [sight.screen(y + 0.5, x + 0.5)[0], sight.screen(y + 0.5, x + 0.5)[1]];
    const { scale } = sight.view;
    const circle = (radius, colour, dash = [], width = 1.2) => {
      context.beginPath();
      context.setLineDash(dash);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.arc(cx, cy, radius * scale, 0, 2 * Math.PI);
      context.stroke();
      context.setLineDash([]);
    };
    if (sight.masked && this.facts) {
      circle(this.facts.central_px / 2, "#e7b5d1", [6, 4], 1.6);
      for (const radius of this.facts.ring_px) circle(radius, "#fff", [2, 3]);
      this.label(context, "left out of the phasing", cx, cy + (this.facts.central_px / 2) * scale + 12, "center");
    }
    if (!this.withRings) return;
    const [rows, cols] = sight.whole.facts.shape;
    const far = Math.hypot(rows, cols) / 2;
    const [left, top] = sight.screen(0, 0);
    context.save();
    context.beginPath();
    context.rect(left, top, cols * scale, rows * scale);
    context.clip();
    for (const { half, radius } of rings(this.facts, far, 42 / scale)) {
      circle(radius, "#ffffff80");
      const edge = radius * scale * Math.SQRT1_2;
      this.label(context, words.length(half), cx - edge + 3, cy - edge, "left");
    }
    context.restore();
  }

  label(context, text, x, y, align) {
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.strokeStyle = "#000000b0";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  }
}

export class Reconstruction {
  constructor() {
    this.status = null;
    this.line = null;
    this.sight = new Sight(byId("image"), {
      log: () => false, told: (news) => this.told(news), pointed: (place) => this.pointed(place), overlay: (context, sight) => this.draw(context, sight),
    });
    this.sight.grab = (act, place) => this.grab(act, place);
    press(byId("profile"), (on) => {
      this.drawing = on;
      byId("profile-chart").hidden = !on;
      const [rows, cols] = this.sight.whole?.facts.shape ?? [0, 0];
      this.line = on && rows ? { from: { row: rows / 2, col: 0 }, to: { row: rows / 2, col: cols } } : null;
      if (on && !this.chart) this.chart = new CurveChart(byId("profile-chart"), { label: "density", names: ["density"], x: "nm along the line" });
      this.showProfile();
      this.sight.draw();
    });
  }

  setStatus(status) {
    this.status = status;
    const r = status.reconstruction;
    const of = JSON.stringify([status.series, r.frames, r.seconds]);
    put(byId("image-words"), words.imageWords(status));
    if (of !== this.of) {
      this.of = of;
      if (this.sight.query === null) this.sight.show("what=reconstruction");
      else this.sight.refresh(true);
    }
    if (!this.sight.whole) this.sayEmpty();
  }

  sayEmpty() {
    const { status } = this;
    byId("image-empty").hidden = false;
    put(byId("image-empty"), !words.imageWanted(status) ? "Reconstruction is switched off."
      : status.reconstruction.state === "running" ? "The first image is being made." : "The first image appears after a few accepted frames.");
  }

  told({ piece }) {
    byId("image-empty").hidden = Boolean(piece);
    if (!piece) this.sayEmpty();
    byId("image").setAttribute("aria-label", piece ? `Reconstructed image ${words.imageWords(this.status)}` : "Reconstructed image: none yet");
    this.showProfile();
  }

  pixel() {
    return this.sight.whole?.facts.pixel_size_m ?? null;
  }

  pointed(place) {
    const pixel = this.pixel();
    if (!place) {
      put(byId("image-under"), "");
      return;
    }
    const [rows, cols] = this.sight.whole.facts.shape;
    const where = pixel ? `x ${((place.col + 0.5 - cols / 2) * pixel * 1e9).toFixed(1)}, y ${((place.row + 0.5 - rows / 2) * pixel * 1e9).toFixed(1)} nm` : `row ${place.row}, col ${place.col}`;
    put(byId("image-under"), `${where} · ${Number(place.value.toPrecision(3))} (${Math.round(100 * part(place.value, this.sight.scale))} %)`);
  }

  // -- a line across -------------------------------------------------------------------------------------------------

  grab(act, { x, y }) {
    if (!this.drawing || !this.sight.view) return false;
    const place = this.sight.at(x, y);
    if (act === "down") {
      this.line = { from: place, to: place };
      this.held = true;
    } else if (act === "move" && this.held) {
      this.line.to = place;
      this.showProfile();
      this.sight.draw();
    } else if (act === "up") this.held = false;
    return true;
  }

  showProfile() {
    const pixel = this.pixel();
    if (!this.line || !this.chart || !this.sight.whole || !pixel) return;
    const { from, to } = this.line;
    const long = Math.hypot(to.row - from.row, to.col - from.col);
    const count = Math.max(2, Math.ceil(2 * long));
    const along = Array.from({ length: count }, (_, i) => i / (count - 1));
    const values = along.map((t) => this.sight.value(Math.min(to.row, from.row + t * (to.row - from.row)), Math.min(this.sight.whole.cols - 0.01, from.col + t * (to.col - from.col)))?.value ?? null);
    this.chart.show(along.map((t) => t * long * pixel * 1e9), [values]);
  }

  draw(context, sight) {
    const pixel = this.pixel();
    if (this.line && this.drawing) {
      const [x0, y0] = sight.screen(this.line.from.row, this.line.from.col);
      const [x1, y1] = sight.screen(this.line.to.row, this.line.to.col);
      for (const [width, colour] of [[4, "#000000a0"], [2, "#fff"]]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.beginPath();
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
        context.stroke();
      }
    }
    if (!pixel) return;
    const nm = [1, 2, 5, 10, 20, 50, 100, 200, 500].findLast((length) => (length * 1e-9 / pixel) * sight.view.scale <= sight.canvas.clientWidth / 3) ?? 1;
    const wide = ((nm * 1e-9) / pixel) * sight.view.scale;
    const [x, y] = [14, sight.canvas.clientHeight - 40]; // above what is said of the pixel under the cursor
    context.fillStyle = "#000000a0";
    context.fillRect(x - 6, y - 24, wide + 12, 34);
    context.fillStyle = "#fff";
    context.fillRect(x, y, wide, 4);
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(`${nm} nm`, x + wide / 2, y - 7);
  }
}
