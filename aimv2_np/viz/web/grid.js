// A field of rows and columns under a pointer and under keys, and a button that plays.
export function cellAt(event, box, rows, columns) {
  const at = (x, size, count) => Math.min(count - 1, Math.max(0, Math.floor(x / size * count)));
  return at(event.clientY - box.top, box.height, rows) * columns + at(event.clientX - box.left, box.width, columns);
}
// The cell to which a key leads from cell n; null for a key that leads nowhere.
export function moved(key, n, rows, columns) {
  const r = Math.floor(n / columns), c = n % columns;
  const to = {ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], Home: [r, 0],
    End: [r, columns - 1], PageUp: [0, c], PageDown: [rows - 1, c]}[key];
  if (!to) return null;
  return Math.min(rows - 1, Math.max(0, to[0])) * columns + Math.min(columns - 1, Math.max(0, to[1]));
}
// Lays a mark over cell n.
export function place(mark, n, rows, columns) {
  Object.assign(mark.style, {left: 100 * (n % columns) / columns + "%", top: 100 * Math.floor(n / columns) / rows + "%",
    width: 100 / columns + "%", height: 100 / rows + "%"});
}
// Plays through layers; `next` goes to the following one.
export function player(button, next) {
  let playing = 0;
  button.addEventListener("click", () => {
    clearInterval(playing);
    playing = playing ? 0 : setInterval(next, 700);
    button.setAttribute("aria-pressed", String(!!playing));
    button.textContent = playing ? "Stop" : "Play through the layers";
  });
}
