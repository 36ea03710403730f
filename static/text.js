// Text of a terminal: colours become classes, carriage returns overwrite. Text never becomes markup.

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal output is made of them
const ESCAPES = /\x1b\[([0-9;]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]/g;

/** Return the text as a terminal shows it: text after a carriage return overwrites the line. */
export function overwritten(text) {
  if (!text.includes("\r")) return text;
  const lines = text.split("\n");
  return lines
    .map((line, index) => {
      let end = line.length;
      while (end > 0 && line[end - 1] === "\r") end -= 1;
      const kept = line.slice(line.lastIndexOf("\r", end - 1) + 1, end);
      return index === lines.length - 1 && end < line.length ? `${kept}\r` : kept; // the next chunk overwrites it
    })
    .join("\n");
}

function changed(style, codes) {
  let next = { ...style };
  for (const code of codes.slice(0, 64).split(";").map(Number)) {
    if (code === 0) next = {};
    else if (code === 1) next.bold = "bold";
    else if (code === 22) delete next.bold;
    else if (code >= 30 && code <= 37) next.colour = `ansi-${code - 30}`;
    else if (code >= 90 && code <= 97) next.colour = `ansi-${code - 90}`;
    else if (code === 39) delete next.colour;
    else if (code === 38 || code === 48) break;
  }
  return next;
}

/** Return the nodes for text with terminal escapes. */
export function terminal(text) {
  const nodes = [];
  let style = {};
  let from = 0;
  const put = (part) => {
    if (!part) return;
    const classes = Object.values(style).join(" ");
    if (!classes) {
      nodes.push(part);
      return;
    }
    const span = document.createElement("span");
    span.className = classes;
    span.textContent = part;
    nodes.push(span);
  };
  for (const match of text.matchAll(ESCAPES)) {
    put(text.slice(from, match.index));
    if (match[1] !== undefined) style = changed(style, match[1] || "0");
    from = match.index + match[0].length;
  }
  put(text.slice(from));
  return nodes;
}
