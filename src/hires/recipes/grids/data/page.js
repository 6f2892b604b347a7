// What the page knows, and the small pieces that every part of it uses.

const DATA = JSON.parse(document.getElementById("data").textContent);
const GRID = DATA.grid;
const AXES = [0, 1, 2].map((i) => GRID.axes[i] || { label: "", values: [""] });
const CELLS = GRID.cells.map((cell, at) => ({ ...cell, at, index: [0, 1, 2].map((i) => (cell.index || [])[i] || 0) }));
const COSTS = [
  { name: "seconds", title: "seconds", unit: "s", digits: 1, more: "took longer" },
  { name: "calls", title: "denoiser calls", unit: "", digits: 0, more: "asked the model more often" },
  { name: "reused", title: "steps reused", unit: "", digits: 0, more: "shared more work with other cells" },
];
const KNOWN = new Map([...DATA.measures, ...COSTS].map((each) => [each.name, each]));
const NAMES = [...KNOWN.keys()].filter((name) => CELLS.some((cell) => number(cell, name) !== null && (cell[name] !== 0)));
const RANGES = new Map(NAMES.map((name) => [name, extent(name)]));
const AREAS = new Map(DATA.areas.map(([first, second, area]) => [`${first} ${second}`, area]));
const EVERY = "every";

const state = { view: "table", colour: "", sort: "order", up: false, z: 0, marks: true, a: null, b: null, shown: null };
const listeners = [];

/** Calls every part that draws. */
function changed() {
  for (const draw of listeners) draw();
}

/** An element with properties and children; text is always set as text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

function number(cell, name) {
  const value = name in (cell.measures || {}) ? cell.measures[name] : cell.state === "done" ? cell[name] : null;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function extent(name) {
  const values = CELLS.map((cell) => number(cell, name)).filter((value) => value !== null);
  return [Math.min(...values), Math.max(...values)];
}

function written(value, name, unit = false) {
  if (value === null || value === undefined) return "–";
  const { digits, unit: of } = KNOWN.get(name);
  const text = (Number(value.toFixed(digits)) || 0).toFixed(digits).replace("-", "−");
  return unit && of ? `${text} ${of}` : text;
}

/** 0..1 within the range of a measure over all cells, or null. */
function share(value, name) {
  if (value === null) return null;
  const [low, high] = RANGES.get(name);
  return high > low ? (value - low) / (high - low) : 0.5;
}

function heat(element, value, name) {
  const part = share(value, name);
  if (part === null) return;
  element.classList.add("heat");
  element.style.setProperty("--heat", `${(100 * part).toFixed(1)}%`);
}

/** The label of an axis' value without the axis' name, which stands beside it. */
function bare(axis, place) {
  const { label, values } = AXES[axis];
  const text = String(values[place] ?? "");
  return label && text.startsWith(`${label}: `) ? text.slice(label.length + 2) : text;
}

function named(axis, place) {
  const text = bare(axis, place);
  return AXES[axis].label && text ? `${AXES[axis].label}: ${text}` : text || AXES[axis].label;
}

/** "Steps: 20, Sampler: Euler": what tells a cell from the others. */
function titleOf(cell) {
  const parts = [0, 1, 2].filter((axis) => AXES[axis].values.length > 1).map((axis) => named(axis, cell.index[axis]));
  return parts.join(", ") || GRID.title || "the only cell";
}

function cellAt(x, y, z) {
  return CELLS.find(({ index }) => index[0] === x && index[1] === y && index[2] === z) || null;
}

/** A cell's pictures: [{title, path, source, width, height, digest}], the first pass last. */
function picturesOf(cell) {
  const found = (cell.pictures || []).map((path, at, all) => ({ path, title: all.length > 1 ? `picture ${at + 1}` : "result" }));
  if (cell.first_pass) found.push({ path: cell.first_pass, title: "first pass" });
  return found.map((each) => ({ ...each, ...DATA.pictures[each.path] })).filter((each) => each.source);
}

/** How two cells compare: whether their pictures look alike, and what the noise floor says of each measure. */
function verdict(first, second) {
  const one = picturesOf(first)[0];
  const other = picturesOf(second)[0];
  const rows = DATA.measures
    .map(({ name }) => ({ name, a: number(first, name), b: number(second, name), limit: DATA.thresholds[name] ?? null }))
    .filter(({ a, b }) => a !== null && b !== null)
    .map((row) => ({ ...row, visible: row.limit === null ? null : Math.abs(row.a - row.b) > row.limit }));
  const area = AREAS.get(pairOf(first, second)) ?? null;
  const known = rows.filter((row) => row.visible !== null);
  let kind = known.length ? "none" : "alike";
  if (one && other && one.digest === other.digest) kind = "same";
  else if (area === null) kind = "unknown";
  else if (area > DATA.alike || known.some((row) => row.visible)) kind = "visible";
  return { kind, rows, area };
}

function pairOf(first, second) {
  return `${Math.min(first.at, second.at)} ${Math.max(first.at, second.at)}`;
}

function verdictText({ kind, rows, area }) {
  if (kind === "same") return "The same picture, pixel for pixel.";
  if (kind === "none") return "No visible difference: they look alike, and no measure differs by more than two seeds do.";
  if (kind === "alike") return "They look alike when small; without a noise floor the grid cannot say whether their detail does.";
  if (kind === "unknown") return "The grid has too many cells to have compared these two.";
  const beyond = rows.filter((row) => row.visible).map(({ name, a, b }) => `${KNOWN.get(name).title} ${signed(b - a, name)}`);
  const where = area > DATA.alike ? ` on ${percent(area)} of their area` : "";
  return `Visibly different${where}.${beyond.length ? ` By more than two seeds, B against A: ${beyond.join(", ")}.` : ""}`;
}

function percent(share) {
  return `${Number((100 * share).toFixed(share < 0.1 ? 1 : 0))} %`;
}

/** A deviation or a threshold: two figures that count. */
function rough(value) {
  return Number(value.toPrecision(2)).toString();
}

function signed(value, name) {
  return (value > 0 ? "+" : "") + written(value, name);
}

const thumbs = new Map();

/** A cell's first picture; thumbnails are made once and moved, for making them anew would show as a flash. */
function imageOf(cell, size) {
  const picture = picturesOf(cell)[0];
  if (!picture) return null;
  if (size === "thumb" && thumbs.has(cell)) return thumbs.get(cell);
  const { source, width, height } = picture;
  const image = make("img", { src: source, width: String(width), height: String(height), alt: titleOf(cell), loading: "lazy", decoding: "async", class: size, draggable: "false" });
  if (size === "thumb") thumbs.set(cell, image);
  return image;
}

function placeholder(cell) {
  const text = { waiting: "not drawn yet", failed: "failed" }[cell.state] || "the picture is missing";
  return make("span", { class: `empty ${cell.state}` }, text);
}

async function copy(text, button) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const field = make("textarea", { class: "offscreen" });
    field.value = text;
    (button.closest("dialog") || document.body).append(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
  }
  const before = button.textContent;
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = before), 1500);
}

/** A click on a cell: the first chosen is A and stays, the next is B and opens the comparison. */
function choose(cell) {
  if (state.view === "table") focused = cell.index.slice(0, 2);
  if (!picturesOf(cell).length) {
    showDetails(cell);
    return;
  }
  if (state.a === cell) [state.a, state.b] = [null, null];
  else if (state.a === null) state.a = cell;
  else {
    state.b = cell;
    openCompare();
  }
  changed();
}
