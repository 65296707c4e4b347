// A picture one can walk into: the whole array coarsely, and what is on the screen as finely as the screen shows it,
// down to single pixels. Values come from the service as numbers, so what stands under the cursor is what was measured.

import { GRAY, MASK, paint, scaleOf } from "./colours.js";
import { Nothing, binary } from "./rows.js";

const PAUSE_MS = 1000;
// One size for all viewers and the preview: a sum of 16M is then pooled once a second, however many look.
const WHOLE_SIDE = 1024;
const LARGEST_SCALE = 64; // screen pixels a detector pixel
const TYPES = { float32: Float32Array, float64: Float64Array };

export class Sight {
  /** `told` is called with what to say: {piece, error} after a change, and `pointed` with the pixel under the cursor. */
  constructor(canvas, { told = () => {}, pointed = () => {}, overlay = () => {}, log = () => true } = {}) {
    Object.assign(this, { canvas, told, pointed, overlay, log });
    this.query = null;
    this.whole = null;
    this.detail = null;
    this.view = null; // {row, col: in the middle of the screen; scale: screen pixels a pixel of the array}
    this.follows = true; // the view shows all of it, whatever its size
    this.masked = false;
    this.cursor = null;
    this.busy = false;
    this.again = false;
    this.late = 0;
    this.listen();
    new ResizeObserver(() => this.resized()).observe(canvas);
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  // -- what is shown -------------------------------------------------------------------------------------------------

  /** Show another array; null for none. */
  show(query) {
    if (query === this.query) return;
    const kind = (text) => text?.match(/what=(sum|last|frame|background)/) !== null && text !== null;
    const sameShape = kind(query) && kind(this.query);
    this.query = query;
    this.detail = null;
    if (!sameShape || !query) this.whole = null;
    if (!sameShape) this.follows = true;
    this.stale = true;
    this.refresh(true);
  }

  /** Fetch what is new, at most once a second unless a person has asked. */
  async refresh(now = false) {
    if (!this.query || document.hidden) {
      this.draw();
      return;
    }
    if (this.busy) {
      this.again = this.again || now;
      return;
    }
    const wait = this.late - performance.now();
    if (!now && wait > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), wait + 5);
      return;
    }
    this.busy = true;
    this.late = performance.now() + PAUSE_MS;
    const query = this.query;
    try {
      const have = this.whole && !this.stale ? `&have=${this.whole.facts.version}` : "";
      const whole = await this.fetch(`${query}&side=${WHOLE_SIDE}${have}`);
      if (query === this.query) {
        if (whole) {
          this.whole = whole;
          this.stale = false;
          if (this.follows || !this.view) this.fit(false);
          this.told({ piece: whole });
        }
        if (whole || !this.detail) await this.refine(query);
      }
    } catch (error) {
      if (query === this.query && error instanceof Nothing) { // anything else is the connection: the picture stays
        this.whole = null;
        this.detail = null;
        this.told({ error });
      }
    }
    this.busy = false;
    this.draw();
    if (this.again) {
      this.again = false;
      this.refresh(true);
    }
  }

  async fetch(query) {
    const got = await binary(`/region?${query}`);
    if (!got) return null;
    const { facts, bytes } = got;
    return { facts, values: new TYPES[facts.type](bytes), rows: facts.rows, cols: facts.cols };
  }

  /** Fetch what is on the screen more finely, when the whole is too coarse for it. */
  async refine(query = this.query) {
    if (!this.whole || !this.view) return;
    const { step: coarse, shape, version } = this.whole.facts;
    const needed = Math.max(1, Math.floor(1 / (this.view.scale * devicePixelRatio)));
    if (coarse <= needed) {
      this.detail = null;
      return;
    }
    const [height, width] = this.size();
    const rows = Math.min(shape[0], Math.ceil((1.3 * height) / this.view.scale) + 2);
    const cols = Math.min(shape[1], Math.ceil((1.3 * width) / this.view.scale) + 2);
    const top = Math.max(0, Math.min(shape[0] - rows, Math.round(this.view.row - rows / 2)));
    const left = Math.max(0, Math.min(shape[1] - cols, Math.round(this.view.col - cols / 2)));
    const side = Math.min(1024, Math.max(16, Math.ceil(Math.max(rows, cols) / needed)));
    const had = this.detail;
    if (had && had.of === query && had.facts.version === version && had.facts.step <= needed && holds(had, this.onScreen())) return;
    const window = `first_row=${top}&first_col=${left}&rows=${rows}&cols=${cols}&side=${side}`;
    const detail = await this.fetch(`${query}&${window}`);
    if (detail && query === this.query) this.detail = Object.assign(detail, { of: query });
  }

  onScreen() {
    const [height, width] = this.size();
    const { row, col, scale } = this.view;
    const [rows, cols] = this.whole.facts.shape;
    return {
      top: Math.max(0, row - height / 2 / scale), bottom: Math.min(rows, row + height / 2 / scale),
      left: Math.max(0, col - width / 2 / scale), right: Math.min(cols, col + width / 2 / scale),
    };
  }

  // -- moving --------------------------------------------------------------------------------------------------------

  size() {
    return [this.canvas.clientHeight, this.canvas.clientWidth];
  }

  fit(draw = true) {
    if (!this.whole) return;
    const [height, width] = this.size();
    const [rows, cols] = this.whole.facts.shape;
    this.view = { row: rows / 2, col: cols / 2, scale: Math.min(height / rows, width / cols) };
    this.follows = true;
    this.detail = null;
    if (draw) this.draw();
  }

  /** Zoom by a factor about a place on the screen (the middle, if none is given). */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.view || !this.whole) return;
    const before = this.at(x, y);
    const least = 0.5 * Math.min(this.canvas.clientHeight / this.whole.facts.shape[0], this.canvas.clientWidth / this.whole.facts.shape[1]);
    this.view.scale = Math.max(least, Math.min(Math.max(LARGEST_SCALE, least), this.view.scale * factor));
    const after = this.at(x, y);
    this.move(before.row - after.row, before.col - after.col);
  }

  move(rows, cols) {
    if (!this.view || !this.whole) return;
    const [height, width] = this.whole.facts.shape;
    this.view.row = Math.max(0, Math.min(height, this.view.row + rows));
    this.view.col = Math.max(0, Math.min(width, this.view.col + cols));
    this.follows = false;
    this.draw();
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.look(), 150);
  }

  /** Go where one pixel is in the middle, each pixel `scale` screen pixels wide. */
  goTo(row, col, scale = this.view?.scale ?? 1) {
    if (!this.whole) return;
    this.view = { row: row + 0.5, col: col + 0.5, scale };
    this.move(0, 0);
  }

  async look() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    try {
      await this.refine();
    } catch {
      // The next change brings the next try.
    }
    this.busy = false;
    this.draw();
    if (this.again) {
      this.again = false;
      this.refresh(true);
    }
  }

  /** The place in the array under a place on the screen; its pixel is the whole number below. */
  at(x, y) {
    const [height, width] = this.size();
    const { row, col, scale } = this.view;
    return { row: row + (y - height / 2) / scale, col: col + (x - width / 2) / scale };
  }

  screen(row, col) {
    const [height, width] = this.size();
    return [(col - this.view.col) * this.view.scale + width / 2, (row - this.view.row) * this.view.scale + height / 2];
  }

  /** What is known of a pixel: its value, and of how many pixels that is the largest. */
  value(row, col) {
    for (const piece of [this.detail, this.whole]) {
      if (!piece) continue;
      const { first_row: top, first_col: left, step } = piece.facts;
      const [i, j] = [Math.floor((row - top) / step), Math.floor((col - left) / step)];
      if (i >= 0 && j >= 0 && i < piece.rows && j < piece.cols) return { value: piece.values[i * piece.cols + j], step };
    }
    return null;
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  resized() {
    const { canvas } = this;
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (this.follows) this.fit(false);
    this.draw();
    if (this.whole && this.whole.facts.step > 1) this.look();
  }

  draw() {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    canvas.style.touchAction = this.follows ? "pan-y" : "none"; // all of it in view: a finger moves the page
    canvas.dataset.version = this.whole ? this.whole.facts.version : "";
    canvas.dataset.step = (this.detail ?? this.whole)?.facts.step ?? "";
    if (!this.whole || !this.view) return;
    if (this.whole.scale === undefined) this.whole.scale = scaleOf(this.whole.values, this.log());
    this.scale = this.whole.scale;
    for (const piece of [this.whole, this.detail]) if (piece) this.drawPiece(context, piece);
    this.overlay(context, this);
    if (this.cursor?.keyboard) this.drawCross(context);
    this.point();
  }

  drawPiece(context, piece) {
    const masked = this.masked ? MASK : GRAY;
    if (piece.painted?.scale !== this.scale || piece.painted.masked !== masked) {
      piece.painted = { scale: this.scale, masked, canvas: paint(piece, this.scale, masked) };
    }
    const { first_row: top, first_col: left, step } = piece.facts;
    const [x, y] = this.screen(top, left);
    context.imageSmoothingEnabled = this.view.scale * step * devicePixelRatio < 1;
    context.drawImage(piece.painted.canvas, x, y, piece.cols * step * this.view.scale, piece.rows * step * this.view.scale);
  }

  drawCross(context) {
    const [x, y] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 14 * dx, y + 14 * dy);
      }
      context.stroke();
    }
  }

  point() {
    if (!this.cursor || !this.view || !this.whole) {
      this.pointed(null);
      return;
    }
    const place = this.cursor.keyboard ? this.at(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2) : this.at(this.cursor.x, this.cursor.y);
    const [row, col] = [Math.floor(place.row), Math.floor(place.col)];
    const found = this.value(row, col);
    this.pointed(found && { row, col, ...found });
  }

  // -- hands ---------------------------------------------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    const fingers = new Map();
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    canvas.addEventListener("wheel", (event) => {
      if (!this.whole) return;
      event.preventDefault();
      const { x, y } = place(event);
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), x, y);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      fingers.set(event.pointerId, place(event));
      if (this.grab?.("down", place(event))) return;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = place(event);
      this.cursor = { ...now };
      const before = fingers.get(event.pointerId);
      if (before && this.view && !this.grab?.("move", now)) {
        if (fingers.size === 2) {
          const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
          const apart = (at) => Math.hypot(at.x - other.x, at.y - other.y);
          this.zoom(apart(now) / Math.max(1, apart(before)), (now.x + other.x) / 2, (now.y + other.y) / 2);
        } else {
          this.move((before.y - now.y) / this.view.scale, (before.x - now.x) / this.view.scale);
        }
      }
      if (before) fingers.set(event.pointerId, now);
      this.point();
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => {
        fingers.delete(event.pointerId);
        this.grab?.("up", place(event));
      });
    }
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.point();
    });
    canvas.addEventListener("dblclick", (event) => this.zoom(event.shiftKey ? 0.25 : 4, place(event).x, place(event).y));
    canvas.addEventListener("keydown", (event) => {
      if (!this.view || event.ctrlKey || event.metaKey || event.altKey) return;
      const far = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(20 / this.view.scale));
      const acts = {
        ArrowUp: () => this.move(-far, 0), ArrowDown: () => this.move(far, 0),
        ArrowLeft: () => this.move(0, -far), ArrowRight: () => this.move(0, far),
        "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.fit(), Home: () => this.fit(),
      };
      const act = acts[event.key];
      if (!act) return;
      event.preventDefault();
      this.cursor = { keyboard: true };
      act();
    });
    canvas.addEventListener("blur", () => {
      if (this.cursor?.keyboard) this.cursor = null;
      this.draw();
    });
  }
}

function holds({ facts, rows, cols }, { top, bottom, left, right }) {
  return facts.first_row <= top && facts.first_col <= left
    && facts.first_row + rows * facts.step >= bottom && facts.first_col + cols * facts.step >= right;
}
