// Colours that tell apart with any colour vision: Okabe and Ito for categories, viridis and cividis-like order for values.

const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [110, 206, 88], [181, 222, 43], [253, 231, 37],
];

/** Viridis in 256 steps, as 32-bit pixels (ABGR, as a canvas of a little-endian machine stores them). */
export const PALETTE = Uint32Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(place));
  const [r, g, b] = VIRIDIS[low].map((from, k) => Math.round(from + (VIRIDIS[low + 1][k] - from) * (place - low)));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

export const css = (part) => {
  const pixel = PALETTE[Math.max(0, Math.min(255, Math.round(255 * part)))];
  return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
};

export const GRAY = (255 << 24) | (125 << 16) | (125 << 8) | 125;
export const MASK = (255 << 24) | (167 << 16) | (121 << 8) | 204;

const style = () => getComputedStyle(document.documentElement);
export const token = (name) => style().getPropertyValue(`--${name}`).trim();

/** Ends of a scale over values: logarithmic from the faintest 1 % to the brightest 0.1 %, or linear over all. */
export function scaleOf(values, log) {
  const every = Math.max(1, Math.floor(values.length / 60000));
  const seen = [];
  let zeros = 0;
  for (let i = 0; i < values.length; i += every) {
    const value = values[i];
    if (value > 0 || (!log && value <= 0)) seen.push(value);
    else if (value === 0) zeros += 1;
  }
  if (!seen.length) return { log, low: 0, high: 1, offset: 1 };
  seen.sort((a, b) => a - b);
  if (!log) return { log, low: seen[0], high: seen.at(-1) > seen[0] ? seen.at(-1) : seen[0] + 1, offset: 0 };
  const offset = seen[Math.floor(0.01 * seen.length)];
  const high = Math.max(seen[Math.min(seen.length - 1, Math.floor(0.999 * seen.length))], 2 * offset);
  return { log, low: zeros > 0.01 * (zeros + seen.length) ? 0 : offset, high, offset };
}

/** Where a value stands on a scale, 0 to 1. */
export function part(value, { log, low, high, offset }) {
  const share = log
    ? Math.log((Math.max(0, value) + offset) / (low + offset)) / Math.log((high + offset) / (low + offset))
    : (value - low) / (high - low);
  return Math.max(0, Math.min(1, share));
}

/** A canvas with one pixel a value. */
export function paint({ values, rows, cols }, scale, masked) {
  const canvas = document.createElement("canvas");
  canvas.width = cols;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(cols, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i += 1) {
    const value = values[i];
    pixels[i] = Number.isNaN(value) ? masked : PALETTE[Math.round(255 * part(value, scale))];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
