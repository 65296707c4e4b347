// What the numbers of /status mean to a person. Pure functions: status in, words and a level out.
// Levels: ok, busy (working), warn (look at it), bad (act), quiet (nothing to say).

export const CATEGORIES = {
  accepted: "accepted",
  low_intensity: "low intensity",
  streak: "streak",
  background: "background",
  gated: "gated",
  corrupt: "corrupt",
  duplicate: "duplicate",
  foreign: "foreign",
  missing: "missing",
  pending: "pending",
};

export const number = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
const frames = (count) => `${number(count)} ${count === 1 ? "frame" : "frames"}`;
const sharply = (value, digits) => Number(value.toPrecision(digits)).toString();

/** A large number as a factor and a power of ten. */
export function power(value, digits) {
  const [factor, exponent] = value.toExponential(digits).split("e+");
  return exponent === undefined ? value.toPrecision(digits + 1) : `${factor} × 10${[...exponent].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}

export function photons(value) {
  return value < 1e6 ? `${number(value)} photons` : `${power(value, 2)} photons`;
}

export function length(metres) {
  const [scale, unit] = metres < 1e-6 ? [1e9, "nm"] : [1e6, "µm"];
  return `${sharply(metres * scale, 3)} ${unit}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

// Frames of this series that have come, each once.
export function taken(status) {
  const c = status.counts;
  return c.accepted + c.low_intensity + c.streak + c.background + c.gated + c.corrupt + c.pending;
}

// Missing frames that later ones have overtaken; the rest may still be on their way.
export function holes(status) {
  if (status.state !== "receiving" && status.state !== "armed") return status.counts.missing;
  const newest = status.last ? status.last.frame : -1;
  return status.missing_frames.reduce((sum, [a, b]) => sum + Math.max(0, Math.min(b, newest) - a + 1), 0);
}

export function running(status, silentFor) {
  const rate = status.rate_hz > 0 ? `${sharply(status.rate_hz, 3)} frames/s` : "no rate yet";
  const waiting = status.behind > 0 ? `${frames(status.behind)} waiting` : "none waiting";
  switch (status.state) {
    case "idle":
      return { level: "quiet", words: "Waiting", detail: status.message };
    case "armed":
      return { level: "busy", words: "Armed", detail: "waiting for the first frame" };
    case "receiving": {
      if (status.paused) return { level: "warn", words: "Paused", detail: "the scan is paused" };
      if (silentFor > patience(status)) {
        return { level: "warn", words: "Silent", detail: `no new frame for ${duration(silentFor)}` };
      }
      return { level: status.behind > 100 ? "warn" : "ok", words: "Receiving", detail: `${rate}, ${waiting}` };
    }
    case "complete":
      return { level: "ok", words: "Complete", detail: "every announced frame has come" };
    case "incomplete":
      return { level: "warn", words: "Ended incomplete", detail: losses(status) };
    default:
      return { level: "bad", words: "Failed", detail: status.message };
  }
}

const patience = (status) => Math.max(15, status.rate_hz > 0 ? 5 / status.rate_hz : 120);

function losses(status) {
  const parts = [];
  if (status.counts.missing) parts.push(`${frames(status.counts.missing)} missing`);
  if (status.counts.corrupt) parts.push(`${number(status.counts.corrupt)} corrupt`);
  return parts.join(", ") || status.message;
}

export function good(status) {
  const judged = taken(status) - status.counts.pending;
  if (!judged) return { level: "quiet", words: "No verdict yet", detail: "judged with the first frames" };
  if (status.purpose === "alignment") return { level: "quiet", words: "Alignment", detail: "these frames are in no sum" };
  if (status.purpose === "background") {
    return { level: "ok", words: `${number(status.counts.background)} of background`, detail: "this series is for the background only" };
  }
  const share = status.counts.accepted / judged;
  const percent = share === 1 ? "100" : sharply(Math.min(99.9, 100 * share), share < 0.1 ? 1 : 2);
  const level = share >= 0.5 || judged < 10 ? "ok" : share > 0.05 ? "warn" : "bad";
  const last = status.last ? `last frame: ${CATEGORIES[status.last.verdict] ?? status.last.verdict}` : "";
  return { level, words: `${percent} % accepted`, detail: last };
}

export function enough(status) {
  const image = [picture(status), toGo(status)].filter(Boolean).join(" · ");
  if (status.announced === null) {
    const words = taken(status) ? `${frames(taken(status))} so far` : "Not known yet";
    return { level: taken(status) ? "busy" : "quiet", words, detail: image, part: null };
  }
  const done = taken(status);
  const words = `${number(done)} of ${number(status.announced)}`;
  const left = status.announced - done;
  const rest = status.state === "receiving" && status.rate_hz > 0 && left > 0
    ? `about ${duration(left / status.rate_hz)} left · ` : "";
  const ended = ["complete", "incomplete", "failed"].includes(status.state);
  const level = left <= 0 ? "ok" : ended ? "warn" : "busy";
  return { level, words, detail: rest + image, part: status.announced ? done / status.announced : null };
}

function toGo(status) {
  const f = status.forecast;
  if (f.frames_missing === null || f.wanted_resolution_m === null) return "";
  return f.frames_missing ? `${number(f.frames_missing)} to go for ${length(f.wanted_resolution_m)}` : `enough for ${length(f.wanted_resolution_m)}`;
}

// "off" is also what an idle service says whose reconstruction is enabled.
export function imageWanted(status) {
  const enabled = status.parameters["reconstruction.enabled"];
  return status.reconstruction.state !== "off" || (enabled ?? status.series === null);
}

function picture(status) {
  const r = status.reconstruction;
  if (r.resolution_m !== null) return `image at ${length(r.resolution_m)}`;
  if (!imageWanted(status)) return "no image wanted";
  return { off: "image not begun", waiting: "image not begun", running: "image in work", done: "image done",
    failed: "image failed" }[r.state];
}

export function wrong(status) {
  const list = problems(status);
  if (!list.length) return { level: "ok", words: "Nothing wrong", detail: "books balanced, nothing lost" };
  const level = list.some((item) => item.level === "bad") ? "bad" : "warn";
  const words = list.length === 1 ? "One thing" : `${list.length} things`;
  return { level, words, detail: list[0].words };
}

export function problems(status) {
  const list = [];
  if (status.state === "failed") list.push({ level: "bad", words: status.message });
  if (!status.balanced) list.push({ level: "bad", words: "The books do not balance: a frame is counted twice or nowhere." });
  for (const reason of status.degraded) list.push({ level: "warn", words: reason });
  if (holes(status)) list.push({ level: "warn", words: `${frames(holes(status))} lost on the way: ${ranges(status.missing_frames, status)}` });
  if (status.unresolved.length) {
    list.push({ level: "warn", words: `${frames(status.unresolved.length)} should change verdict, but the data are gone` });
  }
  for (const warning of status.reconstruction.warnings) list.push({ level: "warn", words: `Image: ${warning}` });
  if (status.reconstruction.state === "failed") list.push({ level: "warn", words: `Image failed: ${status.reconstruction.message}` });
  for (const error of status.errors.toReversed()) {
    list.push({ level: "warn", words: error.message, when: clock(error.when), where: place(error) });
  }
  return list;
}

const clock = (iso) => {
  const when = new Date(iso);
  return Number.isNaN(when.getTime()) ? iso : when.toLocaleTimeString("en-GB");
};

function place(error) {
  const parts = [];
  if (error.series !== null) parts.push(`series ${error.series}`);
  if (error.frame !== null) parts.push(`frame ${error.frame}`);
  return parts.join(", ");
}

export function ranges(list, status) {
  const newest = status.state === "receiving" && status.last ? status.last.frame : Infinity;
  const past = list.filter(([a]) => a <= newest);
  const shown = past.slice(0, 6).map(([a, b]) => (a === b ? `${a}` : `${a}–${Math.min(b, newest)}`)).join(", ");
  return past.length > 6 ? `${shown} and ${past.length - 6} more ranges` : shown;
}

export function lastFrame(last) {
  if (!last) return "none yet";
  const ratio = last.chi2 !== null && last.dof > 0 ? ` · χ²/dof ${sharply(last.chi2 / last.dof, 3)}` : "";
  return `${last.frame}: ${CATEGORIES[last.verdict] ?? last.verdict} · ${photons(last.total)}${ratio}`;
}

export function balance(status) {
  if (!status.counts.received) return { level: "quiet", words: "nothing received yet" };
  const count = number(status.counts.received);
  return status.balanced
    ? { level: "ok", words: `${count} received, each in one place` }
    : { level: "bad", words: `${count} received, but the books do not balance` };
}

export function imageWords(status) {
  const r = status.reconstruction;
  const parts = [];
  if (r.frames !== null) parts.push(`from ${frames(r.frames)}`);
  if (r.resolution_m !== null) parts.push(length(r.resolution_m));
  if (r.state === "running") parts.push("next one in work");
  return parts.join(" · ");
}

/** What survives if the service is killed now, and what does not. */
export function durable(status) {
  const safe = status.durable_through > 0 ? `${number(status.durable_through)} frames` : "nothing yet";
  const open = status.at_risk?.since_checkpoint ?? 0;
  return open > 0 ? `${safe}, ${number(open)} not yet` : safe;
}

/** How many frames the wanted resolution takes, or what the sum allows now. */
export function forecast(status) {
  const f = status.forecast;
  if (f.frames === null) return "with the first image";
  const now = f.resolution_m === null ? "no signal above the noise yet" : `signal above noise to ${length(f.resolution_m)}`;
  if (f.wanted_resolution_m === null) return `${now} (from ${frames(f.frames)})`;
  const wanted = length(f.wanted_resolution_m);
  if (f.frames_needed === null) return `${now}; how many frames ${wanted} takes cannot be told yet`;
  if (!f.frames_missing) return `${now}; enough frames for ${wanted}`;
  const rest = status.rate_hz > 0 ? `, about ${duration(f.frames_missing / status.rate_hz)}` : "";
  return `${now}; ${wanted} takes ${frames(f.frames_needed)}, ${number(f.frames_missing)} to go${rest}`;
}

export function prtfWords(status, curves) {
  if (!curves.q_per_m?.length) return status.reconstruction.message || "It comes with the first image.";
  const at = status.reconstruction.resolution_m;
  const lowest = Math.min(...curves.prtf.filter((value) => value !== null));
  if (at === null) return "No resolution could be told from it.";
  return lowest > Math.exp(-1) ? `It stays above 1/e (dashed) to the edge, a half period of ${length(at)}.` : `It falls below 1/e (dashed) at a half period of ${length(at)}.`;
}

export function ring(shown) {
  if (!shown) return "not watched (pvs.ring_addresses)";
  if (shown.message) return shown.message;
  const current = shown.current_ma === null ? "no valid current" : `${shown.current_ma.toFixed(1)} mA`;
  if (!shown.beam) return `no beam: ${current}`;
  if (shown.countdown_s === null) return `${current}, no valid countdown`;
  return `${current}, ${shown.countdown_s > 0 ? `injection in ${duration(shown.countdown_s)}` : "injection now"}`;
}

export function disk(usage) {
  if (!usage) return "not known";
  const free = usage.free_bytes / 1e9;
  return `${sharply(free, 3)} GB free (${Math.round((100 * usage.free_bytes) / usage.total_bytes)} %)`;
}
