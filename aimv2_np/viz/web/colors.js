// Numbers as colours: scales that those can tell apart who see fewer colours, and maps with a colour for each patch.
export const SCALES = {
  viridis: ["440154", "481f70", "443983", "3b528b", "31688e", "287c8e", "21918c", "20a486", "35b779", "5ec962", "90d743", "c8e020", "fde725"],
  cividis: ["00224e", "003170", "2a3f6d", "434e6c", "575d6d", "6a6c71", "7d7c78", "918b78", "a59c74", "bcae6c", "d2c060", "e9d34e", "fee838"],
  signed: ["2d004b", "4d207d", "70589f", "9990bf", "bfbbda", "dddfed", "f7f7f6", "fde4c0", "fdc57f", "ee9b39", "d0730f", "aa5306", "7f3b08"],
};
for (const name in SCALES) SCALES[name] = SCALES[name].map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));

export function colorOf(scale, t) {
  const stops = SCALES[scale], x = Math.min(1, Math.max(0, t)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
  return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (x - i)));
}
// As WCAG 2 defines it, from 0 for black to 1 for white.
export function luminance(rgb) {
  const [r, g, b] = rgb.map(x => x <= 10 ? x / 3294.6 : ((x / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
// A square for each number of `list`, row by row from (x, y) on: its colour is `color(number, n)`, [red, green, blue].
export function paintMap(pen, list, columns, color, {x = 0, y = 0, opacity = 255} = {}) {
  const pixels = pen.createImageData(columns, list.length / columns);
  list.forEach((value, n) => pixels.data.set([...color(value, n), opacity], 4 * n));
  pen.putImageData(pixels, x, y);
}
export function drawBar(bar, scale, root) {
  const stops = Array.from({length: 25}, (_, i) => "rgb(" + colorOf(scale, root ? Math.sqrt(i / 24) : i / 24) + ")");
  bar.style.background = "linear-gradient(90deg," + stops.join(",") + ")";
}
