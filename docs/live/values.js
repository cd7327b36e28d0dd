// Every value of the network: its equation and code, as docs/equations.md has them, its shape, and its numbers.
import {colorOf, paintMap} from "./colors.js";
import {bars, number} from "./figures.js";
import {cellAt, moved, place} from "./grid.js";
import {at} from "./runtime.js";

const BROKEN = 1e-4; // of a value's length: what differs by less is rounding

// How far a value is from another, relative to its length.
export function distance(value, other) {
  let apart = 0, size = 0;
  value.data.forEach((x, i) => { apart += (x - other.data[i]) ** 2; size += other.data[i] ** 2; });
  return Math.sqrt(apart / Math.max(size, 1e-300));
}

export function valueViewer(part, world, equations, state, set) {
  const drawing = part("drawing"), choice = part("value"), canvas = part("matrix"), pen = canvas.getContext("2d"), field = part("cells");
  const boxes = [...drawing.querySelectorAll("a")];
  // The path that a box of the drawing, which shows layer 0, has in the chosen layer.
  const pathOf = box => {
    const path = box.getAttribute("aria-label").replace(/: equation \d+$/, ""), last = path.startsWith("text_model") ? world.text.layers : world.layers;
    return world.others[path] ?? path.replace("layers.0", "layers." + Math.min(state.layer, last - 1));
  };
  const known = path => Object.hasOwn(world.values, path);
  boxes.forEach(box => {
    box.setAttribute("role", "button");
    box.addEventListener("click", event => {
      event.preventDefault();
      const path = pathOf(box), asked = Number(box.getAttribute("href").split("-").pop());
      set({value: known(path) ? path : null, box: path, equation: asked});
      const panel = part("panel");
      if (event.detail === 0) panel.focus(); // chosen by a key: what it shows is read next
      else if (panel.getBoundingClientRect().top > 0.8 * innerHeight) panel.scrollIntoView();
    });
    box.addEventListener("keydown", event => { if (event.key === " ") { event.preventDefault(); box.dispatchEvent(new MouseEvent("click", {cancelable: true})); } });
  });
  const groups = new Map();
  for (const path of Object.keys(world.values)) {
    const group = path.match(/^(\w+_model)(\.encoder\.layers\.\d+|\.\w+)/)?.[0] ?? "both towers";
    if (!groups.has(group)) groups.set(group, Object.assign(document.createElement("optgroup"), {label: group}));
    groups.get(group).append(new Option(path, path));
  }
  choice.append(...groups.values());
  choice.addEventListener("change", () => set({value: choice.value, box: choice.value, equation: null}));
  part("slice").addEventListener("input", () => set({slice: Number(part("slice").value)}));
  let shown = null; // {rows, columns, list} of the numbers in the picture
  field.addEventListener("pointermove", event => { if (shown && !event.buttons) set({cell: cellAt(event, field.getBoundingClientRect(), shown.rows, shown.columns)}); });
  field.addEventListener("click", event => { if (shown) set({cell: cellAt(event, field.getBoundingClientRect(), shown.rows, shown.columns)}); });
  field.addEventListener("keydown", event => {
    const n = shown && moved(event.key, Math.min(state.cell, shown.list.length - 1), shown.rows, shown.columns);
    if (n === null) return;
    event.preventDefault();
    set({cell: n});
  });

  // The last two axes as rows and columns; what is before them is gone through by a slider.
  function square(value) {
    const dims = value.dims, [rows, columns] = dims.length > 1 ? dims.slice(-2) : [1, dims[0] ?? 1], slices = value.data.length / (rows * columns);
    const slice = Math.min(state.slice, slices - 1), first = [];
    for (let axis = dims.length - 3, left = slice; axis >= 0; axis--) {
      first.unshift(left % dims[axis]);
      left = Math.floor(left / dims[axis]);
    }
    return {rows, columns, slices, slice, first, list: value.data.subarray(slice * rows * columns, (slice + 1) * rows * columns)};
  }
  function drawNumbers(value, path, sound) {
    shown = square(value);
    const {rows, columns, slices, slice, first, list} = shown, letters = world.values[path].letters;
    const most = list.reduce((a, x) => Math.max(a, Math.abs(x)), 1e-30), cell = Math.min(state.cell, list.length - 1), row = Math.floor(cell / columns);
    part("shape").textContent = (letters ? letters + " = " : "") + "(" + value.dims.join(", ") + ")";
    part("slice-box").hidden = slices === 1;
    Object.assign(part("slice"), {max: slices - 1, value: slice});
    const names = letters.slice(1, -1).split(", ").slice(0, first.length);
    part("slice-is").textContent = first.map((n, i) => (names[i] ? names[i] + " " : "") + n).join(", ");
    canvas.width = columns;
    canvas.height = rows;
    paintMap(pen, list, columns, x => colorOf("signed", 0.5 + 0.5 * x / most));
    field.style.setProperty("--ratio", Math.max(columns / rows, 0.5));
    place(part("cell-mark"), cell, rows, columns);
    const squares = list.reduce((a, x) => a + x * x, 0);
    part("range").textContent = "From " + number(Math.min(...list)) + " to " + number(Math.max(...list)) + ", root mean square " + number(Math.sqrt(squares / list.length)) + ".";
    part("cell").textContent = "Row " + row + ", column " + cell % columns + ": " + list[cell] + ".";
    const numbers = list.subarray(row * columns, (row + 1) * columns);
    part("bars").replaceChildren(bars([...numbers], numbers.reduce((a, x) => Math.max(a, Math.abs(x)), 1e-30), "The numbers of row " + row));
    part("numbers").textContent = Array.from(numbers, x => x.toPrecision(6)).join("  ");
    part("apart").hidden = !sound;
    if (sound) part("apart").textContent = "Relative distance from what the network computes as it is: " + number(distance(value, sound)) + ".";
    part("python").textContent = 'with trace(model) as values:\n    model(**inputs)\nvalues["' + path + '"]' + (first.length || rows > 1 ? "[" + [...first, ...rows > 1 ? [row] : []].join(", ") + "]" : "");
  }
  function drawEquations(numbers) {
    part("equations").replaceChildren(...numbers.flatMap(n => equations(n)));
  }
  function drawBoxes(values, sound) {
    for (const box of boxes) {
      const path = pathOf(box), parts = box.closest("g"), value = values.get(path);
      parts.classList.toggle("chosen", path === state.box);
      parts.classList.toggle("wrong", !!sound && !!value && !(distance(value, sound.get(path)) < BROKEN)); // not a number is broken, too
    }
  }
  return (values, sound) => {
    const path = state.value, value = path && values.get(path);
    part("path").textContent = state.box;
    choice.value = path ?? "";
    const own = known(state.box) ? world.values[state.box].equations : [];
    drawEquations(state.equation === null || own.includes(state.equation) ? own : [state.equation]);
    part("there").hidden = !value;
    part("missing").hidden = !!value;
    if (value) drawNumbers(value, path, sound && sound.get(path));
    drawBoxes(values, sound);
  };
}
// docs/equations.md of this site, as a function: number → the equation, what is said before it, its code and its test.
export async function equationsOf(address) {
  const answer = await fetch(address), page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const it of page.querySelectorAll("article a[href]")) it.setAttribute("href", new URL(it.getAttribute("href"), answer.url)); // from where it stands
  return n => {
    const equation = page.getElementById("equation-" + n), whole = equation.closest(".math-wrapper") ?? equation;
    let code = whole.nextElementSibling;
    while (code && !code.textContent.startsWith("Code ")) code = code.nextElementSibling;
    return [whole, code].filter(Boolean).map(it => {
      const copy = document.importNode(it, true);
      for (const named of [copy, ...copy.querySelectorAll("[id]")]) named.removeAttribute("id");
      return copy;
    });
  };
}
