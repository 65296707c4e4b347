// One picture that follows its version: fetched when it changed, never two at once, swapped when fully decoded.

import { number } from "./words.js";

const PAUSE_MS = 1000;

export class Picture {
  constructor(frame, describe) {
    this.frame = frame;
    this.describe = describe;
    this.empty = frame.querySelector(".empty");
    this.what = null;
    this.wanted = null;
    this.shown = null;
    this.busy = false;
    this.restUntil = 0;
  }

  // Show this picture in this version; null when there is none (yet).
  show(what, version, emptyWords) {
    if (what !== this.what) {
      this.shown = null;
      this.restUntil = 0; // a person has asked for another one: now, not in a second
    }
    this.what = what;
    this.wanted = version ?? null;
    if (this.wanted === null) {
      this.shown = null;
      this.empty.textContent = emptyWords;
      this.frame.replaceChildren(this.empty);
      this.describe(null, what);
    } else {
      this.load();
    }
  }

  async load() {
    if (this.busy || this.wanted === null || this.wanted === this.shown) return;
    if (performance.now() < this.restUntil) {
      setTimeout(() => this.load(), this.restUntil - performance.now() + 5);
      return;
    }
    this.busy = true;
    this.restUntil = performance.now() + PAUSE_MS;
    const [what, version] = [this.what, this.wanted];
    try {
      const query = `what=${what}&v=${version}`;
      const image = new Image();
      image.src = `/preview.jpg?${query}`;
      await image.decode();
      const answer = await fetch(`/preview.json?${query}`);
      if (answer.ok && this.what === what && this.wanted !== null) {
        image.alt = this.describe(await answer.json(), what);
        this.frame.replaceChildren(image);
        this.shown = version;
      }
    } catch {
      // The connection is lost or the series has just changed; the next version brings the next try.
    }
    this.busy = false;
    this.load();
  }
}

export const high = (value) => (value < 1e6 ? number(value) : value.toExponential(1).replace("e+", " × 10^"));
