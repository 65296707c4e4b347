// The live page: one stream of events in, everything on the screen follows from the last status.

import * as words from "./words.js";
import { CurveChart, FrameChart, SHOWN } from "./charts.js";
import { ScanMap } from "./map.js";
import { Pattern, Reconstruction } from "./panels.js";
import { Rows } from "./rows.js";
import { Steer } from "./steer.js";

const LOST_AFTER_MS = 12000; // the service speaks every 5 s even when nothing happens
const RETRY_MS = 2000;
const ROWS_EVERY_MS = 1000;
const FACTS_EVERY_MS = 15000;

const byId = (id) => document.getElementById(id);
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// Everything the page knows.
const state = {
  status: null, facts: null, curves: {}, heard: 0, received: -1, receivedAt: performance.now(), events: null, lost: false,
  tried: null, changes: null, rowsBusy: false, rowsAt: 0, rowsOf: null, saved: null, factsAt: -Infinity, curvesOf: undefined,
};
const rows = new Rows();

const pattern = new Pattern({ rows, changed: () => state.status && steer.show(state.status) });
const image = new Reconstruction();
const steer = new Steer({
  frame: () => pattern.frame(),
  refresh: () => { state.factsAt = -Infinity; fetchFacts(); fetchRows(true); },
  tried: (then) => {
    state.tried = then?.changes ?? null;
    state.changes = then && new Set(then.frames.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i)));
    showRows();
  },
});

// -- charts of the frames --------------------------------------------------------------------------------------------

const inForce = (name) => state.status?.parameters[`screening.${name}`];
const tried = (name) => state.tried?.[`screening.${name}`];

function cuts(names, by = () => 1) {
  return () => names.flatMap((name) => [[inForce(name), false], [tried(name), true]])
    .filter(([value]) => typeof value === "number").map(([value, dashed]) => ({ value: value * (by() ?? NaN), dashed }));
}

const showFrame = (frame) => {
  map.selected = frame;
  map.draw();
  pattern.showFrame(frame);
  byId("pattern").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
};
const total = (row) => rows.columns.total[row];
const ratio = (row) => rows.columns.ratio[row];
const totals = new FrameChart(byId("total-chart"), {
  label: "photons", chosen: showFrame, cuts: cuts(["intensity_ratio_min", "background_ratio_max"], () => rows.reference),
});
const ratios = new FrameChart(byId("ratio-chart"), { label: "χ²/dof", chosen: showFrame, cuts: cuts(["chi2_ratio_max"]) });
const map = new ScanMap(byId("map"), { chosen: showFrame, pointed: sayPoint });
const mapKind = () => document.querySelector("input[name=map]:checked").value;
for (const input of document.querySelectorAll("input[name=map]")) input.addEventListener("change", showRows);

byId("legend").replaceChildren(...SHOWN.map((name) => {
  const item = document.createElement("span");
  item.dataset.category = name;
  item.className = `key ${name}`;
  item.textContent = words.CATEGORIES[name];
  return item;
}));

/** Of the point under the cursor, else of the frame that was chosen. */
function sayPoint(row) {
  const chosen = row ?? (map.selected === null ? -1 : rows.rowOf(map.selected));
  put(byId("map-words"), chosen >= 0 ? rowWords(chosen) : "");
}

function rowWords(row) {
  const { frame, total: photons, ratio: chi2, x, y } = rows.columns;
  const parts = [`frame ${frame[row]}: ${words.CATEGORIES[rows.word(row)]}`, words.photons(photons[row])];
  if (Number.isFinite(chi2[row])) parts.push(`χ²/dof ${chi2[row].toPrecision(3)}`);
  if (Number.isFinite(x[row])) parts.push(`x ${x[row].toFixed(2)} µm, y ${y[row].toFixed(2)} µm`);
  return parts.join(" · ");
}

function mapWords() {
  if (!map.places.length) return "";
  const kind = mapKind();
  if (kind === "verdict" || !map.ends) return `${words.number(map.places.length)} points; the newest has a frame`;
  const show = (value) => (kind === "total" ? words.photons(value) : value.toPrecision(3));
  return `dark ${show(map.ends.low)}, bright ${show(map.ends.high)}; a stroke: not in the sum`;
}

function showRows() {
  if (!rows.length) {
    byId("map-empty").hidden = false;
    return;
  }
  totals.show(rows, total, state.changes);
  ratios.show(rows, ratio, state.changes);
  const kind = mapKind();
  map.show(rows, kind, kind === "ratio" ? ratio : total);
  byId("map-empty").hidden = map.places.length > 0;
  put(byId("map-key"), mapWords());
  byId("total-chart").dataset.frames = rows.length;
}

async function fetchRows(now = false) {
  const { status } = state;
  if (!status || status.series === null || state.rowsBusy || document.hidden) return;
  const of = JSON.stringify([status.series, status.counts, status.parameters.version, status.reference_total]);
  if (!now && (of === state.rowsOf || performance.now() < state.rowsAt)) return;
  state.rowsBusy = true;
  state.rowsAt = performance.now() + ROWS_EVERY_MS;
  try {
    await rows.update();
    state.rowsOf = of;
    showRows();
    pattern.frameKnown();
  } catch {
    // The connection is lost; the next status brings the next try.
  }
  state.rowsBusy = false;
}

// -- curves and facts ------------------------------------------------------------------------------------------------

const snr = new CurveChart(byId("snr-chart"), { label: "signal to noise", names: ["snr"], log: true, level: 1 });
const prtf = new CurveChart(byId("prtf-chart"), { label: "PRTF", names: ["prtf", "guided"], level: Math.exp(-1), range: [0, 1.05] });
const perNm = (q) => q.map((value) => value * 1e-9);

async function fetchCurves() {
  const r = state.status.reconstruction;
  const of = JSON.stringify([state.status.series, r.frames, r.seconds, r.state === "running"]);
  if (of === state.curvesOf) return;
  state.curvesOf = of;
  try {
    state.curves = await (await fetch("/curves")).json();
  } catch {
    state.curvesOf = undefined;
    return;
  }
  const { q_per_m: q, prtf: curve, guided_prtf: guided, snr: noise } = state.curves;
  if (q?.length) prtf.show(perNm(q), [curve, guided ?? q.map(() => null)]);
  if (noise?.q) snr.show(perNm(noise.q), [noise.snr]);
  put(byId("prtf-words"), words.prtfWords(state.status, state.curves));
  put(byId("snr-words"), words.forecast(state.status));
}

async function fetchFacts() {
  if (performance.now() < state.factsAt && state.facts?.series === (state.status?.series ?? undefined)) return;
  state.factsAt = performance.now() + FACTS_EVERY_MS;
  try {
    state.facts = await (await fetch("/facts")).json();
  } catch {
    return;
  }
  pattern.setFacts(state.facts);
  put(byId("fact-disk"), words.disk(state.facts.disk));
  steer.showNotes(state.facts.notes ?? []);
  put(byId("frames-words"), `A click on a dot or a point shows that frame (${state.facts.can_show ?? "none yet"}). Drag across a chart to zoom, double-click to see all.`);
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

const lines = new Map(Object.entries(words.CATEGORIES).map(([name, label]) => {
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
  for (const [name, { row, count, fill, share }] of lines) {
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
  put(byId("fact-ring"), words.ring(status.ring));
  put(byId("fact-durable"), words.durable(status));
  put(byId("fact-settings"), thresholds(status.parameters));
  put(byId("fact-missing"), words.holes(status) ? words.ranges(status.missing_frames, status) : "none");
  put(byId("fact-result"), [status.result ?? "no file yet", state.saved].filter(Boolean).join(", "));
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
  put(byId("series"), status.series === null ? "no series yet" : `series ${status.series}${status.purpose === "sample" ? "" : `, ${status.purpose}`}`);
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
  put(byId("fact-forecast"), words.forecast(status));
  pattern.setStatus(status);
  image.setStatus(status);
  steer.show(status);
  fetchRows();
  fetchCurves();
  fetchFacts();
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
  const events = new EventSource("/events?what=none");
  state.events = events;
  events.addEventListener("status", (event) => {
    heard();
    state.status = JSON.parse(event.data);
    showStatus();
  });
  events.addEventListener("snapshot", (event) => {
    heard();
    const { rows: saved } = JSON.parse(event.data);
    state.saved = `${words.number(saved)} rows saved at ${new Date().toLocaleTimeString("en-GB")}`;
  });
  events.addEventListener("error", () => {
    lose();
    // A browser gives up for good on an answer that is no stream, so begin anew.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

setInterval(() => {
  showRunning();
  fetchRows();
  if (state.heard && performance.now() - state.heard > LOST_AFTER_MS) {
    lose();
    state.heard = performance.now();
    connect();
  }
}, 1000);
connect();
