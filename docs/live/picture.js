// The picture: shapes of the world are placed on it, or lines drawn by hand, by a pointer or by keys.
import {cellAt} from "./grid.js";

const STEPS = 40; // pictures that can be taken back
const GREY = 150;

// Returns {pixels(), show(bytes)}; `changed` is called whenever the picture is another.
export function pad(part, {side, outlines, colors, radii}, changed) {
  const canvas = part("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true}), field = part("picture");
  const past = [];
  let cursor = side * (side / 2) + side / 2, drawing = null;
  canvas.width = canvas.height = side;
  const tool = () => part("tool").value, size = () => radii[part("size").value], color = () => "rgb(" + colors[part("color").value] + ")";
  const placeOf = n => [n % side + 0.5, Math.floor(n / side) + 0.5];

  function remember() {
    past.push(pen.getImageData(0, 0, side, side));
    if (past.length > STEPS) past.shift();
    part("undo").disabled = false;
  }
  function outlined(lists, [x, y]) {
    const path = new Path2D();
    for (const points of lists) {
      points.forEach(([u, v], i) => path[i ? "lineTo" : "moveTo"](x + size() * u, y + size() * v));
      path.closePath();
    }
    return path;
  }
  // A ring and a moon have a second outline, which is cut out of the first and may reach beyond it.
  function stamp(n) {
    const lists = outlines[tool()], place = placeOf(n);
    pen.fillStyle = color();
    pen.save();
    if (lists.length > 1) pen.clip(outlined(lists.slice(0, 1), place));
    pen.fill(outlined(lists, place), "evenodd");
    pen.restore();
  }
  function line(from, to) {
    pen.strokeStyle = color();
    pen.lineWidth = size() / 2.5;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(...placeOf(from));
    const [x, y] = placeOf(to);
    pen.lineTo(x + (from === to ? 0.01 : 0), y);
    pen.stroke();
  }
  function use(n, from = n) {
    if (tool() === "line") line(from, n); else stamp(n);
    changed();
  }
  function clear() {
    pen.fillStyle = `rgb(${GREY}, ${GREY}, ${GREY})`;
    pen.fillRect(0, 0, side, side);
  }
  function showCursor() {
    const [x, y] = placeOf(cursor);
    Object.assign(part("cursor").style, {left: 100 * x / side + "%", top: 100 * y / side + "%"});
  }

  const at = event => cellAt(event, field.getBoundingClientRect(), side, side);
  field.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    field.focus({preventScroll: true});
    field.setPointerCapture(event.pointerId);
    remember();
    cursor = drawing = at(event);
    use(cursor);
  });
  field.addEventListener("pointermove", event => {
    if (drawing === null || tool() !== "line" || at(event) === drawing) return;
    use(at(event), drawing);
    cursor = drawing = at(event);
  });
  for (const kind of ["pointerup", "pointercancel"]) field.addEventListener(kind, () => { drawing = null; showCursor(); });
  field.addEventListener("keydown", event => {
    const far = event.shiftKey ? 1 : 4, step = {ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far]}[event.key];
    if (step) {
      const [x, y] = [cursor % side, Math.floor(cursor / side)].map((z, i) => Math.min(side - 1, Math.max(0, z + step[i])));
      cursor = y * side + x;
    } else if (event.key === "Enter" || event.key === " ") { remember(); use(cursor); }
    else return;
    event.preventDefault();
    showCursor();
  });
  part("undo").addEventListener("click", () => {
    pen.putImageData(past.pop(), 0, 0);
    part("undo").disabled = !past.length;
    changed();
  });
  part("empty").addEventListener("click", () => {
    remember();
    clear();
    changed();
  });
  clear();
  showCursor();
  return {
    pixels: () => pen.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 !== 3),
    show(bytes) {
      remember();
      pen.putImageData(imageOf(bytes, side), 0, 0);
      changed();
    },
  };
}
export function imageOf(bytes, side) {
  const image = new ImageData(side, side);
  for (let n = 0; n < side * side; n++) image.data.set([...bytes.subarray(3 * n, 3 * n + 3), 255], 4 * n);
  return image;
}
