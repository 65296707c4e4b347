// The live page: one stream of events in, everything on the screen follows from the last status.

import * as words from "./words.js";
import { Picture, high } from "./pictures.js";

const LOST_AFTER_MS = 12000; // the service speaks every 5 s even when nothing happens
const RETRY_MS = 2000;

const byId = (id) => document.getElementById(id);
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// Everything the page knows.
const state = { status: null, versions: {}, heard: 0, received: -1, receivedAt: performance.now(), events: null, lost: false };

const NAMES = { sum: "Sum", last: "Last frame", background: "Background" };
const EMPTY = {
  sum: "The summed pattern appears with the first accepted frame.",
  last: "The last frame appears when one has come.",
  background: "The background appears with the first frame beside the particles.",
};

const pattern = new Picture(byId("pattern"), describePattern);
const image = new Picture(byId("image"), (numbers) => {
  put(byId("image-words"), numbers && state.status ? words.imageWords(state.status) : "");
  return numbers ? `Reconstructed image ${words.imageWords(state.status)}` : "";
});

function describePattern(numbers, what) {
  byId("pattern-scale").hidden = !numbers;
  if (!numbers) {
    put(byId("pattern-words"), "");
    return "";
  }
  const count = what === "last" ? "" : ` of ${words.number(numbers.frames)} ${numbers.frames === 1 ? "frame" : "frames"}`;
  put(byId("pattern-words"), `${NAMES[what]}${count}, log scale`);
  put(byId("pattern-low"), high(numbers.low));
  put(byId("pattern-high"), `${high(numbers.high)} photons`);
  return `${NAMES[what]}${count}, logarithmic colours from ${high(numbers.low)} to ${high(numbers.high)} photons`;
}

const chosen = () => document.querySelector("input[name=what]:checked").value;

function showPictures() {
  const what = chosen();
  pattern.show(what, state.versions[what], EMPTY[what]);
  const { status } = state;
  const none = status && words.imageWanted(status)
    ? (status.reconstruction.state === "running"
      ? "The first image is being made."
      : "The first image appears after a few accepted frames.")
    : "Reconstruction is switched off.";
  image.show("reconstruction", state.versions.reconstruction, none);
}

function tile(id, { level, words: text, detail }) {
  const element = byId(id);
  element.dataset.level = level;
  put(element.querySelector(".words"), text);
  put(element.querySelector(".detail"), detail);
}

function mark(element, { level, words: text }) {
  element.dataset.level = level;
  put(element.querySelector(".words"), text);
}

const rows = new Map(Object.entries(words.CATEGORIES).map(([name, label]) => {
  const row = byId("books").insertRow();
  row.dataset.category = name;
  const head = document.createElement("th");
  head.scope = "row";
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.setAttribute("aria-hidden", "true");
  head.append(swatch, label);
  row.append(head);
  const count = row.insertCell();
  count.className = "count";
  const share = row.insertCell();
  share.className = "share";
  const fill = document.createElement("div");
  fill.className = "fill";
  share.append(fill);
  return [name, { row, count, fill, share }];
}));

function showBooks(status) {
  const whole = Math.max(1, status.counts.received + words.holes(status));
  for (const [name, { row, count, fill, share }] of rows) {
    const value = name === "missing" ? words.holes(status) : status.counts[name];
    put(count, words.number(value));
    row.classList.toggle("none", value === 0);
    share.setAttribute("aria-label", `${Math.round((100 * value) / whole)} %`);
    fill.style.width = value ? `max(3px, ${(100 * value) / whole}%)` : "0";
  }
  mark(byId("balance"), words.balance(status));
}

function showFacts(status) {
  put(byId("fact-last"), words.lastFrame(status.last));
  put(byId("fact-reference"), status.reference_total === null ? "not found yet" : words.photons(status.reference_total));
  const rate = status.rate_hz > 0 ? `${Number(status.rate_hz.toPrecision(3))} frames/s` : "no frames now";
  put(byId("fact-rate"), `${rate}, ${status.behind} waiting`);
  put(byId("fact-durable"), words.durable(status));
  put(byId("fact-settings"), thresholds(status.parameters));
  put(byId("fact-missing"), words.holes(status) ? words.ranges(status.missing_frames, status) : "none");
  put(byId("fact-result"), status.result ?? "no file yet");
}

function thresholds(parameters) {
  const parts = [];
  const intensity = setting(parameters, "intensity_ratio_min");
  const chi2 = setting(parameters, "chi2_ratio_max");
  if (setting(parameters, "enabled") === false) parts.push("screening off");
  if (intensity !== undefined) parts.push(`intensity ≥ ${intensity}`);
  if (chi2 !== undefined) parts.push(`χ²/dof ≤ ${chi2}`);
  const version = parameters.version;
  return parts.join(", ") + (version === undefined ? "" : ` (version ${version})`) || "not known";
}

const setting = (parameters, key) => parameters[`screening.${key}`] ?? parameters.screening?.[key];

function showProblems(status) {
  const list = words.problems(status);
  byId("problems").hidden = !list.length;
  byId("problems").querySelector("ul").replaceChildren(...list.map(({ level, words: text, when, where }) => {
    const item = document.createElement("li");
    item.dataset.level = level;
    item.append(text);
    if (when) {
      const time = document.createElement("span");
      time.className = "when";
      time.textContent = `  ${[when, where].filter(Boolean).join(", ")}`;
      item.append(time);
    }
    return item;
  }));
}

function showRunning() {
  const { status } = state;
  if (!status || state.lost) return;
  tile("tile-running", words.running(status, (performance.now() - state.receivedAt) / 1000));
}

function showStatus() {
  const { status } = state;
  if (status.counts.received !== state.received) {
    state.received = status.counts.received;
    state.receivedAt = performance.now();
  }
  put(byId("series"), status.series === null ? "no series yet" : `series ${status.series}`);
  showRunning();
  tile("tile-good", words.good(status));
  const answer = words.enough(status);
  tile("tile-enough", answer);
  byId("progress").hidden = answer.part === null;
  byId("progress").value = answer.part ?? 0;
  const trouble = words.wrong(status);
  tile("tile-wrong", trouble);
  showBooks(status);
  showFacts(status);
  showProblems(status);
  put(byId("image-words"), words.imageWords(status));
  put(byId("say"), `${words.running(status, 0).words}. ${trouble.words}${trouble.level === "ok" ? "" : `: ${trouble.detail}`}.`);
  document.title = `${trouble.level === "ok" ? "" : "▲ "}${answer.words} ${status.state} · XEDM`;
}

function contact(level, text) {
  byId("contact").dataset.level = level;
  put(byId("contact-text"), text);
}

function heard() {
  state.heard = performance.now();
  state.lost = false;
  document.body.classList.remove("stale");
  contact("ok", "live");
}

function lose() {
  if (state.lost) return;
  state.lost = true;
  document.body.classList.add("stale");
  contact("bad", "connection lost, trying again");
  tile("tile-running", { level: "bad", words: "Not known", detail: "no contact with the service, trying again" });
  put(byId("say"), "Connection lost, trying again.");
  document.title = "✕ connection lost · XEDM";
}

function connect() {
  state.events?.close();
  const events = new EventSource(`/events?what=${chosen()}&what=reconstruction`);
  state.events = events;
  events.addEventListener("status", (event) => {
    heard();
    state.status = JSON.parse(event.data);
    showStatus();
  });
  events.addEventListener("preview", (event) => {
    heard();
    state.versions = JSON.parse(event.data);
    showPictures();
  });
  events.addEventListener("error", () => {
    lose();
    // A browser gives up for good on an answer that is no stream, so begin anew.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

for (const input of document.querySelectorAll("input[name=what]")) {
  input.addEventListener("change", connect); // the service makes, and tells of, the pictures somebody looks at
}
setInterval(() => {
  showRunning();
  if (state.heard && performance.now() - state.heard > LOST_AFTER_MS) {
    lose();
    state.heard = performance.now();
    connect();
  }
}, 1000);
connect();
