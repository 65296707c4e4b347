// The ledger's rows, one a frame: fetched from where they ended last time, since thousands come in a night.

const TYPES = { float64: Float64Array, float32: Float32Array, uint32: Uint32Array, uint8: Uint8Array };
const AGAIN = 300; // positions of the newest frames may come after the frames themselves

/** The service has nothing to show; its words say why. */
export class Nothing extends Error {}

/** What a binary answer holds: its facts, and the bytes behind them; null when one has them already. */
export async function binary(address) {
  const answer = await fetch(address);
  if (answer.status === 204) {
    const none = JSON.parse(answer.headers.get("X-Facts") ?? "{}").none;
    if (none) throw new Nothing(none);
    return null;
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return { facts: JSON.parse(answer.headers.get("X-Facts")), bytes: await answer.arrayBuffer() };
}

export class Rows {
  constructor() {
    this.clear();
  }

  clear() {
    this.series = null;
    this.length = 0;
    this.room = 0;
    this.columns = {};
    this.verdict = new Uint8Array(0);
    this.reference = null;
    this.categories = [];
  }

  /** Fetch what is new. */
  async update() {
    for (let more = true; more;) {
      const { facts, bytes } = await binary(`/rows?first=${Math.max(0, this.length - AGAIN)}`) ?? {};
      if (!facts) return;
      if (facts.series !== this.series || facts.total < this.length) {
        const begin = facts.first === 0;
        this.clear();
        this.series = facts.series;
        if (!begin) continue;
      }
      this.take(facts, bytes);
      more = this.length < facts.total;
    }
  }

  take(facts, bytes) {
    this.reference = facts.reference_total;
    this.categories = facts.categories;
    let at = 0;
    for (const [name, type, length] of facts.columns) {
      const column = new TYPES[type](bytes, at, length);
      at += column.byteLength;
      if (name === "verdict") {
        this.verdict = column;
        continue;
      }
      const needed = facts.first + length;
      const old = this.columns[name];
      if (!old || old.length < needed) {
        this.columns[name] = new TYPES[type](Math.max(1024, 2 * needed));
        if (old) this.columns[name].set(old);
      }
      this.columns[name].set(column, facts.first);
      if (name === "frame") this.length = needed;
    }
  }

  word(row) {
    return this.categories[this.verdict[row]] ?? "pending";
  }

  /** The newest row of a frame, -1 when it has none. */
  rowOf(frame) {
    for (let row = this.length - 1; row >= 0; row -= 1) if (this.columns.frame[row] === frame) return row;
    return -1;
  }

  /** The next frame after (or, with -1, before) another one whose verdict is `word`; null when there is none. */
  neighbour(frame, direction, word) {
    let best = null;
    for (let row = 0; row < this.length; row += 1) {
      const other = this.columns.frame[row];
      if ((word && this.word(row) !== word) || this.word(row) === "duplicate") continue;
      const away = (other - frame) * direction;
      if (away > 0 && (best === null || away < (best - frame) * direction)) best = other;
    }
    return best;
  }
}
