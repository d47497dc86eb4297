// Words -------------------------------------------------------------------------------------------------------------

function figure(value, signed = false) {
  if (value === null || value === undefined) return UNKNOWN;
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.001 || size >= 1e5) ? size.toExponential(1) : size.toFixed(3);
  return (value < 0 ? "\u2212" : signed && value > 0 ? "+" : "") + text;
}

const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function visible(token) { // blanks of a token can be seen
  const text = token.replaceAll(" ", "\u00b7").replaceAll("\n", "\u23ce").replaceAll("\t", "\u21e5");
  return text.length > LONGEST_TOKEN ? `${text.slice(0, LONGEST_TOKEN - 1)}\u2026` : text;
}

function nameOf(node, tokens) {
  if (node.kind === "logit") return node.label;
  if (node.kind === "token") return `token ${visible(tokens[node.position])}`;
  if (node.kind === "constant") return `constant of layer ${node.layer}`;
  const what = node.kind === "error" ? `error of layer ${node.layer}` : `layer ${node.layer}, latent ${node.index}`;
  return `${what} at ${visible(tokens[node.position])}`;
}

// Elements: every text is set as text, since prompts and labels may hold anything ----------------------------------------

function element(tag, parent, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function button(parent, text, action) {
  const made = element("button", parent, text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function drawn(tag, parent, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

const SHAPES = {
  latent: ["circle", { r: 5 }],
  error: ["rect", { x: -4, y: -4, width: 8, height: 8 }],
  token: ["rect", { x: -5, y: -5, width: 10, height: 10, rx: 2 }],
  constant: ["path", { d: "M0 -5L5 4L-5 4Z" }],
  logit: ["path", { d: "M0 -6L6 0L0 6L-6 0Z" }],
};

// The page: what its graphs share, and the selection in its address and in files ----------------------------------------

const page = (selector) => document.querySelector(selector);
const shared = { threshold: Number(page(".threshold").value), most: Number(page(".most").value) };
const panels = document.querySelectorAll(".graph");
const views = JSON.parse(page("#graphs").textContent).map((graph, i) => new GraphView(graph, panels[i]));
let keeping; // the address follows when the slider rests: browsers refuse more than a few changes a second

const selection = () => ({ influence: shared.threshold, links: shared.most, graphs: views.map((view) => view.state) });

function keepSelection() {
  clearTimeout(keeping);
  keeping = setTimeout(() => history.replaceState(null, "", PREFIX + encodeURIComponent(JSON.stringify(selection()))), 200);
}

function drawAll() {
  page(".threshold-said").textContent = shared.threshold.toFixed(2);
  for (const view of views) view.draw();
}

// A selection of other graphs is refused as a whole; nodes that a graph no longer has are left out.
function restore(text, from) {
  let kept;
  try {
    kept = JSON.parse(text);
  } catch {
    kept = null;
  }
  const fits = Array.isArray(kept?.graphs) && views.every((view, i) => kept.graphs[i]?.slug === view.slug);
  page(".said").textContent = fits ? "" : `${from} holds no selection of ${views.map((view) => view.slug).join(" and ")}.`;
  if (!fits) return;
  const { min, max } = page(".threshold");
  if (Number.isFinite(kept.influence)) shared.threshold = Math.min(Number(max), Math.max(Number(min), kept.influence));
  if ([...page(".most").options].some((option) => Number(option.value) === kept.links)) shared.most = kept.links;
  page(".threshold").value = shared.threshold;
  page(".most").value = shared.most;
  views.forEach((view, i) => (view.state = kept.graphs[i]));
  drawAll();
  for (const view of views) {
    view.listGroups();
    if (view.selected.length) view.describe(view.selected);
  }
}

function restoreFromAddress() {
  if (!location.hash.startsWith(PREFIX)) return;
  let text = "";
  try {
    text = decodeURIComponent(location.hash.slice(PREFIX.length));
  } catch {} // a broken address is refused as any other that holds no selection
  restore(text, "The address");
}

page(".threshold").addEventListener("input", (event) => {
  shared.threshold = Number(event.target.value);
  drawAll();
  keepSelection();
});
page(".most").addEventListener("change", (event) => {
  shared.most = Number(event.target.value);
  drawAll();
  keepSelection();
});
page(".save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(selection(), null, 1)], { type: "application/json" }));
  link.download = `${views.map((view) => view.slug).join("-")}-selection.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});
page(".load").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  restore(await file.text(), file.name);
  event.target.value = "";
  keepSelection();
});
addEventListener("hashchange", restoreFromAddress);
drawAll();
for (const view of views) {
  const first = view.nodes.find((node) => node.kind === "logit");
  if (first) view.describe([first.id]);
}
restoreFromAddress();
