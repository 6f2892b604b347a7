const list = element.querySelector(".list");
const [words, state] = [element.querySelector(".words"), element.querySelector(".state")];
let shown = "";
let number = 0;
let turn = 0;

async function draw(extra = {}) {
  const mine = ++turn;
  let told;
  try {
    told = await server.listing({ words: words.value, state: state.value, page: number, ...extra });
  } catch { return; /* the server is away: asked again soon */ }
  if (mine !== turn && !extra.act) return;
  if (told.error) {
    const problem = element.querySelector(".problem");
    problem.textContent = told.error;
    problem.hidden = false;
    setTimeout(() => { problem.hidden = true; }, 8000);
  }
  number = told.page;
  if (told.html === shown) return;
  const focus = document.activeElement?.closest?.(".list [data-act]");
  const key = focus && [focus.dataset.act, focus.dataset.id];
  shown = told.html;
  list.innerHTML = told.html;
  if (key) list.querySelector(`[data-act="${key[0]}"][data-id="${CSS.escape(key[1])}"]`)?.focus();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  if (button.dataset.act === "page") {
    number = Number(button.dataset.id);
    draw();
  } else draw({ act: button.dataset.act, id: button.dataset.id || "" });
});
let typed = 0;
words.addEventListener("input", () => { clearTimeout(typed); number = 0; typed = setTimeout(draw, 250); });
state.addEventListener("change", () => { number = 0; draw(); });
const timer = setInterval(() => {
  if (!element.isConnected) clearInterval(timer);
  else if (!document.hidden && element.offsetParent) draw();
}, 1000);
draw();
