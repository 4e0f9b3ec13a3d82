// Pan, zoom, search, figures and colours, on what page.layout.js knows of the drawing.

// ---- moving and zooming --------------------------------------------------------------------

let view = { x: 0, y: 0, scale: 1 };
svg.removeAttribute("viewBox");
svg.setAttribute("width", "100%");
svg.setAttribute("height", "100%");
const paper = graph.querySelector(":scope > polygon");
if (paper) paper.remove(); // Graphviz's background: the page has its own

function place() {
  graph.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);
}

function fit() {
  const at = graph.getBBox();
  const room = stage.getBoundingClientRect();
  const scale = Math.min((room.width - 24) / at.width, (room.height - 24) / at.height);
  view.scale = Math.min(Math.max(scale, 0.02), 1.6);
  view.x = (room.width - at.width * view.scale) / 2 - at.x * view.scale;
  view.y = Math.max(12, (room.height - at.height * view.scale) / 2) - at.y * view.scale;
  place();
}

// From the top, at a size that can be read.
function begin() {
  fit();
  if (view.scale >= 0.8) return;
  const at = graph.getBBox();
  const room = stage.getBoundingClientRect();
  view.scale = Math.min(1, Math.max((room.width - 24) / at.width, 0.5));
  view.x = (room.width - at.width * view.scale) / 2 - at.x * view.scale;
  view.y = 12 - at.y * view.scale;
  place();
}

function zoom(factor, x, y) {
  const scale = Math.min(Math.max(view.scale * factor, 0.02), 8);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  place();
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const room = stage.getBoundingClientRect();
  const step = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
  zoom(Math.exp(-step * 0.0015), event.clientX - room.left, event.clientY - room.top);
}, { passive: false });

let held = null;
stage.addEventListener("pointerdown", (event) => {
  if (event.button === 0) held = { x: event.clientX, y: event.clientY, far: 0 };
});
window.addEventListener("pointermove", (event) => {
  if (held === null) return;
  const dx = event.clientX - held.x;
  const dy = event.clientY - held.y;
  held.far += Math.abs(dx) + Math.abs(dy);
  if (held.far > 4) {
    stage.classList.add("moving");
    view.x += dx;
    view.y += dy;
    place();
  }
  held.x = event.clientX;
  held.y = event.clientY;
});
window.addEventListener("pointerup", (event) => {
  stage.classList.remove("moving");
  const clicked = held !== null && held.far <= 4;
  held = null;
  if (!clicked) return;
  const frame = event.target.closest ? event.target.closest("g.cluster") : null;
  if (frame) toggle(Number(frame.id.slice(1)));
});
stage.addEventListener("keydown", (event) => {
  const room = stage.getBoundingClientRect();
  const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  if (event.key === "+" || event.key === "=") zoom(1.25, room.width / 2, room.height / 2);
  else if (event.key === "-") zoom(0.8, room.width / 2, room.height / 2);
  else if (event.key === "0") fit();
  else if (event.key in step) {
    view.x += step[event.key][0];
    view.y += step[event.key][1];
    place();
  } else return;
  event.preventDefault();
});

// ---- figures -------------------------------------------------------------------------------

const tip = byId("tip");
const owners = new Map();
for (const item of items) owners.set(item.group, item);
for (const box of boxes.values()) owners.set(box.group, box);

stage.addEventListener("pointermove", (event) => {
  const group = event.target.closest ? event.target.closest("g.node, g.cluster") : null;
  const owner = group === null ? undefined : owners.get(group);
  tip.hidden = owner === undefined || held !== null;
  if (tip.hidden) return;
  if (tip.owner !== owner) {
    tip.owner = owner;
    tip.replaceChildren();
    const title = document.createElement("b");
    title.textContent = owner.title;
    const list = document.createElement("dl");
    for (const [name, value] of owner.facts) {
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      list.append(dt, dd);
    }
    tip.append(title, list);
  }
  const size = tip.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, window.innerWidth - size.width - 6);
  const below = event.clientY + 16 + size.height < window.innerHeight;
  const y = below ? event.clientY + 16 : Math.max(6, event.clientY - size.height - 10);
  tip.style.left = `${Math.max(6, x)}px`;
  tip.style.top = `${y}px`;
});
stage.addEventListener("pointerleave", () => { tip.hidden = true; });

// ---- colours -------------------------------------------------------------------------------

const color = byId("color");
for (const name of data.colorings) {
  const option = document.createElement("option");
  option.value = option.textContent = name;
  color.append(option);
}
color.value = data.color;

function step(name, value) {
  const { low, high } = data.scales[name];
  let at = high > 0 ? value / high : 0;
  if (name === "zeros") at = value;
  if (name === "gradient") {
    const [a, b, c] = [low, high, value].map((v) => Math.log10(Math.max(v, 1e-30)));
    at = b > a ? (c - a) / (b - a) : 1;
  }
  return Math.max(0, Math.min(data.steps - 1, Math.floor(at * data.steps)));
}

function paint() {
  const name = color.value;
  for (const owner of [...items, ...boxes.values()]) {
    const value = owner.values[name];
    const isFrame = owner.facts && owner.group.classList.contains("cluster") && owner.cover !== owner.id;
    if (name === "kind" || value === undefined || isFrame) owner.shape.style.fill = "";
    else owner.shape.style.fill = `var(--scale-${step(name, value)})`;
  }
  stage.classList.toggle("colored", name !== "kind");
  byId("scale").hidden = name === "kind";
  if (name !== "kind") {
    [byId("low").textContent, byId("high").textContent] = data.scales[name].text;
  }
}
for (let i = 0; i < data.steps; i++) {
  const cell = document.createElement("i");
  cell.style.background = `var(--scale-${i})`;
  byId("steps").append(cell);
}
color.addEventListener("change", paint);

// ---- search --------------------------------------------------------------------------------

const search = byId("search");
let hits = [];
let at = -1;

function look() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = [];
  at = -1;
  for (const item of items) {
    const text = [item.title, ...item.facts.flat()].join(" ").toLowerCase();
    const hit = words.length > 0 && words.every((word) => text.includes(word));
    item.group.classList.toggle("hit", hit);
    item.group.classList.remove("now");
    if (hit) hits.push(item);
  }
  graph.classList.toggle("searching", words.length > 0);
  for (const box of boxes.values()) {
    box.group.classList.toggle("hit", hits.some((item) => item.cover === box.id));
  }
  byId("found").textContent = words.length ? `${hits.length} found` : "";
}

function next(step) {
  if (!hits.length) return;
  if (at >= 0) hits[at].group.classList.remove("now");
  at = (at + step + hits.length) % hits.length;
  const item = hits[at];
  for (let box = item.box; box !== null; box = boxes.get(box).parent) folded.delete(box);
  layOut();
  paint();
  item.group.classList.add("now");
  const room = stage.getBoundingClientRect();
  const there = item.group.getBoundingClientRect();
  view.x += room.left + room.width / 2 - (there.left + there.width / 2);
  view.y += room.top + room.height / 2 - (there.top + there.height / 2);
  place();
  byId("found").textContent = `${at + 1} of ${hits.length}`;
}

search.addEventListener("input", look);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") {
    search.value = "";
    look();
  }
});

// ---- buttons -------------------------------------------------------------------------------

byId("fold").addEventListener("click", () => {
  for (const box of boxes.values()) if (box.parent === null) folded.add(box.id);
  layOut();
  paint();
  fit();
});
byId("unfold").addEventListener("click", () => {
  folded.clear();
  layOut();
  paint();
  begin();
});
byId("fit").addEventListener("click", fit);
byId("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});

const dark = matchMedia("(prefers-color-scheme: dark)").matches;
root.dataset.theme = data.theme || (dark ? "dark" : "light");
layOut();
paint();
begin();
