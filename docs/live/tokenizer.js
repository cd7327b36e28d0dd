// CLIP's tokenizer, as tokenizer.json describes it: text is cut into words, words into bytes, and bytes that follow each
// other are merged in the order of a table, until no pair of the table is left.
export function tokenizerOf({model, added_tokens}) {
  const ranks = new Map(model.merges.map((pair, rank) => [(Array.isArray(pair) ? pair : pair.split(" ")).join("\n"), rank]));
  const special = new Map(added_tokens.map(it => [it.content, it.id]));
  const [start, end] = ["<|startoftext|>", "<|endoftext|>"].map(it => special.get(it));
  const cut = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
  const again = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{White_Space}\p{L}\p{N}]+/gu; // of GPT-2, on what CLIP's has cut
  const letters = letterOfByte(), utf8 = new TextEncoder();

  function merged(word) {
    const parts = Array.from(utf8.encode(word), byte => letters[byte]);
    parts.push(parts.pop() + model.end_of_word_suffix);
    for (;;) {
      const pairs = parts.slice(1).map((part, i) => ranks.get(parts[i] + "\n" + part) ?? Infinity), least = Math.min(...pairs);
      if (least === Infinity) return parts;
      for (let i = 0; i + 1 < parts.length; i++)
        if (ranks.get(parts[i] + "\n" + parts[i + 1]) === least) parts.splice(i, 2, parts[i] + parts[i + 1]);
    }
  }
  function words(text) {
    const normal = Array.from(text.normalize("NFC").replace(/\p{White_Space}+/gu, " "), letter => letter.toLowerCase()).join("");
    return (normal.match(cut) ?? []).flatMap(it => it.match(again)).flatMap(merged);
  }
  // The tokens of a text: [{id, token}]. Of one that is too long what comes first is kept, and the end.
  function encode(text, most = Infinity) {
    const found = [{id: start, token: "<|startoftext|>"}];
    for (const part of text.split(/(<\|startoftext\|>|<\|endoftext\|>)/)) {
      if (special.has(part)) found.push({id: special.get(part), token: part});
      else found.push(...words(part).map(token => ({id: model.vocab[token], token})));
    }
    const whole = found.length + 1;
    return {tokens: [...found.slice(0, most - 1), {id: end, token: "<|endoftext|>"}], whole};
  }
  // Texts as the model takes them: ids and mask, padded to the longest.
  function batch(texts, most) {
    const rows = texts.map(text => encode(text, most)), long = Math.max(...rows.map(it => it.tokens.length));
    const ids = rows.flatMap(({tokens}) => [...tokens.map(it => it.id), ...Array(long - tokens.length).fill(end)]);
    const mask = rows.flatMap(({tokens}) => Array.from({length: long}, (_, t) => Number(t < tokens.length)));
    return {rows, long, ids, mask};
  }
  return {encode, batch};
}
// GPT-2 writes bytes as letters one can see: those that are visible as themselves, the others from U+0100 on.
function letterOfByte() {
  const visible = byte => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({length: 256}, (_, byte) => String.fromCodePoint(visible(byte) ? byte : next++));
}
