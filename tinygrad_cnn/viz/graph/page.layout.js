// Read the drawing that Graphviz has laid out from top to bottom, and fold modules in it.
//
// Folding lays nothing out anew. All heights go through one map, in which the heights that only
// a folded module takes up shrink until its card is left; what lies beside it keeps its own height.
// This file and page.controls.js stand in one function of the page.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const stage = byId("stage");
const svg = stage.querySelector("svg");
const graph = svg.querySelector("g.graph");
const CARD = 44; // height of a folded module
const LABEL = 28; // height of a frame's title
const SVG = "http://www.w3.org/2000/svg";

// ---- what is there -----------------------------------------------------------------------

const boxes = new Map(data.boxes.map((box) => [box.id, box]));
const items = data.items;
for (const item of items) {
  item.group = byId(item.key);
  item.at = item.group.getBBox();
  item.shape = item.group.querySelector("path, polygon, ellipse");
}
for (const box of boxes.values()) {
  box.group = byId(`b${box.id}`);
  box.shape = box.group.querySelector("path, polygon");
  box.at = box.shape.getBBox();
  box.outline = box.shape.getAttribute("d");
  box.texts = [...box.group.querySelectorAll("text")].map((text) => {
    return { text, x: Number(text.getAttribute("x")), anchor: text.getAttribute("text-anchor") };
  });
  box.words = box.group.getBBox();
  const short = document.createElementNS(SVG, "text");
  short.setAttribute("class", "short");
  short.textContent = box.short;
  box.group.append(short);
  box.line = short;
}
const links = data.links.map(([source, target], i) => readEdge(byId(`e${i}`), source, target));
const ends = []; // the marks behind outputs, which move with what they belong to
for (const group of graph.querySelectorAll('g.node[id^="o"]')) {
  const at = group.getBBox();
  const made = items.findIndex((item) => item.key === keyOfEnd(group.id));
  const link = readEdge(byId(`e${group.id}`), made, -1);
  link.end = { group, at };
  ends.push(link);
}

function keyOfEnd(id) {
  const node = Number(id.slice(1));
  const owner = data.outputs[node];
  return owner === undefined ? "" : owner;
}

function readEdge(group, source, target) {
  const path = group.querySelector("path");
  const length = path.getTotalLength();
  const steps = Math.max(2, Math.ceil(length / 7));
  const points = [];
  for (let i = 0; i <= steps; i++) {
    const p = path.getPointAtLength((length * i) / steps);
    points.push([p.x, p.y]);
  }
  const tip = group.querySelector("polygon");
  const text = group.querySelector("text");
  return {
    group, path, points, source, target, tip, text,
    outline: path.getAttribute("d"),
    tipAt: tip ? tip.getBBox() : null,
    textAt: text ? text.getBBox() : null,
    label: text ? text.textContent : "",
  };
}

// ---- folding -----------------------------------------------------------------------------

const folded = new Set(data.boxes.filter((box) => box.folded).map((box) => box.id));

// The outermost folded module around a box, or null.
function coverOf(id) {
  let cover = null;
  for (let at = id; at !== null; at = boxes.get(at).parent) if (folded.has(at)) cover = at;
  return cover;
}

// The map of heights, as break points and the new height of each.
function heights() {
  const rigid = [];
  for (const item of items) {
    if (item.cover === null) rigid.push([item.at.y, item.at.y + item.at.height]);
  }
  for (const link of ends) {
    if (coverOf(boxOf(link.source)) === null) {
      rigid.push([link.end.at.y, link.end.at.y + link.end.at.height]);
    }
  }
  const loose = [];
  for (const box of boxes.values()) {
    if (box.cover === null) {
      rigid.push([box.at.y, box.at.y + LABEL]);
      rigid.push([box.at.y + box.at.height - 6, box.at.y + box.at.height]);
    } else if (box.cover === box.id) {
      loose.push([box.at.y, box.at.y + box.at.height]);
    }
  }
  for (const link of links) {
    if (link.textAt && !link.hidden && link.from === null && link.to === null) {
      rigid.push([link.textAt.y, link.textAt.y + link.textAt.height]);
    }
  }
  const cuts = [...new Set([...rigid, ...loose].flat())].sort((a, b) => a - b);
  const scale = new Array(Math.max(cuts.length - 1, 0)).fill(1);
  const place = new Map(cuts.map((y, i) => [y, i]));
  const held = new Array(cuts.length + 1).fill(0);
  for (const [top, bottom] of rigid) {
    held[place.get(top)] += 1;
    held[place.get(bottom)] -= 1;
  }
  for (let i = 1; i < held.length; i++) held[i] += held[i - 1];
  const wanted = new Array(scale.length).fill(-1);
  for (const [top, bottom] of loose) {
    let free = 0;
    for (let i = place.get(top); i < place.get(bottom); i++) {
      if (!held[i]) free += cuts[i + 1] - cuts[i];
    }
    const stiff = bottom - top - free;
    const share = free > 0 ? Math.min(1, Math.max(0, CARD - stiff) / free) : 1;
    for (let i = place.get(top); i < place.get(bottom); i++) {
      if (!held[i]) wanted[i] = Math.max(wanted[i], share);
    }
  }
  for (let i = 0; i < scale.length; i++) if (wanted[i] >= 0) scale[i] = wanted[i];
  const news = [cuts.length ? cuts[0] : 0];
  for (let i = 0; i < scale.length; i++) {
    news.push(news[i] + (cuts[i + 1] - cuts[i]) * scale[i]);
  }
  return (y) => {
    if (!cuts.length || y <= cuts[0]) return y;
    let low = 0;
    let high = cuts.length - 1;
    if (y >= cuts[high]) return y - cuts[high] + news[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (cuts[middle] <= y) low = middle;
      else high = middle;
    }
    const width = cuts[high] - cuts[low];
    return news[low] + ((y - cuts[low]) / width) * (news[high] - news[low]);
  };
}

const boxOf = (item) => (item < 0 ? null : items[item].box);
const rounded = (x, y, w, h, r) =>
  `M${x + r},${y}h${w - 2 * r}a${r},${r} 0 0 1 ${r},${r}v${h - 2 * r}a${r},${r} 0 0 1 ${-r},${r}` +
  `h${-(w - 2 * r)}a${r},${r} 0 0 1 ${-r},${-r}v${-(h - 2 * r)}a${r},${r} 0 0 1 ${r},${-r}z`;

function layOut() {
  for (const item of items) item.cover = coverOf(item.box);
  for (const box of boxes.values()) box.cover = coverOf(box.id);
  const seen = new Set();
  for (const link of links) {
    link.from = items[link.source].cover;
    link.to = items[link.target].cover;
    const inside = link.from !== null && link.from === link.to;
    const name = `${link.from ?? items[link.source].key}>${link.to ?? items[link.target].key}`;
    const twice = (link.from !== null || link.to !== null) && seen.has(name + link.label);
    seen.add(name + link.label);
    link.hidden = inside || twice;
  }
  const map = heights();
  for (const item of items) {
    item.group.classList.toggle("gone", item.cover !== null);
    const middle = item.at.y + item.at.height / 2;
    shift(item.group, map(middle) - middle);
  }
  for (const box of boxes.values()) layOutBox(box, map);
  for (const link of links) layOutLink(link, map);
  for (const link of ends) {
    const middle = link.end.at.y + link.end.at.height / 2;
    shift(link.end.group, map(middle) - middle);
    link.from = link.source < 0 ? null : items[link.source].cover;
    link.to = null;
    link.hidden = false;
    layOutLink(link, map);
  }
}

function shift(element, dy) {
  if (Math.abs(dy) < 0.01) element.removeAttribute("transform");
  else element.setAttribute("transform", `translate(0,${dy.toFixed(2)})`);
}

function squeeze(text, width) {
  text.removeAttribute("textLength");
  if (text.getComputedTextLength() <= width) return;
  text.setAttribute("textLength", String(width));
  text.setAttribute("lengthAdjust", "spacingAndGlyphs");
}

function layOutBox(box, map) {
  const isCard = box.cover === box.id;
  box.group.classList.toggle("gone", box.cover !== null && !isCard);
  box.group.classList.toggle("card", isCard);
  box.group.setAttribute("aria-expanded", String(!isCard));
  const top = map(box.at.y);
  const bottom = map(box.at.y + box.at.height);
  if (isCard) {
    // Not beyond the frame, next to which another may begin.
    const width = Math.min(Math.max(150, box.words.width * 0.5), box.at.width);
    const x = box.at.x + (box.at.width - width) / 2;
    const y = (top + bottom - CARD) / 2;
    box.card = { x, y, width, middle: x + width / 2 };
    box.shape.setAttribute("d", rounded(x, y, width, CARD, 8));
    box.texts.forEach(({ text }, i) => {
      text.setAttribute("x", String(box.card.middle));
      text.setAttribute("text-anchor", "middle");
      const first = Number(box.texts[0].text.getAttribute("y"));
      shift(text, y + 14 + i * 11 - first - (Number(text.getAttribute("y")) - first));
    });
    box.line.setAttribute("x", String(box.card.middle));
    box.line.setAttribute("y", String(y + CARD - 8));
    for (const text of [box.line, ...box.texts.map((t) => t.text)]) squeeze(text, width - 8);
  } else {
    const same = Math.abs(bottom - top - box.at.height) < 0.01 && Math.abs(top - box.at.y) < 0.01;
    const d = rounded(box.at.x, top, box.at.width, bottom - top, 10);
    box.shape.setAttribute("d", same ? box.outline : d);
    for (const { text, x, anchor } of box.texts) {
      squeeze(text, Infinity);
      text.setAttribute("x", String(x));
      text.setAttribute("text-anchor", anchor);
      shift(text, top - box.at.y);
    }
  }
}

const within = (p, at) =>
  p[0] >= at.x - 1 && p[0] <= at.x + at.width + 1 && p[1] >= at.y - 1 && p[1] <= at.y + at.height + 1;

// Where a line that comes from a point meets a card.
const beside = (card, p) =>
  p === undefined ? card.middle : Math.min(Math.max(p[0], card.x + 12), card.x + card.width - 12);

function layOutLink(link, map) {
  link.group.classList.toggle("gone", link.hidden);
  if (link.hidden) return;
  let points = link.points;
  if (link.from !== null) points = points.filter((p) => !within(p, boxes.get(link.from).at));
  if (link.to !== null) points = points.filter((p) => !within(p, boxes.get(link.to).at));
  const line = points.map(([x, y]) => [x, map(y)]);
  let arrow = 0;
  if (link.from !== null) {
    const card = boxes.get(link.from).card;
    while (line.length > 1 && line[0][1] < card.y + CARD + 12) line.shift();
    line.unshift([beside(card, line[0]), card.y + CARD]);
  }
  if (link.to !== null) {
    const card = boxes.get(link.to).card;
    while (line.length > 1 && line[line.length - 1][1] > card.y - 17) line.pop();
    arrow = beside(card, line[line.length - 1]);
    line.push([arrow, card.y - 5]);
  }
  const moved = folded.size > 0;
  const d = "M" + line.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
  link.path.setAttribute("d", moved && line.length > 1 ? d : link.outline);
  if (link.tip) {
    if (link.to !== null) {
      const card = boxes.get(link.to).card;
      const dx = arrow - (link.tipAt.x + link.tipAt.width / 2);
      const dy = card.y - (link.tipAt.y + link.tipAt.height);
      link.tip.setAttribute("transform", `translate(${dx.toFixed(2)},${dy.toFixed(2)})`);
    } else {
      const y = link.tipAt.y + link.tipAt.height;
      shift(link.tip, map(y) - y);
    }
  }
  if (link.text) {
    const at = link.textAt;
    const middle = at.y + at.height / 2;
    let dy = map(middle) - middle;
    let dx = 0;
    if (line.length > 1 && (link.from !== null || link.to !== null)) {
      // Beside the middle of what is left of the line.
      const [x, y] = line[Math.floor((line.length - 1) / 2)];
      const [x2, y2] = line[Math.ceil((line.length - 1) / 2)];
      dy = (y + y2) / 2 - middle;
      dx = (x + x2) / 2 + 3 - at.x;
    }
    link.text.setAttribute("transform", `translate(${dx.toFixed(2)},${dy.toFixed(2)})`);
  }
}

function toggle(id) {
  if (folded.has(id)) folded.delete(id);
  else folded.add(id);
  layOut();
  paint();
}
