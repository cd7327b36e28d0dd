// The captions, and how well each fits the picture: the softmax of the logits.
import {percent} from "./figures.js";

// Returns {texts(), setFirst(text), draw(…)}; `changed` is called when a text is another, `choose(i)` when one is chosen.
export function captionList(part, texts, changed, choose) {
  const list = part("captions");
  const inputs = () => [...list.querySelectorAll("input")];
  function add(text) {
    const row = document.createElement("li");
    row.append(part("caption").content.cloneNode(true));
    const input = row.querySelector("input");
    input.value = text;
    input.addEventListener("input", changed);
    input.addEventListener("focus", () => choose(inputs().indexOf(input)));
    row.querySelector("button").addEventListener("click", () => {
      const i = inputs().indexOf(input);
      row.remove();
      name();
      inputs()[Math.max(0, i - 1)].focus();
      changed();
    });
    list.append(row);
    name();
    return input;
  }
  function name() {
    inputs().forEach((input, i) => {
      input.setAttribute("aria-label", "Caption " + (i + 1));
      const button = input.closest("li").querySelector("button");
      button.setAttribute("aria-label", "Take caption " + (i + 1) + " away");
      button.disabled = inputs().length === 1;
    });
  }
  part("add").addEventListener("click", () => {
    add("").focus();
    changed();
  });
  texts.forEach(add);
  return {
    texts: () => inputs().map(it => it.value),
    setFirst(text) { inputs()[0].value = text; },
    // `rows` are the captions' tokens, of which the model reads `most`; `now` and `sound` the logits, which the network as it
    // is has given for `sound`: null, unless an equation is broken.
    draw(rows, most, chosen, now, sound) {
      const shares = softmax(now), before = sound && softmax(sound);
      [...list.children].slice(0, rows.length).forEach((row, i) => { // a new one comes with the next run
        const [bar, was] = row.querySelectorAll("i"), {whole} = rows[i];
        bar.style.width = 100 * shares[i] + "%";
        was.hidden = !before;
        if (before) was.style.width = 100 * before[i] + "%";
        row.querySelector("b").textContent = (before ? percent(before[i]) + " → " : "") + percent(shares[i]);
        row.querySelector("small").textContent = whole > most ? "It has " + whole + " tokens; the first " + (most - 1) + " and the end are read." : "";
        row.classList.toggle("chosen", i === chosen);
      });
    },
  };
}
export function softmax(logits) {
  const most = Math.max(...logits), parts = Array.from(logits, x => Math.exp(x - most)), sum = parts.reduce((a, b) => a + b, 0);
  return parts.map(x => x / sum);
}
