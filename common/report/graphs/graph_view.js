"use strict";
const SVG = "http://www.w3.org/2000/svg";
const PITCH = 14, ROW = 36, GAP = 16, LETTER = 6.7, FOOT = 24, HEAD = 12, LABELS = 44; // pixels
const LONGEST_TOKEN = 14; // letters
const STRONGEST = 10;
const PREFIX = "#selection=";
const UNKNOWN = "\u2013";

// One graph ---------------------------------------------------------------------------------------------------------

class GraphView {
  constructor(graph, panel) {
    Object.assign(this, graph); // slug, layers, tokens, nodes, links
    this.panel = panel;
    this.selected = [];
    this.pinned = new Set();
    this.groups = []; // { name, nodes: [id] }
    this.byId = new Map(this.nodes.map((node) => [node.id, node]));
    this.hasConstants = this.nodes.some((node) => node.kind === "constant");
    this.mostInfluence = Math.max(...this.links.map((link) => link[3]), 0) || 1;
    this.canvas = this.find(".canvas");
    this.svg = this.find(".nodes");
    this.listen();
  }

  find(selector) {
    return this.panel.querySelector(selector);
  }

  listen() {
    const at = (event) => this.byId.get(event.target.closest?.(".node")?.dataset.id);
    this.svg.addEventListener("pointerover", (event) => at(event) && this.describe([at(event).id]));
    this.svg.addEventListener("focusin", (event) => at(event) && this.describe([at(event).id]));
    this.svg.addEventListener("pointerout", () => this.selected.length && this.describe(this.selected));
    this.svg.addEventListener("click", (event) => {
      if (at(event)) event.shiftKey ? this.pin(at(event).id) : this.select([at(event).id]);
    });
    this.svg.addEventListener("keydown", (event) => at(event) && this.press(event, at(event)));
    this.find(".make-group").addEventListener("click", () => this.makeGroup());
    this.find(".clear-pins").addEventListener("click", () => {
      this.pinned.clear();
      this.changed();
    });
  }

  press(event, node) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (step) this.goTo(node, ...step);
    else if (event.key.toLowerCase() === "p" || (event.key === "Enter" && event.shiftKey)) this.pin(node.id);
    else if (event.key === "Enter" || event.key === " ") this.select([node.id]);
    else if (event.key === "Escape") this.select([]);
    else return;
    event.preventDefault();
  }

  // To the next node beside, or to the nearest one of the next layer that has any.
  goTo(node, across, up) {
    const { x, row } = this.places.get(node.id);
    const others = [...this.places.entries()].map(([id, place]) => ({ id, ...place })).filter((place) =>
      across ? place.row === row && (place.x - x) * across > 0 : (place.row - row) * up > 0);
    if (!others.length) return;
    const distance = (place) => Math.abs(place.row - row) * this.width + Math.abs(place.x - x); // a nearer layer comes first
    this.focusOn(others.reduce((best, place) => (distance(place) < distance(best) ? place : best)).id);
  }

  focusOn(id) {
    for (const [name, shown] of this.drawnNodes) shown.setAttribute("tabindex", name === id ? 0 : -1);
    this.drawnNodes.get(id)?.focus();
  }

  isKept(id) {
    return this.selected.includes(id) || this.pinned.has(id) || this.groupOf(id) >= 0;
  }

  isShown(node) {
    return node.influence === null || node.influence <= shared.threshold || this.isKept(node.id);
  }

  groupOf(id) {
    return this.groups.findIndex((group) => group.nodes.includes(id));
  }

  rowOf(node) {
    if (node.kind === "token") return 0;
    return node.kind === "logit" ? this.layers + 1 : node.layer + 1;
  }

  columnOf(node) {
    return node.kind === "constant" ? 0 : node.position + this.hasConstants;
  }

  // Columns are as wide as their fullest cell; in a cell the strongest stand first, so that the others leave at its end.
  layOut() {
    const cells = new Map();
    for (const node of this.nodes.filter((node) => this.isShown(node))) {
      const key = `${this.rowOf(node)} ${this.columnOf(node)}`;
      cells.has(key) ? cells.get(key).push(node) : cells.set(key, [node]);
    }
    const heads = [...(this.hasConstants ? ["constant"] : []), ...this.tokens.map(visible)];
    const widths = heads.map((head) => head.length * LETTER);
    for (const nodes of cells.values()) {
      const column = this.columnOf(nodes[0]);
      widths[column] = Math.max(widths[column], nodes.length * PITCH);
    }
    let end = 0;
    this.columns = heads.map((head, i) => ({ head, x: end, width: widths[i] + GAP, end: (end += widths[i] + GAP) }));
    this.width = end;
    this.height = HEAD + (this.layers + 2) * ROW + FOOT;
    this.places = new Map();
    for (const nodes of cells.values()) {
      nodes.sort((a, b) => (a.influence ?? 2) - (b.influence ?? 2));
      const row = this.rowOf(nodes[0]), start = this.columns[this.columnOf(nodes[0])].x + GAP / 2;
      nodes.forEach((node, i) => this.places.set(node.id, { x: start + (i + 0.5) * PITCH, y: this.heightOf(row), row }));
    }
  }

  heightOf(row) {
    return this.height - FOOT - (row + 0.5) * ROW;
  }

  draw() {
    this.layOut();
    this.drawRows();
    this.svg.replaceChildren();
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("height", this.height);
    this.columns.forEach(({ head, x, width }, i) => {
      if (i % 2 === 0) drawn("rect", this.svg, { class: "column", x, y: 0, width, height: this.height });
      drawn("text", this.svg, { x: x + GAP / 2, y: this.height - 8 }).textContent = head;
    });
    this.linkLayer = drawn("g", this.svg, {});
    this.drawnNodes = new Map();
    for (const [id, { x, y }] of this.places) {
      const node = this.byId.get(id), [tag, shape] = SHAPES[node.kind];
      const group = drawn("g", this.svg, { role: "button", tabindex: -1, transform: `translate(${x} ${y})` });
      group.dataset.id = id;
      drawn(tag, group, shape);
      drawn("circle", group, { class: "ring", r: 6 });
      drawn("text", group, { "text-anchor": "middle", y: 3 });
      this.drawnNodes.set(id, group);
    }
    this.drawnNodes.values().next().value?.setAttribute("tabindex", 0);
    this.refresh();
  }

  drawRows() {
    const labels = this.find(".rows");
    labels.replaceChildren();
    labels.setAttribute("width", LABELS);
    labels.setAttribute("height", this.height);
    const write = (row, text) => (drawn("text", labels, { x: 4, y: this.heightOf(row) + 4 }).textContent = text);
    write(0, "token");
    for (let layer = 0; layer < this.layers; layer++) write(layer + 1, String(layer));
    write(this.layers + 1, "logit");
  }

  // What a selection, pins and groups change: no node moves.
  refresh() {
    const links = this.linksShown();
    for (const [id, shown] of this.drawnNodes) {
      const node = this.byId.get(id), group = this.groupOf(id);
      const label = node.kind !== "logit" && node.label ? `: ${node.label}` : ""; // a logit's is its name
      const names = ["node", node.kind];
      if (node.kind === "latent" && node.effect) names.push(node.effect > 0 ? "up" : "down");
      if (this.pinned.has(id)) names.push("pinned");
      if (this.selected.includes(id)) names.push("selected");
      else if (this.selected.length && !links.ends.has(id)) names.push("beside");
      shown.setAttribute("class", names.join(" "));
      shown.setAttribute("aria-pressed", this.pinned.has(id));
      const where = group < 0 ? "" : `, in ${this.groups[group].name}`;
      shown.setAttribute("aria-label", nameOf(node, this.tokens) + label + where);
      shown.querySelector("text").textContent = group < 0 ? "" : group + 1;
    }
    this.drawLinks(links.drawn);
    const nodes = `${this.places.size.toLocaleString("en")} of ${counted(this.nodes.length, "node")}`;
    const strongest = `${links.drawn.length.toLocaleString("en")} of ${counted(links.found, "link")}`;
    this.find(".count").textContent = `${nodes}; the strongest ${strongest} are drawn`;
    this.find(".pins").textContent = `${counted(this.pinned.size, "node")} pinned.`;
    this.find(".make-group").disabled = this.find(".clear-pins").disabled = this.pinned.size === 0;
  }

  linksShown() {
    const chosen = new Set(this.selected), drawnLinks = [], ends = new Set();
    let found = 0;
    for (const link of this.links) { // the strongest first
      const source = this.nodes[link[0]].id, target = this.nodes[link[1]].id;
      if (!this.places.has(source) || !this.places.has(target)) continue;
      if (chosen.size && !chosen.has(source) && !chosen.has(target)) continue;
      found += 1;
      if (drawnLinks.length >= shared.most) continue;
      drawnLinks.push({ from: this.places.get(source), to: this.places.get(target), weight: link[2], influence: link[3] });
      ends.add(source).add(target);
    }
    return { drawn: drawnLinks, found, ends };
  }

  drawLinks(links) {
    this.svg.classList.toggle("chosen", this.selected.length > 0);
    this.linkLayer.replaceChildren();
    for (const { from, to, weight, influence } of links) {
      const middle = (from.y + to.y) / 2, width = 0.5 + 4 * Math.sqrt(influence / this.mostInfluence);
      drawn("path", this.linkLayer, {
        class: `link ${weight > 0 ? "adds" : "takes"}`,
        d: `M${from.x} ${from.y}C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.y}`,
        "stroke-width": width.toFixed(2),
      });
    }
  }

  // Selection, pins, groups --------------------------------------------------------------------------------------------

  select(ids) {
    const same = ids.length === this.selected.length && ids.every((id) => this.selected.includes(id));
    this.selected = same ? [] : ids;
    this.changed();
    if (ids.length) this.describe(ids);
  }

  pin(id) {
    this.pinned.has(id) ? this.pinned.delete(id) : this.pinned.add(id);
    this.changed();
    this.describe([id]);
  }

  makeGroup() {
    const nodes = [...this.pinned];
    for (const group of this.groups) group.nodes = group.nodes.filter((id) => !this.pinned.has(id)); // a node has one group
    this.groups = this.groups.filter((group) => group.nodes.length);
    this.groups.push({ name: `Group ${this.groups.length + 1}`, nodes });
    this.pinned.clear();
    this.changed();
    this.listGroups();
    const name = this.find(".group-list li:last-child input");
    name.focus();
    name.select();
  }

  // A node that the slider hides is shown as long as it is selected, pinned or grouped.
  changed() {
    const hidden = this.nodes.some((node) => this.isShown(node) !== this.places.has(node.id));
    const focused = document.activeElement?.closest?.(".node")?.dataset.id;
    hidden ? this.draw() : this.refresh();
    if (hidden && focused && this.drawnNodes.has(focused)) this.focusOn(focused);
    this.sumBetween();
    keepSelection();
  }

  listGroups() {
    const list = this.find(".group-list");
    list.replaceChildren();
    this.groups.forEach((group, i) => {
      const item = element("li", list);
      const name = element("input", item);
      name.value = group.name;
      name.setAttribute("aria-label", `Name of group ${i + 1}`);
      name.addEventListener("input", () => {
        group.name = name.value;
        this.changed();
      });
      const effect = figure(this.effectOf(group.nodes), true);
      element("span", item, `${counted(group.nodes.length, "node")}, signed effect ${effect}`);
      button(item, "Its links", () => this.select(group.nodes));
      button(item, "Dissolve", () => {
        this.groups = this.groups.filter((other) => other !== group);
        this.changed();
        this.listGroups();
      });
    });
    this.sumBetween();
  }

  effectOf(ids) {
    const known = ids.map((id) => this.byId.get(id).effect).filter((effect) => effect !== null);
    return known.length ? known.reduce((sum, effect) => sum + effect, 0) : null;
  }

  // The weights of all links from one group to another, added up.
  sumBetween() {
    const sums = new Map(), list = this.find(".between");
    list.replaceChildren();
    if (this.groups.length < 2) return;
    for (const [source, target, weight] of this.links) {
      const from = this.groupOf(this.nodes[source].id), to = this.groupOf(this.nodes[target].id);
      if (from >= 0 && to >= 0 && from !== to) sums.set(`${from} ${to}`, (sums.get(`${from} ${to}`) ?? 0) + weight);
    }
    for (const [pair, sum] of sums) {
      const [from, to] = pair.split(" ").map((i) => this.groups[i].name);
      element("li", list, `${from} \u2192 ${to}: ${figure(sum, true)}`);
    }
  }

  // Details of a node, or of several as one ----------------------------------------------------------------------------

  describe(ids) {
    const box = this.find(".details"), nodes = ids.map((id) => this.byId.get(id));
    box.replaceChildren();
    const [node] = nodes, one = nodes.length === 1, group = this.groups[this.groupOf(ids[0])];
    const several = `${group?.name ?? "Selection"}: ${counted(nodes.length, "node")}`;
    element("p", box, one ? nameOf(node, this.tokens) : several, "measure");
    if (one && node.label && node.kind !== "logit") element("p", box, node.label, "label");
    const facts = [["Signed effect", figure(this.effectOf(ids), true)]];
    if (one) {
      facts.unshift(["Activation", figure(node.activation)], ["Influence, cumulative", figure(node.influence)]);
      facts.push(["Probability", figure(node.probability)], ...this.elsewhere(node));
    }
    const list = element("dl", box);
    for (const [term, value] of facts) {
      if (value === UNKNOWN) continue;
      element("dt", list, term);
      element("dd", list, value);
    }
    if (one) {
      const actions = element("p", box);
      button(actions, this.pinned.has(node.id) ? "Take off the pin" : "Pin", () => this.pin(node.id)).className = "pin";
    }
    const ends = element("div", box, undefined, "ends");
    this.listEnds(ends, "Strongest inputs", "input", ids, 1, 0);
    this.listEnds(ends, "Strongest outputs", "output", ids, 0, 1);
    if (one) this.describeLatent(box, node);
  }

  // Where the graph beside has the same latent, and what it does there.
  elsewhere(node) {
    if (node.kind !== "latent") return [];
    return views.filter((view) => view !== this).map((view) => {
      const isSame = (other) => other.kind === "latent" && other.layer === node.layer && other.index === node.index;
      const same = view.nodes.filter(isSame);
      const places = same.map((other) => `at ${visible(view.tokens[other.position])} ${figure(other.effect, true)}`);
      return [`In ${view.slug}`, places.join(", ") || "not kept"];
    });
  }

  listEnds(parent, title, className, ids, own, other) {
    const members = new Set(ids), sums = new Map();
    for (const link of this.links) {
      const end = this.nodes[link[other]].id;
      if (members.has(this.nodes[link[own]].id) && !members.has(end)) sums.set(end, (sums.get(end) ?? 0) + link[2]);
    }
    const strongest = [...sums].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, STRONGEST);
    if (!strongest.length) return;
    const box = element("div", parent);
    element("h4", box, title);
    const list = element("ol", box, undefined, className);
    for (const [id, weight] of strongest) {
      const line = button(element("li", list), undefined, () => this.select([id]));
      element("span", line, figure(weight, true), "weight");
      element("span", line, nameOf(this.byId.get(id), this.tokens));
    }
  }

  describeLatent(box, node) {
    if (node.examples.length) element("h4", box, "Where it fires most");
    for (const [before, token, after, activation] of node.examples) {
      const passage = element("p", box, undefined, "passage");
      if (activation !== null) element("b", passage, `${figure(activation)} `);
      passage.append(before);
      element("mark", passage, token);
      passage.append(after);
    }
    for (const [title, effects] of [["Raises the logits of", node.promotes], ["Lowers the logits of", node.suppresses]]) {
      if (!effects.length) continue;
      element("h4", box, title);
      element("p", box, effects.map(([token, effect]) => `${visible(token)} ${figure(effect, true)}`).join(", "), "effects");
    }
  }

  // What can be kept ---------------------------------------------------------------------------------------------------

  get state() {
    return { slug: this.slug, selected: this.selected, pinned: [...this.pinned], groups: this.groups };
  }

  set state(kept) {
    const known = (ids) => (Array.isArray(ids) ? ids : []).filter((id) => this.byId.has(id));
    this.selected = known(kept.selected);
    this.pinned = new Set(known(kept.pinned));
    this.groups = (Array.isArray(kept.groups) ? kept.groups : [])
      .map((group) => ({ name: String(group?.name), nodes: known(group?.nodes) }))
      .filter((group) => group.nodes.length);
  }
}
