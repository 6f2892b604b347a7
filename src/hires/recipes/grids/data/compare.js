// Two pictures held against each other: beside one another, under a slider, flickering, or their difference.

const MODES = [["side", "Side by side", "b"], ["slider", "Slider", "s"], ["flicker", "Flicker", "f"], ["difference", "Difference", "d"]];
const STILL = matchMedia("(prefers-reduced-motion: reduce)").matches;
const view = { mode: "side", a: null, b: null, pictureA: 0, pictureB: 0, split: 50, period: 600, playing: !STILL, second: false, gain: 4, timer: 0 };

const resized = new ResizeObserver(placePictures);

/** Opens the comparison of A and B, or of the cells and pictures that are given. */
function openCompare(given = {}) {
  Object.assign(view, { a: state.a, b: state.b, pictureA: 0, pictureB: 0, second: false, playing: !STILL }, given);
  Object.assign(zoom, { z: 1, u: 0.5, v: 0.5 });
  const dialog = byId("compare");
  if (!dialog.open) dialog.showModal();
  drawCompare();
  dialog.querySelector(`button[data-mode="${view.mode}"]`).focus();
}

function drawCompare() {
  const dialog = byId("compare");
  const focus = document.activeElement?.id;
  const close = make("button", { type: "button", class: "quiet", id: "close-compare", "aria-label": "Close", on: { click: () => dialog.close() } }, "✕");
  const swap = make("button", { type: "button", class: "quiet", id: "swap", title: "Swap A and B (x)", "aria-label": "Swap A and B", on: { click: swapBoth } }, "⇄");
  const head = make("div", { class: "compare-head" }, chooser("a"), swap, chooser("b"), close);
  const stage = make("div", { class: "stage", id: "stage", tabindex: "0", "aria-label": "Pictures: wheel or + and − zoom, drag or arrow keys pan" }, pane("a"), pane("b"));
  listenToPointers(stage);
  resized.disconnect();
  resized.observe(stage);
  dialog.replaceChildren(head, toolsOf(), stage, footOf());
  setMode(view.mode);
  if (focus) byId(focus)?.focus();
}

function pictureOf(side) {
  const pictures = picturesOf(view[side]);
  return pictures[view[side === "a" ? "pictureA" : "pictureB"]] || pictures[0];
}

/** Which cell, and which of its pictures. */
function chooser(side) {
  const key = side === "a" ? "pictureA" : "pictureB";
  const options = CELLS.filter((cell) => picturesOf(cell).length).map((cell) =>
    make("option", { value: String(cell.at), selected: cell === view[side] }, titleOf(cell)));
  const cells = make("select", { id: `cell-${side}`, "aria-label": `Cell ${side.toUpperCase()}`, on: { change: (event) => setCell(side, CELLS[Number(event.target.value)]) } }, ...options);
  const pictures = picturesOf(view[side]);
  const which = pictures.length < 2 ? null : make("select", {
    id: `picture-${side}`, "aria-label": `Picture of ${side.toUpperCase()}`,
    on: { change: (event) => { view[key] = Number(event.target.value); drawCompare(); } },
  }, ...pictures.map(({ title }, at) => make("option", { value: String(at), selected: at === view[key] }, title)));
  return make("span", { class: "chooser" }, make("b", { class: `letter ${side}` }, side.toUpperCase()), cells, which);
}

function setCell(side, cell) {
  const key = side === "a" ? "pictureA" : "pictureB";
  view[side] = cell;
  view[key] = Math.min(view[key], picturesOf(cell).length - 1);
  drawCompare();
}

function swapBoth() {
  [view.a, view.b, view.pictureA, view.pictureB] = [view.b, view.a, view.pictureB, view.pictureA];
  drawCompare();
}

function stepCell(step) {
  const cells = CELLS.filter((cell) => picturesOf(cell).length);
  setCell("b", cells[(cells.indexOf(view.b) + step + cells.length) % cells.length]);
}

function pane(side) {
  const { source, width, height, title } = pictureOf(side);
  const image = make("img", { src: source, width: String(width), height: String(height), alt: `${titleOf(view[side])}, ${title}`, draggable: "false" });
  return make("div", { class: `pane ${side}` }, image, make("span", { class: `letter ${side}` }, side.toUpperCase()));
}

function toolsOf() {
  const modes = MODES.map(([mode, title, key]) =>
    make("button", { type: "button", "data-mode": mode, title: `${title} (${key})`, on: { click: () => setMode(mode) } }, title));
  const button = (text, title, call) => make("button", { type: "button", class: "quiet", title, "aria-label": title, on: { click: call } }, text);
  return make("div", { class: "compare-tools" },
    make("div", { class: "switch", role: "group", "aria-label": "Comparison" }, ...modes),
    make("span", { class: "extra", id: "extra" }),
    make("span", { class: "zooming" }, button("−", "Zoom out (−)", () => zoomMiddle(1 / 1.5)), make("output", { id: "percent" }),
      button("+", "Zoom in (+)", () => zoomMiddle(1.5)), button("Fit", "Fit (0)", fitPictures), button("1:1", "One pixel a pixel (1)", onePixel)));
}

function setMode(mode) {
  view.mode = mode;
  const stage = byId("stage");
  stage.dataset.mode = mode;
  for (const button of byId("compare").querySelectorAll("button[data-mode]")) {
    if (button.dataset.mode === mode && document.activeElement.matches("button[data-mode]")) button.focus();
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  stage.querySelector(".divider")?.remove();
  stage.style.setProperty("--gain", mode === "difference" ? String(view.gain) : "1");
  byId("extra").replaceChildren(...extraOf(mode));
  if (mode === "slider") {
    stage.append(divider());
    setSplit(view.split);
  }
  showSecond(mode === "flicker" ? view.second : true);
  play();
  placePictures();
}

/** What a mode has to be set by. */
function extraOf(mode) {
  if (mode === "flicker") {
    const pause = make("button", { type: "button", id: "play", title: "Play or pause (p)", on: { click: togglePlay } });
    const flip = make("button", { type: "button", id: "flip", title: "Show the other (space)", on: { click: flipOver } }, "Flip");
    const speed = make("input", { type: "range", min: "100", max: "2000", step: "50", value: String(2100 - view.period), "aria-label": "Speed", on: { input: (event) => { view.period = 2100 - Number(event.target.value); play(); } } });
    return [pause, flip, make("label", {}, "Speed ", speed)];
  }
  if (mode === "difference") {
    const gain = make("input", { type: "range", min: "1", max: "16", step: "1", value: String(view.gain), "aria-label": "Amplification", on: { input: (event) => { view.gain = Number(event.target.value); byId("stage").style.setProperty("--gain", String(view.gain)); byId("gain").textContent = `${view.gain} ×`; } } });
    return [make("label", {}, "Amplified ", gain), make("output", { id: "gain" }, `${view.gain} ×`)];
  }
  return [];
}

function divider() {
  const line = make("div", { class: "divider", id: "divider", role: "slider", tabindex: "0", "aria-label": "Where B begins", "aria-valuemin": "0", "aria-valuemax": "100" });
  line.addEventListener("pointerdown", (event) => { line.setPointerCapture(event.pointerId); event.preventDefault(); line.focus(); });
  line.addEventListener("pointermove", (event) => {
    if (!line.hasPointerCapture(event.pointerId)) return;
    const box = byId("stage").getBoundingClientRect();
    setSplit((100 * (event.clientX - box.left)) / box.width);
  });
  line.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowRight: 2, PageUp: 10, PageDown: -10, Home: -100, End: 100 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    setSplit(view.split + step);
  });
  return line;
}

function setSplit(split) {
  view.split = Math.min(Math.max(split, 0), 100);
  byId("stage").style.setProperty("--split", `${view.split}%`);
  byId("divider")?.setAttribute("aria-valuenow", view.split.toFixed(0));
}

function play() {
  clearInterval(view.timer);
  const button = byId("play");
  if (button) button.textContent = view.playing ? "Pause" : "Play";
  if (view.mode === "flicker" && view.playing && byId("compare").open) view.timer = setInterval(() => showSecond(!view.second), view.period);
}

function togglePlay() {
  view.playing = !view.playing;
  play();
}

function flipOver() {
  view.playing = false;
  play();
  showSecond(!view.second);
}

/** Flicker: which of the two is on top. */
function showSecond(second) {
  view.second = second;
  byId("stage").classList.toggle("first", view.mode === "flicker" && !second);
}

function footOf() {
  const whole = pictureOf("a").title !== "first pass" && pictureOf("b").title !== "first pass" && view.a !== view.b;
  const foot = make("div", { class: "compare-foot" });
  if (!whole) return foot;
  const found = verdict(view.a, view.b);
  foot.append(make("p", { class: `verdict ${found.kind}` }, verdictText(found)));
  const rows = found.rows.map(({ name, a, b, limit, visible }) =>
    make("tr", { class: visible ? "visible" : "" }, make("th", { scope: "row" }, KNOWN.get(name).title),
      ...[written(a, name), written(b, name), signed(b - a, name), limit === null ? "–" : rough(limit)].map((text) => make("td", { class: "number" }, text))));
  if (!rows.length) return foot;
  const head = ["", "A", "B", "B − A", "two seeds"].map((title) => make("th", { scope: "col" }, title));
  foot.append(make("details", {}, make("summary", {}, "Measures"), make("table", { class: "facts" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))));
  return foot;
}

function compareKeys(event) {
  if (event.target.matches("select, input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const mode = MODES.find((each) => each[2] === event.key);
  const near = event.shiftKey ? 200 : 60;
  const calls = {
    "+": () => zoomMiddle(1.5), "=": () => zoomMiddle(1.5), "-": () => zoomMiddle(1 / 1.5), 0: fitPictures, 1: onePixel,
    ArrowLeft: () => pan(near, 0), ArrowRight: () => pan(-near, 0), ArrowUp: () => pan(0, near), ArrowDown: () => pan(0, -near),
    x: swapBoth, "[": () => stepCell(-1), "]": () => stepCell(1), p: togglePlay,
  };
  if (mode) setMode(mode[0]);
  else if (event.key === " " && view.mode === "flicker" && !event.target.matches("button, summary")) flipOver();
  else if (calls[event.key]) calls[event.key]();
  else return;
  event.preventDefault();
}

function drawTray() {
  const tray = byId("tray");
  tray.hidden = !state.a;
  if (!state.a) return;
  const clear = make("button", { type: "button", class: "quiet", on: { click: () => { state.a = state.b = null; changed(); } } }, "Clear");
  const said = state.b ? null : make("span", { class: "hint" }, "choose another cell to compare it with");
  const again = state.b ? make("button", { type: "button", on: { click: () => openCompare() } }, "Compare") : null;
  tray.replaceChildren(make("b", { class: "letter a" }, "A"), make("span", { class: "name" }, titleOf(state.a)),
    ...[state.b && make("b", { class: "letter b" }, "B"), state.b && make("span", { class: "name" }, titleOf(state.b)), said, again].filter(Boolean), clear);
}

function listenToCompare() {
  const dialog = byId("compare");
  dialog.addEventListener("keydown", compareKeys);
  dialog.addEventListener("close", () => {
    clearInterval(view.timer);
    held.clear();
    if (state.view === "table") focusCell(...focused, state.b ? state.b.index[2] : 0);
    else if (state.b) byId("list").querySelector(`[data-at="${state.b.at}"] .pick`)?.focus();
  });
}

listeners.push(drawTray);
