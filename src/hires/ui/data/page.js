// The page's own share of the work in the browser: progress, keys.
(() => {
  "use strict";
  // The colours that were chosen in the settings; Gradio takes them from the address.
  const colours = localStorage.getItem("hires-theme"), place = new URL(location.href);
  if ((colours === "light" || colours === "dark") && place.searchParams.get("__theme") !== colours) {
    place.searchParams.set("__theme", colours);
    history.replaceState(null, "", place);
  }
  const BUSY_MS = 400, IDLE_MS = 3000, AWAY_FACTOR = 5, ROUGH_MS = 2500, REST_MS = 200, BRUSH_MS = 800, TABS = ["txt2img", "img2img"];
  const followed = {};
  const byId = (id) => document.getElementById(id);
  const press = (id) => { const found = byId(id); if (found) (found.tagName === "BUTTON" ? found : found.querySelector("button"))?.click(); };

  // --- progress ---------------------------------------------------------------------------------------------------
  function clock(seconds) {
    const whole = Math.max(Math.round(seconds), 0), two = (n) => String(n).padStart(2, "0");
    return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${two(whole % 60)}`;
  }

  function words(box, told) {
    const say = (index, values) => Object.entries(values).reduce(
      (text, [name, value]) => text.replace(`{${name}}`, value), box.dataset[`w${index}`] || "");
    const job = told.job, parts = [];
    if (job.state === "waiting") parts.push(say(0, { n: job.place }));
    else if (job.state === "paused") parts.push(say(4, {}));
    else {
      parts.push(`${Math.floor(job.share * 100)} %`);
      if (job.steps) parts.push(say(5, { a: job.step, b: job.steps }));
      else parts.push(say(1, {}));
      if (job.seconds && job.share > 0.02) parts.push(say(3, { t: clock(job.seconds) }));
      const part = /^part (\d+) of (\d+)$/.exec(job.text || "");
      if (part) parts.push(say(6, { a: part[1], b: part[2] }));
      else if (job.text) parts.push(job.text);
    }
    if (told.more) parts.push(say(2, { n: told.more }));
    return parts.join(" · ");
  }

  function draw(tab, told) {
    const box = document.querySelector(`.live[data-kind="${tab}"]`);
    if (!box) return;
    box.hidden = !told.job;
    document.body.classList.toggle(`busy_${tab}`, Boolean(told.job));
    if (!told.job) { box.replaceChildren(); delete box.dataset.job; delete box.dataset.share; return; }
    if (!box.firstChild) {
      box.innerHTML = '<img alt="" hidden><div class="bar"><i></i></div><p role="status"></p>';
    }
    const [image, bar, text] = box.children, job = told.job;
    bar.firstChild.style.width = `${job.share * 100}%`;
    text.textContent = words(box, told);
    if (job.preview >= 0) {
      const address = `page/preview/${encodeURIComponent(job.id)}?n=${job.preview}`;
      if (image.dataset.address !== address) {
        image.dataset.address = address;
        const next = new Image();
        next.onload = () => { image.src = next.src; image.hidden = false; };
        next.src = address;
      }
    } else { image.hidden = true; }
    box.dataset.job = job.id;
    box.dataset.share = job.share;
  }

  async function ask(tab) {
    const state = followed[tab];
    clearTimeout(state.timer);
    const turn = ++state.turn;
    let wait = IDLE_MS;
    try {
      const answer = await fetch(`page/live?kind=${tab}`);
      if (turn !== state.turn) return;
      if (answer.ok) {
        const told = await answer.json();
        draw(tab, told);
        if (told.ended && told.ended !== state.ended) { press(`${tab}_collect`); foretell(tab); lookAtShown(); }
        state.ended = told.ended;
        if (told.job) wait = BUSY_MS;
      }
    } catch { /* the server is away: ask again later */ }
    state.timer = setTimeout(() => ask(tab), document.hidden ? wait * AWAY_FACTOR : wait);
  }

  function follow(tab) {
    followed[tab] ??= { ended: "", timer: 0, turn: 0 };
    ask(tab);
  }

  // The line that says what will come is asked for anew once nothing has changed for a moment, in the tab that is seen.
  const asked = {};
  function foretell(tab) {
    clearTimeout(asked[tab]);
    asked[tab] = setTimeout(() => { if (byId(`${tab}_generate`)?.offsetParent) press(`${tab}_plan_again`); }, REST_MS);
  }

  // What is painted is sent once the brush has rested. Gradio's own events of an editor would send it at every change.
  const looked = {};
  let brushed = null;
  function look(editor) {
    if (!editor?.offsetParent) return;
    clearTimeout(looked[editor.id]);
    looked[editor.id] = setTimeout(() => press(`${editor.id}_look`), BRUSH_MS);
  }
  const lookAtShown = () => document.querySelectorAll(".painting").forEach(look);
  document.addEventListener("pointerdown", (event) => { brushed = event.target.closest?.(".painting"); }, true);
  document.addEventListener("pointerup", () => { look(brushed); brushed = null; }, true);
  for (const kind of ["change", "drop"]) {
    document.addEventListener(kind, (event) => look(event.target.closest?.(".painting")), true);
  }
  document.addEventListener("paste", lookAtShown, true);
  document.addEventListener("keyup", (event) => { if ((event.ctrlKey || event.metaKey) && /^[zy]$/i.test(event.key)) lookAtShown(); }, true);

  function begin(tab) {
    follow(tab);
    foretell(tab);
    setInterval(() => {
      if (document.hidden) return;
      if (byId(`${tab}_plan`)?.querySelector("[data-rough]")) foretell(tab);
    }, ROUGH_MS);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) Object.keys(followed).forEach(follow); });

  // --- keys -------------------------------------------------------------------------------------------------------
  const STEP = 0.1, NETWORK_STEP = 0.05, DELIMITERS = ",()[]<>\n";

  function enclosing(text, from, to, open, close) {
    const start = text.lastIndexOf(open, from - 1), end = text.indexOf(close, to);
    if (start < 0 || end < 0 || text.slice(start + 1, from).includes(close) || text.slice(to, end).includes(open)) return null;
    return [start, end];
  }

  function tagAt(text, from, to) {
    while (from > 0 && !DELIMITERS.includes(text[from - 1])) from--;
    while (to < text.length && !DELIMITERS.includes(text[to])) to++;
    while (from < to && /\s/.test(text[from])) from++;
    while (to > from && /\s/.test(text[to - 1])) to--;
    return [from, to];
  }

  // The text and selection after the weight of what is selected has changed by a number of steps.
  function weighed(text, from, to, steps) {
    const network = enclosing(text, from, to, "<", ">");
    if (network) {
      const inner = text.slice(network[0] + 1, network[1]), parts = /^(.*:)(-?[\d.]+)$/.exec(inner);
      if (!parts) return null;
      const changed = `${parts[1]}${+(parseFloat(parts[2]) + steps * NETWORK_STEP).toFixed(3)}`;
      return [text.slice(0, network[0] + 1) + changed + text.slice(network[1]), network[0] + 1, network[0] + 1 + changed.length];
    }
    const block = enclosing(text, from, to, "(", ")");
    const parts = block && /^([\s\S]*):\s*(-?[\d.]+)\s*$/.exec(text.slice(block[0] + 1, block[1]));
    if (parts) {
      const weight = +(parseFloat(parts[2]) + steps * STEP).toFixed(2), before = text.slice(0, block[0]), after = text.slice(block[1] + 1);
      if (weight === 1) return [before + parts[1] + after, block[0], block[0] + parts[1].length];
      return [`${before}(${parts[1]}:${weight})${after}`, block[0] + 1, block[0] + 1 + parts[1].length];
    }
    if (from === to) [from, to] = tagAt(text, from, to);
    while (from < to && /\s/.test(text[to - 1])) to--;
    if (from === to) return null;
    const chosen = text.slice(from, to), weight = +(1 + steps * STEP).toFixed(2);
    return [`${text.slice(0, from)}(${chosen}:${weight})${text.slice(to)}`, from + 1, from + 1 + chosen.length];
  }

  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.key === "Enter") {
      const tab = TABS.find((one) => byId(`${one}_generate`)?.offsetParent);
      if (!tab) return;
      event.preventDefault();
      event.stopPropagation();
      event.target.dispatchEvent?.(new Event("change", { bubbles: true }));
      press(`${tab}_generate`);
      return;
    }
    const area = event.target;
    if ((event.key !== "ArrowUp" && event.key !== "ArrowDown") || area.tagName !== "TEXTAREA" || !area.closest(".prompt")) return;
    event.preventDefault();
    const found = weighed(area.value, area.selectionStart, area.selectionEnd, event.key === "ArrowUp" ? 1 : -1);
    if (!found) return;
    area.value = found[0];
    area.dispatchEvent(new Event("input", { bubbles: true }));
    area.setSelectionRange(found[1], found[2]);
  }, true);

  // --- names ------------------------------------------------------------------------------------------------------
  // Buttons that show a sign alone say what they do; those of a tab are there once it has been opened.
  let names = {};
  function call() {
    for (const [id, name] of Object.entries(names)) {
      const found = byId(id), button = found && (found.tagName === "BUTTON" ? found : found.querySelector("button"));
      if (button && button.title !== name) { button.title = name; button.setAttribute("aria-label", name); }
    }
  }
  function name(known) {
    names = known;
    call();
    document.addEventListener("click", () => { setTimeout(call, 100); setTimeout(call, 1000); });
  }

  window.hires = { begin, follow, foretell, lookAtShown, name, weighed };
})();
