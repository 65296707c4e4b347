// Steering: everything here needs the token, except trying thresholds out.

import { CATEGORIES, number } from "./words.js";

const byId = (id) => document.getElementById(id);
const NAME = "xedm-token"; // of this tab only, gone when it is closed

export class Steer {
  /** `tried(answer)` is told what a set of thresholds would change, null for none; `frame()` is the frame on the screen. */
  constructor({ tried, frame, refresh }) {
    Object.assign(this, { tried, frame, refresh });
    this.token = sessionStorage.getItem(NAME) ?? "";
    this.status = null;
    this.inputs = [...document.querySelectorAll("#thresholds input")];
    for (const input of this.inputs) input.addEventListener("input", () => this.later());
    byId("right").addEventListener("submit", (event) => {
      event.preventDefault();
      this.unlock();
    });
    byId("reset").addEventListener("click", () => this.reset());
    byId("apply").addEventListener("click", () => this.apply());
    byId("reconstruct").addEventListener("click", () => this.act("POST", "/reconstruct", null, () => "A new image is being made from what is there now."));
    byId("snapshot").addEventListener("click", () => this.act("POST", "/snapshot", null, ({ result }) => `Saved: ${result}`));
    byId("leave-out").addEventListener("click", () => this.mark());
    byId("write-note").addEventListener("click", () => this.note());
    this.lock();
    if (this.token) this.check();
  }

  // -- the right -----------------------------------------------------------------------------------------------------

  lock() {
    const open = this.open === true;
    document.querySelector("#steer").classList.toggle("open", open);
    for (const id of ["reconstruct", "snapshot", "leave-out", "write-note", "note"]) byId(id).disabled = !open;
    byId("apply").disabled = !open || !this.changes();
    byId("token").hidden = open;
    document.querySelector("label[for=token]").hidden = open;
    byId("unlock").textContent = open ? "Lock" : "Unlock";
  }

  async unlock() {
    if (this.open) {
      this.open = false;
      this.token = "";
      sessionStorage.removeItem(NAME);
      byId("right-words").textContent = "Locked.";
      this.lock();
      return;
    }
    this.token = byId("token").value.trim();
    byId("token").value = "";
    await this.check();
  }

  async check() {
    try {
      await this.ask("GET", "/right");
      this.open = true;
      sessionStorage.setItem(NAME, this.token);
      byId("right-words").textContent = "This tab may steer.";
    } catch (error) {
      this.open = false;
      sessionStorage.removeItem(NAME);
      byId("right-words").textContent = error.message;
    }
    this.lock();
  }

  async ask(method, address, body) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const answer = await fetch(address, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
    const told = answer.status === 204 ? {} : await answer.json();
    if (!answer.ok) throw new Error(told.error);
    return told;
  }

  async act(method, address, body, words) {
    try {
      byId("steer-words").textContent = words(await this.ask(method, address, body));
      this.refresh();
      return true;
    } catch (error) {
      byId("steer-words").textContent = error.message;
      return false;
    }
  }

  // -- thresholds ----------------------------------------------------------------------------------------------------

  /** Take a new status: fields nobody has touched follow it. */
  show(status) {
    this.status = status;
    for (const input of this.inputs) {
      if (input.dataset.touched !== "yes" && document.activeElement !== input) input.value = status.parameters[input.dataset.setting] ?? "";
    }
    if (this.changes()) this.later(1000);
    const frame = this.frame();
    byId("leave-out").hidden = frame === null;
    if (frame !== null) byId("leave-out").textContent = frame.verdict === "gated" ? `Take frame ${frame.frame} back` : `Leave frame ${frame.frame} out`;
    this.lock();
  }

  /** The thresholds that differ from those in force; null when none does. */
  changes() {
    if (!this.status) return null;
    const changed = this.inputs
      .filter((input) => input.value !== "" && Number(input.value) !== this.status.parameters[input.dataset.setting])
      .map((input) => [input.dataset.setting, Number(input.value)]);
    return changed.length ? Object.fromEntries(changed) : null;
  }

  /** The same thresholds as they are: both columns of the table are then of the same moment. */
  inForce(changes) {
    return Object.fromEntries(Object.keys(changes).map((name) => [name, this.status.parameters[name]]));
  }

  /** Ask in a moment; while frames come, the answer is renewed but never put off. */
  later(pause = 300) {
    for (const input of this.inputs) input.dataset.touched = this.status && Number(input.value) !== this.status.parameters[input.dataset.setting] ? "yes" : "";
    this.lock();
    if (pause > 300 && this.timer) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.timer = null; this.preview(); }, pause);
  }

  async preview() {
    const changes = this.changes();
    const body = byId("whatif").tBodies[0];
    if (!changes) {
      body.replaceChildren();
      byId("whatif-words").textContent = "Change a threshold to see.";
      this.tried(null);
      this.lock();
      return;
    }
    try {
      const answer = await fetch("/whatif", { method: "POST", body: JSON.stringify({ cases: [this.inForce(changes), changes] }) });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error);
      const [{ counts: now }, then] = told.cases;
      body.replaceChildren(...["accepted", "low_intensity", "streak", "background"].map((name) => {
        const row = document.createElement("tr");
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = CATEGORIES[name];
        const cells = [now[name] ?? 0, then.counts[name] ?? 0].map((count) => {
          const cell = document.createElement("td");
          cell.textContent = number(count);
          return cell;
        });
        cells[1].dataset.then = name;
        row.classList.toggle("differs", (now[name] ?? 0) !== (then.counts[name] ?? 0));
        row.append(head, ...cells);
        return row;
      }));
      byId("whatif-words").textContent = then.flips === 0
        ? "No frame would change its verdict."
        : `${number(then.flips)} ${then.flips === 1 ? "frame" : "frames"} would change; they have a ring in the charts.`;
      this.tried(then);
    } catch (error) {
      byId("whatif-words").textContent = error.message;
      this.tried(null);
    }
    this.lock();
  }

  reset() {
    for (const input of this.inputs) {
      input.dataset.touched = "";
      input.value = this.status?.parameters[input.dataset.setting] ?? "";
    }
    this.preview();
  }

  async apply() {
    const changes = this.changes();
    if (!changes) return;
    const done = await this.act("PUT", "/settings", changes, ({ version }) => `In force as version ${version}; every frame has been judged again.`);
    if (!done) return;
    for (const input of this.inputs) input.dataset.touched = "";
    Object.assign(this.status.parameters, changes);
    this.preview();
  }

  // -- frames and notes ----------------------------------------------------------------------------------------------

  async mark() {
    const shown = this.frame();
    if (shown === null) return;
    const out = shown.verdict !== "gated";
    await this.act("POST", "/mark", { frames: [shown.frame], out }, () => `Frame ${shown.frame} is ${out ? "left out" : "back"}.`);
  }

  async note() {
    const text = byId("note").value.trim();
    if (text && await this.act("POST", "/notes", { text }, () => "Written down.")) byId("note").value = "";
  }

  showNotes(notes) {
    byId("notes").replaceChildren(...notes.toReversed().map(({ when, text }) => {
      const item = document.createElement("li");
      const time = document.createElement("span");
      time.className = "when";
      time.textContent = `${new Date(when).toLocaleTimeString("en-GB")}  `;
      item.append(time, text);
      return item;
    }));
  }
}
