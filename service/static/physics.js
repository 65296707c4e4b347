// Where a pixel looks: the formulas of processing/geometry.py, for what stands under the cursor.

/** Length of the scattering vector in 1/m at a distance from the beam in pixels; null where the geometry is not known. */
export function qAt(radius, facts) {
  const { wavelength_m: wavelength, distance_m: distance, pixel_size_m: pixel } = facts ?? {};
  if (!wavelength || !distance || !pixel) return null;
  return ((4 * Math.PI) / wavelength) * Math.sin(0.5 * Math.atan((radius * pixel) / distance));
}

/** The distance from the beam in pixels at which structures of a half period in m scatter; null when nowhere. */
export function radiusOf(half, facts) {
  const { wavelength_m: wavelength, distance_m: distance, pixel_size_m: pixel } = facts ?? {};
  if (!wavelength || !distance || !pixel) return null;
  const sine = wavelength / (4 * half);
  return sine >= Math.SQRT1_2 ? null : (distance / pixel) * Math.tan(2 * Math.asin(sine));
}

export const halfPeriod = (q) => Math.PI / q;

const NICE = [1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000].map((nm) => nm * 1e-9);

/** Half periods in m whose rings lie at least `apart` pixels from each other, the outermost first. */
export function rings(facts, farthest, apart) {
  const chosen = [];
  let last = Infinity;
  for (const half of NICE) {
    const radius = radiusOf(half, facts);
    if (radius === null || radius > farthest || last - radius < apart || radius < apart) continue;
    chosen.push({ half, radius });
    last = radius;
  }
  return chosen;
}
